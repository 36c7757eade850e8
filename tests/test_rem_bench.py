"""Costs: operations against the spec's counts, and the bench itself on a small network."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn

from refvps.errors import UsageError
from rem.backbones.wan import Wan
from rem.bench.flops import stage_flops
from rem.bench.inference import Load, clip, measure, peak_gb, reset_peak
from rem.bench.models import modelscope_outline, random_modelscope
from rem.bench.training import measure_training, samples_of
from rem.parameters import count
from rem.pipeline import RemPipeline
from rem.train import read_recipe

LOAD = Load(frames=3, size=(32, 32), expressions=2, warmup=0, runs=2)


@pytest.fixture(scope="module")
def small():
    return random_modelscope(small=True)


def test_operations_of_the_full_size_network():
    """ml_stack.md, section 3: 1.117, 0.045 and 2.515 TFLOP; the UNet has 1.300 where frames are alone."""
    counted = stage_flops(modelscope_outline(), 1, (512, 512))
    tera = {stage: round(number / 1e12, 3) for stage, number in counted.items()}
    assert tera == {"encode": 1.117, "text": 0.045, "denoise": 1.300, "decode": 2.515}


@pytest.mark.slow
def test_operations_of_a_whole_chunk():
    counted = stage_flops(modelscope_outline(), 72, (512, 512))
    tera = {stage: round(number / 1e12, 1) for stage, number in counted.items()}
    assert tera == {"encode": 80.4, "text": 0.0, "denoise": 94.2, "decode": 181.0}


def test_the_autoencoder_costs_the_same_for_every_frame_and_the_denoiser_more(small):
    one, six = stage_flops(small, 1, (64, 64)), stage_flops(small, 6, (64, 64))
    assert six["encode"] == 6 * one["encode"]
    assert six["decode"] == 6 * one["decode"]
    assert six["text"] == one["text"]
    assert six["denoise"] > 6 * one["denoise"]  # attention over time


def test_operations_of_a_convolution_by_hand(small):
    """The first and the last convolution of the denoiser: 2 x outputs x inputs of each."""
    from rem.bench.flops import _counted, meta_twin

    twin = meta_twin(small)
    layer = twin.denoiser.conv_in
    _, counted = _counted(lambda: layer(torch.empty(5, 4, 8, 8, device="meta")))
    assert counted == 2 * 5 * 8 * 8 * layer.out_channels * 4 * 3 * 3


def test_operations_of_wan_on_its_own_frames():
    class Text(nn.Module):
        """Stands for UMT5: states of the right width at no cost."""

        def __init__(self, config):
            super().__init__()
            self.config = config

        def forward(self, tokens):
            return (torch.empty(*tokens.shape, 16, device=tokens.device),)

    vae = AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=16, out_channels=16, text_dim=16, ffn_dim=64,
        num_layers=2, freq_dim=32, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
    )  # fmt: skip
    counted = stage_flops(Wan(vae, transformer, Text(None), None), 5, (32, 32))
    assert counted["text"] == 0
    assert min(counted["encode"], counted["denoise"], counted["decode"]) > 0


def test_random_weights_are_the_same_for_a_seed_and_cost_no_more_than_themselves(small):
    again, other = random_modelscope(small=True), random_modelscope(small=True, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(small.denoiser.parameters(), again.denoiser.parameters(), strict=True))
    assert not torch.equal(small.denoiser.conv_in.weight, other.denoiser.conv_in.weight)
    half = random_modelscope(small=True, dtype=torch.bfloat16)
    assert {p.dtype for p in [*half.vae.parameters(), *half.denoiser.parameters()]} == {torch.bfloat16}
    assert {p.dtype for p in half.text_encoder.parameters()} == {torch.float32}
    assert not list(half.denoiser.buffers()), "a buffer would be lost on the way through the meta device"


def test_the_official_order_and_the_fast_way_give_the_same_masks(small):
    result = measure(RemPipeline.of(small), LOAD, dtype="fp32")
    assert result["mask_iou_to_fp32"] == 1.0
    assert result["latent_error_to_fp32"] == 0.0
    assert [cost["stage"] for cost in result["stages"]] == [
        "resize frames", "encode", "text", "shift", "denoise", "decode", "masks"
    ]  # fmt: skip
    for way in ("official_order", "fast"):
        assert result[way]["fps"] == pytest.approx(3 * 2 / result[way]["seconds"])
        assert result[way]["peak_gb"] > 0.1
    for cost in result["stages"]:
        if cost["tflop"]:
            expected = 1e12 * cost["tflop"] / cost["seconds"] / (1e12 * result["peak_tflops"])
            assert cost["of_peak"] == pytest.approx(expected)
    json.dumps(result)


def test_the_official_order_encodes_for_every_expression(small, monkeypatch):
    calls = []
    encode = type(small).encode

    def counted(self, pixels):
        if not pixels.is_meta:  # where operations are counted
            calls.append(1)
        return encode(self, pixels)

    monkeypatch.setattr(type(small), "encode", counted)
    measure(RemPipeline.of(small), Load(2, (32, 32), 3, 0, 1), dtype="fp32")
    naive, fast, stages = 2 * 3, 2 * 1, 2  # one run for latents, one that is timed; each stage once more and timed
    assert len(calls) == naive + fast + stages


def test_bfloat16_changes_little(small, monkeypatch):
    monkeypatch.setattr("rem.bench.inference.matmul_peak", lambda _, dtype: 1e9 if dtype == torch.float32 else 5e9)
    result = measure(RemPipeline.of(random_modelscope(small=True)), LOAD, dtype="bf16")
    assert 0 < result["latent_error_to_fp32"] < 0.05
    assert result["fast"]["dtype"] == "bf16"
    for cost in result["stages"]:  # the text encoder stays in float32, and is compared with that
        if cost["tflop"]:
            reached = (1 if cost["stage"] == "text" else 5) * cost["of_peak"] * 1e9
            assert reached == pytest.approx(1e12 * cost["tflop"] / cost["seconds"])


def test_out_of_memory_names_what_to_lower(small, monkeypatch):
    def decode(self, latents, frames, *, batch=16):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB")

    monkeypatch.setattr(type(small), "decode", decode)
    with pytest.raises(UsageError, match=r"decode: 3 frames of 32x32(.|\n)*Fix: decode_batch=1"):
        measure(RemPipeline.of(small), LOAD, dtype="fp32")


def test_peak_memory_sees_what_is_gone():
    device = torch.device("cpu")
    reset_peak(device)
    before = peak_gb(device)
    torch.ones(100_000_000).sum()
    after = peak_gb(device)
    assert 0.3 < after - before < 0.6
    reset_peak(device)
    assert peak_gb(device) < after - 0.3


def test_the_clip_moves_and_follows_its_seed():
    frames = clip(LOAD)
    assert frames.shape == (3, 32, 32, 3)
    assert (frames[0, 1:, 1:] == frames[1, :-1, :-1]).all()
    assert not (frames == clip(LOAD, seed=1)).all()


def test_samples_of_the_recipes():
    assert samples_of(read_recipe("stage1")) == 321_327  # the paper says 320K
    assert samples_of(read_recipe("stage2")) == 40 * 24_913
    assert samples_of(read_recipe("stage2-released")) == 40 * 12_913


def test_training_steps_are_timed_and_projected():
    backbone = random_modelscope(small=True)
    before = backbone.denoiser.conv_in.weight.clone()
    result = measure_training(backbone, (32, 32), steps=2)
    one, two = result["stages"]["stage1"], result["stages"]["stage2"]
    assert (one["frames"], two["frames"]) == (1, 8)
    assert two["trained"] == count(backbone.denoiser) > one["trained"]
    hours = (321_327 * one["seconds_per_sample"] + 40 * 24_913 * two["seconds_per_sample"]) / 3600
    assert result["device_hours"] == pytest.approx(hours)
    assert result["hours"] == pytest.approx(hours / 4)
    assert not torch.equal(backbone.denoiser.conv_in.weight, before)
