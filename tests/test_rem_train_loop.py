"""The training loop on a model that learns in seconds: what it minimises, what stays frozen, what a step does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import tiny_benchmark
from torch import nn
from torch.nn import functional
from training import SIDE, moving_squares, tiny_backbone

from refvps.errors import InputError, UsageError
from rem.heads import build_head, predicted_logits, tapped
from rem.pipeline import RemPipeline
from rem.train import Recipe, changed, read_recipe, run, shipped
from rem.train.adapters import add_lora, merged_state, recomputed
from rem.train.log import read_log
from rem.train.loop import TrainResult, noise_of, train
from rem.train.mixture import Items, collated
from rem.train.sampling import Order
from rem.train.validation import benchmark_scores

CLIPS = moving_squares()
RECIPE = Recipe(
    name="tiny", lr=3e-3, steps=1, batch=2, micro_batch=2, frames=2, size=(SIDE, SIDE), weight_decay=0.0, log_every=1
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the tokenizer, which all backbones of this file share."""
    return tmp_path_factory.mktemp("parts")


def go(recipe: Recipe, backbone: Any, out: Path, **more: Any) -> TrainResult:
    return train(recipe, backbone, more.pop("dataset", CLIPS), out, **more)


def test_thirty_steps_learn_four_clips_by_heart(parts: Path, tmp_path: Path) -> None:
    backbone = tiny_backbone(parts)
    recipe = changed(RECIPE, steps=30, batch=4, micro_batch=4, lr=1e-2, sample_every=30)
    seen: list[int] = []
    result = go(recipe, backbone, tmp_path, progress=lambda done, total, _: seen.append(done * 100 + total))
    assert result.losses[-1] < result.losses[0] / 10
    assert seen == [100 * done + 30 for done in range(1, 31)]
    assert not backbone.denoiser.training
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records] == list(range(1, 31))
    assert records[-1]["loss"] == result.losses[-1]
    assert list((tmp_path / "tensorboard").iterdir())
    with Image.open(tmp_path / "samples/step-00000030.png") as grid:
        assert grid.size == (4 * SIDE, 4 * 3 * SIDE)  # clips in rows of frames, targets and predictions
        shown = np.asarray(grid).reshape(4, 3, SIDE, 4, SIDE, 3)
    target, found = shown[:, 1, :, :2, :, 0] > 127, shown[:, 2, :, :2, :, 0] > 127
    assert (target & found).sum() / (target | found).sum() > 0.6
    stock = load_file(result.checkpoint / "denoiser.safetensors")
    assert all(torch.equal(stock[name], value) for name, value in backbone.denoiser.state_dict().items())


def test_the_loss_is_the_mean_square_over_mask_latents(parts: Path, tmp_path: Path) -> None:
    backbone = tiny_backbone(parts, dropout=False)
    keys = Order([range(4)], 2, RECIPE.seed).samples(0)
    batch = collated([Items(CLIPS, RECIPE.size)[key] for key in keys])
    pooled = functional.avg_pool2d(batch["frames"].transpose(1, 2).flatten(0, 1), 2)
    latents = torch.cat([pooled, pooled.mean(1, keepdim=True)], 1).unflatten(0, (2, 2)).transpose(1, 2)
    noise = torch.stack(
        [torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(s)) for s in batch["seed"]]
    )
    shifted = 0.99957490 * latents + 0.02915513 * noise
    target = functional.avg_pool2d(batch["masks"].transpose(1, 2).flatten(0, 1)[:, :1], 2).unflatten(0, (2, 2))
    with torch.no_grad():
        text = backbone.embed([CLIPS[index]["text"] for index, _ in keys])
        predicted = backbone.denoiser(shifted, 0, encoder_hidden_states=text).sample
    wanted = float(((predicted - target.transpose(1, 2)) ** 2).sum()) / predicted.numel()
    (loss,) = go(RECIPE, backbone, tmp_path).losses
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert torch.equal(noise_of(batch["seed"], latents), noise)


