"""The pieces of VD-IT against independent ones: deformable attention, boxes, losses, matching, schedule, sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.deformable import ms_deform_attn
from baselines.vdit.deformable import DeformableAttention, Levels, grid_references, sine_positions, sine_positions_1d
from baselines.vdit.losses import (
    WEIGHTS,
    Targets,
    dice_coefficient,
    focal,
    generalised_iou,
    half,
    layer_losses,
    make_targets,
    mask_boxes,
    total_loss,
)
from baselines.vdit.mask_head import dynamic_patches, parameter_count, unfold_patches
from baselines.vdit.matcher import costs, match
from baselines.vdit.model import Outputs, VdIt, VdItConfig
from baselines.vdit.noise import STEPS, add_noise, noise_layers, predict_noise, timestep_of
from baselines.vdit.prompt import clip_pixels
from baselines.vdit.schedule import Recipe, read_recipe, recipe_names
from baselines.vdit.training import fit, frame_choice
from refvps.errors import InputError, UsageError

SHAPES = torch.tensor([[6, 5], [3, 4], [1, 2]])


def attention_case(seed: int, *, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Values, places (some outside of the image) and weights of two items, 7 queries, 4 heads, 3 points."""
    draw = torch.Generator().manual_seed(seed)
    value = torch.randn(2, int(SHAPES.prod(1).sum()), 4, 8, generator=draw, dtype=dtype)
    places = torch.rand(2, 7, 4, 3, 3, 2, generator=draw, dtype=dtype) * 1.4 - 0.2
    weights = torch.rand(2, 7, 4, 3, 3, generator=draw, dtype=dtype)
    return value, places, weights


