"""How the same numbers are computed: types, kernels, layouts, compilation. All of it changes last digits only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from refvps.errors import UsageError

if TYPE_CHECKING:
    from rem.backbones.base import Backbone
    from rem.inference.settings import Settings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Floating types by their names on the command line."""


@contextmanager
def computing(settings: Settings, device: torch.device) -> Iterator[None]:
    """The context in which the networks run: autocast, the kernel of attention, TF32 on a GPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = {
        "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH,
    }  # fmt: skip
    with ExitStack() as stack:
        if settings.attention != "auto":
            stack.enter_context(sdpa_kernel(kernels[settings.attention]))
        if settings.autocast != "none":
            stack.enter_context(torch.autocast(device.type, DTYPES[settings.autocast]))
        if device.type == "cuda":
            stack.enter_context(_tf32(settings.tf32))
        try:
            yield
        except RuntimeError as error:
            if "No available kernel" not in str(error):
                raise
            raise UsageError(
                "This kernel of attention cannot run these types or sizes on this device.",
                where=[f"attention={settings.attention} on {device}"],
                fix="attention=auto",
            ) from error


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def use_channels_last(backbone: Backbone) -> int:
    """Lay the weights of all 2D convolutions out with channels last, in place; returns how many there are.

    Only of those: the UNet has 5-D weights too, for which the layout does not exist.
    """
    found = [
        layer
        for module in (backbone.vae, backbone.denoiser)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    for layer in found:
        layer.to(memory_format=torch.channels_last)
    return len(found)


def compile_networks(backbone: Backbone) -> None:
    """Compile the denoiser and both halves of the autoencoder, in place; the first chunk then takes minutes."""
    for module in (backbone.denoiser, backbone.vae.encoder, backbone.vae.decoder):
        module.compile()