def test_stage_1_leaves_every_temporal_weight_as_it_was(parts: Path, tmp_path: Path) -> None:
    single = moving_squares(frames=1)
    for rule, temporal in (("spatial", ("temp", "transformer_in")), ("spatial-released", ("temp", "time_embedding"))):
        backbone = tiny_backbone(parts)
        before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}
        frozen = {name for name in before if any(part in name for part in temporal)}
        go(changed(RECIPE, trained=rule, frames=1), backbone, tmp_path / rule, dataset=single)
        after = backbone.denoiser.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert not moved & frozen
        assert any(name.startswith("transformer_in") for name in moved) == (rule == "spatial-released")
        # nearly all that may move does; keys' biases, to which a softmax is blind, get no gradient
        assert len(moved) > 0.95 * (len(before) - len(frozen))


def moments(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = load_file(checkpoint / "optimizer.safetensors")
    return {name.removeprefix("exp_avg/"): value for name, value in state.items() if name.startswith("exp_avg/")}


def test_gradients_are_clamped_element_by_element(parts: Path, tmp_path: Path) -> None:
    free = moments(go(RECIPE, tiny_backbone(parts), tmp_path / "free").checkpoint)
    limit = 1e-4
    held = moments(go(changed(RECIPE, clamp=limit), tiny_backbone(parts), tmp_path / "held").checkpoint)
    assert any((value.abs() > 0.1 * limit).any() for value in free.values())
    for name, value in held.items():  # after one step the first moment is a tenth of the gradient
        assert torch.allclose(value, free[name].clamp(-0.1 * limit, 0.1 * limit), rtol=1e-5, atol=1e-12)


def test_decay_spares_biases_and_norms_only_in_the_released_recipe(parts: Path, tmp_path: Path) -> None:
    slow = changed(RECIPE, lr=1e-12, weight_decay=1e11)  # steps of nothing, decay by a tenth
    for rule, spared in (("nothing", False), ("released", True)):
        backbone = tiny_backbone(parts)
        before = {name: value.clone() for name, value in backbone.denoiser.named_parameters()}
        go(changed(slow, no_decay=rule), backbone, tmp_path / rule)
        after = dict(backbone.denoiser.named_parameters())
        weight, norm = "conv_in.weight", "conv_norm_out.weight"
        assert torch.allclose(after[weight], 0.9 * before[weight], atol=1e-6)
        assert torch.allclose(after[norm], (1.0 if spared else 0.9) * before[norm], atol=1e-6)


def test_a_batch_may_be_cut_into_passes(parts: Path, tmp_path: Path) -> None:
    whole, cut = tiny_backbone(parts, dropout=False), tiny_backbone(parts, dropout=False)
    recipe = changed(RECIPE, steps=2, batch=4, micro_batch=4)
    one = go(recipe, whole, tmp_path / "whole").losses
    four = go(changed(recipe, micro_batch=1), cut, tmp_path / "cut").losses
    assert four == pytest.approx(one, rel=1e-4)
    with pytest.raises(UsageError, match="no field; did you mean"):
        read_recipe("stage1", {"microbatch": "3"})


def test_recomputing_activations_changes_no_gradient(parts: Path) -> None:
    gradients = []
    for again in (False, True):
        backbone = tiny_backbone(parts)
        denoiser = backbone.denoiser.train()
        torch.manual_seed(3)
        latents, text = torch.randn(1, 4, 3, 8, 8), torch.randn(1, 77, 32)
        if again:
            with recomputed(denoiser):
                backbone.denoise(latents, text).square().mean().backward()
            assert all("forward" not in vars(module) for module in denoiser.modules())
        else:
            backbone.denoise(latents, text).square().mean().backward()
        gradients.append([p.grad for p in denoiser.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 100
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with pytest.raises(UsageError, match="no blocks"), recomputed(nn.Linear(1, 1)):
        pass


def test_an_average_follows_the_weights(parts: Path, tmp_path: Path) -> None:
    plain, averaged = tiny_backbone(parts), tiny_backbone(parts)
    start = {name: value.clone() for name, value in plain.denoiser.named_parameters()}
    go(RECIPE, plain, tmp_path / "plain")
    checkpoint = go(changed(RECIPE, ema=0.75), averaged, tmp_path / "ema").checkpoint
    stock = load_file(checkpoint / "denoiser.safetensors")
    for name, value in plain.denoiser.named_parameters():
        wanted = 0.75 * start[name] + 0.25 * value
        assert torch.allclose(stock[name], wanted, atol=1e-6)
        assert torch.equal(averaged.denoiser.get_parameter(name), stock[name])


def test_adapters_move_attention_alone_and_are_exported_merged(parts: Path, tmp_path: Path) -> None:
    backbone = tiny_backbone(parts)
    before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}
    checkpoint = go(changed(RECIPE, lora_rank=2, steps=2), backbone, tmp_path).checkpoint
    stock = load_file(checkpoint / "denoiser.safetensors")
    after = backbone.denoiser.state_dict()
    assert stock.keys() == before.keys() == after.keys()
    assert all(torch.equal(stock[name], after[name]) for name in stock)
    moved = {name for name in stock if not torch.equal(stock[name], before[name])}
    assert moved
    assert all(name.endswith((".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight")) for name in moved)
    small = sum(value.numel() for value in load_file(checkpoint / "trained.safetensors").values())
    assert small < 0.1 * sum(value.numel() for value in before.values())


def test_merged_adapters_predict_what_the_adapters_did(parts: Path) -> None:
    backbone = tiny_backbone(parts)
    latents, text = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 77, 32)
    add_lora(backbone.denoiser, 2, seed=1)
    for name, parameter in backbone.denoiser.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        adapted = backbone.denoise(latents, text)
        stock = tiny_backbone(parts)
        plain = stock.denoise(latents, text)
        stock.denoiser.load_state_dict(merged_state(backbone.denoiser), strict=True)
        merged = stock.denoise(latents, text)
    assert torch.allclose(merged, adapted, atol=1e-5)
    assert not torch.allclose(merged, plain, atol=1e-3)


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_heads_read_every_scale_and_learn(kind: str, parts: Path, tmp_path: Path) -> None:
    backbone = tiny_backbone(parts)
    head = build_head(kind, backbone.denoiser, seed=0)
    latents, text = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 77, 32)
    with torch.no_grad(), tapped(backbone.denoiser) as features:
        backbone.denoise(latents, text)
        assert [tuple(feature.shape) for feature in features] == [(6, 32, 8, 8), (6, 16, 8, 8)]
        assert predicted_logits(backbone, head, latents, text, (16, 16)).shape == (2, 3, 16, 16)
    assert head.training
    result = go(changed(RECIPE, decoder=kind, steps=6), backbone, tmp_path, decoder=head)
    assert result.losses[0] == pytest.approx(0.69, abs=0.2)  # binary cross-entropy of a guess
    assert result.losses[-1] < 0.9 * result.losses[0]
    stored = load_file(result.checkpoint / "decoder.safetensors")
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in stored.items())
    assert not backbone.denoiser.conv_out.weight.requires_grad


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("ablation/")])
def test_each_row_of_the_ablation_takes_a_step(name: str, parts: Path, tmp_path: Path) -> None:
    recipe = changed(
        read_recipe(name), steps=1, epochs=0, size=(SIDE, SIDE), frames=2, batch=2, micro_batch=2, per_set=0, total=0,
        published=False, base=str(parts),
    )  # fmt: skip
    if recipe.backbone == "videocrafter":
        from refvps.errors import DataMissingError

        with pytest.raises(DataMissingError, match="VideoCrafter cannot be loaded"):
            run(recipe, out=tmp_path, dataset=CLIPS)
        return
    backbone = tiny_backbone(parts)
    if recipe.backbone == "stable-diffusion":
        backbone = image_backbone(backbone)
    before = backbone.denoiser.conv_in.weight.clone()
    result = run(recipe, out=tmp_path, backbone=backbone, dataset=CLIPS)
    assert np.isfinite(result.losses[0])
    assert not torch.equal(backbone.denoiser.conv_in.weight, before)
    assert (result.checkpoint / "decoder.safetensors").is_file() == (recipe.decoder != "vae")


