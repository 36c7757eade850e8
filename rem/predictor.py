"""REM behind refvps' protocol: ``refvps predict -p rem --weights FILE_OR_FOLDER_OR_REPO``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refvps.errors import DataMissingError, InputError, UsageError
from refvps.types import MaskChunk, Method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rem.inference.settings import Settings
    from rem.pipeline import RemPipeline

BASES = {
    "modelscope": "ali-vilab/text-to-video-ms-1.7b",
    "wan": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
    "stable-diffusion": "stabilityai/stable-diffusion-2-1",
    "videocrafter": "",
}
"""Where the base models are published."""

STEPS = """accept the licence of the base model (ModelScope's is CC-BY-NC-4.0: no commercial use), then
  1. hf download {base} --local-dir base
  2. hf download anuragba/refereverything --local-dir rem-weights
  3. rem convert rem-weights/CHECKPOINT.pth converted --base base
  4. --weights converted (or, unconverted: --weights rem-weights/CHECKPOINT.pth -o base=base)"""
"""How to come by weights."""

FAMILIES = {
    "UNet3DConditionModel": "modelscope",
    "UNet2DConditionModel": "stable-diffusion",
    "WanTransformer3DModel": "wan",
}
"""Backbone by the class of the network."""

CHECKPOINTS = (".pth", ".pt", ".safetensors")
"""Endings of files that hold a denoiser alone."""

log = logging.getLogger("rem")


class Rem:
    """A loaded pipeline as a predictor; nothing is read from disk after :func:`load`."""

    def __init__(self, pipeline: RemPipeline, settings: Settings, method: Method) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.method = method

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """Masks chunk by chunk; see :class:`refvps.types.Predictor`.

        The noise of a frame follows from ``seed`` and its index alone, so it is the same for all texts.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        yield from self.pipeline.stream(frames, texts, self.settings, generator=generator)


def load(
    weights: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    backbone: str = "modelscope",
    base: str | None = None,
    revision: str | None = None,
    size: int | str | Sequence[int] = 512,
    chunk: int | str | None = None,
    noise: str | None = None,
    post: str = "fp32",
    batch: int = 1,
    decode_batch: int = 16,
    autocast: str = "none",
    attention: str = "auto",
    tf32: bool = False,
    channels_last: bool = False,
    compile: bool = False,
) -> Rem:
    """Load REM.

    ``weights``: a folder in diffusers' layout, a repository of the Hub, or a checkpoint of the denoiser alone
    (official ``.pth``, safetensors, or a folder of ``rem convert``), which needs its base model's folder or
    repository as ``base``. ``device``: cuda where there is one, else cpu. ``dtype``: fp32, bf16 or fp16; by default
    what the official code has, fp32, for Wan bf16. ``size``: a side, or "HEIGHTxWIDTH". ``chunk``: frames seen
    together, part of the protocol: a number, None for the official one, or "auto" for what fits into memory now (the
    choice is logged and recorded). ``noise``: "seeded" (the default, from the seed of each clip) or "none".
    ``channels_last`` and ``compile`` change last digits only; a compiled network writes its cache when it first
    runs. The other options are fields of :class:`~rem.inference.settings.Settings`.

    Raises DataMissingError if something is not on this machine, with the steps to get it, InputError for weights
    that do not fit, UsageError for impossible options.
    """
    if not weights:
        raise DataMissingError("REM needs weights.", fix=STEPS.format(base=BASES.get(backbone) or BASES["modelscope"]))
    import torch

    from rem.backbones import backbone_class
    from rem.inference.memory import affordable_chunk, free_bytes
    from rem.inference.precision import DTYPES, compile_networks, use_channels_last
    from rem.inference.settings import Settings

    family = backbone_class(backbone)  # an unknown name is the first thing to say
    chosen = dtype or ("bf16" if backbone == "wan" else "fp32")
    if chosen not in DTYPES:
        raise UsageError("There is no such dtype.", where=[repr(dtype)], fix=f"one of {', '.join(DTYPES)}")
    if noise == "official":
        raise UsageError(
            "The official noise is random at every call, and a predictor must repeat itself.",
            fix="noise=seeded, or noise=none; RemPipeline offers the official noise",
        )
    _check_flags(tf32=tf32, channels_last=channels_last, compile=compile)
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UsageError("There is no such device.", where=[repr(device)], fix="cpu, cuda or cuda:1") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no GPU that torch can use here.", where=[f"device={device}"], fix="--device cpu")
    if noise is None:
        noise = "seeded" if family.noise else "none"
    settings = Settings(
        size=_sides(size), noise=noise, post=post, batch=batch, decode_batch=decode_batch, autocast=autocast,
        attention=attention, tf32=tf32, chunk=chunk if chunk != "auto" else None,  # type: ignore[arg-type]
    )  # fmt: skip
    settings.check_for(family)  # before gigabytes are read
    pipeline, digest = _pipeline(weights, base, backbone, revision, place, DTYPES[chosen])
    model = pipeline.backbone
    length = settings.chunk or model.chunk_frames
    if chunk == "auto":
        free = free_bytes(place)
        length = affordable_chunk(model, settings, free)
        log.warning("chunks of %d frames (official: %d), %.1f GiB free", length, model.chunk_frames, free / 2**30)
    settings = replace(settings, chunk=length)
    pipeline.set_progress_bar_config(disable=True)
    if channels_last:
        use_channels_last(model)
    if compile:
        compile_networks(model)
    options = {
        "backbone": backbone, "dtype": chosen, "size": list(settings.size), "chunk": length,
        "chunk_from": "memory" if chunk == "auto" else "option" if chunk else "official",
        "noise": settings.noise, "post": post, "batch": batch, "decode_batch": decode_batch, "autocast": autocast,
        "attention": attention, "tf32": tf32, "channels_last": channels_last, "compile": compile,
    }  # fmt: skip
    method = Method("rem", version="1", weights_sha256=digest, options=options, url="https://arxiv.org/abs/2410.23287")
    return Rem(pipeline, settings, method)


def _sides(size: int | str | Sequence[int]) -> tuple[int, int]:
    """(height, width) of 512, "512", "480x832" or [480, 832]."""
    try:
        parts = size.lower().split("x") if isinstance(size, str) else [size] if isinstance(size, int) else list(size)
        height, width = (int(part) for part in (parts * 2 if len(parts) == 1 else parts))
    except (TypeError, ValueError) as error:
        raise UsageError("This is no size.", where=[f"size={size!r}"], fix="size=512 or size=480x832") from error
    return height, width


def _pipeline(
    weights: str, base: str | None, backbone: str, revision: str | None, device: Any, dtype: Any
) -> tuple[RemPipeline, str]:
    """The pipeline and the SHA-256 of what was given as weights."""
    from rem.backbones.loading import find_folder
    from rem.checkpoints import sha256_of
    from rem.pipeline import RemPipeline

    source = Path(weights)
    if source.is_file() and not source.name.endswith(CHECKPOINTS):
        raise InputError("This is no checkpoint.", where=[weights], fix=f"a folder, or a file {', '.join(CHECKPOINTS)}")
    place = source if source.is_file() else find_folder(weights, revision)
    if place.is_dir() and (place / "model_index.json").is_file():
        if base:
            raise UsageError("The weights are a whole model; a base has no use.", where=[weights], fix="leave base out")
        _check_family(place / "model_index.json", backbone)
        return RemPipeline.from_pretrained(place, backbone=backbone, device=device, dtype=dtype), sha256_of(place)
    if not base:
        raise DataMissingError(
            "These weights are of the denoiser alone; autoencoder and text encoder come from the base model.",
            where=[weights],
            fix=f"-o base=FOLDER_OR_REPO, for example {BASES.get(backbone) or 'a folder'}",
        )
    pipeline = RemPipeline.from_pretrained(base, backbone=backbone, weights=place, device=device, dtype=dtype)
    return pipeline, sha256_of(place)


def _check_family(index: Path, backbone: str) -> None:
    """Raise UsageError if the index of a model says that it has another backbone."""
    try:
        parts = json.loads(index.read_bytes())
        kinds = [(parts.get(part) or [None, None])[1] for part in ("unet", "transformer")]
        said = parts.get("backbone") or next((FAMILIES[kind] for kind in kinds if kind in FAMILIES), backbone)
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise InputError("The index of a model cannot be read.", where=[f"{index}: {error}"]) from error
    if said != backbone:
        raise UsageError(
            "The weights belong to another backbone.", where=[f"{index}: {said}"], fix=f"-o backbone={said}"
        )


def _check_flags(**flags: object) -> None:
    """Raise UsageError for what is neither true nor false: any text, even "no", would count as true."""
    if wrong := [f"{name}={value!r}" for name, value in flags.items() if not isinstance(value, bool)]:
        raise UsageError("An option is neither true nor false.", where=wrong, fix="true or false")
