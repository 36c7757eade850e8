"""The funnel of a collection (paper, 4.1): concepts searched, videos found, what each criterion took, clips made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from refvps.data.census.versions import Value
from refvps.data.records.lists import CRITERIA, Candidate

_PASSED = {
    "irrelevant": "relevant",
    "static": "not static",
    "too-fast": "not too fast",
    "shot-changes": "no shot changes",
    "licence": "may be used",
    "duplicate": "no duplicates",
}
"""What the videos are that a criterion left, in words."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``count`` videos (or clips) of ``concepts`` concepts are left, ``lost`` went to get here, for ``reason``."""

    name: str
    unit: str
    count: int
    concepts: int
    lost: int = 0
    reason: str = ""


def funnel(candidates: Sequence[Candidate], present: Collection[str] | None = None) -> tuple[Stage, ...]:
    """The stages from everything found to clips, in the order of :data:`~refvps.data.records.lists.CRITERIA`.

    A criterion of the paper is a stage even where it took nothing; the others only where they took something.
    ``present``: ids of the clips there are; those that a candidate became and that are no longer there make a last
    stage.
    """
    left = list(candidates)
    stages = [Stage("found", "videos", len(left), _concepts(left))]
    for number, (criterion, meaning) in enumerate(CRITERIA.items()):
        kept = [each for each in left if each.criterion != criterion]
        if number < 4 or len(kept) < len(left):
            stages.append(
                Stage(_PASSED[criterion], "videos", len(kept), _concepts(kept), len(left) - len(kept), meaning)
            )
        left = kept
    clips = {clip.lower(): each for each in left for clip in each.clips}
    split = sum(len(each.clips) > 1 for each in left)
    reason = f"{split} {'compilation' if split == 1 else 'compilations'} split" if split else ""
    stages.append(Stage("clips", "clips", len(clips), _concepts(left), 0, reason))
    if present is not None:
        there = {clip.lower() for clip in present}
        still = {clip: each for clip, each in clips.items() if clip in there}
        if len(still) < len(clips):
            gone = len(clips) - len(still)
            stages.append(Stage("still there", "clips", len(still), _concepts(still.values()), gone, "withdrawn"))
    return tuple(stages)


def figures(candidates: Sequence[Candidate]) -> dict[str, Value]:
    """The figures of the funnel that the paper prints; nothing without candidates."""
    if not candidates:
        return {}
    return {
        "searched_concepts": _concepts(candidates),
        "candidates": len(candidates),
        "relevant_candidates": sum(each.criterion != "irrelevant" for each in candidates),
    }


def _concepts(candidates: Collection[Candidate]) -> int:
    return len({each.concept for each in candidates})