def image_backbone(other: Any) -> Any:
    """A Stable Diffusion backbone with the other parts of ``other``."""
    from diffusers import UNet2DConditionModel

    from rem.backbones.stable_diffusion import StableDiffusion

    unet = UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=32, attention_head_dim=8,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    return StableDiffusion(other.vae, unet, other.text_encoder, other.tokenizer, other.scheduler)


def test_validation_scores_what_the_pipeline_predicts(parts: Path) -> None:
    import refvps

    def frames(clip: str) -> np.ndarray:
        shape = (len(plain.clips[clip].frames), *plain.clips[clip].size, 3)
        return np.random.default_rng(len(clip)).integers(0, 255, shape).astype(np.uint8)

    plain = tiny_benchmark()
    benchmark = replace(plain, frames=frames)
    backbone = tiny_backbone(parts)
    nn.init.constant_(backbone.denoiser.conv_out.bias, 0.5)  # or all masks would be empty
    backbone.chunk_frames = 3
    recipe = changed(RECIPE, noise="none")
    scorer = refvps.Scorer(benchmark)
    pipeline = RemPipeline.of(backbone)
    for each in benchmark.expressions:
        masks = pipeline(frames(each.clip), each.text, size=recipe.size, noise="none", chunk=3).masks[0]
        assert 0.02 < float(masks.float().mean()) < 0.98
        scorer.update(each.clip, each.id, masks.numpy())
    assert benchmark_scores(recipe, benchmark)(backbone, None, 1) == scorer.compute().flat()
    noisy = benchmark_scores(RECIPE, benchmark)
    assert noisy(backbone, None, 1) == noisy(backbone, None, 2) != scorer.compute().flat()


