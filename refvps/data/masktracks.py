"""Mask files ``masks/<clip>.jsonl``: the ground truth of one clip as COCO RLE.

Line 1: ``{"schema": "refvps.masks/1", "clip", "size": [h, w], "frames": [annotated names]}``; then one line
``{"target": id, "counts": [str | null, ...]}`` per target and at most one ``{"ignore": true, "counts": [...]}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refvps.data.manifest import violation
from refvps.errors import InputError
from refvps.files import canonical_json, parse_json, write_atomic
from refvps.masks import bits, rle
from refvps.types import Annotation, Clip, MaskTrack

SCHEMA = "refvps.masks/1"


def make_annotation(
    clip: Clip, targets: Mapping[str, Sequence[bytes | None]], ignore: Sequence[bytes | None] | None
) -> Annotation:
    """Wrap RLE strings, one per frame of the clip.

    There is one form for each content: an Ignore track without a pixel becomes None; otherwise it has a string on
    every annotated frame and None elsewhere.
    """
    tracks = {target: MaskTrack(clip.size, tuple(counts)) for target, counts in targets.items()}
    if ignore is None:
        return Annotation(clip.id, tracks)
    nothing = empty_counts(clip.size)
    if all(counts is None or counts == nothing for counts in ignore):
        return Annotation(clip.id, tracks)
    filled = list(ignore)
    for index in clip.annotated_indices():
        filled[index] = filled[index] or nothing
    return Annotation(clip.id, tracks, MaskTrack(clip.size, tuple(filled)))


def empty_counts(size: tuple[int, int]) -> bytes:
    """COCO RLE of the empty mask."""
    return rle.from_bits(bits.empty(size), size)


def check_disjoint(clip: Clip, annotation: Annotation) -> None:
    """Raise InputError, naming the frames, where a pixel is both target and Ignore."""
    if annotation.ignore is None:
        return
    places: list[str] = []
    for index in clip.annotated_indices():
        ignored = annotation.ignore.counts[index]
        named = [(key, counts) for key, track in annotation.targets.items() if (counts := track.counts[index])]
        if ignored is None or not named:
            continue
        _, shared = rle.intersections([counts for _, counts in named], [ignored], clip.size)
        for (key, _), pixels in zip(named, shared[:, 0].tolist(), strict=True):
            if pixels:
                places.append(f"{clip.id}/{clip.frames[index]}: target {key}, {pixels} pixels")
    if places:
        raise InputError(
            "Pixels are both target and Ignore.", where=places, fix="remove these pixels from one of the two"
        )


def parse_masks(data: bytes, name: str, clip: Clip, *, checked: bool = False) -> Annotation:
    """Parse the mask file of a clip; ``checked`` skips what was proven before for the same bytes.

    Raises InputError for what is not in the format, does not match the clip (id, size, annotated frames), is not
    a valid RLE of the clip's size, or is target and Ignore at once. Unchecked strings come back in canonical form.
    """
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    try:
        return _parse(lines, name, clip, checked)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _bad(f"{name}: {type(error).__name__}: {error}"[:300]) from error


def _parse(lines: list[bytes], name: str, clip: Clip, checked: bool) -> Annotation:
    header: Any = parse_json(lines[0], f"{name}:1") if lines else None
    if reason := "it is empty" if header is None else "" if checked else violation(header, "masks", "header"):
        raise _bad(f"{name}:1: {reason}")
    expected = {"clip": clip.id, "size": list(clip.size), "frames": list(clip.annotated)}
    for key, value in expected.items():
        if header[key] != value:
            found, wanted = _difference(header[key], value)
            raise _bad(f"{name}:1: {key} is {found}, in the list of clips {wanted}")
    positions = clip.annotated_indices()
    targets: dict[str, list[bytes | None]] = {}
    ignore: list[bytes | None] | None = None
    for number, line in enumerate(lines[1:], start=2):
        place = f"{name}:{number}"
        record = parse_json(line, place)
        kind = "ignore" if isinstance(record, dict) and "ignore" in record else "target"
        if not checked and (reason := violation(record, "masks", kind)):
            raise _bad(f"{place}: {reason}")
        track = _track(record["counts"], place, clip, positions, checked)
        if kind == "ignore":
            if ignore is not None:
                raise _bad(f"{place}: a second Ignore line")
            ignore = track
        elif record["target"].lower() in {target.lower() for target in targets}:
            raise _bad(f"{place}: a second line for target {record['target']}")
        else:
            targets[record["target"]] = track
    if not targets:
        raise _bad(f"{name}: no target")
    for place, index in zip(clip.annotated, positions, strict=True):
        if all(track[index] is None for track in targets.values()):
            raise _bad(f"{name}: the frame {place} is listed as annotated, but no target has a mask there")
    annotation = make_annotation(clip, targets, ignore)
    if not checked:
        check_disjoint(clip, annotation)
    return annotation


def _track(
    counts: list[str | None], place: str, clip: Clip, positions: tuple[int, ...], checked: bool
) -> list[bytes | None]:
    if len(counts) != len(positions):
        raise _bad(f"{place}: {len(counts)} masks for {len(positions)} annotated frames")
    found = [None if text is None else text.encode("latin-1", "replace") for text in counts]
    present = [value for value in found if value is not None]
    if not checked:
        names = [frame for frame, value in zip(clip.annotated, found, strict=True) if value is not None]
        try:
            rle.check(present, clip.size)
        except rle.RleError as error:
            raise _bad(f"{place} ({clip.id}, frame {names[error.index]}): {error.reason}") from error
        found = [value and rle.from_bits(rle.to_bits(value, clip.size), clip.size) for value in found]
    track: list[bytes | None] = [None] * len(clip.frames)
    for index, value in zip(positions, found, strict=True):
        track[index] = value
    return track


def _difference(found: Any, wanted: Any) -> tuple[str, str]:
    if isinstance(found, list) and isinstance(wanted, list) and len(wanted) != 2:
        for mine, other in zip(found, wanted, strict=False):
            if mine != other:
                return repr(mine)[:80], repr(other)[:80]
        return f"{len(found)} names", f"{len(wanted)} names"
    return repr(found)[:80], repr(wanted)[:80]


def _bad(place: str) -> InputError:
    return InputError("A mask file cannot be used.", where=[place], fix="write it again from its source")


def write_masks(path: Path, clip: Clip, annotation: Annotation) -> None:
    """Write the mask file of a clip atomically."""
    write_atomic(path, mask_lines(clip, annotation))


def mask_lines(clip: Clip, annotation: Annotation) -> bytes:
    """The mask file of a clip; targets in the order of their ids as text."""
    positions = clip.annotated_indices()

    def listed(track: MaskTrack) -> list[str | None]:
        values = (track.counts[index] for index in positions)
        return [None if value is None else value.decode("ascii") for value in values]

    lines: list[dict[str, Any]] = [
        {"schema": SCHEMA, "clip": clip.id, "size": list(clip.size), "frames": list(clip.annotated)}
    ]
    lines += [{"target": key, "counts": listed(track)} for key, track in sorted(annotation.targets.items())]
    if annotation.ignore is not None:
        lines.append({"ignore": True, "counts": listed(annotation.ignore)})
    return b"".join(canonical_json(line) + b"\n" for line in lines)
