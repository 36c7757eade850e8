"""How frames become masks: every choice that is not in the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refvps.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from rem.backbones.base import Backbone

DTYPES = ("fp32", "bf16", "fp16")
"""Floating types by the names they have on the command line."""

ATTENTION = ("auto", "flash", "efficient", "cudnn", "math")
"""Kernels of scaled dot-product attention."""


@dataclass(frozen=True, eq=False)
class Settings:
    """``size`` (height, width), ``chunk``, ``noise`` and ``post`` are the protocol; the rest is speed and memory.

    ``chunk``: frames seen together; None is the backbone's official number. ``noise``: a name of
    :data:`rem.inference.noise.POLICIES` or a tensor [1, C, F, h, w]. ``post``: type in which pixels are resized,
    averaged and compared with 0.5; the official Wan code uses bf16. ``share``: encode the frames once for all
    expressions, not once for each. ``batch``: expressions in one pass. ``decode_batch``: frames decoded together.
    ``autocast``: type of the operations, with the weights left as they are. ``attention``: kernel of attention.
    ``tf32``: whether a GPU may round float32 products to 10 bits.
    """

    size: tuple[int, int] = (512, 512)
    chunk: int | None = None
    noise: str | Tensor = "official"
    post: str = "fp32"
    share: bool = True
    batch: int = 1
    decode_batch: int = 16
    autocast: str = "none"
    attention: str = "auto"
    tf32: bool = False

    def __post_init__(self) -> None:
        _one_of("post", self.post, DTYPES)
        _one_of("autocast", self.autocast, ("none", "bf16", "fp16"))
        _one_of("attention", self.attention, ATTENTION)
        for name in ("batch", "decode_batch", *(("chunk",) if self.chunk is not None else ())):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError("A number must be whole and at least 1.", where=[f"{name}={value!r}"])

    def check_for(self, backbone: Backbone | type[Backbone]) -> None:
        """Raise UsageError if ``backbone`` cannot follow the settings."""
        from rem.chunks import ladder
        from rem.inference.noise import check_policy

        step = backbone.side_multiple
        if any(side < step or side % step for side in self.size):
            height, width = (max(step, round(side / step) * step) for side in self.size)
            raise UsageError(
                f"The {backbone.name} backbone needs sides that are multiples of {step}.",
                where=[f"size={self.size[0]}x{self.size[1]}"],
                fix=f"size={height}x{width}",
            )
        check_policy(self.noise, backbone.noise)
        ladder(self.chunk or backbone.chunk_frames, backbone.frame_stride)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            "An option has no such value.", where=[f"{name}={value!r}"], fix=f"one of {', '.join(allowed)}"
        )
