"""Masks as COCO RLE in JSON, in three dialects that are told apart by their keys.

``mask_dict.json`` of MeViS: ``{number: [RLE or null per frame]}``. ``meta_expressions.json`` beside it says which
numbers belong to the clip, and how its frames are called; ``ignore_dict.json``, which only refvps writes, has Ignore by
clip. YouTube-VIS and SA-Co: ``{"videos", "annotations", "categories"}``; Ignore is a category ``__ignore__``, or what
is marked as a crowd. SA-V: ``{"masklet": [[RLE per object] per frame], "masklet_id", "video_height", ...}``, of which
entry k is frame 4k of the video; ``masklet_ignore``, which only refvps writes, is a list of Ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refvps.annotate.sources.drawn import MAX_FRAMES, Digest, Drawn, Size, only, possible, refuse, track, whole
from refvps.archive import FileSet, shown
from refvps.data.importers.referring.meta_expressions import read_meta
from refvps.errors import InputError
from refvps.files import MAX_JSON_BYTES, parse_json
from refvps.masks import rle
from refvps.types import ID

STEP, FPS = 4, 24.0
"""Of SA-V: frames of the video from one annotated frame to the next, and their rate."""

_META = ("meta_expressions.json", "meta_expressions_v2.json")
_IGNORES = "ignore_dict.json"
_IGNORE = "__ignore__"


BESIDE = (*_META, _IGNORES)
"""Files that belong to a mask_dict.json."""


def find_json(files: FileSet) -> list[str]:
    """The .json files that may hold masks."""
    names = [name for name in files.names if name.lower().endswith(".json")]
    return [name for name in names if name.rpartition("/")[2] not in BESIDE]


def read_rle(files: FileSet, clip: str, layout: str, size: Size | None = None) -> Drawn:
    """The masks of a clip in the only JSON file there is; ``layout``: coco-rle, or sa-v for its own dialect.

    ``size``: (height, width) that they must have, if that is known. Raises InputError for what cannot be used.
    """
    named = [name for name in find_json(files) if clip in name.rpartition("/")[2]]
    candidates = named if len(named) == 1 else find_json(files)
    name = only(candidates, "name the file itself")
    digest = Digest()
    content = parse_json(digest.add(name, files.read(name, MAX_JSON_BYTES)), shown(name))
    if not isinstance(content, dict):
        refuse([f"{shown(name)}: not a JSON object"], "give a file of MeViS, YouTube-VIS, SA-Co or SA-V")
    dialect: Callable[..., Drawn]
    if layout == "sa-v":
        if not isinstance(content.get("masklet"), list):
            refuse([f"{shown(name)}: no masklet in it"], "give a file <video>_manual.json or _auto.json of SA-V")
        dialect = _sav
    elif "annotations" in content and "videos" in content:
        dialect = _ytvis
    elif "masklet" in content:
        raise InputError("This is a file of SA-V.", where=[shown(name)], fix="give --layout sa-v")
    else:
        dialect = _mevis
    try:
        return dialect(content, shown(name), clip, size, digest, files)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            "Masks cannot be used.", where=[f"{shown(name)}: {reason}"[:300]], fix="write them again"
        ) from error


def _sav(content: Any, name: str, clip: str, size: Size | None, digest: Digest, files: FileSet) -> Drawn:
    own = possible(whole(content["video_height"]), whole(content["video_width"]))
    if size not in (None, own):
        assert size is not None
        raise ValueError(f"the video has {own[1]}x{own[0]}, the clip {size[1]}x{size[0]}")
    rows, ids = content["masklet"], content["masklet_id"]
    if not rows or len(rows) > MAX_FRAMES or not isinstance(ids, list):
        raise ValueError("no frames, or no list masklet_id")
    if odd := [k for k, row in enumerate(rows) if not isinstance(row, list) or len(row) != len(ids)]:
        raise ValueError(f"masklet[{odd[0]}] does not have {len(ids)} objects")
    total = whole(content["video_frame_count"])
    if not STEP * (len(rows) - 1) < total <= MAX_FRAMES:
        raise ValueError(f"{len(rows)} annotated frames do not fit into a video of {total}")
    objects = {
        str(whole(number)): tuple(track([row[place] for row in rows], own, f"masklet {number}")[0])
        for place, number in enumerate(ids)
    }
    if len(objects) != len(ids):
        raise ValueError("two masklets have one number")
    ignore = None
    if content.get("masklet_ignore") is not None:
        ignore = tuple(_listed(content["masklet_ignore"], len(rows), own, "masklet_ignore"))
    kinds = content.get("masklet_type")
    told = sorted({str(kind)[:40] for kind in kinds}) if isinstance(kinds, list) else []
    return Drawn(
        own,
        tuple(map(str, range(len(rows)))),
        objects,
        listed=True,
        ignore=ignore,
        frames=tuple(f"{index:05d}" for index in range(total)),
        step=STEP,
        fps=FPS,
        files=digest.files,
        sha256=digest.hex(),
        notes=(f"masklets are {', '.join(told)}",) if told else (),
    )


def _listed(values: Any, count: int, size: Size, place: str) -> list[bytes]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{place} is no list of {count} entries")
    return track(values, size, place)[0]


def _ytvis(content: Any, name: str, clip: str, size: Size | None, digest: Digest, files: FileSet) -> Drawn:
    videos = {whole(video["id"]): video for video in content["videos"]}
    named = [number for number, video in videos.items() if clip in (_called(video), str(number))]
    if len(named) != 1 and len(videos) != 1:
        raise ValueError(f"it has {len(videos)} videos, and {len(named)} are called {clip}")
    number = named[0] if len(named) == 1 else next(iter(videos))
    video = videos[number]
    own = possible(whole(video["height"]), whole(video["width"]))
    if size not in (None, own):
        assert size is not None
        raise ValueError(f"the video has {own[1]}x{own[0]}, the clip {size[1]}x{size[0]}")
    frames = tuple(file.rpartition("/")[2].rpartition(".")[0] for file in video["file_names"])
    if not frames or len(set(frames)) != len(frames) or any(not ID.fullmatch(frame) for frame in frames):
        raise ValueError(f"the files of video {number} do not name its frames")
    categories = {whole(each["id"]): each.get("name") for each in content.get("categories", [])}
    objects: dict[str, tuple[bytes, ...]] = {}
    regions: list[Sequence[bytes]] = []
    for record in content["annotations"]:
        if whole(record["video_id"]) != number:
            continue
        key = str(whole(record["id"]))
        found = _listed(record["segmentations"], len(frames), own, f"annotation {key}")
        if record.get("iscrowd") or categories.get(record.get("category_id")) == _IGNORE:
            regions.append(found)
        elif key in objects:
            raise ValueError(f"two annotations have the id {key}")
        else:
            objects[key] = tuple(found)
    ignore = tuple(rle.union(list(each), own) for each in zip(*regions, strict=True)) if regions else None
    return Drawn(own, frames, objects, ignore=ignore, frames=frames, files=digest.files, sha256=digest.hex())


def _called(video: Any) -> str:
    names = video.get("file_names")
    first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return str(video.get("video_name") or first.rpartition("/")[0].rpartition("/")[2])


def _mevis(content: Any, name: str, clip: str, size: Size | None, digest: Digest, files: FileSet) -> Drawn:
    wanted, frames = list(content), tuple[str, ...]()
    home = name.rpartition("/")[0]
    beside = {kind: f"{home}/{kind}".lstrip("/") for kind in BESIDE}
    metas = [beside[kind] for kind in _META if beside[kind] in files.names]
    if metas:
        if files.kind != "folder":
            raise ValueError("unpack the zip first: meta_expressions.json is read from a folder")
        videos = {video.name: video for video in read_meta(Path(files.root) / metas[0])}
        if clip not in videos:
            raise ValueError(f"{metas[0]} beside it has no video {clip}")
        digest.add(metas[0], files.read(metas[0], MAX_JSON_BYTES))
        frames = videos[clip].frames
        wanted = list(dict.fromkeys(mask for each in videos[clip].sentences for mask in each.masks))
    objects: dict[str, tuple[bytes, ...]] = {}
    own = size
    tracks: dict[str, Any] = {}
    for key in wanted:
        if not (key.isascii() and key.isdigit()):
            raise ValueError(f"{shown(key, 60)} is no number of a mask")
        tracks[key] = content[key]
        own = own or track(content[key], None, key)[1]
    if own is None:
        raise ValueError("no mask has a size")
    lengths = {len(found) for found in tracks.values() if isinstance(found, list)}
    if frames:
        lengths.add(len(frames))
    if len(lengths) != 1:
        raise ValueError("its masks have several lengths: put meta_expressions.json beside it")
    (count,) = lengths
    for key, values in tracks.items():
        objects[key] = tuple(track(values, own, key)[0])
    ignore = None
    if beside[_IGNORES] in files.names:
        listed = parse_json(digest.add(_IGNORES, files.read(beside[_IGNORES], MAX_JSON_BYTES)), _IGNORES)
        if clip in listed:
            ignore = tuple(_listed(listed[clip], count, own, f"{_IGNORES}: {clip}"))
    names = frames or tuple(map(str, range(count)))
    return Drawn(
        own,
        names,
        objects,
        listed=not frames,
        ignore=ignore,
        frames=frames,
        files=digest.files,
        sha256=digest.hex(),
    )


def read_rle_regions(files: FileSet, clip: str, size: Size) -> Drawn:
    """A layer of Ignore from JSON: a list of RLE or null, or ``{clip: list}``."""
    name = only(find_json(files) or [each for each in files.names if each.endswith(_IGNORES)], "name the file itself")
    digest = Digest()
    content = parse_json(digest.add(name, files.read(name, MAX_JSON_BYTES)), shown(name))
    values = content.get(clip) if isinstance(content, dict) else content
    try:
        found, _ = track(values, size, clip)
    except ValueError as error:
        raise InputError(
            "A layer of Ignore cannot be used.", where=[f"{shown(name)}: {error}"[:300]], fix="write it again"
        ) from error
    places = tuple(map(str, range(len(found))))
    return Drawn(size, places, {}, listed=True, ignore=tuple(found), files=digest.files, sha256=digest.hex())
