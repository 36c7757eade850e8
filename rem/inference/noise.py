"""Where the noise of the one step comes from.

The official ModelScope code adds new random noise at every call, also when it segments; Wan's adds none. Here the
choice has a name: ``official`` (random), ``seeded``, ``none``, or a tensor.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from refvps.errors import UsageError

POLICIES = ("official", "seeded", "none")
"""Names of the policies; a tensor is the fourth."""


def frame_noise(seed: int, first: int, shape: tuple[int, int, int, int]) -> Tensor:
    """Noise, float32 [1, C, F, h, w] on the CPU, of the frames from ``first`` on; ``shape`` is (C, F, h, w).

    The noise of a frame follows from ``seed`` and its index alone: not from the device, nor from how the clip was
    cut into chunks, nor from how often or for which expression it is drawn.
    """
    channels, frames, height, width = shape
    noise = torch.empty(1, channels, frames, height, width)
    for index in range(frames):
        digest = hashlib.sha256(f"{seed}:{first + index}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))  # torch uses 32 bits of it
        noise[0, :, index] = torch.randn(channels, height, width, generator=generator)
    return noise


def check_policy(policy: str | Tensor, noisy: bool) -> None:
    """Raise UsageError for a policy that does not exist or that a backbone without noise cannot follow."""
    given = isinstance(policy, Tensor)
    if not given and policy not in POLICIES:
        raise UsageError(
            "There is no noise policy of this name.",
            where=[repr(policy)],
            fix=f"one of {', '.join(POLICIES)}, or a tensor [1, C, F, h, w]",
        )
    if not noisy and (given or policy == "seeded"):
        raise UsageError(
            "This backbone is fed clean latents; noise has no meaning.", fix="noise=none or noise=official"
        )


def chunk_noise(policy: str | Tensor, latents: Tensor, first: int, seed: int) -> Tensor | None:
    """Noise for ``latents`` [1, C, F, h, w], whose first frame has index ``first`` in the clip; None for none."""
    if isinstance(policy, Tensor):
        given = policy[:, :, first : first + latents.shape[2]]
        if given.shape != latents.shape:
            raise UsageError(
                "The noise does not have the shape of the latents.",
                where=[f"{list(policy.shape)} from frame {first} on, latents {list(latents.shape)}"],
                fix="give noise [1, C, F, h, w] for all frames of the clip",
            )
        return given
    if policy == "official":
        batch, channels, frames, height, width = latents.shape
        flat = torch.randn(batch * frames, channels, height, width, device=latents.device)  # the official order
        return flat.unflatten(0, (batch, frames)).transpose(1, 2)
    if policy == "seeded":
        return frame_noise(seed, first, tuple(latents.shape[1:]))  # type: ignore[arg-type]
    return None
