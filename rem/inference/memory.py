"""What fits into memory, and what to do when it did not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from refvps.errors import UsageError
from rem.chunks import ladder

if TYPE_CHECKING:
    from rem.backbones.base import Backbone
    from rem.inference.settings import Settings

Stage = Literal["encode", "denoise", "decode"]

DENOISE_ELEMENTS = 165
"""Numbers alive per pixel of a frame in the denoiser: 5.8 GiB for 72 frames of 512x512 in 2 bytes (ModelScope)."""

VAE_ELEMENTS = 770
"""The same while the autoencoder decodes: 27 GiB; encoding takes less."""

PIXEL_BYTES = 24
"""Frames and decoded pixels of a chunk, three channels of float32 each."""

SHARE = 0.8
"""Part of the free memory that a plan may use; the rest is for what an estimate does not see."""


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a GPU, or physical memory that is free on this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def affordable_chunk(backbone: Backbone, settings: Settings, free: int) -> int:
    """The longest chunk of the backbone's ladder that ``free`` bytes hold by estimate; raises UsageError for none.

    The estimate is for the released sizes. Another chunk gives other masks: this choice belongs into the record.
    """
    pixels = settings.size[0] * settings.size[1]
    width = 2 if settings.autocast != "none" else backbone.dtype.itemsize
    for chunk in ladder(backbone.chunk_frames, backbone.frame_stride):
        decode = min(settings.decode_batch, chunk) * VAE_ELEMENTS * width
        denoise = settings.batch * chunk * DENOISE_ELEMENTS * width
        if pixels * (max(decode, denoise) + settings.batch * chunk * PIXEL_BYTES) <= SHARE * free:
            return chunk
    raise UsageError(
        "Not even one frame fits into the free memory.",
        where=[f"{free / 2**30:.2f} GiB free on {backbone.device}"],
        fix="free some, choose a smaller size, dtype=bf16 or decode_batch=1",
    )


@contextmanager
def explained(stage: Stage, settings: Settings, chunk: int, stride: int) -> Iterator[None]:
    """Turn running out of memory in ``stage`` into a UsageError that names the options to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        raise UsageError(
            "Out of memory.",
            where=[
                f"{stage}: {chunk} frames of {settings.size[0]}x{settings.size[1]}, batch={settings.batch}, "
                f"decode_batch={settings.decode_batch}"
            ],
            fix=advice(stage, settings, chunk, stride),
        ) from error


def advice(stage: Stage, settings: Settings, chunk: int, stride: int) -> str:
    """The next option to lower: first those that change no mask, at last the chunk, which does."""
    if stage == "decode" and stride == 1 and min(settings.decode_batch, chunk) > 1:
        return f"decode_batch={min(settings.decode_batch, chunk) // 2} (needs less memory, gives the same masks)"
    if settings.batch > 1:
        return f"batch={settings.batch // 2} (needs less memory, gives the same masks)"
    shorter = next((step for step in ladder(chunk, stride) if step <= (chunk + 1) // 2 and step < chunk), None)
    if shorter is None:
        return "dtype=bf16, a smaller size, or a device with more memory"
    return f"dtype=bf16, or chunk={shorter}, which is another protocol: frames seen apart give other masks"


def _out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        sign in words for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
