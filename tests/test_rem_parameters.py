"""What is trained and how much of it there is: counts from the stock networks on the meta device."""

from __future__ import annotations

import pytest
import torch
from tinymodels import unet3d
from torch import nn

from refvps.errors import UsageError
from rem.bench.models import modelscope_outline
from rem.parameters import (
    AUTOENCODERS,
    NO_DECAY,
    RULES,
    clamp_gradients,
    count,
    decay_groups,
    freeze,
    outline,
    select,
)

WAN_RELEASED_FLOAT32 = (
    *("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3", "norm_q", "norm_k"),
    *("to_q", "to_k", "to_v", "to_out"),
)
"""Modules that the released Wan code keeps in float32; the attention matrices are cast to bfloat16 when used."""


def kept_in_float32(denoiser, modules):
    """Weights of ``denoiser`` that belong to one of ``modules``."""
    return sum(p.numel() for name, p in denoiser.named_parameters() if not set(modules).isdisjoint(name.split(".")))


@pytest.fixture(scope="module")
def modelscope():
    return outline("modelscope")


@pytest.fixture(scope="module")
def wan():
    return outline("wan-14b")


def test_modelscope_at_full_size(modelscope):
    temporal = [name for name, _ in modelscope.named_parameters() if "temp" in name]
    entrance = [name for name, _ in modelscope.named_parameters() if name.startswith("transformer_in.")]
    assert len(modelscope.state_dict()) == 1480
    assert count(modelscope) == 1_411_233_860
    assert (len(temporal), count(modelscope, temporal)) == (768, 539_742_400)
    assert count(modelscope, entrance) == 5_580_736
    assert not set(temporal) & set(entrance)


@pytest.mark.parametrize(
    ("rule", "trained"),
    [
        ("spatial", 865_910_724),  # the weights of Stable Diffusion 2.1's UNet
        ("spatial-released", 869_440_900),
        ("all", 1_411_233_860),
        ("all-released", 1_409_183_300),
    ],
)
def test_rules_of_modelscope(modelscope, rule, trained):
    assert count(modelscope, select(modelscope, rule)) == trained
    assert freeze(modelscope, rule) == trained
    frozen = [name for name, p in modelscope.named_parameters() if not p.requires_grad]
    assert set(frozen).isdisjoint(select(modelscope, rule))


def test_the_spatial_rule_is_the_frame_level_network(modelscope):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        frame_level = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )  # fmt: skip
    names = select(modelscope, "spatial")
    assert count(frame_level) == count(modelscope, names)
    assert len(list(frame_level.parameters())) == len(names)


def test_wan_at_full_size(wan):
    assert len(wan.state_dict()) == 1095
    assert count(wan) == 14_288_491_584
    assert count(wan, select(wan, "wan-released")) == 14_056_110_144
    assert count(outline("wan-1.3b")) == 1_418_996_800
    assert kept_in_float32(wan, WAN_RELEASED_FLOAT32) == 8_420_249_600
    assert (
        kept_in_float32(wan, wan._keep_in_fp32_modules) < 30_000_000
    )  # diffusers keeps the norms, not the attention matrices


def test_the_frozen_parts_at_full_size():
    from diffusers import AutoencoderKLWan

    parts = modelscope_outline()
    assert count(parts.vae) == 83_653_863
    assert count(parts.text_encoder) == 340_387_840
    with torch.device("meta"):
        assert count(AutoencoderKLWan.from_config(dict(AUTOENCODERS["wan"][1]))) == 126_892_531


def test_rules_that_mean_nothing_are_refused(wan, modelscope):
    for network, rule in ((wan, "spatial"), (wan, "all-released"), (modelscope, "wan-released")):
        with pytest.raises(UsageError, match="means nothing here"):
            select(network, rule)
    with pytest.raises(UsageError, match="no freezing rule 'half'"):
        select(modelscope, "half")
    with pytest.raises(UsageError, match="no denoiser"):
        outline("sora")
    assert select(wan, "all")


def test_the_released_rules_train_what_gets_a_gradient():
    """With the time embedding under no_grad, as the released forward has it, the rule is where a gradient arrives."""
    unet = unet3d()
    unet.train()
    hook = unet.time_embedding.register_forward_hook(lambda module, inputs, output: output.detach())
    text, latents = torch.randn(1, 7, 32), torch.randn(1, 4, 3, 8, 8)
    unet(latents, torch.tensor(0), encoder_hidden_states=text).sample.square().mean().backward()
    hook.remove()
    reached = {name for name, p in unet.named_parameters() if p.grad is not None}
    assert reached == set(select(unet, "all-released"))
    assert {name for name in reached if "temp" not in name} == set(select(unet, "spatial-released"))
    assert any(name.startswith("transformer_in.") for name in select(unet, "spatial-released"))
    assert not any(name.startswith("transformer_in.") for name in select(unet, "spatial"))


def test_decay_follows_the_names_of_the_released_code():
    unet = unet3d()
    freeze(unet, "all-released")
    with_decay, without = decay_groups(unet.named_parameters(), 1e-5)
    names = {id(p): name for name, p in unet.named_parameters()}
    assert (with_decay["weight_decay"], without["weight_decay"]) == (1e-5, 0.0)
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in (with_decay, without))
    assert decayed | spared == set(select(unet, "all-released"))
    assert not decayed & spared
    assert not [name for name in decayed if any(part in name for part in NO_DECAY)]
    norms = [name for name in decayed if "temp_convs" in name and name.endswith("conv1.0.weight")]
    assert norms, "GroupNorm weights of temp_convs have no 'norm' in their names and decay"
    assert dict(unet.named_parameters())[norms[0]].dim() == 1


def test_clamping_is_element_by_element():
    weight, frozen = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1), requires_grad=False)
    hooks = clamp_gradients([weight, frozen], 0.1)
    loss = (weight * torch.tensor([5.0, -0.05, 0.1, -3.0])).sum()
    loss.backward(retain_graph=True)
    assert weight.grad.tolist() == pytest.approx([0.1, -0.05, 0.1, -0.1])
    loss.backward()  # a second part of the same step is clamped by itself
    assert weight.grad.tolist() == pytest.approx([0.2, -0.1, 0.2, -0.2])
    for hook in hooks:
        hook.remove()
    weight.grad = None
    (5 * weight).sum().backward()
    assert weight.grad.tolist() == [5.0] * 4


def test_every_rule_is_known_to_recipes():
    from rem.train import read_recipe, shipped

    assert {read_recipe(name).trained for name in shipped()} <= set(RULES)
