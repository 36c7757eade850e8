"""refvps: score models that segment, in video, whatever a sentence describes.

    >>> import refvps
    >>> benchmark = refvps.load("sample")
    >>> scores = refvps.evaluate(benchmark, "preds/")      # doctest: +SKIP

Names are imported when they are first used, so that ``import refvps`` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from refvps.data import load
    from refvps.metrics import boundary_f, jaccard, temporal_consistency
    from refvps.run.evaluate import evaluate
    from refvps.run.scorer import Scorer
    from refvps.types import MaskChunk, Method, Predictor, Rules

_PLACES = {
    "load": "refvps.data",
    "evaluate": "refvps.run.evaluate",
    "Scorer": "refvps.run.scorer",
    "jaccard": "refvps.metrics",
    "boundary_f": "refvps.metrics",
    "temporal_consistency": "refvps.metrics",
    "Rules": "refvps.types",
    "Predictor": "refvps.types",
    "MaskChunk": "refvps.types",
    "Method": "refvps.types",
}

__all__ = [
    "MaskChunk",
    "Method",
    "Predictor",
    "Rules",
    "Scorer",
    "boundary_f",
    "evaluate",
    "jaccard",
    "load",
    "temporal_consistency",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'refvps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
