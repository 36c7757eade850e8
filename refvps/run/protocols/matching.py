"""Every prediction against every object, and which prediction belongs to which object.

The rule of DAVIS 2017, unsupervised: predictions are assigned to objects one to one so that the sum over pairs of
(mean J + mean F) / 2 is highest (Hungarian method); predictions left over cost nothing, objects left over get an
empty prediction. Ref-DAVIS17 scores referring segmentation by the same rule, inside each run of one annotator, and
averages the four runs. Matching forgives swapped expressions: if the masks for "the left man" and "the right man"
change places, the score does not move. So :func:`score_run` gives, beside it, the score with prediction k held
against object k, which it does move.

All functions are pure. P predictions, G objects, T frames; predictions may overlap each other (ReferEverything) or
come from one image of ids (:func:`masks_of_ids`). Ignore (void) is left out of J and F, as in DAVIS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refvps.errors import DataMissingError, InputError
from refvps.masks.mask import Mask
from refvps.metrics.boundary import f_from_counts
from refvps.metrics.region import Floats, IgnoreRule, jaccard_from_counts
from refvps.predictions.problems import Report
from refvps.run.count import Boundary, ClipTask, count_clip
from refvps.run.counts import SCORED
from refvps.types import Clip

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

MAX_PROPOSALS = 20
"""Most predictions of one sequence that DAVIS accepts."""


@dataclass(frozen=True, slots=True, eq=False)
class AllPairs:
    """J and F of every prediction against every object on every frame, float64 [P, G, T], P >= G."""

    j: Floats
    f: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """One prediction for each object: ``prediction`` [G] its index, ``j`` and ``f`` float64 [G, T]."""

    prediction: tuple[int, ...]
    j: Floats
    f: Floats

    def means(self) -> tuple[Floats, Floats]:
        """J and F per object, float64 [G], means over frames."""
        return self.j.mean(axis=1), self.f.mean(axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class RunScores:
    """One sequence of one run: matched as DAVIS does, and with prediction k held against object k."""

    matched: ObjectScores
    fixed_id: ObjectScores


def masks_of_ids(ids: NDArray[np.uint8], count: int) -> Bools:
    """Masks bool [count, T, H, W] of ids 1 to ``count`` in label images [T, H, W], which cannot overlap."""
    return np.stack([ids == k for k in range(1, count + 1)]) if count else np.zeros((0, *ids.shape), np.bool_)


def count_pairs(
    predictions: Bools, targets: Bools, ignore: Bools | None = None, bound_th: float = 0.008, rule: IgnoreRule = "drop"
) -> Ints:
    """Exact counts of all pairs, int64 [P', G, T, 9]: the five areas and the four boundary integers of F.

    ``predictions`` bool [P, T, H, W], ``targets`` bool [G, T, H, W], ``ignore`` bool [T, H, W]; where a target and
    Ignore overlap, Ignore wins. P' = max(P, G): objects without a prediction get empty ones. Raises ValueError for
    other shapes or dtypes, InputError for more than 20 predictions.
    """
    masks = [predictions, targets, *([] if ignore is None else [ignore[None]])]
    if any(mask.dtype != np.bool_ or mask.ndim != 4 or mask.shape[1:] != targets.shape[1:] for mask in masks):
        raise ValueError(f"masks must be bool [n, T, H, W] of one size: {[(m.dtype, m.shape) for m in masks]}")
    check_proposals(len(predictions))
    frames, size = targets.shape[1], (targets.shape[2], targets.shape[3])
    names = tuple(f"{t:06d}" for t in range(frames))
    total = max(len(predictions), len(targets))
    task = ClipTask(
        Clip("sequence", size, 0.0, names, names, 0.0, "sequence"),
        tuple((str(p), str(g)) for p in range(total) for g in range(len(targets))),
        _Truth({str(g): target if ignore is None else target & ~ignore for g, target in enumerate(targets)}, ignore),
        _Reader({str(p): predictions[p] if p < len(predictions) else None for p in range(total)}, size),
        Boundary(bound_th, rule),
    )
    return count_clip(task).values[..., 2:].reshape(total, len(targets), frames, 9)


def all_pairs(values: Ints, rule: IgnoreRule = "drop") -> AllPairs:
    """J and F from counts int64 [P, G, T, 9] (see :func:`count_pairs`); ValueError where P < G.

    Counts of :func:`refvps.run.count.count_clip` have two columns more in front, frame and state: drop these after
    checking with :func:`check_scored`.
    """
    if values.ndim != 4 or values.shape[3] != 9 or values.shape[0] < values.shape[1]:
        raise ValueError(f"counts of all pairs must be [P, G, T, 9] with P >= G, not {values.shape}")
    both, p, g, pi, i, *edges = np.moveaxis(values, -1, 0)
    j, f = jaccard_from_counts(both, p, g, pi, i, rule), f_from_counts(*edges)
    return AllPairs(np.ascontiguousarray(j), np.ascontiguousarray(f))


def check_scored(values: Ints) -> None:
    """ValueError unless every row of ``count_clip`` values [..., 11] was scored: matching knows no missing frame."""
    if (values[..., 1] != SCORED).any():
        raise ValueError("a frame of some pair has no prediction or no ground truth")


def check_proposals(count: int, limit: int = MAX_PROPOSALS, place: str = "") -> None:
    """Raise InputError for more predictions than the protocol accepts."""
    if count > limit:
        raise InputError(
            f"There are more than {limit} proposals.",
            where=[place or f"{count} predictions"],
            fix=f"keep the {limit} best; ids must not be higher than {limit}",
        )


def hungarian(pairs: AllPairs) -> tuple[Ints, Ints]:
    """Indices (predictions, objects), int64 [G] each, by ascending prediction: the order of davis2017-evaluation.

    Scipy's solver is given the matrix that davis2017-evaluation gives it, so ties fall alike. Raises
    DataMissingError without scipy.
    """
    rows, columns = _solver()(-(np.mean(pairs.j, axis=2) + np.mean(pairs.f, axis=2)) / 2)
    return rows.astype(np.int64), columns.astype(np.int64)


def _solver() -> Callable[[Floats], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise DataMissingError(
            "Matching predictions to objects needs scipy, which is not installed.",
            where=[str(error)[:200]],
            fix='pip install "refvps[protocols]"',
        ) from error
    solver: Callable[[Floats], tuple[NDArray[np.int64], NDArray[np.int64]]] = linear_sum_assignment
    return solver


def check_solver() -> None:
    """Raise DataMissingError now, before any work, when the matching could not be done later."""
    _solver()


def matched(pairs: AllPairs) -> ObjectScores:
    """The assignment of :func:`hungarian`, by object."""
    predictions, objects = hungarian(pairs)
    order = np.argsort(objects)
    chosen, objects = predictions[order], objects[order]
    return ObjectScores(tuple(chosen.tolist()), pairs.j[chosen, objects], pairs.f[chosen, objects])


def fixed_id(pairs: AllPairs) -> ObjectScores:
    """Prediction k against object k."""
    objects = np.arange(pairs.j.shape[1])
    return ObjectScores(tuple(objects.tolist()), pairs.j[objects, objects], pairs.f[objects, objects])


def score_run(predictions: Bools, targets: Bools, ignore: Bools | None = None, *, bound_th: float = 0.008) -> RunScores:
    """One sequence of one annotator's run of Ref-DAVIS17: matched, and by fixed id.

    ``predictions`` bool [P, T, H, W]: the masks for the run's expression of object 1, 2, ..., in the order of the
    objects (overlaps allowed; for one image of ids, :func:`masks_of_ids`); a missing object is an empty mask.
    ``targets`` bool [G, T, H, W], ``ignore`` bool [T, H, W] (label 255 of Annotations_unsupervised). A run's score
    is the mean over the objects of all its sequences, J&F the mean of its J and F, and the published number the
    mean of the four runs.
    """
    pairs = all_pairs(count_pairs(predictions, targets, ignore, bound_th))
    return RunScores(matched(pairs), fixed_id(pairs))


@dataclass(frozen=True, slots=True)
class _Truth:
    targets: Mapping[str, Bools]
    ignore: Bools | None

    def frame(self, index: int) -> tuple[dict[str, Mask | None], Mask | None]:
        ignore = None if self.ignore is None else Mask.from_array(self.ignore[index])
        return {name: Mask.from_array(track[index]) for name, track in self.targets.items()}, ignore


@dataclass(frozen=True, slots=True)
class _Reader:
    masks: Mapping[str, Bools | None]
    size: tuple[int, int]
    problems: Report = field(default_factory=Report)

    def frame(self, index: int) -> dict[str, Mask | None]:
        nothing = np.zeros(self.size, np.bool_)
        return {name: Mask.from_array(nothing if track is None else track[index]) for name, track in self.masks.items()}