def by_hand(value: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Equation 3 of Deformable DETR with loops over everything."""
    batch, _, heads, depth = value.shape
    queries, levels, points = places.shape[1], places.shape[3], places.shape[4]
    result = torch.zeros(batch, queries, heads, depth, dtype=value.dtype)
    starts = [0, *SHAPES.prod(1).cumsum(0).tolist()]
    for n, q, m, level, p in np.ndindex(batch, queries, heads, levels, points):
        height, width = SHAPES[level].tolist()
        x = float(places[n, q, m, level, p, 0]) * width - 0.5
        y = float(places[n, q, m, level, p, 1]) * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column)) * weights[n, q, m, level, p]
                    result[n, q, m] += share * value[n, starts[level] + row * width + column, m]
    return result.flatten(2)


def test_deformable_attention_is_the_equation() -> None:
    case = attention_case(0, dtype=torch.float64)
    assert torch.allclose(ms_deform_attn(case[0], SHAPES, *case[1:]), by_hand(*case), atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_deformable_attention_is_transformers(seed: int) -> None:
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    ours, theirs = attention_case(seed), attention_case(seed)
    for tensor in (*ours, *theirs):
        tensor.requires_grad_()
    sides = [(int(h), int(w)) for h, w in SHAPES.tolist()]
    first = ms_deform_attn(ours[0], SHAPES, ours[1], ours[2])
    second = MultiScaleDeformableAttention()(theirs[0], SHAPES, sides, None, theirs[1], theirs[2], 64)
    assert (first - second).abs().max() <= 1e-6
    first.square().sum().backward()
    second.square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad - b.grad).abs().max() <= 1e-4 * b.grad.abs().max()


def test_deformable_attention_takes_batches_the_compiled_operator_refuses() -> None:
    """65 items: not a multiple of 64; every item as if it were alone."""
    value, places, weights = (each[:1].expand(65, *each.shape[1:]) for each in attention_case(3))
    together = ms_deform_attn(value, SHAPES, places, weights)
    assert torch.equal(together[0], together[64])
    with pytest.raises(ValueError, match="add up"):
        ms_deform_attn(value[:, :-1], SHAPES, places, weights)


def test_the_attention_module_is_transformers() -> None:
    """The same parameters by the same names in the stock module give the same numbers, for points and for boxes."""
    from transformers import DeformableDetrConfig
    from transformers.models.deformable_detr.modeling_deformable_detr import (
        DeformableDetrMultiscaleDeformableAttention as Stock,
    )

    torch.manual_seed(0)
    ours = DeformableAttention(32, levels=3, heads=4, points=2)
    stock = Stock(DeformableDetrConfig(d_model=32, num_feature_levels=3), num_heads=4, n_points=2)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stock.load_state_dict(ours.state_dict(), strict=True)
    memory, query = torch.randn(2, 44, 32), torch.randn(2, 5, 32)
    padding = torch.zeros(2, 44, dtype=torch.bool)
    padding[1, 40:] = True
    levels = Levels(SHAPES, padding, torch.ones(2, 3, 2))
    sides = [(int(h), int(w)) for h, w in SHAPES.tolist()]
    for width in (2, 4):
        references = torch.rand(2, 5, 3, width)
        theirs = stock(
            query, attention_mask=~padding, encoder_hidden_states=memory, reference_points=references,
            spatial_shapes=SHAPES, spatial_shapes_list=sides, level_start_index=None,
        )[0]  # fmt: skip
        assert (ours(query, references, memory, levels) - theirs).abs().max() <= 1e-5


def test_positions_and_grid_ignore_padding() -> None:
    inside = sine_positions(torch.zeros(1, 4, 6, dtype=torch.bool), 16)
    padding = torch.ones(1, 8, 9, dtype=torch.bool)
    padding[:, :4, :6] = False
    assert torch.allclose(sine_positions(padding, 16)[:, :4, :6], inside, atol=1e-5)
    words = sine_positions_1d(torch.zeros(1, 5, dtype=torch.bool), 8)
    assert torch.allclose(words[0, -1, :2], torch.tensor([0.0, 1.0]), atol=1e-4)  # sin and cos of 2 pi
    grid = grid_references(Levels(torch.tensor([[2, 2]]), torch.zeros(1, 4, dtype=torch.bool), torch.ones(1, 1, 2)))
    assert grid[0, :, 0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_generalised_iou_by_hand() -> None:
    """Boxes 2x2 at (1, 1) and: itself; shifted by one; apart by two; inside."""
    one = torch.tensor([1.0, 1.0, 2.0, 2.0])
    others = torch.tensor([[1.0, 1, 2, 2], [2.0, 1, 2, 2], [5.0, 1, 2, 2], [1.0, 1, 1, 1]])
    expected = [1.0, 2 / 6, 0 - (12 - 8) / 12, 1 / 4]
    assert generalised_iou(one.expand(4, 4), others).tolist() == pytest.approx(expected)


@given(st.lists(st.floats(0.05, 0.95), min_size=8, max_size=8))
def test_generalised_iou_is_symmetric_and_bounded(values: list[float]) -> None:
    first, second = torch.tensor(values[:4]), torch.tensor(values[4:])
    found = generalised_iou(first, second)
    assert torch.equal(found, generalised_iou(second, first))
    assert -1 <= float(found) <= 1 + 1e-6
    assert float(generalised_iou(first, first)) == pytest.approx(1.0, abs=1e-5)


def test_focal_and_dice_are_their_formulas() -> None:
    logits, truth = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    share = 1 / (1 + np.exp(-logits.double().numpy()))
    expected = [
        -0.25 * (1 - share[0]) ** 2 * np.log(share[0]),
        -0.75 * share[1] ** 2 * np.log(1 - share[1]),
        -0.75 * share[2] ** 2 * np.log(1 - share[2]),
    ]
    assert focal(logits, truth).tolist() == pytest.approx(expected, rel=1e-5)
    assert float(dice_coefficient(logits, truth)) == pytest.approx((2 * share[0] + 1) / (share.sum() + 1 + 1), rel=1e-6)


def test_boxes_of_masks() -> None:
    masks = torch.zeros(1, 2, 10, 20, dtype=torch.bool)
    masks[0, 0, 2:5, 4:10] = True
    assert mask_boxes(masks).tolist() == [[[7.0, 3.5, 6.0, 3.0], [0.0, 0.0, 0.0, 0.0]]]
    padding = torch.zeros(1, 10, 20, dtype=torch.bool)
    padding[:, :, 12:] = True
    targets = make_targets(masks, padding)
    assert torch.allclose(targets.boxes[0, 0], torch.tensor([7 / 12, 0.35, 0.5, 0.3]))
    assert targets.visible.tolist() == [[True, False]]
    with pytest.raises(InputError):
        make_targets(masks[..., :-1], padding)


def made_outputs(seed: int = 0) -> tuple[Outputs, Targets]:
    """Random answers of two layers about two clips of three frames, the target of one invisible in a frame."""
    draw = torch.Generator().manual_seed(seed)
    outputs = Outputs(
        torch.randn(2, 2, 3, 5, generator=draw), torch.rand(2, 2, 3, 5, 4, generator=draw),
        torch.randn(2, 2, 3, 5, 16, 2, 3, generator=draw), torch.empty(0), torch.empty(0),
    )  # fmt: skip
    masks = torch.rand(2, 3, 16, 24, generator=draw) > 0.7
    masks[1, 2] = False
    return outputs, make_targets(masks, torch.zeros(2, 16, 24, dtype=torch.bool))


def doubled(outputs: Outputs, patches: torch.Tensor) -> torch.Tensor:
    """A stand-in for the refinement: each pixel of the low mask four times."""
    return unfold_patches(patches).repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_losses_of_a_layer_by_hand() -> None:
    outputs, targets = made_outputs()
    chosen = torch.tensor([3, 1])
    refined = doubled(outputs, outputs.patches[1][torch.arange(2), :, chosen])
    found = layer_losses(outputs, 1, chosen, refined, targets, count=5.0)
    expected = dict.fromkeys(WEIGHTS, 0.0)
    for clip, query in enumerate(chosen.tolist()):
        for t in range(3):
            for q in range(5):
                truth = torch.tensor(float(q == query and bool(targets.visible[clip, t])))
                expected["class"] += float(focal(outputs.logits[1, clip, t, q], truth)) / 5
            box = outputs.boxes[1, clip, t, query]
            expected["l1"] += float((box - targets.boxes[clip, t]).abs().sum()) / 5
            expected["giou"] += float(1 - generalised_iou(box, targets.boxes[clip, t])) / 5
        low, truth = outputs.low[1, clip, :, query].flatten(), targets.masks[clip, :, 1::2, 1::2].flatten()
        expected["focal_low"] += float(focal(low, truth).mean()) / 5
        expected["dice_low"] += float(1 - dice_coefficient(low, truth)) / 5
        full, truth = refined[clip].flatten(), targets.masks[clip].flatten()
        expected["focal"] += float(focal(full, truth).mean()) / 5
        expected["dice"] += float(1 - dice_coefficient(full, truth)) / 5
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, rel=1e-4)
    total, parts = total_loss(outputs, targets, lambda *_: chosen, doubled)
    assert float(total) == pytest.approx(sum(WEIGHTS[name] * parts[name] for name in WEIGHTS), rel=1e-5)


@pytest.mark.parametrize("masks", ["final", "low"])
def test_the_matcher_adds_five_costs_and_finds_the_query_that_is_right(masks: str) -> None:
    outputs, targets = made_outputs(1)
    low = half(targets.masks)
    patches = torch.nn.functional.pixel_unshuffle((low - 0.5).unsqueeze(2) * 20, 4)
    outputs.patches[0][torch.arange(2), :, torch.tensor([4, 2])] = patches
    outputs.boxes[0][torch.arange(2), :, torch.tensor([4, 2])] = targets.boxes
    outputs.logits[0][torch.arange(2), :, torch.tensor([4, 2])] = 6.0
    found = match(outputs, 0, targets, masks, doubled)
    assert found.tolist() == [4, 2]
    table = costs(outputs, 0, targets, masks, doubled)
    for clip, query in np.ndindex(2, 5):
        share = outputs.logits[0, clip, :, query].sigmoid()
        score = -0.25 * (1 - share) ** 2 * share.log() + 0.75 * share**2 * (1 - share).log()
        boxes = outputs.boxes[0, clip, :, query]
        apart = (boxes - targets.boxes[clip]).abs().sum(-1).mean()
        logits, truth = outputs.low[0, clip, :, query], half(targets.masks[clip])
        if masks == "final":
            logits, truth = doubled(outputs, outputs.patches[0, :, :, query])[clip], targets.masks[clip]
        expected = (
            2 * score[targets.visible[clip]].mean() + 5 * apart - 2 * generalised_iou(boxes, targets.boxes[clip]).mean()
            + 2 * focal(logits, truth).mean() - 5 * dice_coefficient(logits.flatten(), truth.flatten())
        )  # fmt: skip
        assert float(table[clip, query]) == pytest.approx(float(expected), rel=1e-3)


def test_final_and_low_masks_are_different_choices() -> None:
    """Refinement may turn a bad low mask into the best final one; only "final" sees that."""
    outputs, targets = made_outputs(2)
    outputs.logits.zero_()
    outputs.boxes[:] = targets.boxes[None, :, :, None]
    patches = torch.nn.functional.pixel_unshuffle((half(targets.masks) - 0.5).unsqueeze(2) * 20, 4)
    outputs.patches[0] = patches[:, :, None] * torch.tensor([1.0, -1, -1, -1, -1])[:, None, None, None]
    inverted = lambda outputs, patches: -doubled(outputs, patches)  # noqa: E731
    assert match(outputs, 0, targets, "low", inverted).tolist() == [0, 0]
    assert 0 not in match(outputs, 0, targets, "final", inverted).tolist()
    with pytest.raises(UsageError, match="'final' or 'low'"):
        match(outputs, 0, targets, "both", inverted)


def test_dynamic_patches_are_grouped_convolutions() -> None:
    torch.manual_seed(0)
    features, centres = torch.randn(2, 6, 3, 4), torch.rand(2, 5, 2) * 20
    assert parameter_count(256) == 4416
    weights = torch.randn(2, 5, parameter_count(6)) * 0.2
    found = dynamic_patches(features, weights, centres)
    for n, q in np.ndindex(2, 5):
        x = torch.arange(4) * 8 + 4.0
        y = torch.arange(3) * 8 + 4.0
        apart = torch.stack([(centres[n, q, 0] - x).expand(3, 4), (centres[n, q, 1] - y)[:, None].expand(3, 4)])
        seen = torch.cat([features[n], apart])[None]
        first, second, bias, end = weights[n, q].split([8 * 16, 256, 16, 16])
        hidden = torch.relu(torch.nn.functional.conv2d(seen, first.view(16, 8, 1, 1), bias))
        expected = torch.nn.functional.conv2d(hidden, second.view(16, 16, 1, 1), end)[0]
        assert torch.allclose(found[n, q], expected, atol=1e-4)


# --- sizes, noise, schedule --------------------------------------------------------------------------


def counts(fusion: str) -> dict[str, int]:
    with torch.device("meta"):
        model = VdIt(VdItConfig(fusion=fusion))
    groups = {"all": sum(p.numel() for p in model.parameters())}
    for place in (model, model.backbone):
        groups |= {name: sum(p.numel() for p in part.parameters()) for name, part in place.named_children()}
    groups["queries"] = model.query_tensors.numel() + groups["query_embed"]
    groups["noise"] = groups["noise_pred"] + groups["noise_fc"]
    groups["heads"] = groups["class_embed"] + groups["bbox_embed"]
    return groups


def test_the_paper_s_sizes() -> None:
    found = counts("attn")
    millions = {
        "projection": 2.36, "cross_attn": 5.25, "act_postprocess": 5.97, "input_proj": 2.82, "text_proj": 0.20,
        "fusion_module": 0.26, "transformer": 11.31, "heads": 0.53, "controller": 1.27, "all": 30.04,
    }  # fmt: skip
    assert {name: round(found[name] / 1e6, 2) for name in millions} == millions
    assert (found["noise"], found["queries"], found["mask_refine"]) == (180, 2560, 64_576)


def test_table_a_has_four_fusions_and_concat_costs_what_attention_does() -> None:
    found = {fusion: counts(fusion) for fusion in ("image", "text", "concat", "attn")}
    assert found["concat"]["all"] == found["attn"]["all"]
    assert found["concat"]["concat"] == found["attn"]["cross_attn"]
    assert found["image"]["all"] == found["attn"]["all"] - found["attn"]["cross_attn"]
    assert found["text"]["all"] == found["image"]["all"] - found["image"]["projection"]
    with pytest.raises(UsageError, match="image, text, concat, attn"):
        VdItConfig(fusion="sum")


@torch.no_grad()
def test_noise_is_standardised_by_clip_and_added_in_float32() -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 3, 5, 6)
    noise = predict_noise(latents, *noise_layers())
    for clip in noise:  # each by itself
        assert float(clip.mean()) == pytest.approx(0, abs=1e-5)
        assert float(clip.std()) == pytest.approx(1, abs=1e-3)
    shares = torch.linspace(0.99915, 0.1, 1000)
    noisy = add_noise(latents.bfloat16(), noise.bfloat16(), shares, 0)
    assert noisy.dtype == torch.float32
    assert torch.allclose(noisy, math.sqrt(0.99915) * latents + math.sqrt(0.00085) * noise, atol=2e-2)
    assert [timestep_of(step) for step in STEPS] == [0, 4, 9, 49, 99]
    for step in (0, 1001):
        with pytest.raises(UsageError):
            timestep_of(step)


def test_noise_addition_is_diffusers() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents, noise = torch.randn(1, 4, 2, 3, 3), torch.randn(1, 4, 2, 3, 3)
    for step in STEPS:
        theirs = scheduler.add_noise(latents, noise, torch.tensor([timestep_of(step)]))
        assert torch.allclose(add_noise(latents, noise, scheduler.alphas_cumprod, timestep_of(step)), theirs, atol=1e-6)


def test_schedules_of_the_supplement() -> None:
    """Epochs, drops and rates of the supplement's text, and what the released rule gives on two GPUs and on four."""
    pretrain, main, finetune = (read_recipe(name) for name in ("pretrain", "main", "finetune"))
    assert (pretrain.epochs, main.epochs, finetune.epochs, pretrain.frames) == (12, 9, 6, 1)
    assert [pretrain.rates(e) for e in (0, 7)] == [pytest.approx((2.5e-5, 2.5e-6))] * 2
    assert [pretrain.rates(e)[0] for e in (8, 9, 10, 11)] == pytest.approx([2.5e-6, 2.5e-6, 2.5e-7, 2.5e-7])
    assert [main.rates(e)[0] for e in range(9)] == pytest.approx([5e-5] * 6 + [5e-6] * 2 + [5e-7])
    assert [finetune.rates(e)[0] for e in range(6)] == pytest.approx([5e-5] * 3 + [5e-6] * 2 + [5e-7])
    assert main.rates(0)[1] == finetune.rates(0)[1] == 0  # the text encoder is frozen
    assert read_recipe("main-released").rates(0)[0] == pytest.approx(5e-5)
    assert read_recipe("finetune-released").rates(0)[0] == pytest.approx(2.5e-5)
    assert read_recipe("finetune-released", gpus=4).rates(0)[0] == pytest.approx(5e-5)
    assert len(recipe_names()) == 5
    assert {read_recipe(n).matching_masks for n in recipe_names()} == {"final", "low"}


def test_recipes_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        read_recipe("main", epoch=3)
    with pytest.raises(UsageError, match="one of finetune"):
        read_recipe("mian")
    with pytest.raises(UsageError, match="drops"):
        read_recipe("main", drops=(8, 6))
    with pytest.raises(UsageError, match="matching_masks"):
        replace(Recipe("x", 1, 0.1), matching_masks="none")


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_frames_of_a_clip(length: int, count: int, seed: int) -> None:
    chosen = frame_choice(length, count, np.random.default_rng(seed))
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert all(0 <= k < length for k in chosen)
    assert partial(frame_choice, length, count)(np.random.default_rng(seed)) == chosen
    assert fit((360, 640), 512, 640) == (360, 640)
    assert fit((720, 1280), 288, 640) == (288, 512)


@pytest.mark.parametrize("size", [(37, 53), (64, 36), (16, 16)])
def test_clip_sees_what_its_processor_shows(size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    theirs = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    assert (clip_pixels(frames, 16) - theirs).abs().max() <= 1e-5
