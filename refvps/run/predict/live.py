"""Region similarity J while a run is under way, where ground truth is at hand.

The scorer stands beside the run, not in it: it reads the files of finished clips, so a predictor never
meets it and no mask depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from refvps.errors import RefvpsError
from refvps.files import MAX_JSON_BYTES, parse_json, read_bytes
from refvps.masks.mask import Mask
from refvps.predictions.problems import Report
from refvps.run.count import ClipTask, count_clip, pairs_of, table
from refvps.run.score import score
from refvps.types import Benchmark

_CLEAN = Report(())


@dataclass(frozen=True, slots=True)
class _Lines:
    """Masks of one canonical file, by expression and frame."""

    counts: Mapping[str, list[str]]
    size: tuple[int, int]
    problems: Report = _CLEAN

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        return {name: Mask.from_rle(texts[index].encode("ascii"), self.size) for name, texts in self.counts.items()}


class LiveScore:
    """The mean of J over the clips that are done; ``off`` says why there is none.

    With the rule ``frame>expression>clip`` this is the J of ``refvps evaluate`` on the same clips. It costs
    what scoring a clip costs, less than a millisecond a mask.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self.values: list[float] = []
        self.off = ""

    @property
    def mean(self) -> float | None:
        """J so far, a fraction; None before the first clip."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    def add(self, clip: str, path: Path) -> None:
        """Score the whole file of one clip; ground truth that cannot be read switches the score off."""
        if self.off:
            return
        try:
            value = self._score(clip, path)
        except RefvpsError as error:
            self.off = error.what
            self.values.clear()
            return
        if value is not None:
            self.values.append(value)

    def _score(self, clip_id: str, path: Path) -> float | None:
        clip, expressions = self.benchmark.clips[clip_id], self.benchmark.expressions_of(clip_id)
        lines = read_bytes(path, MAX_JSON_BYTES).splitlines()[1:]
        records = [parse_json(line, str(path)) for line in lines]
        reader = _Lines({record["expression"]: record["counts"] for record in records}, clip.size)
        task = ClipTask(clip, pairs_of(expressions), self.benchmark.truth(clip_id), reader)
        alone = replace(self.benchmark, clips={clip_id: clip}, expressions=expressions)
        counts = table(alone, {clip_id: count_clip(task)}, None)
        rules = replace(self.benchmark.rules, metrics=("J",), average="frame>expression>clip", draws=0)
        return score(counts, rules).summary["J"].value
