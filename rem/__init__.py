"""REM: a text-to-video diffusion model as a segmenter, by predicting mask latents in one step.

``RemPipeline`` is the model as a diffusers pipeline, ``rem.predictor:load`` the same behind refvps' protocol.
Importing this package imports neither torch nor diffusers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rem.pipeline import RemPipeline

__all__ = ["RemPipeline"]


def __getattr__(name: str) -> Any:
    if name == "RemPipeline":
        from rem.pipeline import RemPipeline

        return RemPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
