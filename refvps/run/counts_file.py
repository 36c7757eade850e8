"""Counts on disk: ``.counts.npz``, readable by ``numpy.load`` without pickle, and checked when it comes from others."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, RefvpsError
from refvps.files import canonical_json, parse_json, write_atomic
from refvps.run.counts import (
    AREAS,
    EDGES,
    KEYS,
    MISSING,
    NOT_ANNOTATED,
    SCHEMA,
    SCORED,
    ClipEntry,
    Counts,
    ExpressionEntry,
    assemble,
)
from refvps.types import MAX_SIDE, check_id

IGNORE_RULES = ("drop", "background", "target")
_MAX_BYTES = 1 << 29


def write_counts(counts: Counts, path: Path) -> bytes:
    """Write a ``.counts.npz`` (readable by ``numpy.load`` without pickle), atomically; returns its bytes."""
    data = pack_counts(counts)
    write_atomic(path, data)
    return data


def pack_counts(counts: Counts) -> bytes:
    """The bytes of a ``.counts.npz``; the same counts give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        names = {**counts.names(), "method": dict(counts.method)}
        arrays: dict[str, NDArray[Any]] = {"names": np.frombuffer(canonical_json(names), dtype=np.uint8)}
        for name, column in counts.columns.items():
            low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
            fits = np.iinfo(np.int32).min <= low and high <= np.iinfo(np.int32).max
            arrays[name] = column.astype("<i4" if fits else "<i8")
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read_counts(path: Path) -> Counts:
    """Read and check a ``.counts.npz`` from anyone; raises InputError when anything in it cannot be."""
    if not path.is_file():
        raise InputError("There is no counts file.", where=[str(path)], fix="keep .counts.npz beside the result")
    return unpack_counts(path, str(path))


