"""The metrics of referring video segmentation, as pure functions on masks or on exact counts.

Conventions, valid for every function here:

* masks are bool arrays [H, W] or [T, H, W]; counts are int64 pixels; values are float64 fractions
* G is the target, P the prediction, I the Ignore region; G and I are disjoint, and pixels of I are
  left out of both masks unless the rule says otherwise
* an empty union scores J = 1, no boundary on either side F = 1 (DAVIS)
* every annotated frame counts, the first and the last included
* means are exactly rounded sums (``math.fsum``), so a score is the same on every machine

Index: :func:`jaccard` J, :func:`boundary_f` F, :func:`temporal_consistency` TC, :func:`recall`,
:func:`decay`, :func:`last_quarter`; all by name with direction and source in :data:`METRICS`.
"""

from refvps.metrics.boundary import boundary_counts, boundary_f, f_from_counts
from refvps.metrics.catalogue import METRICS, Metric, Series
from refvps.metrics.region import decay, jaccard, jaccard_from_counts, last_quarter, mean, recall, region_counts
from refvps.metrics.temporal import temporal_consistency

__all__ = [
    "METRICS",
    "Metric",
    "Series",
    "boundary_counts",
    "boundary_f",
    "decay",
    "f_from_counts",
    "jaccard",
    "jaccard_from_counts",
    "last_quarter",
    "mean",
    "recall",
    "region_counts",
    "temporal_consistency",
]
