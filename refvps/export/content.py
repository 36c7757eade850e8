"""What an export takes from a clip: its sentences, RLE of targets and Ignore, and frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from refvps.data.truth import annotation
from refvps.errors import UsageError
from refvps.export.pictures import Frames, frames_of
from refvps.types import Annotation, Benchmark, Clip, Expression, MaskTrack

Items = Iterator[tuple[str, bytes | Path]]
"""(name below the output, content or the file that has it)."""


@dataclass(frozen=True, slots=True)
class ClipContent:
    """One clip; ``masks`` and ``frames`` are None where they are not wanted."""

    clip: Clip
    expressions: tuple[Expression, ...]
    masks: Annotation | None
    frames: Frames | None

    def numbers(self) -> dict[str, int]:
        """1, 2, ... for each target: its own number where all of them are numbers, else its place in the list."""
        targets = list(dict.fromkeys(each.target for each in self.expressions))
        if all(target.isascii() and target.isdigit() and 0 < int(target) < 255 for target in targets):
            own = {target: int(target) for target in targets}
            if len(set(own.values())) == len(own):
                return own
        if len(targets) > 254:
            raise UsageError(
                "A clip has more targets than a PNG has numbers.",
                where=[f"{self.clip.id}: {len(targets)}"],
                fix="use --layout mevis or ref-vps",
            )
        return {target: k for k, target in enumerate(targets, start=1)}

    def track(self, target: str) -> MaskTrack:
        """The masklet of a target."""
        assert self.masks is not None
        return self.masks.targets[target]


def contents(
    benchmark: Benchmark, *, frames: bool, masks: bool, progress: Callable[[int, int], None] | None = None
) -> Iterator[ClipContent]:
    """The clips of a benchmark one by one, in its order."""
    total = len(benchmark.clips)
    for done, (key, clip) in enumerate(benchmark.clips.items()):
        if progress is not None:
            progress(done, total)
        yield ClipContent(
            clip,
            benchmark.expressions_of(key),
            annotation(benchmark.truth(key), clip) if masks else None,
            frames_of(benchmark, clip) if frames else None,
        )
    if progress is not None:
        progress(total, total)
