"""Masks as arrays of any library: whatever has ``__array__`` or ``__dlpack__``, in the memory of the CPU.

Read as DAVIS-style files are read, and no more kindly: bool, or integers of {0, 1} or {0, 255}. No array
library but numpy is imported, or needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError

_ON_CPU = frozenset({1, 3, 11})
"""DLPack device types whose memory the CPU reads: CPU, and the pinned memory of CUDA and ROCm."""

_FIX = "give bool masks [T, H, W] in the memory of the CPU, for example (logits > 0).cpu()"


def unusable(place: str, reason: str, fix: str = _FIX) -> InputError:
    """The error for masks that cannot be used; ``place`` says whose they are."""
    return InputError("Masks cannot be used.", where=[f"{place}: {reason}"], fix=fix)


def as_array(masks: Any, place: str) -> NDArray[Any]:
    """``masks`` as a numpy array of bool or integers, without a copy where that is possible.

    Raises InputError, with ``place`` and what to write instead, for floats, masks on a GPU, masks that
    need a gradient, masked arrays, lists, and whatever does not turn into an array.
    """
    kind = type(masks).__name__
    if isinstance(masks, np.ma.MaskedArray):
        raise unusable(place, "a masked array", "fill it first: masks.filled(False)")
    if not hasattr(masks, "__array__") and not hasattr(masks, "__dlpack__"):
        fix = "stack them first: numpy.stack(masks) or torch.stack(masks)" if isinstance(masks, list | tuple) else _FIX
        raise unusable(place, f"a {kind} is no array", fix)
    if getattr(masks, "requires_grad", False) is True:
        raise unusable(place, f"a {kind} that requires grad", "threshold it, which needs no gradient: logits > 0")
    if not isinstance(masks, np.ndarray):
        _check_device(masks, kind, place)
    try:
        array = masks.__array__() if hasattr(masks, "__array__") else np.from_dlpack(masks)
        array = np.asarray(array) if isinstance(array, np.ndarray) else None
    except Exception as error:  # whatever a foreign array type raises
        raise unusable(place, f"a {kind} does not turn into a numpy array: {_brief(error)}") from error
    if array is None:
        raise unusable(place, f"the __array__ of a {kind} gives no numpy array")
    if array.dtype.kind in "fc":
        raise unusable(place, f"{array.dtype} is soft", "threshold first: masks = logits > 0, or probabilities > 0.5")
    if array.dtype.kind not in "biu":
        raise unusable(place, f"dtype {array.dtype}")
    return array


def _brief(error: Exception) -> str:
    """What a foreign error says, in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_device(masks: Any, kind: str, place: str) -> None:
    if not hasattr(masks, "__dlpack_device__"):
        return
    try:
        on_cpu = int(masks.__dlpack_device__()[0]) in _ON_CPU
    except Exception as error:  # a tensor without memory, or one that DLPack has no name for
        raise unusable(place, f"a {kind} without memory that can be read: {_brief(error)}") from error
    if not on_cpu:
        device = f" on {masks.device}" if hasattr(masks, "device") else ", not in the memory of the CPU"
        raise unusable(place, f"a {kind}{device}", "copy them first: masks.cpu(), or what your library calls it")


def binary(values: NDArray[Any], levels: set[int], place: str) -> NDArray[np.bool_]:
    """One mask [H, W] of bool or integers as bool.

    ``levels`` collects the values of foreground met so far, 1 or 255: masks that belong together use one
    of them. Raises InputError for any other value, and for both.
    """
    if values.dtype.kind == "b":
        return values
    found = {int(values.max(initial=0)), -int(values.min(initial=0) < 0)} - {0}
    mask: NDArray[np.bool_] = values != 0
    if not found <= {1, 255} or (found == {255} and not (mask == (values == 255)).all()):
        others = [int(value) for value in np.unique(values)]
        shown = ", ".join(map(str, others[:6])) + (", ..." if len(others) > 6 else "")
        raise unusable(place, f"values {shown}", "give bool, or integers of {0, 1} or {0, 255} only")
    levels |= found
    if len(levels) > 1:
        raise unusable(place, "1 in one frame and 255 in another", "use one value for the mask in all frames")
    return mask
