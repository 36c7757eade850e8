"""Which clips a process works on: a choice, the longest first, or one of n balanced shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from refvps.errors import UsageError
from refvps.types import Benchmark


def choose(benchmark: Benchmark, clips: Iterable[str] | None) -> list[str]:
    """The clips to work on, most masks first; UsageError for a clip that is not in the benchmark."""
    wanted = set(benchmark.clips) if clips is None else set(clips)
    if unknown := sorted(wanted - set(benchmark.clips)):
        raise UsageError(
            "There is no such clip in the benchmark.", where=[f"{benchmark.name}: {clip}" for clip in unknown]
        )
    sizes = costs(benchmark)
    return sorted((clip for clip in wanted if sizes[clip]), key=lambda clip: (-sizes[clip], clip))


def costs(benchmark: Benchmark) -> dict[str, int]:
    """Masks of every clip: frames times expressions."""
    texts = Counter(expression.clip for expression in benchmark.expressions)
    return {clip.id: len(clip.frames) * texts[clip.id] for clip in benchmark.clips.values()}


def shards(benchmark: Benchmark, count: int, clips: Iterable[str] | None = None) -> list[list[str]]:
    """Divide clips into ``count`` lists of about the same number of masks; the same on every machine.

    Longest first, each to the list with the least work so far. A list may be empty.
    """
    loads = [(0, index) for index in range(count)]
    parts: list[list[str]] = [[] for _ in range(count)]
    sizes = costs(benchmark)
    for clip in choose(benchmark, clips):
        load, index = min(loads)
        parts[index].append(clip)
        loads[index] = (load + sizes[clip], index)
    return parts


def shard_count(shard: tuple[int, int]) -> int:
    """How many shards there are; UsageError unless (i, n) has 1 <= i <= n."""
    index, count = shard
    if not 1 <= index <= count:
        raise UsageError("There is no such shard.", where=[f"{index}/{count}"], fix="shards are 1/n, 2/n, ... n/n")
    return count
