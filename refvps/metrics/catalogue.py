"""Every metric by name: what it reads, what it means, which way is better.

A metric maps the :class:`Series` of one (clip, expression, target) to a number or None (undefined).
Missing frames (``--missing zero``) score J = F = 0 even where the target is empty; what cannot be said
about a series with missing frames (change, decay) is undefined, so leaving frames out never helps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refvps.metrics import boundary, region, temporal
from refvps.metrics.region import Floats, Ints
from refvps.types import PERCENT_EXEMPT as PERCENT_EXEMPT


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Counts of one (clip, expression, target) over its scored and missing frames, in time order.

    ``both``, ``prediction``, ``target``, ``prediction_ignore``, ``ignore``: int64 [T] pixel counts
    |P∩G|, |P|, |G|, |P∩I|, |I|. ``missing``: bool [T], frames without a prediction. ``edges``: int64
    [4, T] for F (see :func:`refvps.metrics.boundary.boundary_counts`) or None. ``rule``: Ignore rule.
    """

    both: Ints
    prediction: Ints
    target: Ints
    prediction_ignore: Ints
    ignore: Ints
    missing: NDArray[np.bool_]
    edges: Ints | None = None
    rule: region.IgnoreRule = "drop"

    def jaccard(self, rule: region.IgnoreRule | None = None) -> Floats:
        """J per frame, float64 [T]; 0 where the prediction is missing."""
        values = region.jaccard_from_counts(
            self.both, self.prediction, self.target, self.prediction_ignore, self.ignore, rule or self.rule
        )
        values[self.missing] = 0.0
        return values

    def contour(self) -> Floats:
        """F per frame, float64 [T]; 0 where the prediction is missing. Needs ``edges``."""
        if self.edges is None:
            raise ValueError("F needs the four boundary counts; count with F among the metrics")
        values = boundary.f_from_counts(*self.edges)
        values[self.missing] = 0.0
        return values

    @property
    def complete(self) -> bool:
        """True when no frame is missing."""
        return not self.missing.any()


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of ``refvps list metrics``.

    ``spans_frames``: depends on the annotation rate. ``needs_complete``: undefined, also in a mean over
    others, once a frame is missing, because leaving out what changes would look like an improvement.
    """

    name: str
    meaning: str
    better: Literal["higher", "lower", "-"]
    source: str
    compute: Callable[[Series], float | None]
    needs_boundary: bool = False
    spans_frames: bool = False
    needs_complete: bool = False


def _unless_missing(compute: Callable[[Series], float | None]) -> Callable[[Series], float | None]:
    return lambda series: compute(series) if series.complete else None


def _visible(series: Series) -> float | None:
    return region.mean(series.jaccard()[series.target > 0])


def _empty(series: Series) -> float | None:
    return region.mean((series.prediction == 0).astype(np.float64)[~series.missing])


def _area_ratio(series: Series) -> float | None:
    """Predicted over true area outside Ignore, summed over frames; None when the target is never visible."""
    predicted, true = int((series.prediction - series.prediction_ignore).sum()), int(series.target.sum())
    return predicted / true if true else None


def _j_and_f(series: Series) -> float | None:
    j, f = region.mean(series.jaccard()), region.mean(series.contour())
    return None if j is None or f is None else (j + f) / 2


_ALL = (
    Metric("J", "region similarity, mean over frames", "higher", "DAVIS 2016", lambda s: region.mean(s.jaccard())),
    Metric("F", "contour accuracy, mean over frames", "higher", "DAVIS 2016", lambda s: region.mean(s.contour()), True),
    Metric("J&F", "mean of J and F", "higher", "DAVIS 2017", _j_and_f, True),
    Metric(
        "TC",
        "temporal consistency: mean |J(t+1) - J(t)| over T-1 pairs",
        "lower",
        "paper, B.4 Eq. (5), read as absolute",
        _unless_missing(lambda s: temporal.temporal_consistency(s.jaccard())),
        spans_frames=True,
        needs_complete=True,
    ),
    Metric("J_recall", "share of frames with J > 0.5", "higher", "DAVIS 2016", lambda s: region.recall(s.jaccard())),
    Metric(
        "J_decay",
        "J of the first quarter minus J of the last, DAVIS's borders",
        "lower",
        "DAVIS 2016, int64 borders",
        _unless_missing(lambda s: region.decay(s.jaccard())),
        needs_complete=True,
    ),
    Metric(
        "J_last25",
        "J over the last quarter, frames int(0.75 T):",
        "higher",
        "VOST (J_tr), all frames",
        lambda s: region.last_quarter(s.jaccard()),
    ),
    Metric("J_visible", "J over frames with a non-empty target", "higher", "refvps", _visible),
    Metric(
        "TC_over_T",
        "as TC, divided by T as Eq. (5) prints",
        "lower",
        "paper, B.4 Eq. (5)",
        _unless_missing(lambda s: temporal.temporal_consistency_over_frames(s.jaccard())),
        spans_frames=True,
        needs_complete=True,
    ),
    Metric(
        "TC_signed",
        "Eq. (5) as printed: (J(T) - J(1)) / T",
        "-",
        "paper, B.4 Eq. (5)",
        _unless_missing(lambda s: temporal.temporal_consistency_signed(s.jaccard())),
        spans_frames=True,
        needs_complete=True,
    ),
    Metric(
        "TC_visible",
        "as TC, over pairs of frames that both show the target",
        "lower",
        "refvps",
        _unless_missing(lambda s: temporal.temporal_consistency_visible(s.jaccard(), s.target > 0)),
        spans_frames=True,
        needs_complete=True,
    ),
    Metric("empty", "share of frames with an empty prediction", "-", "refvps", _empty),
    Metric("area_ratio", "predicted over true area outside Ignore", "-", "refvps", _area_ratio),
    Metric(
        "J_ignore_target",
        "J if Ignore counted as target",
        "-",
        "refvps",
        lambda s: region.mean(s.jaccard("target")),
    ),
    Metric(
        "J_ignore_background",
        "J if Ignore counted as background",
        "-",
        "refvps",
        lambda s: region.mean(s.jaccard("background")),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""
