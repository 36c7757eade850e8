"""AdamW over named weights, with a state that fits in safetensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from refvps.errors import InputError
from rem.parameters import decay_groups

_PARTS = ("step", "exp_avg", "exp_avg_sq")

Trained = Mapping[str, nn.Parameter]
"""Trained parameters by name."""


def adamw(trained: Trained, *, lr: float, weight_decay: float, no_decay: str) -> torch.optim.AdamW:
    """AdamW with PyTorch's betas and epsilon; ``no_decay`` "released" exempts names as the released code does."""
    if no_decay != "released":
        return torch.optim.AdamW(trained.values(), lr=lr, weight_decay=weight_decay)
    groups = [group for group in decay_groups(trained.items(), weight_decay) if group["params"]]
    return torch.optim.AdamW(groups, lr=lr)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use the learning rate in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_state(optimizer: torch.optim.Optimizer, trained: Trained) -> dict[str, Tensor]:
    """Moments and step counts by ``part/name``; a weight that never had a gradient has none."""
    found = {}
    for name, parameter in trained.items():
        for part, value in optimizer.state.get(parameter, {}).items():
            found[f"{part}/{name}"] = value
    return found


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, trained: Trained, state: Mapping[str, Tensor], where: str
) -> None:
    """Put back what :func:`optimizer_state` gave; raises InputError when it belongs to other weights."""
    wrong = [key for key in state if key.partition("/")[0] not in _PARTS or key.partition("/")[2] not in trained]
    for name, parameter in trained.items():
        given = {part: state[f"{part}/{name}"] for part in _PARTS if f"{part}/{name}" in state}
        if not given:
            continue
        if len(given) != len(_PARTS) or any(given[part].shape != parameter.shape for part in _PARTS[1:]):
            wrong.append(name)
            continue
        moments = {part: given[part].to(parameter.device) for part in _PARTS[1:]}
        optimizer.state[parameter] = {"step": given["step"], **moments}
    if wrong:
        raise InputError(
            "The optimiser's state belongs to other weights.",
            where=[f"{where}: {name}" for name in wrong],
            fix="resume with the model the run was started with",
        )