def unpack_counts(source: Path | bytes, name: str) -> Counts:
    """Counts from a file or from the bytes of one; ``name`` is how errors call it. Raises as :func:`read_counts`."""
    try:
        with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
            members = archive.infolist()
            if len(members) > 64:
                raise ValueError("it holds too many arrays")
            arrays: dict[str, NDArray[Any]] = {}
            left = _MAX_BYTES
            for member in members:
                with archive.open(member) as stream:
                    content = stream.read(left + 1)  # what it says of its own size is not believed
                left -= len(content)
                if left < 0:
                    raise ValueError(f"it unpacks to more than {_MAX_BYTES:,} bytes")
                arrays[member.filename.removesuffix(".npy")] = _array(content)
        return _checked(arrays, name)
    except (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
            ValueError, RefvpsError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        reason = "; ".join([error.what, *error.where[:3]]) if isinstance(error, RefvpsError) else str(error)
        raise InputError(
            "A counts file cannot be used.",
            where=[f"{name}: {reason[:300]}"],
            fix="take the file from the result's author again, or evaluate the predictions again",
        ) from error


def _array(content: bytes) -> NDArray[Any]:
    """A one-dimensional .npy array whose header tells the truth about its length."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array has the .npy version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if len(shape) != 1 or dtype.hasobject or shape[0] * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"an array of {len(content)} bytes says it is {dtype} {shape}")
    return np.frombuffer(content, dtype=dtype, offset=stream.tell())


def _checked(arrays: dict[str, NDArray[Any]], name: str) -> Counts:
    names = parse_json(arrays.pop("names").tobytes(), name)
    if names["schema"] != SCHEMA:
        raise ValueError(f"schema {names['schema']!r} is not {SCHEMA!r}")
    wanted = [*KEYS, *AREAS, *(EDGES if names["boundary"] else ())]
    if sorted(arrays) != sorted(wanted) or names["columns"] != wanted:
        raise ValueError(f"columns {sorted(arrays)} are not {sorted(wanted)}")
    lengths = {array.shape for array in arrays.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise ValueError("columns differ in length")
    if any(array.dtype.kind != "i" for array in arrays.values()):
        raise ValueError("columns must be signed integers")
    counts = Counts(
        benchmark={key: _text(names["benchmark"][key]) for key in ("name", "version", "digest")},
        clips=tuple(
            ClipEntry(_text(i), (int(h), int(w)), float(f), float(a), int(n), tuple(map(int, at)), _text(g), _text(d))
            for i, (h, w), f, a, n, at, g, d in names["clips"]
        ),
        expressions=tuple(
            ExpressionEntry(_text(c), _text(i), _text(x), _text(t), _text(k), tuple(map(_text, cs)), _text(a))
            for c, i, x, t, k, cs, a in names["expressions"]
        ),
        targets=tuple((_text(c), _text(t)) for c, t in names["targets"]),
        columns={key: arrays[key].astype(np.int64) for key in wanted},
        boundary=_boundary(names["boundary"]),
        method={"name": _text(names["method"]["name"])} if names.get("method") else {},
        notes=tuple(map(_text, names["notes"])),
        protocol={_text(key): _text(value) for key, value in names.get("protocol", {}).items()},
    )
    _check_names(counts, names["benchmark"])
    _check_ranges(counts)
    return assemble(counts)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not a text")
    return value


def _boundary(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    bound_th, ignore = float(value["bound_th"]), _text(value["ignore"])
    if sorted(value) != ["bound_th", "ignore"] or not 0 < bound_th < 1e5 or ignore not in IGNORE_RULES:
        raise ValueError(f"boundary {value} is not possible")
    return {"bound_th": bound_th, "ignore": ignore}


def _check_names(counts: Counts, benchmark: Mapping[str, Any]) -> None:
    """Names become folders, table cells and parts of signatures, so they are held to the rules of ids."""
    for kind in ("name", "version"):
        check_id(counts.benchmark[kind], f"benchmark {kind}")
    digests = [counts.benchmark["digest"], *(clip.digest for clip in counts.clips if clip.digest)]
    if len(benchmark) != 3 or not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        raise ValueError("a digest is not a SHA-256")
    for clip in counts.clips:
        check_id(clip.id, "clip")
        steps = (-1, *clip.annotated, clip.frames)
        if not (0 < min(clip.size) <= max(clip.size) <= MAX_SIDE and all(a < b for a, b in pairwise(steps))):
            raise ValueError(f"clip {clip.id} cannot be {clip.size} with {clip.frames} frames")
        if not (0 <= clip.fps < 1e6 and 0 <= clip.annotation_fps < 1e6):
            raise ValueError(f"clip {clip.id} has an impossible rate")
    for expression in counts.expressions:
        check_id(expression.id, "expression")
        check_id(expression.target, "target")
    for what, keys in (
        ("clip", [clip.id for clip in counts.clips]),
        ("expression", [(e.clip, e.id) for e in counts.expressions]),
        ("target", list(counts.targets)),
    ):
        if len(set(keys)) != len(keys):
            raise ValueError(f"a {what} is listed twice")


def _check_ranges(counts: Counts) -> None:
    column = counts.columns
    if not len(counts):
        return
    for name, table in (("clip", counts.clips), ("expression", counts.expressions), ("target", counts.targets)):
        if column[name].min() < 0 or column[name].max() >= len(table):
            raise ValueError(f"a row names {name} {int(column[name].max())} of {len(table)}")
    ids = {clip.id: k for k, clip in enumerate(counts.clips)}
    if (column["clip"] != np.array([ids[e.clip] for e in counts.expressions])[column["expression"]]).any():
        raise ValueError("a row names an expression of another clip")
    if (column["clip"] != np.array([ids[t[0]] for t in counts.targets])[column["target"]]).any():
        raise ValueError("a row names a target of another clip")
    pixels = np.array([clip.size[0] * clip.size[1] for clip in counts.clips])[column["clip"]]
    both, p, g, pi, i = (column[name] for name in AREAS)
    possible = (
        (column["frame"] >= 0)
        & (column["frame"] < np.array([clip.frames for clip in counts.clips])[column["clip"]])
        & np.isin(column["state"], (SCORED, MISSING, NOT_ANNOTATED))
        & (both >= 0) & (pi >= 0) & (both <= g) & (pi <= i) & (both + pi <= p) & (g + i <= pixels)
        & (p - both - pi <= pixels - g - i)
        & ((column["state"] == SCORED) | ((p == 0) & (both == 0) & (pi == 0)))
    )  # fmt: skip
    if counts.boundary is not None:
        n_p, n_g, m_p, m_g = (column[name] for name in EDGES)
        possible &= (m_p >= 0) & (m_g >= 0) & (m_p <= n_p) & (m_g <= n_g) & (n_p <= pixels) & (n_g <= pixels)
    if not possible.all():
        row = int(np.flatnonzero(~possible)[0])
        raise ValueError(f"row {row} holds impossible counts: { {k: int(v[row]) for k, v in column.items()} }")
