"""Stock modules from a folder in diffusers' layout, loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refvps.errors import DataMissingError, InputError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""What the name of a repository of the Hub looks like."""

WANTED = ["model_index.json", *(f"*/*.{ending}" for ending in ("json", "txt", "model", "safetensors"))]
"""Files of a repository that are fetched: configurations, vocabularies, weights as safetensors."""

VOCABULARIES = ("vocab.json", "tokenizer.json", "spiece.model")
"""One of these is beside every tokenizer of ours."""


def find_folder(source: str | Path, revision: str | None = None) -> Path:
    """The local folder of ``source``: itself, or a snapshot of the repository of this name, fetched if need be."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists() or not REPOSITORY.fullmatch(str(source)):
        raise DataMissingError(
            "There is no model here.",
            where=[str(source)],
            fix="give a folder in diffusers' layout (model_index.json, unet/, vae/, ...) or a repository, owner/name",
        )
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(str(source), revision=revision, allow_patterns=WANTED, ignore_patterns=["*.fp16.*"])
        return Path(folder)
    except Exception as error:  # many kinds, of several packages: not there, no access, no network
        raise DataMissingError(
            "A model could not be fetched.",
            where=[f"{source}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]],
            fix=f"check the name and the network, or fetch it elsewhere (hf download {source}) and give the folder",
        ) from error


def load_module(kind: Any, folder: Path, subfolder: str, *, dtype: torch.dtype | None = None) -> nn.Module:
    """A module of diffusers or transformers in evaluation mode; every weight must be there and none left over.

    ``kind`` is its class; weights are read from safetensors only. Without the check a missing weight loads silently,
    as noise or without memory.
    """
    place = folder / subfolder
    with _reading(place, "config.json"):
        module, info = kind.from_pretrained(
            folder,
            subfolder=subfolder,
            torch_dtype=dtype or torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
        )
    wrong = [
        f"{place}: {kind_of} {key}"
        for kind_of in ("missing", "unexpected", "mismatched")
        for key in sorted(map(str, info.get(f"{kind_of}_keys") or ()))
    ]
    if wrong:
        raise InputError(
            f"The weights of a {kind.__name__} do not fit its configuration.",
            where=wrong,
            fix="use the configuration the weights were trained with",
        )
    found: nn.Module = module.requires_grad_(False).eval()
    return found


def load_scheduler(kind: Any, folder: Path) -> Any:
    """The noise schedule of a model; ``kind`` is its class in diffusers."""
    with _reading(folder / "scheduler", "scheduler_config.json"):
        return kind.from_pretrained(folder, subfolder="scheduler", local_files_only=True)


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """The tokenizer of a model; ``kind`` is its class in transformers. No code beside it is run."""
    place = folder / "tokenizer"
    with _reading(place, "tokenizer_config.json"):
        if not any((place / name).is_file() for name in VOCABULARIES):  # transformers makes an empty one
            raise ValueError(f"no vocabulary: none of {', '.join(VOCABULARIES)}")
        return kind.from_pretrained(place, local_files_only=True, trust_remote_code=False)


@contextmanager
def _reading(place: Path, wanted: str) -> Iterator[None]:
    """Whatever third-party code makes of the files in ``place`` becomes one of our errors; no progress bars."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    if not (place / wanted).is_file():
        raise DataMissingError(
            "A part of the model is missing.",
            where=[f"{place}: no {wanted}"],
            fix="give a folder in diffusers' layout; for a checkpoint of the denoiser alone, name its base model too",
        )
    shown = [log for log in (of_diffusers, of_transformers) if log.is_progress_bar_enabled()]
    try:
        for log in shown:
            log.disable_progress_bar()
        yield
    except Exception as error:  # damaged files fail in as many ways as three packages have readers
        raise InputError(
            "A part of the model cannot be read.",
            where=[f"{place}: {type(error).__name__}: {error}"[:500]],
            fix="fetch or convert it again",
        ) from error
    finally:
        for log in shown:
            log.enable_progress_bar()


def cast(module: nn.Module, dtype: torch.dtype, *, keep: Collection[str] = ()) -> None:
    """Move the floating weights of ``module`` to ``dtype``, in place, but for those with a part of their name in
    ``keep``, which go to float32."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            kept = not set(keep).isdisjoint(name.split("."))
            tensor.data = tensor.data.to(torch.float32 if kept else dtype)
