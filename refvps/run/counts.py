"""The integers between masks and scores: one row per (clip, expression, target, frame).

They are exact, so shards, resumed runs and merges are concatenation and CI compares with ``==``; and they
are sufficient: every score, filter, average, interval and plot is computed from them, without masks.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, parse_json, sha256, write_atomic
from refvps.metrics.catalogue import Series
from refvps.metrics.region import IgnoreRule

SCHEMA = "refvps.counts/1"
SCORED, MISSING, NOT_ANNOTATED = 0, 1, 2
"""States of a row. NOT_ANNOTATED: other targets of the clip are annotated on this frame, this one is not."""

KEYS = ("clip", "expression", "target", "frame", "state")
AREAS = ("both", "prediction", "target_area", "prediction_ignore", "ignore")
EDGES = ("edge_prediction", "edge_target", "edge_prediction_matched", "edge_target_matched")
_MAX_BYTES = 1 << 31

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """What scoring needs to know of a clip: size (height, width), rates, group, number of frames, digest."""

    id: str
    size: tuple[int, int]
    fps: float
    annotation_fps: float
    frames: int
    group: str
    digest: str


@dataclass(frozen=True, slots=True)
class ExpressionEntry:
    """What scoring needs to know of an expression; ``clip`` is an id, ``target`` the target it points at."""

    clip: str
    id: str
    text: str
    target: str
    concept: str
    categories: tuple[str, ...]
    annotator: str


@dataclass(frozen=True, eq=False)
class Counts:
    """A table of exact integers with the names it refers to.

    ``columns`` holds int64 arrays of one length [N]. ``clip``, ``expression`` and ``target`` index into
    ``clips``, ``expressions`` and ``targets``; ``frame`` is the position in the clip's frames; ``both`` is
    |P∩G|, ``prediction`` |P|, ``target_area`` |G|, ``prediction_ignore`` |P∩I|, ``ignore`` |I|, all in
    pixels. The four ``edge_*`` columns exist only when F was counted, under ``boundary`` = {"bound_th",
    "ignore"}: they cannot be re-scored under another tolerance or Ignore rule.
    """

    benchmark: Mapping[str, str]
    clips: tuple[ClipEntry, ...]
    expressions: tuple[ExpressionEntry, ...]
    targets: tuple[tuple[str, str], ...]
    columns: Mapping[str, Ints]
    boundary: Mapping[str, Any] | None = None
    method: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["clip"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.sha256() == other.sha256()

    __hash__ = None  # type: ignore[assignment]

    @property
    def missing(self) -> int:
        """Number of rows without a prediction."""
        return int(np.count_nonzero(self.columns["state"] == MISSING))

    def names(self) -> dict[str, Any]:
        """Everything but the integers, as plain JSON."""
        return {
            "schema": SCHEMA,
            "benchmark": dict(self.benchmark),
            "boundary": None if self.boundary is None else dict(self.boundary),
            "clips": [
                [c.id, list(c.size), float(c.fps), float(c.annotation_fps), c.frames, c.group, c.digest]
                for c in self.clips
            ],
            "expressions": [
                [e.clip, e.id, e.text, e.target, e.concept, list(e.categories), e.annotator] for e in self.expressions
            ],
            "targets": [list(t) for t in self.targets],
            "columns": list(self.columns),
        }

    def sha256(self) -> str:
        """Hash over the names and the columns as little-endian int64: equal exactly when the tables are."""
        parts = [canonical_json(self.names())]
        parts += [np.ascontiguousarray(column, dtype="<i8").tobytes() for column in self.columns.values()]
        return sha256(b"\0".join(parts))

    def series(self, rule: IgnoreRule = "drop", *, boundary: bool = False) -> Iterator[tuple[int, int, Series]]:
        """(expression index, target index, counts over time) for every pair, in table order.

        Raises UsageError when F is asked under another Ignore rule than it was counted with.
        """
        edges = EDGES if boundary else ()
        if boundary and (self.boundary is None or self.boundary["ignore"] != rule):
            raise UsageError(
                "F cannot be scored from these counts.",
                where=[
                    "boundary counts: " + ("none" if self.boundary is None else f"ignore={self.boundary['ignore']}")
                ],
                fix="evaluate the masks again with F among --metrics, under the rule you want",
            )
        kept = np.flatnonzero(self.columns["state"] != NOT_ANNOTATED)
        column = {name: self.columns[name][kept] for name in (*KEYS, *AREAS, *edges)}
        pair = column["expression"] * max(1, len(self.targets)) + column["target"]
        starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else np.zeros(0, np.int64)
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(pair)], strict=True):
            run = slice(start, stop)
            yield (
                int(column["expression"][start]),
                int(column["target"][start]),
                Series(
                    column["both"][run],
                    column["prediction"][run],
                    column["target_area"][run],
                    column["prediction_ignore"][run],
                    column["ignore"][run],
                    missing=column["state"][run] == MISSING,
                    edges=np.stack([column[name][run] for name in edges]) if boundary else None,
                    rule=rule,
                ),
            )


def assemble(counts: Counts) -> Counts:
    """The canonical order of rows: expression, target, frame. Raises InputError on a duplicate row."""
    columns = counts.columns
    order = np.lexsort((columns["frame"], columns["target"], columns["expression"]))
    columns = {name: np.ascontiguousarray(column[order]) for name, column in columns.items()}
    key = np.stack([columns["expression"], columns["target"], columns["frame"]])
    double = np.flatnonzero((key[:, 1:] == key[:, :-1]).all(axis=0))
    if len(double):
        raise InputError(
            "Counts hold the same frame twice.",
            where=[
                f"{counts.expressions[e].clip}/{counts.expressions[e].id} frame {f}"
                for e, f in zip(columns["expression"][double], columns["frame"][double], strict=True)
            ],
            fix="merge each shard once",
        )
    return replace(counts, columns=columns)


def merge(parts: Sequence[Counts]) -> Counts:
    """One table from shards of the same benchmark and rules, in any order; the union of their rows.

    The shards must list the same clips, expressions and targets (each shard lists all, and holds rows for
    its own). Raises InputError when they disagree or overlap.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.names() != first.names():
            raise InputError(
                "These counts do not belong together.",
                where=[f"{p.benchmark}, boundary {p.boundary}" for p in parts],
                fix="merge shards of one benchmark version, counted with the same metrics and rules",
            )
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return assemble(replace(first, columns=columns))


