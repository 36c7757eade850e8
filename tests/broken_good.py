"""Good predictions to break, and the registry of broken ones (see :mod:`broken_submissions`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny import ArrayReaders, Masks

from refvps.masks.mask import Mask
from refvps.predictions.export import export
from refvps.predictions.write import ClipWriter
from refvps.types import Benchmark, Clip


@dataclass(frozen=True)
class Good:
    """A benchmark and complete predictions for it, written on demand."""

    benchmark: Benchmark
    masks: Masks

    @property
    def clip(self) -> Clip:
        """The clip that gets broken: the first with several expressions for one target."""
        return next(
            clip
            for clip in self.benchmark.clips.values()
            if len({e.target for e in self.benchmark.expressions_of(clip.id)})
            < len(self.benchmark.expressions_of(clip.id))
        )

    @property
    def expression(self) -> str:
        """The expression that gets broken."""
        return self.benchmark.expressions_of(self.clip.id)[0].id

    @property
    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The mask that gets broken: one with pixels, of an annotated frame."""
        return self.masks[self.clip.id, self.expression][self.index]

    @property
    def index(self) -> int:
        """Its frame: annotated, not the first, not empty."""
        array = self.masks[self.clip.id, self.expression]
        return next(index for index in self.clip.annotated_indices()[1:] if array[index].any())

    @property
    def file(self) -> str:
        """Its file in a tree of PNGs."""
        return f"{self.clip.id}/{self.expression}/{self.clip.frames[self.index]}.png"

    def export(self, out: Path, layout: str = "tree") -> Path:
        """Write everything in one of the export layouts."""
        export(out, self.benchmark, ArrayReaders(self.masks), layout)
        return out

    def canonical(self, out: Path) -> Path:
        """Write everything in the canonical form."""
        for clip in self.benchmark.clips.values():
            ids = [each.id for each in self.benchmark.expressions_of(clip.id)]
            writer = ClipWriter(out / f"{clip.id}.jsonl", clip, ids, self.benchmark.name, self.benchmark.digest)
            for each in ids:
                for index in range(len(clip.frames)):
                    writer.add(each, index, Mask.from_array(self.masks[clip.id, each][index]))
            writer.finish()
        return out


@dataclass(frozen=True)
class Broken:
    """One broken submission."""

    build: Callable[[Good, Path], Path]
    code: str
    phrase: str
    exit_code: int = 4


Build = Callable[[Good, Path], Path]


class Cases(dict[str, Broken]):
    """Broken submissions by name."""

    def broken(self, code: str, phrase: str, exit_code: int = 4) -> Callable[[Build], Build]:
        """Register the decorated function."""

        def add(build: Build) -> Build:
            self.make(build.__name__.replace("_", "-"), code, phrase, build, exit_code)
            return build

        return add

    def make(self, name: str, code: str, phrase: str, build: Build, exit_code: int = 4) -> None:
        """Register a function under a name."""
        assert name not in self
        self[name] = Broken(build, code, phrase, exit_code)
