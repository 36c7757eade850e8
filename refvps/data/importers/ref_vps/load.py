"""The loader of Ref-VPS in foreign layouts: one benchmark, whichever of the four it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.importers.ref_vps import asked
from refvps.data.importers.ref_vps.asked import Aliases, Names
from refvps.data.importers.ref_vps.drawn import read_pictures, read_tracks
from refvps.data.importers.ref_vps.layout import Found, find
from refvps.data.importers.ref_vps.masks import Drawn
from refvps.data.importers.ref_vps.targets import Clue, Whole, folders_of, targets_of, without_ignore
from refvps.data.importers.referring.meta_expressions import Sentence, read_meta
from refvps.data.importers.referring.meta_expressions import Video as Listing
from refvps.data.index import Progress
from refvps.data.manifest import MAX_MANIFEST_BYTES, read_manifest
from refvps.data.masktracks import make_annotation
from refvps.data.records.lists import parse_withdrawn
from refvps.data.truth import RleTruth
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import read_bytes, read_json
from refvps.frames import ImageFrames, image_files
from refvps.types import Annotation, Benchmark, Clip, Expression

OPTIONS = {
    "layout": "davis, ignore-folder, coco-rle or expression-folders, where it could be several",
    "aliases": "table of id aliases, if it is not aliases.json in the folder",
    "lists": "folder of clips.jsonl and expressions.jsonl, if they are not beside the masks",
    "null": "empty or unannotated: what null means in mask_dict.json where most frames have nothing else",
    "ignore-value": "255 or none, where 255 could be the object",
    "first-frame": "number of the first frame, 0 or 1, where that is not clear",
    "fps": "frames per second, without lists; default 24",
    "annotation-fps": "annotated frames per second, without lists; default fps where every frame is annotated",
    "version": "version of the data set; default local",
}


@dataclass(frozen=True, slots=True)
class Lists:
    """Everything that is listed: clips of ours and their expressions, foreign videos and theirs, our id by foreign."""

    clips: Mapping[str, Clip] | None
    expressions: Mapping[str, Sequence[Expression]]
    videos: Mapping[str, Listing]
    ids: Mapping[str, str]
    aliases: Aliases
    pictures: Mapping[str, Sequence[Path]]
    same: frozenset[str] = frozenset()
    """Foreign clips whose frames have the names of our list."""


@dataclass(slots=True)
class Gathered:
    """What grows clip by clip."""

    clips: dict[str, Clip] = field(default_factory=dict)
    expressions: list[Expression] = field(default_factory=list)
    annotations: dict[str, Annotation] = field(default_factory=dict)
    pictures: dict[str, list[Path]] = field(default_factory=dict)
    pixels: int = 0
    unasked: int = 0
    texts: int = 0


def load_ref_vps(
    root: Path | str,
    *,
    name: str = "ref-vps",
    jobs: int = 1,
    progress: Progress | None = None,
    layout: str = "auto",
    aliases: str = "",
    lists: str = "",
    null: str = "auto",
    ignore_value: str = "auto",
    first_frame: str = "",
    fps: str = "24",
    annotation_fps: str = "",
    version: str = "",
) -> Benchmark:
    """Read Ref-VPS in one of four foreign layouts (see :mod:`refvps.data.importers.ref_vps.layout`).

    The masks are held in memory as RLE. Where target and Ignore meet, Ignore wins and a note gives the pixels.
    ``progress`` counts mask files. Raises UsageError where the user must decide, InputError naming what is missing
    or does not fit.
    """
    found = find(Path(root), layout)
    known = _lists(
        found, Path(lists) if lists else None, asked.read_aliases(Path(aliases) if aliases else found.aliases)
    )
    if found.rle is not None:
        drawn = read_tracks(found, known.videos, known.ids, null)
    else:
        drawn = read_pictures(found, known.ids, ignore_value, jobs, progress)
    others = {
        foreign: [*_frames_of(known, foreign), *(p.stem for p in known.pictures.get(foreign, ()))]
        for foreign in known.ids
    }
    if (listed := known.clips) is not None:
        same = {f for f, ours in known.ids.items() if asked.named_as_listed(listed[ours], drawn[f].frames, others[f])}
        known = replace(known, same=frozenset(same))
    count = asked.frame_names(
        {foreign: [*drawn[foreign].frames, *names] for foreign, names in others.items() if foreign not in known.same},
        None if not first_frame else _number(first_frame, "first-frame", (0, 1)),
    )
    rates = _rate(fps, "fps"), _rate(annotation_fps, "annotation-fps") if annotation_fps else None
    whole = _whole(found, known, drawn)
    done = Gathered()
    for foreign, ours in sorted(known.ids.items(), key=lambda item: _order(known, item[1])):
        _gather(done, foreign, ours, drawn[foreign], known, count, whole, rates)
    about = _about(found)
    digests = {
        key: clip_digest(clip, [e for e in done.expressions if e.clip == key], done.annotations[key])
        for key, clip in done.clips.items()
    }
    truths = {key: RleTruth(annotation) for key, annotation in done.annotations.items()}

    def frames(key: str) -> ImageFrames:
        if key not in done.pictures:
            raise DataMissingError("The frames of this clip were not beside its masks.", where=[key])
        return ImageFrames(done.pictures[key], done.clips[key].fps, key)

    return Benchmark(
        name=name,
        version=version or about.get("version", "local"),
        digest=benchmark_digest(digests),
        clips=done.clips,
        expressions=tuple(done.expressions),
        truth=truths.__getitem__,
        frames=frames,
        clip_digests=digests,
        licence=about.get("licence", ""),
        notes=tuple(_notes(found, known, count, done)),
    )


def _lists(found: Found, folder: Path | None, aliases: Aliases) -> Lists:
    """Join the lists to the masks by clip; raises InputError for what is on one side only."""
    folder = folder or found.manifest
    clips, expressions = read_manifest(folder) if folder else (None, ())
    videos = {video.name: video for video in read_meta(found.meta)} if found.meta else {}
    if not videos and (clips is None or found.layout == "coco-rle"):
        raise InputError(
            "There are masks here, and no sentences.",
            where=[f"{shown(found.base)}: no meta_expressions.json" + ("" if clips else ", no clips.jsonl")],
            fix="put the list of expressions there",
        )
    gone: set[str] = set()
    if found.withdrawn:
        data = read_bytes(found.withdrawn, MAX_MANIFEST_BYTES)
        gone = {each.clip.lower() for each in parse_withdrawn(data, str(found.withdrawn))}
    drawn = {video.name for video in found.videos} if found.rle is None else videos.keys()

    def kept(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if aliases.clips.get(name, name).lower() not in gone)

    if clips is not None:
        clips = {key: clip for key, clip in clips.items() if key.lower() not in gone}
    wrong = [f"{shown(name)}: no masks" for name in kept(videos.keys() - drawn)]
    wrong += [f"{shown(name)}: no sentences" for name in kept(drawn - videos.keys())] if videos else []
    if found.ignore is not None:
        ignored = {video.name for video in found.ignore}
        wrong += [f"{shown(name)}: no folder of Ignore" for name in kept(drawn - ignored)]
        wrong += [f"Ignore of {shown(name)}: no masks" for name in kept(ignored - drawn)]
    if wrong:
        raise InputError("Masks, sentences and Ignore are not of the same clips.", where=wrong, fix="complete them")
    ids = asked.our_clips(kept(drawn), aliases, clips, gone)
    if not ids:
        raise InputError(
            "Every clip of this data set is withdrawn.", where=[shown(found.base)], fix="use a newer version"
        )
    return Lists(clips, asked.listed(expressions), videos, ids, aliases, _pictures(found, ids))


def _pictures(found: Found, ids: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    if found.pictures is None:
        return {}
    files = {name: image_files(found.pictures / name) if (found.pictures / name).is_dir() else () for name in ids}
    if wrong := [f"{shown(found.pictures / name)}: no frames" for name, paths in files.items() if not paths]:
        raise InputError(
            "Frames of some clips are not here.", where=wrong, fix="complete or remove the folder of frames"
        )
    return files


def _whole(found: Found, known: Lists, drawn: Mapping[str, Drawn]) -> Whole:
    """What the numbers of objects mean, over all clips."""
    labels = {label for each in drawn.values() for label in each.objects}
    numbers = {
        n for name in known.ids for s in (known.videos[name].sentences if known.videos else ()) for n in s.objects
    }
    plain = found.layout in ("davis", "ignore-folder")
    single = len(labels) <= 1 and not any(_several(known, foreign) for foreign in known.ids)
    return Whole(found.layout, plain and single, 1 if not plain and "0" in numbers else 0)


def _several(known: Lists, foreign: str) -> bool:
    """True where the sentences of a clip, or ours, are known to be about more than one object."""
    sentences = known.videos[foreign].sentences if known.videos else ()
    ours = {each.target for each in known.expressions.get(known.ids[foreign], ())}
    return len({each.objects for each in sentences if each.objects}) > 1 or len(ours) > 1


def _gather(
    done: Gathered,
    foreign: str,
    ours: str,
    drawn: Drawn,
    known: Lists,
    count: Names,
    whole: Whole,
    rates: tuple[float, float | None],
) -> None:
    """Add one clip."""
    clues = _clues(foreign, ours, known, done)
    parts = list(drawn.objects) if whole.layout == "expression-folders" else []
    folders = folders_of(ours, clues, parts, known.aliases) if parts else {}
    tracks, chosen = targets_of(ours, clues, drawn, folders, known.aliases, whole)
    tracks, pixels = without_ignore(tracks, drawn.ignore, drawn.size)
    clip, names = _clip(foreign, ours, drawn, known, count, rates)
    done.pixels += pixels
    done.unasked += len(drawn.objects) - len({*tracks}) if not parts else 0
    done.clips[ours] = clip
    back = {name: frame for frame, name in names.items()}
    place = [back.get(frame) for frame in clip.frames]
    targets = {key: [track.get(frame or "") for frame in place] for key, track in sorted(tracks.items())}
    done.annotations[ours] = make_annotation(clip, targets, [drawn.ignore.get(frame or "") for frame in place])
    for clue in clues:
        source = clue.sentence.id if clue.sentence and clue.sentence.id != clue.id else ""
        text = clue.sentence.text.strip() if clue.sentence else ""
        done.expressions.append(clue.listed or Expression(clue.id, ours, text, chosen[clue.id], source_id=source))
    if foreign in known.pictures:
        files = {_key(foreign, path.stem, known, count): path for path in known.pictures[foreign]}
        keys = {name: name for name in clip.frames} if foreign in known.same else _numbers(clip, known)
        if lacking := [name for name in clip.frames if keys[name] not in files]:
            raise InputError("Frames of a clip are not here.", where=[f"{ours}: {name}" for name in lacking])
        done.pictures[ours] = [files[keys[name]] for name in clip.frames]


def _key(foreign: str, name: str, known: Lists, count: Names) -> int | str:
    """What a frame is joined by: its name where that is ours, else its number."""
    return name if foreign in known.same else count.number(name)


def _clues(foreign: str, ours: str, known: Lists, done: Gathered) -> list[Clue]:
    """The expressions of a clip, in the order of our list, else in that of the foreign one."""
    sentences: dict[str, Sentence] = {}
    wrong: list[str] = []
    for sentence in known.videos[foreign].sentences if known.videos else ():
        key = known.aliases.expression(ours, sentence.id)
        if (other := sentences.setdefault(key, sentence)) is not sentence:
            wrong.append(f"{ours}: the expressions {sentence.id} and {other.id} are both {key}")
        if not sentence.text.strip() and known.clips is None:
            wrong.append(f"{ours}/{key}: no text")
    if known.clips is not None:
        listed = {each.id: each for each in known.expressions.get(ours, ())}
        if known.videos:
            wrong += [
                f"{ours}/{shown(key)}: not in expressions.jsonl" for key in sorted(sentences.keys() - listed.keys())
            ]
            wrong += [f"{ours}/{key}: not in meta_expressions.json" for key in sorted(listed.keys() - sentences.keys())]
        clues = [Clue(key, sentences.get(key), each) for key, each in listed.items()]
        done.texts += sum(
            c.sentence is not None and c.listed is not None and c.sentence.text.strip() != c.listed.text for c in clues
        )
    else:
        clues = [Clue(key, sentence) for key, sentence in sentences.items()]
    if wrong:
        raise InputError("Expressions do not match.", where=wrong, fix='correct aliases.json: {"expressions": ...}')
    return clues


def _clip(
    foreign: str,
    ours: str,
    drawn: Drawn,
    known: Lists,
    count: Names,
    rates: tuple[float, float | None],
) -> tuple[Clip, dict[str, str]]:
    """A clip, and our frame name by foreign one."""
    listed = None if known.clips is None else known.clips[ours]
    numbers = None if listed is None or foreign in known.same else asked.numbered(listed)
    try:
        every = (
            [path.stem for path in known.pictures.get(foreign, ())] or [*_frames_of(known, foreign)] or [*drawn.frames]
        )
        if foreign in known.same:
            annotated, frames = ({name: name for name in names} for names in (drawn.frames, every))
        else:
            annotated = asked.joined(drawn.frames, count, numbers, foreign)
            frames = asked.joined(every, count, numbers, foreign)
    except ValueError as error:
        raise InputError("Frames of a clip cannot be joined.", where=[str(error)], fix="rename them") from error
    wrong: list[str] = []
    if listed is None:
        names = tuple(sorted(frames.values(), key=int))
        wrong += [
            f"{ours}: a mask of the frame {name}, which is not listed"
            for name in sorted({*annotated.values()} - {*names})
        ]
    else:
        names = listed.frames
        wrong += [f"{ours}/{name}: no mask" for name in listed.annotated if name not in annotated.values()]
        wrong += [
            f"{ours}/{name}: a mask, but not listed as annotated"
            for name in sorted({*annotated.values()} - {*listed.annotated})
        ]
        if listed.size != drawn.size:
            wrong.append(
                f"{ours}: masks of {drawn.size[1]}x{drawn.size[0]}, listed with {listed.size[1]}x{listed.size[0]}"
            )
    if wrong:
        raise InputError("Masks and the list of frames do not match.", where=wrong, fix="complete the masks")
    if listed is not None:
        return listed, annotated
    fps, annotation_fps = rates
    marked = tuple(name for name in names if name in {*annotated.values()})
    if annotation_fps is None:
        annotation_fps = fps if marked == names else 0.0
    source = foreign if foreign != ours else ""
    return Clip(ours, drawn.size, fps, names, marked, annotation_fps, ours, source_id=source), annotated


def _frames_of(known: Lists, foreign: str) -> tuple[str, ...]:
    return known.videos[foreign].frames if known.videos else ()


def _numbers(clip: Clip, known: Lists) -> Mapping[str, int | str]:
    """Number from 0 of every frame of a clip of ours."""
    if known.clips is None:
        return {name: int(name) for name in clip.frames}
    return {name: number for number, name in asked.numbered(clip).items()}


def _order(known: Lists, ours: str) -> tuple[int, str]:
    return (0, ours) if known.clips is None else ([*known.clips].index(ours), "")


def _about(found: Found) -> dict[str, str]:
    """Version and licence, where the folder says so."""
    path = found.base / "benchmark.json"
    record: Any = read_json(path) if path.is_file() else {}
    texts = {key: record.get(key) for key in ("version", "licence")} if isinstance(record, dict) else {}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _notes(found: Found, known: Lists, count: Names, done: Gathered) -> list[str]:
    notes = [f"Read from the layout {found.layout}.", *found.notes]
    if count.first:
        notes.append(f"Frames were counted from {count.first}.")
    if done.pixels:
        notes.append(f"Pixels that were target and Ignore, and are Ignore now: {done.pixels:,}.")
    if done.unasked > 0:
        notes.append(f"Objects that no expression asks for: {done.unasked}.")
    if done.texts:
        notes.append(f"Sentences whose text is another in meta_expressions.json: {done.texts}; ours count.")
    if known.clips is None and any(not clip.annotation_fps for clip in done.clips.values()):
        notes.append("Not every frame is annotated and the annotation rate is unknown: give --option annotation-fps=6.")
    return notes


def _rate(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0 <= value <= 1000):
        raise UsageError("This is no frame rate.", where=[f"--option {option}={shown(text)}"], fix="frames per second")
    return value


def _number(text: str, option: str, choices: Sequence[int]) -> int:
    if text not in map(str, choices):
        fix = " or ".join(map(str, choices))
        raise UsageError("This is no choice here.", where=[f"--option {option}={shown(text)}"], fix=fix)
    return int(text)
