"""REM as a diffusers pipeline: frames and sentences in, masks out, one step of the network per chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor, nn

from refvps.errors import InputError, UsageError
from refvps.types import MaskChunk
from rem.backbones import backbone_class, load_backbone
from rem.backbones.base import Backbone
from rem.backbones.loading import cast
from rem.chunks import Chunk, plan_chunks
from rem.frames import normalised, resized_frames
from rem.inference.memory import Stage, explained
from rem.inference.noise import chunk_noise
from rem.inference.precision import DTYPES, computing
from rem.inference.settings import Settings
from rem.masks import masks_from_pixels

Frames = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class RemOutput:
    """What a call returns, on the CPU.

    ``masks``: bool [N, T, H, W], one masklet per text, or None. ``latents``: predicted mask latents, float32
    [N, C, F, h, w], one tensor per chunk of ``chunks``, or empty.
    """

    masks: Tensor | None
    latents: tuple[Tensor, ...]
    chunks: tuple[Chunk, ...]


class RemPipeline(DiffusionPipeline):
    """One-step referring video segmentation (paper, section 3).

    Frames become latents once for all expressions; latents are moved to the smallest timestep, the network runs once
    per expression and its output, taken as the latent of the mask, is decoded by the frozen autoencoder, resized,
    averaged over the channels and compared with 0.5. The network is ``unet`` or ``transformer``, whichever the
    backbone has. Follows diffusers' conventions: ``components``, ``save_pretrained``, ``to``, ``progress_bar``.
    """

    _optional_components = ("scheduler", "transformer", "unet")

    def __init__(
        self,
        vae: nn.Module,
        text_encoder: nn.Module,
        tokenizer: Any,
        scheduler: Any = None,
        unet: nn.Module | None = None,
        transformer: nn.Module | None = None,
        backbone: str = "modelscope",
    ) -> None:
        super().__init__()
        if (unet is None) == (transformer is None):
            raise UsageError("A pipeline has one network: a unet or a transformer.")
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler, unet=unet,
            transformer=transformer,
        )  # fmt: skip
        self.register_to_config(backbone=backbone)

    @classmethod
    def of(cls, backbone: Backbone) -> Self:
        """The pipeline around the modules of ``backbone``."""
        network = "transformer" if backbone.name == "wan" else "unet"
        return cls(
            backbone.vae, backbone.text_encoder, backbone.tokenizer, backbone.scheduler,
            backbone=backbone.name, **{network: backbone.denoiser},
        )  # fmt: skip

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        folder_or_repo: str | Path,
        *,
        backbone: str = "modelscope",
        weights: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
    ) -> Self:
        """Load a folder in diffusers' layout or a repository, every key checked.

        ``weights`` is a checkpoint of the denoiser (official ``.pth`` or safetensors) that replaces the folder's.
        ``dtype`` is the type of autoencoder and denoiser, float32 if None. Raises DataMissingError if something is
        not there and InputError for weights that do not fit.
        """
        loaded = load_backbone(backbone, folder_or_repo, device=device, dtype=dtype, revision=revision)
        if weights is not None:
            from rem.checkpoints import load_strict, read_state

            load_strict(loaded.denoiser, read_state(weights), str(weights))
        return cls.of(loaded)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Move the modules; a ``dtype`` (alone, or second) is for autoencoder and denoiser only.

        The text encoder keeps its type, and parts that a network keeps in float32 stay so.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        for module in (self.vae, self.text_encoder, self.network):
            if dtype is not None and module is not self.text_encoder:
                cast(module, dtype, keep=getattr(module, "_keep_in_fp32_modules", None) or ())
            if device is not None:
                module.to(device)
        return self

    @property
    def backbone(self) -> Backbone:
        """The pipeline's modules behind the interface that REM is written against."""
        family: Any = backbone_class(self.config.backbone)
        found: Backbone = family(self.vae, self.network, self.text_encoder, self.tokenizer, self.scheduler)
        return found

    @property
    def network(self) -> nn.Module:
        """The denoiser, under either of its names."""
        return self.transformer if self.unet is None else self.unet

    def __call__(
        self,
        frames: Frames,
        texts: str | Sequence[str],
        *,
        generator: torch.Generator | None = None,
        output: str = "masks",
        **settings: Any,
    ) -> RemOutput:
        """Segment ``frames``, uint8 RGB [H, W, 3] each, by every text of ``texts``.

        ``settings`` are the fields of :class:`~rem.inference.settings.Settings`. ``generator`` decides the noise of
        ``noise="seeded"``. ``output`` is "masks" or "latents". Raises UsageError for impossible settings and
        InputError for frames that are no pictures.
        """
        if output not in ("masks", "latents"):
            raise UsageError("There is no such output.", where=[repr(output)], fix="masks or latents")
        chosen = Settings(**settings)
        listed = [texts] if isinstance(texts, str) else list(texts)
        if not listed:
            raise UsageError("There is no text to segment by.", fix='give at least one; "" is one too')
        chunks = self.plan(frames, chosen)
        with self.progress_bar(total=len(chunks) * len(listed)) as bar:
            if output == "latents":
                parts: dict[Chunk, list[Tensor]] = {chunk: [] for chunk in chunks}
                for chunk, _, predicted, _ in _predicted(self.backbone, frames, listed, chunks, chosen, generator):
                    parts[chunk].append(predicted.cpu())
                    bar.update(len(predicted))
                return RemOutput(None, tuple(torch.cat(part) for part in parts.values()), chunks)
            masks: list[list[Tensor]] = [[] for _ in listed]
            for piece in self.stream(frames, listed, chosen, generator=generator):
                masks[piece.text].append(torch.from_numpy(piece.masks))
                bar.update()
        return RemOutput(torch.stack([torch.cat(track) for track in masks]), (), chunks)

    def plan(self, frames: Frames, settings: Settings) -> tuple[Chunk, ...]:
        """The chunks in which ``frames`` will be seen; raises InputError for none, UsageError for wrong settings."""
        if not len(frames):
            raise InputError("There are no frames to segment.", fix="give at least one frame")
        backbone = self.backbone
        settings.check_for(backbone)
        return plan_chunks(len(frames), settings.chunk or backbone.chunk_frames, stride=backbone.frame_stride)

    def stream(
        self, frames: Frames, texts: Sequence[str], settings: Settings, *, generator: torch.Generator | None = None
    ) -> Iterator[MaskChunk]:
        """Masks chunk by chunk, and within a chunk text by text; frames are decoded as they are needed."""
        backbone = self.backbone
        chunks = self.plan(frames, settings)
        for chunk, first, predicted, size in _predicted(backbone, frames, texts, chunks, settings, generator):
            with _computing("decode", backbone, settings, chunk):
                pixels = backbone.decode(predicted, chunk.stop - chunk.start, batch=settings.decode_batch)
                _check_finite(pixels, "decoded pixels", chunk, 1)
                masks = masks_from_pixels(pixels[:, :, -chunk.keep :], size, dtype=DTYPES[settings.post]).cpu().numpy()
            for offset, masklet in enumerate(masks):
                yield MaskChunk(first + offset, chunk.first_kept, masklet)

    @torch.no_grad()
    def predict_latents(
        self, latents: Tensor, text_embeddings: Tensor, *, noise: Tensor | None = None, batch: int = 1
    ) -> Tensor:
        """Mask latents [N, C, F, h, w] of one chunk's frame ``latents`` [1, C, F, h, w] for N ``text_embeddings``.

        ``noise`` [1, C, F, h, w] is shared by all; None feeds clean latents. ``batch`` texts go through the network
        together; with 1, the answer to a text does not depend on the others to the last bit.
        """
        backbone = self.backbone
        shifted = backbone.shift(latents, noise)
        parts = text_embeddings.split(batch)
        return torch.cat([backbone.denoise(shifted.expand(len(few), -1, -1, -1, -1), few) for few in parts])


