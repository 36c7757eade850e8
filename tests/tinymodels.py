"""Tiny models with random weights, built without a network: the families REM and the baselines load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

MODELSCOPE_SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip


def clip_tokenizer(folder: Path, *, pad: str = "!") -> Any:
    """A real CLIPTokenizer over bytes (514 entries), saved in ``folder``; id 0 is ``!``."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    symbols = sorted(ByteLevel.alphabet())
    assert symbols[0] == "!"
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({entry: k for k, entry in enumerate(entries)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps({**special, "pad_token": pad}))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special, "pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)


def clip_text(*, width: int = 32, layers: int = 2, seed: int = 0) -> Any:
    """A CLIPTextModel for :func:`clip_tokenizer`."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=514, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=77, hidden_act="gelu", projection_dim=width,
        bos_token_id=512, eos_token_id=513, pad_token_id=0,
    )  # fmt: skip
    return CLIPTextModel(config).eval()


def unet3d(*, channels: tuple[int, ...] = (32, 64), cross: int = 32, groups: int = 8, seed: int = 0) -> Any:
    """A UNet3DConditionModel of ModelScope's form whose temporal convolutions are not the identity."""
    from diffusers import UNet3DConditionModel

    torch.manual_seed(seed)
    deep = len(channels) - 1
    unet = UNet3DConditionModel(
        block_out_channels=channels, layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock3D",) * deep + ("DownBlock3D",),
        up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * deep,
        cross_attention_dim=cross, attention_head_dim=8, norm_num_groups=groups,
    )  # fmt: skip
    for name, parameter in unet.named_parameters():
        if "temp_convs" in name and ".conv4." in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.eval()


def vae2d(*, channels: tuple[int, ...] = (16, 16, 32, 32), seed: int = 0) -> Any:
    """An AutoencoderKL with a factor of 2 per level after the first."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    return AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=channels, latent_channels=4, layers_per_block=1,
        norm_num_groups=8, sample_size=64, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * len(channels), up_block_types=("UpDecoderBlock2D",) * len(channels),
    ).eval()  # fmt: skip


def modelscope_folder(folder: Path, *, seed: int = 0) -> Path:
    """A whole tiny ModelScope text-to-video model in diffusers' layout, as ``from_pretrained`` reads it."""
    from diffusers import DDIMScheduler

    clip_tokenizer(folder / "tokenizer")
    clip_text(seed=seed).save_pretrained(folder / "text_encoder")
    unet3d(seed=seed).save_pretrained(folder / "unet")
    vae2d(seed=seed).save_pretrained(folder / "vae")
    DDIMScheduler(**MODELSCOPE_SCHEDULE).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "TextToVideoSDPipeline", "_diffusers_version": "0.20.0",
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet3DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
