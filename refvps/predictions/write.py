"""Writing predictions in the canonical form: ``preds/<clip>.jsonl`` and ``preds/run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, parse_json, read_bytes, sha256, write_atomic
from refvps.masks.mask import Mask
from refvps.predictions.canonical import SCHEMA
from refvps.types import Benchmark, Clip, Method

RUN_SCHEMA = "refvps.run/1"
MAX_RUN_BYTES = 1 << 24


class ClipWriter:
    """Collects the masks of one clip as RLE and writes them as one file.

    The bytes do not depend on the order in which masks are added. ``benchmark`` and ``digest`` name what
    was predicted; '' for video that belongs to no benchmark.
    """

    def __init__(
        self, path: Path, clip: Clip, expressions: Sequence[str], benchmark: str = "", digest: str = ""
    ) -> None:
        self.path, self.clip, self.benchmark, self.digest = path, clip, benchmark, digest
        self._counts: dict[str, list[str | None]] = {each: [None] * len(clip.frames) for each in expressions}

    def add(self, expression: str, index: int, mask: Mask) -> None:
        """Take the mask of frame ``index`` of the clip; raises UsageError for a wrong size or a second mask."""
        place = f"{self.clip.id}/{expression}, frame {index}"
        texts = self._counts.get(expression)
        if texts is None or not 0 <= index < len(texts):
            raise UsageError("A mask was given for something that the clip does not have.", where=[place])
        if mask.size != self.clip.size:
            found, wanted = "x".join(map(str, mask.size)), "x".join(map(str, self.clip.size))
            raise UsageError("A mask has the wrong size.", where=[f"{place}: {found}, the clip has {wanted}"])
        if texts[index] is not None:
            raise UsageError("A mask was given twice.", where=[place], fix="yield every (text, frame) once")
        texts[index] = mask.counts().decode("ascii")

    def finish(self) -> Path:
        """Write the file, whole or not at all; raises UsageError if a frame of an expression has no mask."""
        missing = [
            f"{self.clip.id}/{expression}, frame {self.clip.frames[index]}"
            for expression, texts in self._counts.items()
            for index, text in enumerate(texts)
            if text is None
        ]
        if missing:
            raise UsageError("Frames were left without a mask.", where=missing, fix="yield every (text, frame) once")
        header = {
            "schema": SCHEMA,
            "clip": self.clip.id,
            "size": list(self.clip.size),
            "frames": list(self.clip.frames),
            "benchmark": self.benchmark,
            "digest": self.digest,
        }
        lines = [canonical_json(header)]
        lines += [canonical_json({"expression": each, "counts": texts}) for each, texts in self._counts.items()]
        write_atomic(self.path, b"\n".join([*lines, b""]))
        return self.path


def run_key(method: Method, digest: str) -> str:
    """What must be equal for a run to be resumed: method, version, weights, options, benchmark (hex SHA-256)."""
    identity = {
        "name": method.name,
        "version": method.version,
        "weights_sha256": method.weights_sha256,
        "options": dict(method.options),
        "digest": digest,
    }
    return sha256(canonical_json(identity))


def run_record(
    method: Method, benchmark: Benchmark, *, timings: Mapping[str, Any] | None = None, **extra: Any
) -> dict[str, Any]:
    """The content of a run file. ``timings`` stay apart from what identifies the run."""
    return {
        "schema": RUN_SCHEMA,
        "method": asdict(method),
        "benchmark": {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
        "key": run_key(method, benchmark.digest),
        **extra,
        "timings": dict(timings or {}),
    }


def run_path(folder: Path, shard: tuple[int, int] | None = None) -> Path:
    """``run.json``, or ``run.1-of-2.json`` for shard (1, 2)."""
    return folder / ("run.json" if shard is None else f"run.{shard[0]}-of-{shard[1]}.json")


def write_run(folder: Path, record: Mapping[str, Any], shard: tuple[int, int] | None = None) -> Path:
    """Write the run file of a folder of predictions, atomically."""
    path = run_path(folder, shard)
    write_atomic(path, canonical_json(record) + b"\n")
    return path


def read_run(path: Path) -> dict[str, Any]:
    """Read one run file; raises InputError if it is none."""
    record = parse_json(read_bytes(path, MAX_RUN_BYTES), str(path))
    if not isinstance(record, dict) or record.get("schema") != RUN_SCHEMA:
        raise InputError("A run file is not one of ours.", where=[str(path)], fix="delete it, or predict again")
    if not isinstance(record.get("method"), dict) or not isinstance(record.get("key"), str):
        raise InputError("A run file is damaged.", where=[str(path)], fix="delete it, or predict again")
    return record