def _predicted(
    backbone: Backbone,
    frames: Frames,
    texts: Sequence[str],
    chunks: Sequence[Chunk],
    settings: Settings,
    generator: torch.Generator | None,
) -> Iterator[tuple[Chunk, int, Tensor, tuple[int, int]]]:
    """Chunk, first text, mask latents [n, C, F, h, w] of n texts, and size of the frames, batch after batch."""
    seed = 0
    if isinstance(settings.noise, str) and settings.noise == "seeded":
        if generator is None:
            raise UsageError("Seeded noise needs a seed.", fix="generator=torch.Generator().manual_seed(0)")
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    # one by one: an embedding must not depend on what else is asked, to the last bit
    embeddings = [backbone.embed([text]) for text in texts]
    for chunk in chunks:
        encoded: tuple[Tensor, tuple[int, int]] | None = None
        for first in range(0, len(texts), settings.batch):
            if encoded is None or not settings.share:
                encoded = _encoded(backbone, frames, chunk, settings)
            latents, size = encoded
            few = torch.cat(embeddings[first : first + settings.batch])
            with _computing("denoise", backbone, settings, chunk):
                predicted = backbone.denoise(_shifted(backbone, latents, len(few), settings, chunk.start, seed), few)
            _check_finite(predicted, "predicted latents", chunk, backbone.frame_stride)
            yield chunk, first, predicted, size


def _encoded(backbone: Backbone, frames: Frames, chunk: Chunk, settings: Settings) -> tuple[Tensor, tuple[int, int]]:
    """Latents [1, C, F, h, w] of a chunk and the size (H, W) of its frames."""
    small, size = resized_frames(frames[chunk.start : chunk.stop], settings.size, first=chunk.start)
    with _computing("encode", backbone, settings, chunk):
        latents = backbone.encode(normalised(small.to(backbone.device))[None])
    _check_finite(latents, "latents of the frames", chunk, backbone.frame_stride)
    return latents, size


def _shifted(backbone: Backbone, latents: Tensor, number: int, settings: Settings, first: int, seed: int) -> Tensor:
    """Latents for ``number`` texts; official noise is new for each, any other the same for all."""
    policy, many = settings.noise, latents.expand(number, -1, -1, -1, -1)
    if not backbone.noise:
        return backbone.shift(many, None)
    each = isinstance(policy, str) and policy == "official"
    noise = chunk_noise(policy, many if each else latents, first, seed)
    return backbone.shift(many, None if noise is None else noise.to(latents.device))


@contextmanager
def _computing(stage: Stage, backbone: Backbone, settings: Settings, chunk: Chunk) -> Iterator[None]:
    """No gradients, the chosen precision, and errors that say what to change."""
    length = chunk.stop - chunk.start
    with (
        torch.no_grad(),
        explained(stage, settings, length, backbone.frame_stride),
        computing(settings, backbone.device),
    ):
        yield


def _check_finite(values: Tensor, what: str, chunk: Chunk, stride: int) -> None:
    """Raise InputError that names the first frames whose ``values`` [B, C, F, h, w] are not finite."""
    finite = torch.isfinite(values)
    if finite.all():
        return
    broken = (~finite.all(dim=4).all(dim=3).all(dim=1).all(dim=0)).nonzero().flatten().tolist()
    raise InputError(
        f"The {what} are not finite.",
        # a latent stands for `stride` frames, but the first one, which stands for one
        where=[f"frame {chunk.start + max(0, stride * (index - 1) + 1)}" for index in broken],
        fix="use dtype=bf16 or fp32 if this was fp16; otherwise the weights are damaged",
    )
