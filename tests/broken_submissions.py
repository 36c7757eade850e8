"""A corpus of broken submissions: each case builds one from good predictions, on any benchmark.

``CASES`` maps a name to a :class:`Broken`: ``build(good, out)`` writes the submission at or under the
empty folder ``out`` and returns the path to give to ``--pred``. ``code`` is the expected problem code
("" where opening raises InputError at once), ``phrase`` a part of the message, ``exit_code`` what
``refvps validate`` exits with.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from broken_archives import CASES as ARCHIVES
from broken_good import Build, Cases, Good
from PIL import Image

__all__ = ["CASES", "Good"]

CASES = Cases(ARCHIVES)
broken, make = CASES.broken, CASES.make


# Names


@broken("missing-clip", "Clips without a prediction")
def missing_clip(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.clip.id).rename(out / "elsewhere")
    return tree


@broken("missing-clip", "did you mean")
def misspelt_clip(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.clip.id).rename(tree / f"{good.clip.id.upper()}-")
    return tree


@broken("missing-expression", "Expressions without a prediction")
def missing_expression(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.clip.id / good.expression).rename(out / "elsewhere")
    return tree


@broken("missing-frame", "Annotated frames without a mask")
def missing_frame(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.file).unlink()
    return tree


def _renamed(rename: Callable[[int], str]) -> Build:
    def build(good: Good, out: Path) -> Path:
        tree = good.export(out / "preds")
        for clip in good.benchmark.clips.values():
            for each in good.benchmark.expressions_of(clip.id):
                folder = tree / clip.id / each.id
                folder.rename(old := out / "old")
                folder.mkdir()
                for index, name in enumerate(clip.frames):
                    (old / f"{name}.png").rename(folder / f"{rename(index)}.png")
                old.rmdir()
        return tree

    return build


make("numbered-from-1", "numbering", "numbered from 1 instead of 0", _renamed(lambda index: f"{index + 1:05d}"))
make("frame-prefix", "numbering", "frames are named frame_000000", _renamed(lambda index: f"frame_{index:06d}"))
make("unpadded", "numbering", "without padding", _renamed(lambda index: str(index)))
make("stride", "numbering", "step of 5", _renamed(lambda index: f"{5 * index:05d}"))
make("other-names", "numbering", "other names", _renamed(lambda index: chr(97 + index // 26) + chr(97 + index % 26)))


@broken("nesting", "lie too deep")
def two_folders_deep(good: Good, out: Path) -> Path:
    good.export(out / "a/b/preds")
    return out / "a"


@broken("nesting", "several folders")
def two_methods(good: Good, out: Path) -> Path:
    good.export(out / "preds/one")
    good.export(out / "preds/two", "annotations")
    return out / "preds"


@broken("duplicate", "more than one prediction")
def two_forms(good: Good, out: Path) -> Path:
    return good.canonical(good.export(out / "preds"))


@broken("duplicate", "RLE lines")
def clip_twice(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    good.canonical(out / "lines")
    (out / "lines" / f"{good.clip.id}.jsonl").rename(tree / f"{good.clip.id}.jsonl")
    return tree


@broken("layout", "No predictions were recognised")
def empty_folder(good: Good, out: Path) -> Path:
    return out


@broken("layout", "looked for clips named")
def unrelated_files(good: Good, out: Path) -> Path:
    (out / "cats").mkdir()
    (out / "cats" / "notes.txt").write_text("nothing")
    Image.new("L", (8, 8)).save(out / "cats" / "00000.png")
    return out


@broken("layout", "several expressions point at one target")
def id_masks_for_several_expressions(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    for clip in good.benchmark.clips.values():
        first = tree / clip.id / good.benchmark.expressions_of(clip.id)[0].id
        first.rename(out / "kept")
        for folder in (tree / clip.id).iterdir():
            folder.rename(out / f"{clip.id}-{folder.name}")
        (tree / clip.id).rmdir()
        (out / "kept").rename(tree / clip.id)
    return tree


@broken("layout", "give the zip itself")
def zip_in_a_folder(good: Good, out: Path) -> Path:
    good.export(out / "preds.zip")
    return out


@broken("missing-expression", "without a prediction")
def anno_run_missing(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds", "anno-ids")
    (tree / "anno_1").rename(out / "elsewhere")
    return tree


@broken("surplus-clip", "does not have", exit_code=0)
def surplus_clip(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / "zebra/e").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tree / "zebra/e/00000.png")
    return tree


@broken("surplus-expression", "does not have", exit_code=0)
def surplus_expression(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.clip.id / "zebra").mkdir()
    Image.new("L", (8, 8)).save(tree / good.clip.id / "zebra/00000.png")
    return tree


@broken("surplus-frame", "does not have", exit_code=0)
def surplus_frame(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    Image.new("L", (8, 8)).save(tree / good.clip.id / good.expression / "99999.png")
    return tree


@broken("surplus-file", "no predictions", exit_code=0)
def surplus_file(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / "README.txt").write_text("mine")
    return tree


@broken("nesting", "accepted", exit_code=0)
def one_folder_deep(good: Good, out: Path) -> Path:
    good.export(out / "a/preds")
    return out / "a"


@broken("digest", "another version", exit_code=0)
def other_digest(good: Good, out: Path) -> Path:
    return _edited_header(good, out, {"digest": "0" * 64})


# Pictures


def _picture(change: Callable[[Good, np.ndarray[Any, Any]], bytes]) -> Build:
    def build(good: Good, out: Path) -> Path:
        tree = good.export(out / "preds")
        (tree / good.file).write_bytes(change(good, good.mask))
        return tree

    return build


def encoded(array: np.ndarray[Any, Any], mode: str | None = None, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, kind)
    return stream.getvalue()


def palette(array: np.ndarray[Any, Any]) -> bytes:
    picture = Image.fromarray(array.astype(np.uint8))
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _ramp(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.linspace(0, 255, mask.size).reshape(mask.shape).astype(np.uint8)


def _diagonal(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.eye(*mask.shape, dtype=np.uint8) + np.eye(*mask.shape, 1, dtype=np.uint8) * 2


def _huge(good: Good, mask: np.ndarray[Any, Any]) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 2501 * 20000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


for _name, _code, _phrase, _change in (
    ("size-transposed", "size", "transposed", lambda good, mask: encoded(np.ascontiguousarray(mask.T))),
    ("size-width-off-by-one", "size", "width off by one", lambda good, mask: encoded(mask[:, 1:].copy())),
    ("size-doubled", "size", "2 times larger", lambda good, mask: encoded(mask.repeat(2, 0).repeat(2, 1))),
    ("huge-header", "size", "20000", _huge),
    ("rgb", "rgb", "Masks in colour", lambda good, mask: encoded(mask.astype(np.uint8) * 255, "RGB")),
    ("rgba", "rgba", "alpha", lambda good, mask: encoded(mask.astype(np.uint8) * 255, "RGBA")),
    ("grey-alpha", "rgba", "alpha", lambda good, mask: encoded(mask.astype(np.uint8) * 255, "LA")),
    ("sixteen-bit", "16-bit", "16 bits", lambda good, mask: encoded(mask.astype(np.uint16))),
    ("soft", "soft", "Soft masks", lambda good, mask: encoded(_ramp(mask))),
    ("grey-ids", "grey-ids", "target ids", lambda good, mask: encoded(mask + _diagonal(mask))),
    (
        "several-indices",
        "non-binary",
        "not binary",
        lambda good, mask: palette(mask + _diagonal(mask)),
    ),
    ("jpeg-in-png", "jpeg", "JPEG", lambda good, mask: encoded(mask.astype(np.uint8) * 255, kind="JPEG")),
    ("bmp-in-png", "format", "not read", lambda good, mask: encoded(mask.astype(np.uint8) * 255, kind="BMP")),
    ("empty-file", "truncated", "cut off", lambda good, mask: b""),
    ("truncated-png", "truncated", "cut off", lambda good, mask: encoded(mask)[:-20]),
    ("damaged-png", "corrupt", "damaged", lambda good, mask: _flipped(encoded(mask), 60)),
):
    make(_name, _code, _phrase, _picture(_change))


@broken("jpeg", "stored as JPEG")
def jpeg_files(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    for file in sorted((tree / good.clip.id / good.expression).iterdir()):
        Image.open(file).convert("L").save(file.with_suffix(".jpg"))
        file.unlink()
    return tree


@broken("format", "file format")
def bmp_files(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    file = tree / good.file
    Image.open(file).save(file.with_suffix(".bmp"))
    file.unlink()
    return tree


@broken("unknown-id", "no target of the clip")
def unknown_id(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds", "anno-ids")
    several = next(
        clip
        for clip in good.benchmark.clips.values()
        if len({each.target for each in good.benchmark.expressions_of(clip.id)}) > 1
    )
    ids = np.zeros(several.size, np.uint8)
    ids[:2] = 2 + len(good.benchmark.expressions_of(several.id))
    picture = Image.fromarray(ids)
    picture.putpalette([0, 0, 0] * 256)
    picture.save(tree / f"anno_0/{several.id}/{several.annotated[0]}.png")
    return tree


# JSON


def _edited_header(good: Good, out: Path, change: dict[str, Any]) -> Path:
    folder = good.canonical(out / "preds")
    file = folder / f"{good.clip.id}.jsonl"
    first, rest = file.read_bytes().split(b"\n", 1)
    file.write_bytes(json.dumps(json.loads(first) | change).encode() + b"\n" + rest)
    return folder


def _header(change: dict[str, Any]) -> Build:
    return lambda good, out: _edited_header(good, out, change)


make("header-schema", "header", "the schema is", _header({"schema": "refvps.predictions/99"}))
make("header-clip", "header", "the clip is", _header({"clip": "zebra"}))
make("header-size", "header", "but the clip is", _header({"size": [20, 30]}))
make("header-size-odd", "header", "not [height, width]", _header({"size": "large"}))
make("header-frames", "header", "list of names", _header({"frames": {"a": 1}}))
make("header-frame-twice", "header", "listed twice", _header({"frames": ["00000", "00000"]}))
make("header-benchmark", "header", "made for zebra", _header({"benchmark": "zebra"}))


def _line(change: Callable[[Good, dict[str, Any]], Any]) -> Build:
    """Change the record of one expression; bytes are written as they are, anything else as JSON."""

    def build(good: Good, out: Path) -> Path:
        folder = good.canonical(out / "preds")
        file = folder / f"{good.clip.id}.jsonl"
        lines = file.read_bytes().splitlines()
        record = change(good, json.loads(lines[1]))
        lines[1] = record if isinstance(record, bytes) else json.dumps(record).encode()
        file.write_bytes(b"\n".join(lines) + b"\n")
        return folder

    return build


def _count(value: Any) -> Build:
    def change(good: Good, record: dict[str, Any]) -> Any:
        old = record["counts"][good.index]
        record["counts"][good.index] = value(old) if callable(value) else value
        return record

    return _line(change)


make("rle-null", "rle", "null", _count(None))
make("rle-empty-string", "rle", "empty string", _count(""))
make("rle-list", "rle", "uncompressed RLE", _count([3, 4]))
make("rle-object", "rle", "an object instead of a string", _count({"size": [1, 1]}))
make("rle-number", "rle", "a number instead", _count(7))
make("rle-bytes-repr", "rle", "Python bytes", _count(lambda old: repr(old.encode())))
make("rle-cut", "rle", "RLE that cannot be used", _count(lambda old: old[:-1]))
make("rle-longer", "rle", "RLE that cannot be used", _count(lambda old: old + "22"))
make("rle-garbage", "rle", "RLE that cannot be used", _count("~~~~"))
make("rle-not-ascii", "rle", "characters", _count("\u00e9\u00e9"))
make("rle-nul", "rle", "character 0", _count("\0"))
make("rle-other-size", "rle", "RLE that cannot be used", _count("PPYo1"))
make("rle-too-few", "rle", "strings for", _line(lambda good, record: record | {"counts": record["counts"][1:]}))
make("rle-too-many", "rle", "strings for", _line(lambda good, record: record | {"counts": record["counts"] * 2}))
make("json-counts-object", "json", "a list 'counts'", _line(lambda good, record: record | {"counts": {"a": 1}}))
make("json-expression-number", "json", "an 'expression'", _line(lambda good, record: record | {"expression": 3}))
make("json-number", "json", "JSON", _line(lambda good, record: 12))
make("json-nan", "json", "NaN", _line(lambda good, record: record | {"score": float("nan")}))
make("json-deep", "json", "JSON", _line(lambda good, record: b"[" * 100_000 + b"]" * 100_000))
make("json-key-twice", "json", "twice", _line(lambda good, record: b'{"expression":"a","expression":"b","counts":[]}'))
make(
    "json-huge-number", "json", "JSON", _line(lambda good, record: b'{"expression":' + b"9" * 10_000 + b',"counts":[]}')
)
make("json-not-utf8", "json", "JSON", _line(lambda good, record: b'{"expression":"\xff\xfe","counts":[]}'))
make(
    "canonical-missing-expression",
    "missing-expression",
    "without a prediction",
    _line(lambda good, record: record | {"expression": "zebra"}),
)
make(
    "canonical-expression-twice",
    "duplicate",
    "again",
    _line(lambda good, record: json.dumps(record).encode() + b"\n" + json.dumps(record).encode()),
)


@broken("truncated", "cut off")
def canonical_truncated(good: Good, out: Path) -> Path:
    folder = good.canonical(out / "preds")
    file = folder / f"{good.clip.id}.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    return folder


@broken("numbering", "numbered from 1")
def canonical_numbered_from_1(good: Good, out: Path) -> Path:
    return _edited_header(good, out, {"frames": [f"{index + 1:05d}" for index in range(len(good.clip.frames))]})


def _rle_json(change: Callable[[Good, dict[str, Any]], Any]) -> Build:
    def build(good: Good, out: Path) -> Path:
        file = good.export(out / "preds", "json") / "predictions.json"
        content = change(good, json.loads(file.read_bytes()))
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return file

    return build


def _entry(value: Any) -> Build:
    def change(good: Good, content: dict[str, Any]) -> Any:
        content[good.clip.id][good.expression][good.index] = value
        return content

    return _rle_json(change)


make("mask-dict-size", "size", "transposed", _rle_json(lambda good, content: _swapped(good, content)))
make("mask-dict-entry", "rle", "not an object with", _entry(3))
make("mask-dict-counts", "rle", "size is not", _entry({"counts": {}}))
make("mask-dict-cut", "json", "JSON", _rle_json(lambda good, content: json.dumps(content).encode()[:-9]))
make("mask-dict-length", "rle", "entries for", _rle_json(lambda good, content: _shortened(good, content)))
make("mask-dict-foreign", "layout", "recognised", _rle_json(lambda good, content: {"17": [None]}))


def _swapped(good: Good, content: dict[str, Any]) -> dict[str, Any]:
    content[good.clip.id][good.expression][good.index]["size"].reverse()
    return content


def _shortened(good: Good, content: dict[str, Any]) -> dict[str, Any]:
    del content[good.clip.id][good.expression][-1]
    return content
