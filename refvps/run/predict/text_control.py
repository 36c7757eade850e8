"""Language-blind runs of any predictor: the same frames with sentences that say nothing about them.

The difference of J between a run and its control is what the sentences were worth. A controlled run has a
name and options of its own (``rem.shuffled-text``, ``text_control=shuffled``), so nothing takes it for the
real one: not a folder of predictions, not a result, not a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from refvps.errors import UsageError
from refvps.files import canonical_json, sha256
from refvps.types import Benchmark, Method

TEXT_CONTROLS = {
    "shuffled": "the sentences of another clip, from another source video where possible",
    "empty": "an empty sentence",
    "object": '"the object"',
}
"""What the predictor is asked instead."""

Texts = Mapping[str, tuple[str, ...]]
"""Clip id to its sentences, in the order of its expressions."""


def texts_of(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """The real sentences of every clip that has some."""
    clips = sorted({expression.clip for expression in benchmark.expressions})
    return {clip: tuple(expression.text for expression in benchmark.expressions_of(clip)) for clip in clips}


def controlled_texts(benchmark: Benchmark, control: str, seed: int) -> dict[str, tuple[str, ...]]:
    """The sentences that a control asks for every clip; depends on the whole benchmark, never on a shard.

    ``shuffled``: clips stand in a circle, those of one source video (group) side by side, videos and clips in
    an order drawn from ``seed``; every clip gets the sentences of the one as many places on as the largest
    video has clips. So none keeps its own, and where no video has more than half of the clips, none stays
    within its video. A clip with more sentences than its donor hears them again from the first.
    Raises UsageError for an unknown control and for a shuffle of fewer than two clips.
    """
    own = texts_of(benchmark)
    if control == "empty":
        return {clip: ("",) * len(texts) for clip, texts in own.items()}
    if control == "object":
        return {clip: ("the object",) * len(texts) for clip, texts in own.items()}
    if control != "shuffled":
        raise UsageError(
            "There is no such text control.", where=[repr(control)], fix=f"one of {', '.join(TEXT_CONTROLS)}"
        )
    if len(own) < 2:
        raise UsageError(
            "Sentences of a single clip cannot be shuffled across clips.",
            where=[f"{benchmark.name}: {len(own)} clips with sentences"],
            fix="use --text-control empty or object",
        )
    return {
        clip: tuple(own[donor][k % len(own[donor])] for k in range(len(own[clip])))
        for clip, donor in donors(benchmark, seed).items()
    }


def donors(benchmark: Benchmark, seed: int) -> dict[str, str]:
    """Clip id to the clip whose sentences it gets under ``shuffled``: a derangement, see above."""

    def drawn(*key: str) -> str:
        return sha256(canonical_json(["text-control", seed, *key]))

    groups: dict[str, list[str]] = {}
    for clip in texts_of(benchmark):
        groups.setdefault(benchmark.clips[clip].group, []).append(clip)
    circle = [
        clip
        for group in sorted(groups, key=lambda group: drawn("group", group))
        for clip in sorted(groups[group], key=lambda clip: drawn("clip", clip))
    ]
    step = max(map(len, groups.values())) % len(circle) or 1
    return {clip: circle[(place + step) % len(circle)] for place, clip in enumerate(circle)}


def controlled_method(method: Method, control: str) -> Method:
    """The method under a control: its name says so, and its options."""
    return replace(
        method, name=f"{method.name}.{control}-text", options={**dict(method.options), "text_control": control}
    )
