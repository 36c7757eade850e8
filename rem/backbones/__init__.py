"""Backbones by name; naming one imports nothing until it is loaded."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from refvps.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from rem.backbones.base import Backbone

BACKBONES = {
    "modelscope": "rem.backbones.modelscope:ModelScope",
    "wan": "rem.backbones.wan:Wan",
    "stable-diffusion": "rem.backbones.stable_diffusion:StableDiffusion",
    "videocrafter": "rem.backbones.videocrafter:VideoCrafter",
}
"""Name to ``module:class``: the rows of the backbone ablation (paper, Table 4) and Wan."""


def backbone_class(name: str) -> type[Backbone]:
    """The class of a backbone; raises UsageError for an unknown name."""
    if name not in BACKBONES:
        raise UsageError("There is no backbone of this name.", where=[repr(name)], fix=f"one of {', '.join(BACKBONES)}")
    module, _, attribute = BACKBONES[name].partition(":")
    found: type[Backbone] = getattr(importlib.import_module(module), attribute)
    return found


def load_backbone(
    name: str,
    folder_or_repo: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> Backbone:
    """A backbone from a folder in diffusers' layout or a repository of the Hub, in evaluation mode.

    ``dtype`` is the type of autoencoder and denoiser (float32 if None). Raises DataMissingError if nothing is there
    and InputError for a model whose weights do not fit in full.
    """
    from rem.backbones.loading import find_folder

    family = backbone_class(name)
    backbone: Backbone = family.load(find_folder(folder_or_repo, revision), dtype=dtype)
    for module in (backbone.vae, backbone.denoiser, backbone.text_encoder):
        module.to(device)
    return backbone
