"""Floating-point operations of each stage, counted on the meta device: no weights, no data, any size."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rem.backbones.base import Backbone

TOKENS = 77
"""Tokens of a prompt that are counted; Wan's encoder reads more but this is what the denoiser sees."""
STAGES = ("encode", "text", "denoise", "decode")


def stage_flops(backbone: Backbone, frames: int, size: tuple[int, int]) -> dict[str, int]:
    """Operations of the four stages for one expression and one chunk of ``frames`` frames of ``size`` (H, W).

    A multiply-add is two operations; matrix products, convolutions and attention count, pointwise work does not.
    The modules of ``backbone`` may be on any device and are not run: their configurations are.
    """
    twin = meta_twin(backbone)
    pixels = torch.empty(1, 3, frames, *size, device="meta")
    latents, encode = _counted(lambda: twin.encode(pixels))
    tokens = torch.zeros(1, TOKENS, dtype=torch.int64, device="meta")
    states, text = _counted(lambda: twin.text_encoder(tokens)[0])
    predicted, denoise = _counted(lambda: twin.denoise(latents, states))
    _, decode = _counted(lambda: twin.decode(predicted, frames))
    return dict(zip(STAGES, (encode, text, denoise, decode), strict=True))


def meta_twin(backbone: Backbone) -> Backbone:
    """A backbone of the same configuration whose modules are on the meta device."""
    twin = copy.copy(backbone)
    with torch.device("meta"):
        twin.vae = _from_config(backbone.vae)
        twin.denoiser = _from_config(backbone.denoiser)
        twin.text_encoder = type(backbone.text_encoder)(backbone.text_encoder.config)  # type: ignore[call-arg]
    for module in (twin.vae, twin.denoiser, twin.text_encoder):
        module.eval()
    return twin


def _from_config(module: Any) -> nn.Module:
    found: nn.Module = type(module).from_config(dict(module.config))
    return found


def _counted(work: Any) -> tuple[torch.Tensor, int]:
    """What ``work`` returns and its operations."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops()
