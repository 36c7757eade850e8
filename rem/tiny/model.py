"""The modules of rem-tiny, freshly initialised: stock classes, ModelScope's layout, a hundredth of its width."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

SIDE = 32
"""Height and width of the network's input, pixels."""
FRAMES = 8
"""Frames of a clip in training, and of a chunk in prediction."""
WIDTH = 64
"""Width of the text states."""

SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip


def autoencoder(*, seed: int = 0) -> Any:
    """An AutoencoderKL that divides each side by 4, 4 latent channels, without attention (any size is fine)."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    widths = (16, 32, 32)
    return AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=widths, latent_channels=4, layers_per_block=1,
        norm_num_groups=8, sample_size=SIDE, scaling_factor=1.0, mid_block_add_attention=False,
        down_block_types=("DownEncoderBlock2D",) * len(widths), up_block_types=("UpDecoderBlock2D",) * len(widths),
    )  # fmt: skip


def unet(*, seed: int = 0) -> Any:
    """A UNet3DConditionModel, untrained: two levels, text read at the first and in the middle."""
    from diffusers import UNet3DConditionModel

    torch.manual_seed(seed)
    return UNet3DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=SIDE // 4, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=WIDTH, attention_head_dim=8, norm_num_groups=8,
    )  # fmt: skip


def text_encoder(tokenizer: Any, *, seed: int = 0) -> Any:
    """A CLIPTextModel of two layers, untrained."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=77, hidden_act="gelu", projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
        )
    )  # fmt: skip


def scheduler() -> Any:
    """ModelScope's noise schedule."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(**SCHEDULE)


def save(folder: Path, modules: Mapping[str, Any]) -> None:
    """Write ``modules`` (vae, unet, text_encoder) into ``folder``, in diffusers' layout, rounded to half precision."""
    for name, module in modules.items():
        copy.deepcopy(module).half().save_pretrained(folder / name)
    scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "TextToVideoSDPipeline", "_diffusers_version": "0.20.0",
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet3DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
