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
from refvps.predictions.layouts import PRED
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


def write_files(out: Path, items: Iterable[tuple[str, bytes | Path]], *, link: bool = False) -> int:
    """Write (name, content) pairs to a new folder or a new .zip, which appears whole or not at all.

    A path as content stands for the bytes of that file, which a folder gets as a hard link under ``link``, where
    the file system can do that. Returns the number of files.
    """
    if out.exists():
        raise UsageError("The output exists.", where=[str(out)], fix="choose another --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(6)}.tmp")
    count = 0
    try:
        if out.suffix.lower() == ".zip":
            with zipfile.ZipFile(temporary, "x") as archive:
                for name, given in items:
                    data = given.read_bytes() if isinstance(given, Path) else given
                    entry = zipfile.ZipInfo(name)
                    packed = name.endswith((".png", ".npz", ".jpg"))
                    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, data)
                    count += 1
        else:
            temporary.mkdir()
            made: set[Path] = set()
            for name, content in items:
                path = temporary / name
                if path.parent not in made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    made.add(path.parent)
                if isinstance(content, Path):
                    _place(content, path, link)
                else:
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


def _place(file: Path, path: Path, link: bool) -> None:
    if link:
        try:
            os.link(file, path)
            return
        except OSError:  # another disk, or a file system without hard links
            pass
    shutil.copyfile(file, path)


ClipItems = Callable[[Clip, tuple[Expression, ...], Reader], Items]


def _items(benchmark: Benchmark, readers: Callable[[str], Reader], per_clip: ClipItems) -> Items:
    if per_clip is _rle_json:  # the only layout that is one file
        content: dict[str, Any] = {}
        for clip in benchmark.clips.values():
            reader = readers(clip.id)
            content[clip.id] = _rle_lists(clip, benchmark.expressions_of(clip.id), reader)
            _check(reader)
        yield "predictions.json", canonical_json(content)
        return
    for clip in benchmark.clips.values():
        reader = readers(clip.id)
        yield from per_clip(clip, benchmark.expressions_of(clip.id), reader)
        _check(reader)


def _check(reader: Reader) -> None:
    """Raise InputError where masks of a clip turned out to be broken; nothing is left of the export then."""
    report = getattr(reader, "problems", None)
    if report is not None:
        report.raise_for_errors()


def _frames(clip: Clip, reader: Reader) -> Iterator[tuple[str, Mapping[str, Mask | None]]]:
    for index, name in enumerate(clip.frames):
        yield name, reader.frame(index)


def _tree(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    for frame, masks in _frames(clip, reader):
        for each in expressions:
            mask = masks[each.id]
            if mask is not None:
                yield f"{clip.id}/{each.id}/{frame}.png", png.write_binary(mask.bits(), clip.size)


def _annotations(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    """As Ref-YouTube-VOS' server is sent them: 8 bits a pixel, 0 and 255; whether it reads others is not known."""
    for frame, masks in _frames(clip, reader):
        for each in expressions:
            mask = masks[each.id]
            if mask is not None:
                yield f"Annotations/{clip.id}/{each.id}/{frame}.png", _grey_png(mask)


def _grey_png(mask: Mask) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask.array().astype(np.uint8) * np.uint8(255)).save(stream, "PNG")
    return stream.getvalue()


def _rem_burst(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    """``<clip>/pred/<expression>/<frame>.png`` by the data set's own names, on annotated frames, as REM writes it."""
    home = _outside_path(clip.source_id or clip.id)
    places = {each.id: f"{home}/{PRED}/{_outside_path(each.source_id or each.id)}" for each in expressions}
    return _palette_masks(clip, reader, places, set(clip.annotated))


def _rem_vspw(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    """``<clip>/<expression>/pred/<frame>.png`` by the names of the data set, as REM writes it."""
    home = _outside_path(clip.source_id or clip.id)
    places = {each.id: f"{home}/{_outside_path(each.source_id or each.id)}/{PRED}" for each in expressions}
    return _palette_masks(clip, reader, places, set(clip.frames))


def _palette_masks(clip: Clip, reader: Reader, places: Mapping[str, str], wanted: set[str]) -> Items:
    for index, frame in enumerate(clip.frames):
        if frame in wanted:
            for expression, mask in reader.frame(index).items():
                if mask is not None:
                    yield f"{places[expression]}/{frame}.png", palette_png(mask.array().astype(np.uint8))


def _outside_path(name: str) -> str:
    """A name from outside as a path that stays where it is put; UsageError for one that would not."""
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise UsageError("A name of the data set is no safe path.", where=[repr(name)[:200]], fix="use 'tree'")
    return name


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
                yield f"anno_{run}/{clip.id}/{frame}.png", palette_png(ids)


def _ids(clip: Clip, expressions: tuple[Expression, ...], reader: Reader) -> Items:
    if max(_run_of(expressions).values(), default=0):
        raise UsageError("Id masks cannot hold several expressions of one target.", where=[clip.id], fix="use 'tree'")
    for frame, masks in _frames(clip, reader):
        ids = _id_mask(clip, expressions, masks, frame)
        if ids is not None:
            yield f"{clip.id}/{frame}.png", palette_png(ids)


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


def palette_png(ids: NDArray[np.uint8]) -> bytes:
    """A label image [H, W] as an 8-bit PNG with the palette of DAVIS."""
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
                _check(reader)  # it may be there and broken
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
                _check(reader)
                raise UsageError("A mask is missing.", where=[f"{clip.id}/{expression}/{frame}"], fix="use 'tree'")
            array[index] = mask.array()
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    yield f"{clip.id}.npz", stream.getvalue()


LAYOUTS: dict[str, ClipItems] = {
    "tree": _tree,
    "annotations": _annotations,
    "rem-burst": _rem_burst,
    "rem-vspw": _rem_vspw,
    "ids": _ids,
    "anno": _anno,
    "anno-ids": _anno_ids,
    "json": _rle_json,
    "npz": _npz,
}
"""Layouts to export to; those of :func:`refvps.predictions.submission.open_submission` but the canonical one."""
