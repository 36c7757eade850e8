"""The frozen features of VD-IT: one map of the autoencoder's encoder and six activations of the video UNet.

The stock UNet of diffusers repeats one prompt for every frame and always runs its temporal modules. VD-IT gives
every frame a prompt of its own and skips the temporal modules for a clip of one frame, so the forward pass is
written out here over the stock model's modules. Nothing in this module is trained, but gradients flow through the UNet
to the prompt and to the noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TAKEN = ("in", "down0", "down1", "up0", "up1", "up2")
"""Names of the six activations, in the order in which :func:`unet_walk` meets them."""


@dataclass(frozen=True)
class Encoded:
    """What the autoencoder sees in a clip: ``latents`` [B, 4, T, h, w], scaled, and ``quarter`` [B*T, C, 2h, 2w]."""

    latents: Tensor
    quarter: Tensor


@torch.no_grad()
def encode_frames(vae: Any, pixels: Tensor, *, generator: torch.Generator | None = None, batch: int = 8) -> Encoded:
    """Latents of ``pixels`` [B, 3, T, H, W] in [-1, 1] and the encoder's map at a quarter of the resolution.

    The map is the output of the last residual block of the third level, before its downsampling. With a
    ``generator`` (on the CPU) the latents are sampled as the released code does, without one they are the mode.
    H and W must be multiples of 8; ``batch`` frames are encoded at a time.
    """
    count, _, length = pixels.shape[:3]
    frames = pixels.transpose(1, 2).flatten(0, 1)
    means, maps = [], []
    kept: list[Tensor] = []
    hook = vae.encoder.down_blocks[2].resnets[-1].register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        for part in frames.split(batch):
            posterior = vae.encode(part.to(vae.dtype)).latent_dist
            latents = posterior.mean.float()
            if generator is not None:
                noise = torch.randn(latents.shape, generator=generator)
                latents = latents + posterior.std.float() * noise.to(latents.device)
            means.append(latents)
            maps.append(kept.pop())
    finally:
        hook.remove()
    latents = torch.cat(means) * vae.config.scaling_factor
    return Encoded(latents.unflatten(0, (count, length)).transpose(1, 2), torch.cat(maps).float())


def unet_walk(
    unet: Any, sample: Tensor, timestep: int, prompts: Tensor, *, gated: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """Run a ``UNet3DConditionModel`` and hand out its activations by name as they come.

    ``sample`` [B, C, T, h, w], ``prompts`` [B*T, L, D], one per frame. Yields ``in`` (after the first temporal
    transformer), ``down0`` ..., ``mid``, ``up0`` ..., each [B*T, c, h', w'], and at last ``out`` [B, C, T, h, w], the
    stock model's output; whoever needs less stops earlier, and the rest is never computed. ``gated`` skips the
    temporal modules of a clip of one frame, the first one of the middle block excepted, as VD-IT does.
    """
    batch, _, frames = sample.shape[:3]
    temporal = frames > 1 or not gated
    factor = 2**unet.num_upsamplers
    odd = any(side % factor for side in sample.shape[-2:])

    moments = torch.full((batch,), timestep, dtype=torch.int64, device=sample.device)
    embedding = unet.time_embedding(unet.time_proj(moments).to(unet.dtype))
    embedding = embedding.repeat_interleave(frames, dim=0)
    state = unet.conv_in(sample.transpose(1, 2).flatten(0, 1))
    if temporal:
        state = unet.transformer_in(state, num_frames=frames, return_dict=False)[0]
    yield "in", state

    def layer(block: Any, index: int, state: Tensor) -> Tensor:
        state = block.resnets[index](state, embedding)
        if temporal:
            state = block.temp_convs[index](state, num_frames=frames)
        return attend(block, index, state) if hasattr(block, "attentions") else state

    def attend(block: Any, index: int, state: Tensor) -> Tensor:
        state = block.attentions[index](state, encoder_hidden_states=prompts, return_dict=False)[0]
        if temporal:
            state = block.temp_attentions[index](state, num_frames=frames, return_dict=False)[0]
        return state

    skips = [state]
    for number, block in enumerate(unet.down_blocks):
        for index in range(len(block.resnets)):
            state = layer(block, index, state)
            skips.append(state)
        for downsampler in block.downsamplers or ():
            state = downsampler(state)
            skips.append(state)
        yield f"down{number}", state

    block = unet.mid_block
    state = block.temp_convs[0](block.resnets[0](state, embedding), num_frames=frames)
    for index in range(len(block.attentions)):
        state = block.resnets[index + 1](attend(block, index, state), embedding)
        if temporal:
            state = block.temp_convs[index + 1](state, num_frames=frames)
    yield "mid", state

    for number, block in enumerate(unet.up_blocks):
        for index in range(len(block.resnets)):
            state = layer(block, index, torch.cat([state, skips.pop()], dim=1))
        for upsampler in block.upsamplers or ():
            state = upsampler(state, skips[-1].shape[2:] if odd else None)
        yield f"up{number}", state

    if unet.conv_norm_out:
        state = unet.conv_act(unet.conv_norm_out(state))
    yield "out", unet.conv_out(state).unflatten(0, (batch, frames)).transpose(1, 2)


def unet_activations(unet: Any, sample: Tensor, timestep: int, prompts: Tensor) -> dict[str, Tensor]:
    """The six activations of :data:`TAKEN`, float32; the last up block is never run."""
    found: dict[str, Tensor] = {}
    for name, state in unet_walk(unet, sample.to(unet.dtype), timestep, prompts.to(unet.dtype)):
        if name in TAKEN:
            found[name] = state.float()
        if len(found) == len(TAKEN):
            break
    return found


def pyramid_inputs(quarter: Tensor, activations: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps at 1/4, 1/8, 1/16 and 1/32 of the image: the encoder's, then way down and way up side by side."""
    levels = [("in", "up2"), ("down0", "up1"), ("down1", "up0")]
    eighth, sixteenth, last = (torch.cat([activations[down], activations[up]], dim=1) for down, up in levels)
    return quarter, eighth, sixteenth, last
