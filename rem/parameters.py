"""Which parameters are trained, how they are grouped, and how many there are.

Counts come from networks instantiated on the meta device, where a parameter has a shape and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from refvps.errors import UsageError

MODELSCOPE_UNET: Mapping[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "attention_head_dim": 64,
    "cross_attention_dim": 1024, "in_channels": 4, "out_channels": 4, "norm_num_groups": 32, "norm_eps": 1e-5,
    "sample_size": 32,
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
}  # fmt: skip
WAN_14B: Mapping[str, Any] = {
    "num_attention_heads": 40, "attention_head_dim": 128, "num_layers": 40, "ffn_dim": 13824, "in_channels": 16,
    "out_channels": 16, "text_dim": 4096, "freq_dim": 256, "patch_size": (1, 2, 2), "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
}  # fmt: skip
DENOISERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "modelscope": ("UNet3DConditionModel", MODELSCOPE_UNET),
    "wan-14b": ("WanTransformer3DModel", WAN_14B),
    "wan-1.3b": ("WanTransformer3DModel", {**WAN_14B, "num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}),
}
"""Denoisers of the official checkpoints: class in diffusers and configuration of the base model."""
AUTOENCODERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "modelscope": (
        "AutoencoderKL",
        {
            "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
            "scaling_factor": 0.18215, "sample_size": 512,
            "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
        },
    ),
    "wan": ("AutoencoderKLWan", {}),
}  # fmt: skip
"""Autoencoders of the base models."""
CLIP_H: Mapping[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu", "max_position_embeddings": 77, "vocab_size": 49408, "projection_dim": 512,
}  # fmt: skip
"""Text encoder of ModelScope and of Stable Diffusion 2.1."""

NO_DECAY = (".ln_", ".bn", ".bias", ".logit_scale", ".entropy_scale", "norm")
"""The released code gives no weight decay to a name that contains one of these."""


def _is_temporal(name: str) -> bool:
    """Whether a parameter of ModelScope's UNet mixes frames; 'transformer_in' does without 'temp' in its name."""
    return "temp" in name or name.startswith("transformer_in.")


RULES: Mapping[str, Callable[[str], bool]] = {
    "spatial": lambda name: not _is_temporal(name),
    "spatial-released": lambda name: "temp" not in name and "time_embedding" not in name,
    "all": lambda name: True,
    "all-released": lambda name: "time_embedding" not in name,
    "wan-released": lambda name: "patch_embedding" not in name and "condition_embedder" not in name,
}
"""Freezing rules by name. "spatial" is the paper's first stage (section C), "all" its second. "-released" is what
the released code really updates: its first stage leaves the temporal ``transformer_in`` trainable, and its time
embedding runs without a gradient in both stages. "wan-released" freezes the two embedders of Wan."""


def select(denoiser: nn.Module, rule: str) -> list[str]:
    """Names of the denoiser's parameters that ``rule`` trains, in the order of the network.

    Raises :class:`~refvps.errors.UsageError` for an unknown rule, or one that means nothing for this network.
    """
    if rule not in RULES:
        raise UsageError(f"There is no freezing rule {rule!r}.", fix=f"choose from {', '.join(RULES)}")
    names = [name for name, _ in denoiser.named_parameters()]
    joint = any("condition_embedder" in name for name in names)
    if joint != (rule == "wan-released") and rule != "all":
        what = "attends over space and time at once" if joint else "is not Wan's transformer"
        raise UsageError(
            f"The freezing rule {rule!r} means nothing here: the network {what}.",
            fix="use 'wan-released' or 'all' for Wan, another rule otherwise",
        )
    return [name for name in names if RULES[rule](name)]


def freeze(denoiser: nn.Module, rule: str) -> int:
    """Let only the parameters of ``rule`` require a gradient; the number of trained weights."""
    chosen = set(select(denoiser, rule))
    for name, parameter in denoiser.named_parameters():
        parameter.requires_grad_(name in chosen)
    return sum(parameter.numel() for parameter in denoiser.parameters() if parameter.requires_grad)


def decay_groups(parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's two groups, with and without decay, of the trained ones among named ``parameters``.

    The rule looks for :data:`NO_DECAY` in the name, as the released code does; so the GroupNorm weights inside
    ``temp_convs``, whose names hold none of these, do decay.
    """
    trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    free = {name for name, _ in trained if any(part in name for part in NO_DECAY)}
    return [
        {"params": [parameter for name, parameter in trained if name not in free], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trained if name in free], "weight_decay": 0.0},
    ]


def clamp_gradients(parameters: Iterable[nn.Parameter], limit: float) -> list[RemovableHandle]:
    """Clamp every element of every gradient to [-limit, limit] as it arises: the released code clips no norm."""

    def clamped(gradient: Tensor) -> Tensor:
        return gradient.clamp(-limit, limit)

    return [parameter.register_hook(clamped) for parameter in parameters if parameter.requires_grad]


def count(module: nn.Module, names: Iterable[str] | None = None) -> int:
    """Number of weights of ``module``, or of its parameters called ``names``."""
    table = dict(module.named_parameters())
    return sum(table[name].numel() for name in (table if names is None else names))


def outline(kind: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """A stock denoiser on the meta device: shapes and names without memory, in evaluation mode.

    ``kind`` is a key of :data:`DENOISERS`; ``config`` replaces its configuration.
    """
    if kind not in DENOISERS:
        raise UsageError(f"There is no denoiser {kind!r}.", fix=f"choose from {', '.join(DENOISERS)}")
    name, base = DENOISERS[kind]
    import diffusers

    with torch.device("meta"):
        module: nn.Module = getattr(diffusers, name).from_config(dict(base if config is None else config))
    return module.eval()