def test_validation_and_its_weights_are_logged(parts: Path, tmp_path: Path) -> None:
    states = []

    def validate(backbone: Any, decoder: Any, step: int) -> dict[str, float]:
        states.append((step, backbone.denoiser.training, torch.is_grad_enabled()))
        return {"made/J": 0.5 + step}

    recipe = changed(RECIPE, steps=2, validate_every=1, benchmark="made")
    result = go(recipe, tiny_backbone(parts), tmp_path, validate=validate)
    assert states == [(1, False, False), (2, False, False)]
    assert result.metrics == {"made/J": 2.5}
    assert [r["made/J"] for r in read_log(tmp_path / "log.jsonl") if "made/J" in r] == [1.5, 2.5]


def test_bfloat16_trains_and_half_precision_is_refused_on_a_cpu(parts: Path, tmp_path: Path) -> None:
    exact = go(RECIPE, tiny_backbone(parts), tmp_path / "exact").losses[0]
    rounded = go(changed(RECIPE, precision="bf16"), tiny_backbone(parts), tmp_path / "bf16").losses[0]
    assert rounded == pytest.approx(exact, rel=0.05)
    assert rounded != exact
    with pytest.raises(UsageError, match="no gradient scaling on a CPU"):
        go(changed(RECIPE, precision="fp16"), tiny_backbone(parts), tmp_path / "fp16")
    half = tiny_backbone(parts)
    half.denoiser.to(torch.bfloat16)
    with pytest.raises(UsageError, match="must be float32"):
        go(RECIPE, half, tmp_path / "half")


def test_what_does_not_fit_is_said_before_the_first_step(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiples of 8"):
        go(changed(RECIPE, size=(12, 16)), tiny_backbone(parts), tmp_path)
    with pytest.raises(UsageError, match="needs a U-Net"):
        build_head("cnn", nn.Linear(1, 1), seed=0)
    broken = tiny_backbone(parts)
    nn.init.constant_(broken.denoiser.conv_in.weight, float("nan"))
    with pytest.raises(InputError, match="loss is not finite"):
        go(RECIPE, broken, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
