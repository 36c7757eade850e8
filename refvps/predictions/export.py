"""Writing predictions in the layouts that other tools and servers read, as a folder or a .zip."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refvps.errors import UsageError
from refvps.files import canonical_json
from refvps.masks import png
from refvps.masks.mask import Mask
from refvps.types import Benchmark, Clip, Expression

Items = Iterator[tuple[str, bytes]]


class Reader(Protocol):
    """Masks of one clip by frame and expression, such as a :class:`~refvps.predictions.submission.ClipReader`."""

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        """Masks of frame ``index`` of the clip by expression id."""


def export(out: Path, benchmark: Benchmark, readers: Callable[[str], Reader], layout: str) -> int:
    """Write every mask that ``readers(clip id)`` has to ``out``, a new folder or a file ending in .zip.

    ``layout``: one of :data:`LAYOUTS`. Returns the number of files. The result appears whole or not at
    all; raises UsageError if it exists, or if the layout cannot hold the predictions.
    """
    if layout not in LAYOUTS:
        raise UsageError("There is no such layout.", where=[layout], fix=f"use one of {', '.join(LAYOUTS)}")
    return write_files(out, _items(benchmark, readers, LAYOUTS[layout]))


def write_files(out: Path, items: Iterable[tuple[str, bytes]]) -> int:
    """Write (name, content) pairs to a new folder or a new .zip, which appears whole or not at all."""
    if out.exists():
        raise UsageError("The output exists.", where=[str(out)], fix="choose another --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(6)}.tmp")
    count = 0
    try:
        if out.suffix.lower() == ".zip":
            with zipfile.ZipFile(temporary, "x") as archive:
                for name, content in items:
                    entry = zipfile.ZipInfo(name)
                    packed = name.endswith((".png", ".npz"))
                    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content)
                    count += 1
        else:
            temporary.mkdir()
            made: set[Path] = set()
            for name, content in items:
                path = temporary / name
                if path.parent not in made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    made.add(path.parent)
                path.write_bytes(content)
                count += 1
        os.replace(temporary, out)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise
    return count


ClipItems = Callable[[Clip, tuple[Expression, ...], Reader], Items]


def _items(benchmark: Benchmark, readers: Callable[[str], Reader], per_clip: ClipItems) -> Items:
    if per_clip is _rle_json:  # the only layout that is one file
        content: dict[str, Any] = {}
        for clip in benchmark.clips.values():
            content[clip.id] = _rle_lists(clip, benchmark.expressions_of(clip.id), readers(clip.id))
        yield "predictions.json", canonical_json(content)
        return
    for clip in benchmark.clips.values():
        yield from per_clip(clip, benchmark.expressions_of(clip.id), readers(clip.id))


def _frames(clip: Clip, reader: Reader) -> Iterator[tuple[str, Mapping[str, Mask | None]]]:
    for index, name in enumerate(clip.frames):
        yield name, reader.frame(index)


def _tree(clip: Clip, expressions: tuple[Expression, ...], reader: Reader, root: str = "") -> Items:
    for frame, masks in _frames(clip, reader):
        for each in expressions:
            mask = masks[each.id]
            if mask is not None:
                yield f"{root}{clip.id}/{each.id}/{frame}.png", png.write_binary(mask.bits(), clip.size)


def _annotations(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    return _tree(clip, expressions, reader, "Annotations/")


def _run_of(expressions: tuple[Expression, ...]) -> dict[str, int]:
    """Position of each expression among those of its target."""
    nth: dict[str, int] = {}
    found = {}
    for each in expressions:
        found[each.id] = nth[each.target] = nth.get(each.target, -1) + 1
    return found


def _anno(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    runs = _run_of(expressions)
    for frame, masks in _frames(clip, reader):
        for each in expressions:
            mask = masks[each.id]
            if mask is not None:
                name = f"anno_{runs[each.id]}/{clip.id}/{each.target}/{frame}.png"
                yield name, png.write_binary(mask.bits(), clip.size)


def _anno_ids(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    runs = _run_of(expressions)
    for frame, masks in _frames(clip, reader):
        for run in sorted(set(runs.values())):
            members = [each for each in expressions if runs[each.id] == run]
            ids = _id_mask(clip, members, masks, frame)
            if ids is not None:
                yield f"anno_{run}/{clip.id}/{frame}.png", _palette_png(ids)


def _ids(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    if max(_run_of(expressions).values(), default=0):
        raise UsageError("Id masks cannot hold several expressions of one target.", where=[clip.id], fix="use 'tree'")
    for frame, masks in _frames(clip, reader):
        ids = _id_mask(clip, expressions, masks, frame)
        if ids is not None:
            yield f"{clip.id}/{frame}.png", _palette_png(ids)


def _id_mask(
    clip: Clip, expressions: Iterable[Expression], masks: Mapping[str, Mask | None], frame: str
) -> NDArray[np.uint8] | None:
    ids: NDArray[np.uint8] | None = None
    for each in expressions:
        mask = masks[each.id]
        if mask is None:
            continue
        if not each.target.isdigit() or not 0 < int(each.target) < 256:
            raise UsageError("A target id is no pixel value.", where=[f"{clip.id}/{each.target}"], fix="use 'tree'")
        if ids is None:
            ids = np.zeros(clip.size, np.uint8)
        pixels = mask.array()
        if ids[pixels].any():
            raise UsageError(
                "Masks overlap, which id masks cannot hold.", where=[f"{clip.id}/{frame}"], fix="use 'tree'"
            )
        ids[pixels] = int(each.target)
    return ids


def davis_palette() -> bytes:
    """The 256 colours of DAVIS and PASCAL VOC: bits of the index spread over the high bits of r, g, b."""
    colours = bytearray()
    for index in range(256):
        for channel in range(3):
            bits = ((index >> (3 * position + channel) & 1) << (7 - position) for position in range(3))
            colours.append(sum(bits))
    return bytes(colours)


def _palette_png(ids: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture = Image.frombytes("P", (ids.shape[1], ids.shape[0]), ids.tobytes())
    picture.putpalette(davis_palette())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _rle_lists(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {each.id: [] for each in expressions}
    annotated = set(clip.annotated_indices())
    rows = [reader.frame(index) for index in range(len(clip.frames))]
    for expression, entries in lists.items():
        whole = all(row[expression] is not None for row in rows)
        for index, row in enumerate(rows):
            mask = row[expression]
            if mask is None and index in annotated:
                raise UsageError("A mask is missing.", where=[f"{clip.id}/{expression}/{clip.frames[index]}"])
            if mask is not None and (whole or index in annotated):
                entries.append({"size": list(clip.size), "counts": mask.counts().decode("ascii")})
    return lists


def _rle_json(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    yield f"{clip.id}.json", canonical_json(_rle_lists(clip, expressions, reader))


def _npz(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    arrays: dict[str, Any] = {each.id: np.zeros((len(clip.frames), *clip.size), np.bool_) for each in expressions}
    for index, (frame, masks) in enumerate(_frames(clip, reader)):
        for expression, array in arrays.items():
            mask = masks[expression]
            if mask is None:
                raise UsageError("A mask is missing.", where=[f"{clip.id}/{expression}/{frame}"], fix="use 'tree'")
            array[index] = mask.array()
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    yield f"{clip.id}.npz", stream.getvalue()


LAYOUTS: dict[str, ClipItems] = {
    "tree": _tree,
    "annotations": _annotations,
    "ids": _ids,
    "anno": _anno,
    "anno-ids": _anno_ids,
    "json": _rle_json,
    "npz": _npz,
}
"""Layouts to export to; those of :func:`refvps.predictions.submission.open_submission` but the canonical one."""
