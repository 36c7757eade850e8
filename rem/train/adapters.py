"""What is put around a denoiser for training and taken off again: checkpointing, low-rank adapters, an average."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from refvps.errors import InputError, UsageError

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""Projections of every attention layer in diffusers' models."""


@contextmanager
def recomputed(denoiser: nn.Module) -> Iterator[None]:
    """Recompute the activations of the denoiser's blocks in the backward pass; gradients stay equal.

    diffusers offers this for some models; UNet3DConditionModel refuses it, so its blocks are wrapped here.
    """
    if getattr(denoiser, "_supports_gradient_checkpointing", False):
        denoiser.enable_gradient_checkpointing()
        try:
            yield
        finally:
            denoiser.disable_gradient_checkpointing()
        return
    blocks = [*getattr(denoiser, "down_blocks", ()), *getattr(denoiser, "up_blocks", ())]
    blocks += [denoiser.mid_block] if getattr(denoiser, "mid_block", None) is not None else []
    if not blocks:
        raise UsageError(
            "This denoiser has no blocks to recompute.",
            where=[type(denoiser).__name__],
            fix="set checkpointing = false",
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is seen again


def add_lora(denoiser: nn.Module, rank: int, seed: int) -> None:
    """Put low-rank adapters on every attention projection; only they keep a gradient. Their output starts at 0."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS), lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, denoiser)
    for name, parameter in denoiser.named_parameters():
        parameter.requires_grad_("lora_" in name)
    if not any(parameter.requires_grad for parameter in denoiser.parameters()):
        raise UsageError("This denoiser has no attention projections for adapters.", where=[type(denoiser).__name__])


def merged_state(denoiser: nn.Module) -> dict[str, Tensor]:
    """The state of the denoiser in its stock layout, adapters added to the weights they belong to (scale 1)."""
    state = denoiser.state_dict()
    found = {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}
    for name, down in state.items():
        if ".lora_A.default." in name:
            up = state[name.replace(".lora_A.", ".lora_B.")]
            target = name.replace(".lora_A.default", "")
            delta = (up.flatten(1).float() @ down.flatten(1).float()).reshape(found[target].shape)
            found[target] = (found[target].float() + delta).to(found[target].dtype)
    return found


def remove_lora(denoiser: nn.Module) -> None:
    """Add the adapters to their weights, and restore the stock modules in place."""
    from peft.tuners.lora import LoraLayer

    merged = merged_state(denoiser)
    for name, module in list(denoiser.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, last = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), last, module.get_base_layer())
    denoiser.load_state_dict(merged, strict=True)


def follow(average: dict[str, Tensor], trained: Mapping[str, nn.Parameter], decay: float) -> None:
    """Move an average of the trained weights towards them: decay * average + (1 - decay) * weights."""
    with torch.no_grad():
        for name, parameter in trained.items():
            average[name].lerp_(parameter.detach().float(), 1 - decay)


@contextmanager
def swapped(trained: Mapping[str, nn.Parameter], average: Mapping[str, Tensor] | None) -> Iterator[None]:
    """The averaged weights in place of the trained ones for a while; None leaves everything as it is."""
    if average is None:
        yield
        return
    kept = {name: parameter.detach().clone() for name, parameter in trained.items()}
    try:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(average[name])
        yield
    finally:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(kept[name])


def copy_weights(source: Mapping[str, Tensor], target: Mapping[str, Tensor], where: str) -> None:
    """Copy weights by name; raises InputError unless both have the same names and shapes."""
    if {name: each.shape for name, each in source.items()} != {name: each.shape for name, each in target.items()}:
        raise InputError("A checkpoint belongs to other weights.", where=[where], fix="resume with the run's own model")
    with torch.no_grad():
        for name, each in target.items():
            each.copy_(source[name])


def digest_of(module: nn.Module) -> str:
    """SHA-256 of all weights of a module, by name."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
