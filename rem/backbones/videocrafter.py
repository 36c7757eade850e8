"""VideoCrafter 1 and 2: rows of the ablation (paper, Table 4) whose network is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch

from refvps.errors import DataMissingError
from rem.backbones.modelscope import ModelScope


class VideoCrafter(ModelScope):
    """ModelScope's interface with VideoCrafter's UNet, once its architecture can be checked against its weights."""

    name = "videocrafter"

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype | None = None) -> Self:
        """Always raises DataMissingError, which says what is missing."""
        raise DataMissingError(
            "VideoCrafter cannot be loaded: diffusers has no class for its network.",
            where=[f"{folder}: a video UNet that is also conditioned on the frame rate"],
            fix="use modelscope, wan or stable-diffusion; to add it, write a module with the interface of "
            "UNet3DConditionModel that loads the released weights strictly, and return it from denoiser_kind()",
        )
