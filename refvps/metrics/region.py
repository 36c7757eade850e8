"""Region similarity J: intersection over union, frame by frame.

Origin: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016; the result equals davis2017-evaluation's ``db_eval_iou`` on every frame.
Ref-VPS uses J alone (paper, section 4.2): contour accuracy is not well defined for smoke or light.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IgnoreRule = Literal["drop", "background", "target"]


def checked_masks(*masks: ArrayLike | None) -> list[NDArray[np.bool_]]:
    """Masks as bool arrays of one shape, those that are None left out; ValueError for anything else.

    Takes whatever numpy turns into an array (a torch tensor on the CPU, too) and neither thresholds nor
    broadcasts: a soft mask must be thresholded by whoever made it.
    """
    arrays = [np.asarray(mask) for mask in masks if mask is not None]
    for array in arrays:
        if array.dtype != np.bool_:
            raise ValueError(f"masks must be bool, not {array.dtype}; threshold them first")
        if array.shape != arrays[0].shape:
            raise ValueError(f"masks differ in shape: {arrays[0].shape} and {array.shape}")
    return arrays


def region_counts(
    prediction: ArrayLike, target: ArrayLike, ignore: ArrayLike | None = None
) -> tuple[int, int, int, int, int]:
    """The five integers between masks and scores: |P∩G|, |P|, |G|, |P∩Ignore|, |Ignore|.

    ``prediction``, ``target``, ``ignore``: bool arrays of one shape, [H, W] or any other. Pixels that
    are both target and Ignore belong to Ignore, as in DAVIS. Raises ValueError on unequal shapes or
    a dtype other than bool.
    """
    prediction, target, *rest = checked_masks(prediction, target, ignore)
    ignore = rest[0] if rest else None
    if ignore is None:
        both = int(np.count_nonzero(prediction & target))
        return both, int(np.count_nonzero(prediction)), int(np.count_nonzero(target)), 0, 0
    target = target & ~ignore
    return (
        int(np.count_nonzero(prediction & target)),
        int(np.count_nonzero(prediction)),
        int(np.count_nonzero(target)),
        int(np.count_nonzero(prediction & ignore)),
        int(np.count_nonzero(ignore)),
    )


def jaccard_from_counts(
    both: ArrayLike,
    prediction: ArrayLike,
    target: ArrayLike,
    prediction_ignore: ArrayLike = 0,
    ignore: ArrayLike = 0,
    rule: IgnoreRule = "drop",
) -> Floats:
    """J from exact integers; any shape, float64 in [0, 1], higher is better.

    With P the prediction, G the target and I the Ignore region (G∩I = ∅):

    * ``drop`` (the paper): |P∩G| / (|P| - |P∩I| + |G| - |P∩G|), Ignore removed from both masks
    * ``background``: |P∩G| / (|P| + |G| - |P∩G|), Ignore counts as not target
    * ``target``: (|P∩G| + |P∩I|) / (|P| + |G| + |I| - |P∩G| - |P∩I|), Ignore counts as target

    An empty union scores 1 (DAVIS): the target is absent and the prediction says so.

    >>> float(jaccard_from_counts(1, 2, 3))
    0.25
    >>> float(jaccard_from_counts(0, 0, 0))
    1.0
    """
    p, g, pg, pi, i = (np.asarray(x, dtype=np.int64) for x in (prediction, target, both, prediction_ignore, ignore))
    if rule == "drop":
        top, union = pg, p - pi + g - pg
    elif rule == "background":
        top, union = pg, p + g - pg
    elif rule == "target":
        top, union = pg + pi, p + g + i - pg - pi
    else:
        raise ValueError(f"unknown Ignore rule {rule!r}")
    top, union = np.broadcast_arrays(top, union)
    values = np.ones(union.shape, dtype=np.float64)
    np.divide(top, union, out=values, where=union != 0)
    return values


def jaccard(prediction: ArrayLike, target: ArrayLike, ignore: ArrayLike | None = None) -> float | Floats:
    """Region similarity J of one frame [H, W] (a float) or of a clip [T, H, W] (float64 [T]).

    Pixels in ``ignore`` are left out of both masks; an empty union gives 1. A 4x4 example: the target
    fills the left half, one column beside it is Ignore, the prediction fills the lower two rows. Of its
    8 pixels 4 hit the target and 2 fall on Ignore, so J = 4 / (8 - 2 + 8 - 4) = 0.4.

    >>> g = np.zeros((4, 4), bool); g[:, :2] = True
    >>> i = np.zeros((4, 4), bool); i[:, 2] = True
    >>> p = np.zeros((4, 4), bool); p[2:] = True
    >>> jaccard(p, g, i)
    0.4
    """
    masks = checked_masks(prediction, target, ignore)
    if masks[0].ndim == 2:
        return float(jaccard_from_counts(*region_counts(*masks)))
    if masks[0].ndim != 3:
        raise ValueError(f"masks must be [H, W] or [T, H, W], not {masks[0].shape}")
    rows = [region_counts(*frame) for frame in zip(*masks, strict=True)]
    return jaccard_from_counts(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)


def mean(values: Floats) -> float | None:
    """Exactly rounded mean (``math.fsum``), the same on every machine; None for no values."""
    return math.fsum(values.tolist()) / len(values) if len(values) else None


def recall(values: Floats, threshold: float = 0.5) -> float | None:
    """Share of frames with a value strictly above ``threshold`` (DAVIS), in [0, 1]; None for no frames."""
    return int(np.count_nonzero(values > threshold)) / len(values) if len(values) else None


def decay(values: Floats) -> float | None:
    """Mean of the first quarter minus mean of the last, in [-1, 1]; lower is better.

    DAVIS's borders: b = round(linspace(1, T, 5) + 1e-10) - 1 and quarter k is frames b[k] to b[k+1]
    inclusive, so neighbours share a frame. Borders are int64: davis2017-evaluation, TrackEval and VOST
    store them in uint8, which wraps beyond 256 frames. None for no frames.

    >>> decay(np.array([1.0, 1.0, 0.5, 0.0, 0.0]))
    1.0
    """
    if not len(values):
        return None
    borders = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    first, last = mean(values[borders[0] : borders[1] + 1]), mean(values[borders[3] : borders[4] + 1])
    assert first is not None and last is not None  # T >= 1, so both hold a frame
    return first - last


def last_quarter(values: Floats) -> float | None:
    """Mean over frames ``int(0.75 * T):``, the last quarter of the clip; None for no frames.

    VOST's J_tr is this after dropping the first and the last frame; referring segmentation gives no
    first frame away, so none is dropped here.
    """
    return mean(values[int(0.75 * len(values)) :])
