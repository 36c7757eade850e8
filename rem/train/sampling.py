"""What is drawn by chance: frames of a video, the order of samples, seeds. All of it follows from the seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from refvps.errors import UsageError

Key = tuple[int, int]
"""A sample and the seed of everything random about this one use of it."""


def seed_of(*parts: int | str) -> int:
    """A seed below 2**63 from any parts, the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def frame_indices(length: int, frames: int, generator: random.Random) -> list[int]:
    """Positions, in order, of ``frames`` frames of a video of ``length`` (rem.md, 3.1).

    A longer video gives a uniform choice without replacement, with an irregular stride. A shorter one gives every
    frame as often as it fits, and its first frames once more.
    """
    if length < 1 or frames < 1:
        raise ValueError(f"{frames} frames of a video of {length}")
    if length >= frames:
        return sorted(generator.sample(range(length), frames))
    whole, rest = divmod(frames, length)
    return sorted([*list(range(length)) * whole, *range(rest)])


@dataclass(frozen=True)
class Order:
    """Which samples each step uses, whatever the number of processes.

    ``parts``: ranges of samples; each is shuffled anew in every epoch of its own, its last incomplete batch is
    dropped, and steps take the parts in turn.
    """

    parts: Sequence[range]
    batch: int
    seed: int
    _shuffled: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if few := [len(part) for part in self.parts if len(part) < self.batch]:
            raise UsageError(
                "There are fewer samples than a batch has.",
                where=[f"{few[0]:,} samples, batch = {self.batch}"],
                fix="use a smaller batch or more data",
            )

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch: once through the first part, with as many steps of each other part."""
        return len(self.parts) * (len(self.parts[0]) // self.batch)

    def samples(self, step: int) -> list[Key]:
        """The samples of a step, from 0."""
        turn, which = divmod(step, len(self.parts))
        part = self.parts[which]
        epoch, place = divmod(turn, len(part) // self.batch)
        if self._shuffled.get(which, (-1,))[0] != epoch:
            order = np.random.default_rng(seed_of(self.seed, "order", which, epoch)).permutation(len(part))
            self._shuffled[which] = epoch, order
        chosen = self._shuffled[which][1][place * self.batch : (place + 1) * self.batch]
        return [(part[int(k)], seed_of(self.seed, "sample", epoch, part[int(k)])) for k in chosen]
