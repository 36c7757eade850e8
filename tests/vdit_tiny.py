"""Tiny frozen models with random weights for VD-IT, and a folder of them as the predictor loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tinymodels import MODELSCOPE_SCHEDULE, clip_text, clip_tokenizer, vae2d

from baselines.vdit.model import Frozen, VdIt, VdItConfig

CONFIG = VdItConfig(
    width=32, hidden=64, layers=2, heads=4, points=2, vision=16, prompt=32, prompt_heads=4, text=32, quarter=32,
    unet=(16, 32, 32, 32), pyramid=((16, 16), (32, 16), (32, 16), (32, 16)), dropout=0.0,
)  # fmt: skip


def unet4(*, seed: int = 0) -> Any:
    """A UNet3DConditionModel with four levels, as ModelScope's, whose temporal convolutions are not the identity."""
    from diffusers import UNet3DConditionModel

    torch.manual_seed(seed)
    unet = UNet3DConditionModel(
        block_out_channels=CONFIG.unet, layers_per_block=1, sample_size=8, cross_attention_dim=CONFIG.prompt,
        attention_head_dim=8, norm_num_groups=8,
    )  # fmt: skip
    for name, parameter in unet.named_parameters():
        if "temp_convs" in name and ".conv4." in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.eval()


def clip_vision(*, seed: int = 0) -> Any:
    """CLIP's image tower with its projection, 16x16 pixels in patches of 8."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=CONFIG.vision, intermediate_size=32, projection_dim=16, num_hidden_layers=1,
        num_attention_heads=2, image_size=16, patch_size=8,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


def roberta(folder: Path, *, seed: int = 0) -> tuple[Any, Any]:
    """A RobertaModel and its tokenizer over bytes, both saved in ``folder``."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    torch.manual_seed(seed)
    entries = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    tokenizer = RobertaTokenizer(vocab={entry: k for k, entry in enumerate(entries)}, merges=[])
    config = RobertaConfig(
        vocab_size=len(entries), hidden_size=CONFIG.text, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=514, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        type_vocab_size=1,
    )  # fmt: skip
    model = RobertaModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, RobertaTokenizer.from_pretrained(folder)


def frozen(folder: Path, *, seed: int = 0) -> Frozen:
    """All frozen models."""
    from diffusers import DDPMScheduler

    schedule = {
        key: value for key, value in MODELSCOPE_SCHEDULE.items() if key not in ("set_alpha_to_one", "steps_offset")
    }
    return Frozen(
        vae=vae2d(seed=seed), unet=unet4(seed=seed), text_encoder=clip_text(seed=seed),
        tokenizer=clip_tokenizer(folder / "tokenizer"), scheduler=DDPMScheduler(**schedule),
        vision=clip_vision(seed=seed),
    )  # fmt: skip


def model(folder: Path, *, seed: int = 0, fusion: str = "attn", **changes: Any) -> VdIt:
    """The trained part at tiny sizes, in evaluation mode."""
    from dataclasses import replace

    encoder, tokenizer = roberta(folder / "roberta", seed=seed)
    torch.manual_seed(seed)
    return VdIt(replace(CONFIG, fusion=fusion), encoder, tokenizer, **changes).eval()


def predictor_folder(folder: Path, *, seed: int = 0) -> Path:
    """What ``baselines.vdit.predictor.load(base=folder, side=32)`` needs, all random."""
    from baselines.vdit.checkpoint import write_head
    from baselines.vdit.predictor import ROBERTA, TEXT_TO_VIDEO, VISION
    from baselines.vdit.training import HEAD

    parts = frozen(folder / "unused", seed=seed)
    video = folder / TEXT_TO_VIDEO
    for name in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(parts, name).save_pretrained(video / name)
    parts.vision.save_pretrained(folder / VISION)
    encoder, tokenizer = roberta(folder / ROBERTA, seed=seed)
    torch.manual_seed(seed)
    write_head(VdIt(CONFIG, encoder, tokenizer), folder / HEAD)
    return folder
