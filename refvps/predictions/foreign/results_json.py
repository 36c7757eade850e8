"""``ytvis``: a ``results.json`` in the style of YouTube-VIS and SA-Co, answered to an ``instances.json``.

``[{"video_id", "category_id", "segmentations": [RLE or null], "score"}]``, one masklet an entry. Which video and which
sentence the numbers mean is in the file of questions: ``refvps export benchmark --layout ytvis`` writes it, and the
gold sets of SA-Co are one. The answer to an expression is the union of the masklets of its video and category whose
score is at least ``min_score``; an expression without a masklet is answered with empty masks, as these formats mean it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.errors import InputError
from refvps.files import parse_json, read_json
from refvps.masks import bits, rle
from refvps.masks.mask import Mask
from refvps.predictions.problems import Report
from refvps.types import Benchmark, Clip

RESULTS = "results.json"
QUESTIONS = "instances.json"
MIN_SCORE = 0.5
"""Below this score a masklet is not taken, as SAM 3's evaluation does."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ResultsReader:
    """Masks of one clip by frame. ``tracks``: masklets by expression, RLE by frame index. Picklable."""

    clip: Clip
    tracks: Mapping[str, tuple[Mapping[int, bytes], ...]]

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks by expression id; empty where no masklet covers the frame."""
        found: dict[str, Mask | None] = {}
        for expression, masklets in self.tracks.items():
            parts = [each[index] for each in masklets if index in each]
            if parts:
                found[expression] = Mask.from_rle(rle.union(parts, self.clip.size), self.clip.size)
            else:
                found[expression] = Mask.from_bits(bits.empty(self.clip.size), self.clip.size)
        return found

    @property
    def problems(self) -> Report:
        """Nothing: all was checked when the file was read."""
        return Report(())


@dataclass(frozen=True, slots=True)
class Results:
    """Predictions in this form, joined with a benchmark; ``notes`` for people."""

    benchmark: Benchmark
    tracks: Mapping[str, Mapping[str, tuple[Mapping[int, bytes], ...]]]
    notes: tuple[str, ...]

    @property
    def problems(self) -> Report:
        """Nothing: what cannot be used raises."""
        return Report(())

    def reader(self, clip: str) -> ResultsReader:
        """A reader for one clip."""
        asked = self.benchmark.expressions_of(clip)
        own = self.tracks.get(clip, {})
        return ResultsReader(self.benchmark.clips[clip], {each.id: own.get(each.id, ()) for each in asked})


@dataclass(frozen=True, slots=True)
class Question:
    """A video of the questions: its clip, and the place in the clip of each of its frames."""

    clip: Clip
    places: tuple[int, ...]


def open_results(
    data: bytes, name: str, benchmark: Benchmark, questions: Path, min_score: float = MIN_SCORE
) -> Results:
    """Join a ``results.json`` with ``benchmark`` through its file of questions.

    Raises InputError naming every entry and question that does not fit.
    """
    videos, asked = _questions(questions, benchmark)
    entries = parse_json(data, name)
    if not isinstance(entries, list):
        raise InputError("This is no results.json.", where=[f"{name}: it is not a list"], fix="see docs/import.md")
    tracks: dict[str, dict[str, list[Mapping[int, bytes]]]] = {}
    wrong: list[str] = []
    low = 0
    for number, entry in enumerate(entries):
        try:
            video, expression, score, masklet = _entry(entry, videos, asked)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            wrong.append(f"{name}: entry {number}: {reason}"[:300])
            continue
        if score < min_score:
            low += 1
            continue
        tracks.setdefault(video.clip.id, {}).setdefault(expression, []).append(masklet)
    if wrong:
        raise InputError("Entries of a results.json cannot be used.", where=wrong, fix="write the file again")
    total = len(benchmark.expressions)
    answered = sum(len(of_clip) for of_clip in tracks.values())
    silent = (
        f"{total - answered:,} of {total:,} expressions have no masklet of score {min_score:g} or more: empty masks"
    )
    notes = [silent] if answered < total else []
    notes += [f"{low:,} masklets of a score below {min_score:g} were left out"] if low else []
    frozen = {clip: {key: tuple(each) for key, each in own.items()} for clip, own in tracks.items()}
    return Results(benchmark, frozen, tuple(notes))


def _entry(
    entry: Any, videos: Mapping[int, Question], asked: Mapping[tuple[int, int], str]
) -> tuple[Question, str, float, dict[int, bytes]]:
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    key = entry["video_id"], entry["category_id"]
    if key[0] not in videos or key not in asked:
        raise ValueError(f"video {key[0]!r} is not asked for category {key[1]!r}")
    score = entry.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError("score is no number")
    video, masks = videos[key[0]], entry["segmentations"]
    if not isinstance(masks, list) or len(masks) != len(video.places):
        raise ValueError(f"segmentations are not a list of {len(video.places)} masks")
    found = {
        place: _counts(mask, video.clip.size)
        for place, mask in zip(video.places, masks, strict=True)
        if mask is not None
    }
    try:
        rle.check(list(found.values()), video.clip.size)
    except rle.RleError as error:
        raise ValueError(f"mask {error.index}: {error.reason}") from error
    return video, asked[key], float(score), found


def _counts(mask: Any, size: Size) -> bytes:
    if not isinstance(mask, dict) or mask.get("size") != list(size):
        raise ValueError(f"a mask is no COCO RLE of {size[1]}x{size[0]}")
    counts = mask.get("counts")
    if isinstance(counts, list):
        return rle.from_runs(counts, size)
    if not isinstance(counts, str):
        raise ValueError("a mask has no counts")
    return counts.encode("latin-1", "replace")


def _questions(path: Path, benchmark: Benchmark) -> tuple[dict[int, Question], dict[tuple[int, int], str]]:
    """Videos by number, and expression by (video, category), of a file of questions."""
    record = read_json(path)
    by_source = {clip.source_id or clip.id: clip for clip in benchmark.clips.values()}
    videos: dict[int, Question] = {}
    asked: dict[tuple[int, int], str] = {}
    wrong: list[str] = []
    try:
        named = {row["id"]: row.get("expression") for row in record["categories"]}
        for row in record["videos"]:
            files = row["file_names"]
            name = row.get("video_name") or Path(files[0]).parent.name or str(row["id"])
            clip = by_source.get(name) or benchmark.clips.get(name)
            if clip is None:
                continue  # nobody asks about it here
            places = {frame: index for index, frame in enumerate(clip.frames)}
            stems = [Path(file).stem for file in files]
            if lost := [stem for stem in stems if stem not in places]:
                wrong.append(f"{path}: {shown(name)}: the clip has no frame {shown(lost[0])}")
                continue
            videos[row["id"]] = Question(clip, tuple(places[stem] for stem in stems))
        pairs = record.get("video_np_pairs")
        if pairs is None:
            pairs = [{"video_id": row["video_id"], "category_id": row["category_id"]} for row in record["annotations"]]
        for row in pairs:
            key = row["video_id"], row["category_id"]
            if key[0] in videos:
                asked[key] = str(named.get(key[1]) if named.get(key[1]) is not None else key[1])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError("A file of questions cannot be used.", where=[f"{path}: {reason}"[:300]], fix=_FIX) from error
    answers = {(videos[number].clip.id, expression) for (number, _), expression in asked.items()}
    wanted = {(each.clip, each.id) for each in benchmark.expressions}
    wrong += [f"{path}: {clip}/{each} of the benchmark is not asked" for clip, each in sorted(wanted - answers)]
    wrong += [f"{path}: {clip}/{each} is not in the benchmark" for clip, each in sorted(answers - wanted)]
    if wrong:
        raise InputError("The questions do not fit the benchmark.", where=wrong, fix=_FIX)
    return videos, asked


_FIX = f"give the {QUESTIONS} that the predictions answer, with --questions"
