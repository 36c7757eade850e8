"""Networks with random weights to measure: speed and memory do not depend on what was learnt."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rem.backbones.loading import cast
from rem.backbones.modelscope import ModelScope
from rem.parameters import AUTOENCODERS, CLIP_H, MODELSCOPE_UNET

SMALL_UNET: Mapping[str, Any] = {
    **MODELSCOPE_UNET, "block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8,
    "cross_attention_dim": 32, "norm_num_groups": 8, "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
}  # fmt: skip
SMALL_VAE: Mapping[str, Any] = {
    **AUTOENCODERS["modelscope"][1], "block_out_channels": (16, 16, 32, 32), "layers_per_block": 1,
    "norm_num_groups": 8,
}  # fmt: skip
SMALL_TEXT: Mapping[str, Any] = {
    **CLIP_H, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 1024, "bos_token_id": 512, "eos_token_id": 513,
}  # fmt: skip
SCHEDULE: Mapping[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip


def modelscope_outline(*, small: bool = False) -> ModelScope:
    """ModelScope's networks on the meta device; ``small`` has its form and about a thousandth of its weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet3DConditionModel.from_config(dict(SMALL_UNET if small else MODELSCOPE_UNET))
        vae = AutoencoderKL.from_config(dict(SMALL_VAE if small else AUTOENCODERS["modelscope"][1]))
        text = CLIPTextModel(CLIPTextConfig(**(SMALL_TEXT if small else CLIP_H)))
    return ModelScope(vae.eval(), unet.eval(), text.eval(), _tokenizer(), DDIMScheduler(**SCHEDULE))


def random_modelscope(
    *, small: bool = False, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> ModelScope:
    """ModelScope with random weights; the text encoder is float32, as everywhere.

    Nothing is allocated in another type on the way, so the peak of memory is that of the networks. The weights
    follow from ``seed`` and the type, not from the device.
    """
    from transformers import CLIPTextModel

    backbone = modelscope_outline(small=small)
    torch.manual_seed(seed)
    backbone.text_encoder = CLIPTextModel(backbone.text_encoder.config).to(device)  # it has buffers, which meta loses
    generator = torch.Generator().manual_seed(seed)
    for module in (backbone.vae, backbone.denoiser):
        cast(module, dtype)
        module.to_empty(device="cpu")
        for name, parameter in module.named_parameters():
            _fill(name, parameter, generator)
        module.to(device)
    for module in (backbone.vae, backbone.denoiser, backbone.text_encoder):
        module.requires_grad_(False).eval()
    return backbone


@torch.no_grad()
def _fill(name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    """Matrices and kernels keep the scale of their input; biases are 0 and the scales of norms 1."""
    if parameter.dim() > 1:
        bound = (3 / parameter[0].numel()) ** 0.5
        parameter.uniform_(-bound, bound, generator=generator)
    else:
        parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def _tokenizer() -> Any:
    """A CLIPTokenizer over single bytes; which words there are does not change what they cost."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    symbols = sorted(ByteLevel.alphabet())
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "vocab.json").write_text(json.dumps({entry: k for k, entry in enumerate(entries)}))
        (place / "merges.txt").write_text("#version: 0.2\n")
        special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special, "pad_token": symbols[0]}
        (place / "tokenizer_config.json").write_text(json.dumps(config))
        return CLIPTokenizer.from_pretrained(place)
