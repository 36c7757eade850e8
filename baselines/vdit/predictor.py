"""VD-IT as a predictor: ``refvps predict -p vdit``.

A clip is cut into windows of 36 frames, as the released script for Ref-DAVIS does; in each window one of five queries
answers for the whole window, so an identity may switch between windows. It never abstains: only the threshold of 0.5
can empty a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from baselines import pretrained
from baselines.vdit.checkpoint import load_head, read_head, read_official
from baselines.vdit.model import ClipInput, Frozen, VdIt, VdItConfig, look_at
from baselines.vdit.schedule import VAE
from baselines.vdit.training import HEAD, resize_frames
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.types import MaskChunk, Method
from rem.backbones import load_backbone
from rem.checkpoints import sha256_of

TEXT_TO_VIDEO = "text-to-video-ms-1.7b"
VISION = "CLIP-ViT-H-14-laion2B-s32B-b79K"
ROBERTA = "roberta-base"
LICENCE = "CC BY-NC 4.0 (weights and base model)"

STEPS = f"""one folder BASE with the public models, then the trained part (all weights CC BY-NC 4.0 or as stated there):
  hf download ali-vilab/text-to-video-ms-1.7b --local-dir BASE/{TEXT_TO_VIDEO}
  hf download laion/CLIP-ViT-H-14-laion2B-s32B-b79K --local-dir BASE/{VISION}
  hf download FacebookAI/roberta-base --local-dir BASE/{ROBERTA}
  hf download buxiangzhiren/VD-IT --local-dir vdit
  refvps predict -p vdit -o base=BASE --weights vdit/<the file>.pth ...
A model trained here is BASE/{HEAD}, or any other --weights ending in .safetensors."""


class VdItPredictor:
    """One masklet a text from a :class:`~baselines.vdit.model.VdIt` and its frozen models."""

    def __init__(self, model: VdIt, frozen: Frozen, method: Method, *, window: int, vae: str, side: int) -> None:
        self.model = model.eval()
        self.frozen = frozen
        self.method = method
        self.window, self.vae, self.side = window, vae, side

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """Masks window by window; what is seen of a window is encoded once for all texts. ``fps`` is not used.

        ``seed`` matters only where latents are sampled (``vae="sample"``).
        """
        generator = torch.Generator().manual_seed(seed % (1 << 63)) if self.vae == "sample" else None
        for start in range(0, len(frames), self.window):
            clip = np.stack([frames[k] for k in range(start, min(start + self.window, len(frames)))])
            size = clip.shape[1:3]
            small = resize_frames(clip, short_side(size, self.side))
            seen = look_at(self.frozen, [small], device=self.model.query_tensors.device, generator=generator)
            for number, text in enumerate(texts):
                yield MaskChunk(number, start, self._masks(seen, text, small.shape[1:3], size))
            del seen

    @torch.inference_mode()
    def _masks(self, seen: ClipInput, text: str, inner: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
        """Masks [T, H, W] of one text: padding cut off, logits resized (bilinear) to ``size``, above 0."""
        logits: Tensor = self.model.segment(self.frozen, seen, [" ".join(text.lower().split())])[0]
        logits = functional.interpolate(
            logits[None, :, : inner[0], : inner[1]], size, mode="bilinear", align_corners=False
        )
        return (logits[0] > 0).cpu().numpy()


def short_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width with the short one ``side``, the long one cut down to a whole number."""
    low = min(size)
    return side * size[0] // low, side * size[1] // low


