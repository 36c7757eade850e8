"""Writing predictions in the canonical form: ``preds/<clip>.jsonl``, beside ``preds/run.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refvps.errors import UsageError
from refvps.files import canonical_json, write_atomic
from refvps.masks.mask import Mask
from refvps.predictions.canonical import SCHEMA
from refvps.types import Clip

RUN_SCHEMA = "refvps.run/1"


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


def run_path(folder: Path, shard: tuple[int, int] | None = None) -> Path:
    """``run.json``, or ``run.1-of-2.json`` for shard (1, 2)."""
    return folder / ("run.json" if shard is None else f"run.{shard[0]}-of-{shard[1]}.json")
