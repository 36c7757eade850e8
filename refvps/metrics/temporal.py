"""Temporal consistency TC: how much J jumps from one frame to the next.

Origin: the paper, B.4, Eq. (5). As printed, the sum of signed differences telescopes to
(J_T - J_1) / T, cannot exceed 1/T, and would reward decay; the published values (2.1 to 5.2 percent)
are only possible for absolute differences. So TC is the mean of |J(t+1) - J(t)| over the T-1 pairs of
consecutive scored frames, and the printed forms stand beside it as diagnostics.

TC depends on the annotation rate (it grows when frames are skipped), so the rate is in the signature
and values of different rates are never compared. Read it beside J: doing nothing is consistent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refvps.metrics.region import Floats, mean


def temporal_consistency(values: ArrayLike) -> float | None:
    """Mean |J(t+1) - J(t)| over T-1 pairs; a fraction in [0, 1] (percent on screen only), lower is better.

    ``values``: float64 [T], J of the scored frames of one (clip, expression) in time order. None for
    fewer than two frames. Raises ValueError unless there is one finite number per frame.

    >>> temporal_consistency(np.array([1.0, 0.5, 0.5]))
    0.25
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"J must be one finite number per frame, not an array {values.shape} of {values.dtype}")
    return mean(np.abs(np.diff(values)))


def temporal_consistency_over_frames(values: Floats) -> float | None:
    """The sum of |J(t+1) - J(t)| over T instead of T-1, as Eq. (5) divides; None for fewer than two frames."""
    average = temporal_consistency(values)
    return None if average is None else average * (len(values) - 1) / len(values)


def temporal_consistency_signed(values: Floats) -> float | None:
    """Eq. (5) as printed, in [-1, 1]: equals (J_T - J_1) / T; None for fewer than two frames."""
    return float(values[-1] - values[0]) / len(values) if len(values) > 1 else None


def temporal_consistency_visible(values: Floats, visible: NDArray[np.bool_]) -> float | None:
    """Mean |J(t+1) - J(t)| over pairs of frames that both show the target; None without such a pair.

    Restores the paper's remark that empty predictions score 0, which fails where the target appears or
    vanishes (an empty prediction then jumps from 1 to 0).
    """
    return mean(np.abs(np.diff(values))[visible[1:] & visible[:-1]])