def load(
    weights: str | None = None,
    base: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    window: int = 36,
    vae: str = "mode",
    side: int = 360,
    noise_step: int = 1,
) -> VdItPredictor:
    """VD-IT from ``weights`` (official ``.pth``, or safetensors written here) and the public models in ``base``.

    ``dtype``, fp32, bf16 or fp16, is that of the frozen models; ``vae`` "mode" or "sample", as the released
    code does; ``side`` the short side the network sees; ``noise_step`` the step the weights were trained with.
    Raises DataMissingError with the steps when something is not here, InputError for weights that do not fit and
    UsageError for an option out of range.
    """
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    problems = [f"window = {window!r}"] if not (type(window) is int and window > 0) else []
    problems += [f"side = {side!r}"] if not (type(side) is int and side >= 16) else []
    problems += [f"vae = {vae!r}; mode or sample"] if vae not in VAE else []
    problems += [f"dtype = {dtype!r}; one of {', '.join(types)}"] if dtype not in (None, *types) else []
    if problems:
        raise UsageError("An option of vdit is out of range.", where=problems)
    place = pretrained.place(device)
    folder, file = _places(weights, base)
    state, config = read_head(file) if file.suffix == ".safetensors" else (read_official(file).state, VdItConfig())
    frozen = load_frozen(folder, place, types[dtype or "fp32"])
    model = build_model(config, state, folder / ROBERTA, where=str(file), noise_step=noise_step).to(place)
    options = {"window": window, "vae": vae, "side": side, "noise_step": noise_step, "dtype": dtype or "fp32"}
    method = Method(
        name="vdit", version="1", weights_sha256=sha256_of(file), options={**options, "fusion": config.fusion},
        licence=LICENCE, url="https://arxiv.org/abs/2403.12042",
        training_data="Ref-YouTube-VOS, RefCOCO/+/g (as the weights' authors say)",
    )  # fmt: skip
    return VdItPredictor(model, frozen, method, window=window, vae=vae, side=side)


def _places(weights: str | None, base: str | None) -> tuple[Path, Path]:
    """Folder of the public models and file of the trained part."""
    folder = Path(base) if base else None
    file = Path(weights) if weights else folder / HEAD if folder else None
    missing = [f"base: {base or 'not given'}"] if folder is None or not folder.is_dir() else []
    missing += [f"weights: {file or 'not given'}"] if file is None or not file.is_file() else []
    if folder is not None and folder.is_dir():
        missing += [str(folder / part) for part in (TEXT_TO_VIDEO, VISION, ROBERTA) if not (folder / part).is_dir()]
    if missing or folder is None or file is None:
        raise DataMissingError("VD-IT is not on this machine.", where=missing, fix=STEPS)
    return folder, file


def load_frozen(folder: Path, device: torch.device, dtype: torch.dtype) -> Frozen:
    """The frozen models from their three folders; raises DataMissingError or InputError naming what is wrong."""
    video = load_backbone("modelscope", folder / TEXT_TO_VIDEO, device=device, dtype=dtype)
    vision = load_vision(folder / VISION, dtype).to(device)
    return Frozen(video.vae, video.denoiser, video.text_encoder, video.tokenizer, video.scheduler, vision)


def load_vision(folder: Path, dtype: torch.dtype) -> Any:
    """CLIP's image tower of a folder that may hold the whole of CLIP; raises InputError for any other odd weight."""
    from transformers import CLIPVisionModelWithProjection
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # the text tower is left out on purpose
    try:
        vision, info = CLIPVisionModelWithProjection.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError("CLIP cannot be read.", where=[f"{folder}: {error}"[:300]], fix=STEPS) from error
    finally:
        logging.set_verbosity(level)
    text = ("text_model.", "text_projection.", "logit_scale")
    odd = [f"{kind} {key}" for kind in ("missing", "mismatched") for key in sorted(map(str, info[f"{kind}_keys"]))]
    odd += [f"unexpected {key}" for key in sorted(info["unexpected_keys"]) if not key.startswith(text)]
    if odd:
        raise InputError("The weights of CLIP do not fit its configuration.", where=odd, fix=STEPS)
    return vision


def build_model(
    config: VdItConfig, state: dict[str, Tensor], roberta: Path, *, where: str, noise_step: int = 1
) -> VdIt:
    """The trained part with RoBERTa's configuration and tokenizer from a folder and all weights from ``state``.

    The trained part takes memory only once every key and shape is known to fit. Raises InputError otherwise.
    """
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    tokenizer = pretrained.load_tokenizer(RobertaTokenizer, roberta)
    try:
        about = RobertaConfig.from_pretrained(roberta, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("RoBERTa cannot be read.", where=[f"{roberta}: {error}"[:300]], fix=STEPS) from error
    encoder = RobertaModel(about)
    with torch.device("meta"):
        model = VdIt(config, encoder, tokenizer, noise_step=noise_step)
    load_head(model, state, where)
    return model.float()