def select(counts: Counts, keep: Iterable[str]) -> Counts:
    """The same counts with only the clips in ``keep``, as if the benchmark had never had the others.

    The benchmark digest is recomputed from the digests of the clips that stay.
    """
    from refvps.data.digest import benchmark_digest  # the one definition of a benchmark's digest

    wanted = set(keep)
    clips = [k for k, clip in enumerate(counts.clips) if clip.id in wanted]
    expressions = [k for k, e in enumerate(counts.expressions) if e.clip in wanted]
    targets = [k for k, t in enumerate(counts.targets) if t[0] in wanted]
    rows = np.isin(counts.columns["clip"], clips)
    columns = {name: column[rows] for name, column in counts.columns.items()}
    for name, kept in (("clip", clips), ("expression", expressions), ("target", targets)):
        position = np.zeros(max(kept, default=0) + 1, dtype=np.int64)
        position[kept] = np.arange(len(kept))
        columns[name] = position[columns[name]]
    entries = tuple(counts.clips[k] for k in clips)
    return replace(
        counts,
        benchmark={**counts.benchmark, "digest": benchmark_digest({clip.id: clip.digest for clip in entries})},
        clips=entries,
        expressions=tuple(counts.expressions[k] for k in expressions),
        targets=tuple(counts.targets[k] for k in targets),
        columns=columns,
    )


def write_counts(counts: Counts, path: Path) -> bytes:
    """Write a ``.counts.npz`` (readable by ``numpy.load`` without pickle), atomically; returns its bytes."""
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
    data = stream.getvalue()
    write_atomic(path, data)
    return data


def read_counts(path: Path) -> Counts:
    """Read and check a ``.counts.npz`` from anyone; raises InputError when anything in it cannot be."""
    if not path.is_file():
        raise InputError("There is no counts file.", where=[str(path)], fix="keep .counts.npz beside the result")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > _MAX_BYTES or len(members) > 64:
                raise ValueError("it is too large")
            arrays = {}
            for member in members:
                with archive.open(member) as stream:
                    content = io.BytesIO(stream.read(member.file_size + 1))
                arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
        return _checked(arrays, str(path))
    except (ValueError, KeyError, TypeError, IndexError, EOFError, OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise InputError(
            "A counts file cannot be used.",
            where=[f"{path}: {str(error)[:200]}"],
            fix="take the file from the result's author again, or evaluate the predictions again",
        ) from error


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
        benchmark={key: str(value) for key, value in names["benchmark"].items()},
        clips=tuple(
            ClipEntry(str(i), (int(s[0]), int(s[1])), float(f), float(a), int(n), str(g), str(d))
            for i, s, f, a, n, g, d in names["clips"]
        ),
        expressions=tuple(
            ExpressionEntry(str(c), str(i), str(x), str(t), str(k), tuple(map(str, cs)), str(a))
            for c, i, x, t, k, cs, a in names["expressions"]
        ),
        targets=tuple((str(c), str(t)) for c, t in names["targets"]),
        columns={key: arrays[key].astype(np.int64) for key in wanted},
        boundary=names["boundary"],
        method=names.get("method", {}),
    )
    _check_ranges(counts)
    return assemble(counts)


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
