"""VD-IT as a whole on tiny random models: features, checkpoints, training, the predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vdit_tiny
from vdit_scenes import TEST, TRAIN, scene

from baselines.vdit import checkpoint, predictor
from baselines.vdit.features import TAKEN, encode_frames, unet_activations, unet_walk
from baselines.vdit.model import FeatureLayers, Frozen, VdIt, VdItConfig, look_at
from baselines.vdit.schedule import Recipe
from baselines.vdit.training import HEAD, STATE, draw_sample, train
from refvps.errors import DataMissingError, InputError, UsageError

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["the red square", "the smoke that rises"]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return vdit_tiny.frozen(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., VdIt]:
    folder = tmp_path_factory.mktemp("model")
    return lambda **options: vdit_tiny.model(folder, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vdit_tiny.predictor_folder(tmp_path_factory.mktemp("predictor"))


def noise_clip(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


# --- features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (7, 11), (6, 10)])
@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_the_walk_is_the_stock_unet(frozen: Frozen, frames: int, size: tuple[int, int]) -> None:
    """Equal prompts and no gating: the stock output bit for bit, and the six activations are what hooks see."""
    torch.manual_seed(0)
    sample, prompts = torch.randn(2, 4, frames, *size), torch.randn(2, 9, 32)
    places = {
        "in": frozen.unet.transformer_in, "down0": frozen.unet.down_blocks[0], "down1": frozen.unet.down_blocks[1],
        "up0": frozen.unet.up_blocks[0], "up1": frozen.unet.up_blocks[1], "up2": frozen.unet.up_blocks[2],
    }  # fmt: skip
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _m, _i, out: seen.update({name: out[0] if isinstance(out, tuple) else out})

    hooks = [place.register_forward_hook(keep(name)) for name, place in places.items()]
    stock = frozen.unet(sample, 4, prompts).sample
    for hook in hooks:
        hook.remove()
    walk = dict(unet_walk(frozen.unet, sample, 4, prompts.repeat_interleave(frames, dim=0), gated=False))
    assert torch.equal(walk["out"], stock)
    assert list(seen) == list(TAKEN)
    assert all(torch.equal(walk[name], seen[name]) for name in TAKEN)


@torch.no_grad()
def test_every_frame_has_a_prompt_of_its_own(frozen: Frozen) -> None:
    """Changing one frame's prompt changes that frame most, and more than the stock model could tell apart."""
    torch.manual_seed(0)
    sample, prompts = torch.randn(1, 4, 3, 8, 8), torch.randn(3, 9, 32)
    other = prompts.clone()
    other[1] = torch.randn(9, 32)
    before, after = (unet_activations(frozen.unet, sample, 0, each)["up2"] for each in (prompts, other))
    change = (before - after).flatten(1).norm(dim=1)
    assert change.argmax() == 1
    assert change[1] > 2 * change[0]


@torch.no_grad()
def test_one_frame_skips_time(frozen: Frozen) -> None:
    """Gated, a frame does not see the temporal weights, but for the first of the middle block."""
    import copy

    torch.manual_seed(0)
    sample, prompts = torch.randn(2, 4, 1, 8, 8), torch.randn(2, 9, 32)
    noisy = copy.deepcopy(frozen.unet)
    for name, parameter in noisy.named_parameters():
        if "temp_" in name or name.startswith("transformer_in"):
            if not name.startswith("mid_block.temp_convs.0"):
                parameter.add_(1.0)
    gated = [dict(unet_walk(unet, sample, 0, prompts))["out"] for unet in (frozen.unet, noisy)]
    assert torch.equal(*gated)
    assert not torch.equal(gated[0], frozen.unet(sample, 0, prompts).sample)
    noisy.mid_block.temp_convs[0].conv1[0].bias.add_(1.0)
    assert not torch.equal(gated[0], dict(unet_walk(noisy, sample, 0, prompts))["out"])
    moving = torch.randn(1, 4, 2, 8, 8)
    assert not torch.equal(*(dict(unet_walk(u, moving, 0, prompts))["out"] for u in (frozen.unet, noisy)))


@torch.no_grad()
def test_the_encoder_s_map_and_latents(frozen: Frozen) -> None:
    pixels = torch.rand(2, 3, 3, 32, 48) * 2 - 1
    flat = pixels.transpose(1, 2).flatten(0, 1)
    found = encode_frames(frozen.vae, pixels, batch=6)
    posterior = frozen.vae.encode(flat).latent_dist
    assert found.latents.shape == (2, 4, 3, 4, 6)
    assert torch.allclose(found.latents.transpose(1, 2).flatten(0, 1), posterior.mode() * 0.18215, atol=1e-6)
    encoder = frozen.vae.encoder
    state = encoder.down_blocks[1](encoder.down_blocks[0](encoder.conv_in(flat)))
    for block in encoder.down_blocks[2].resnets:
        state = block(state, temb=None)
    assert torch.allclose(found.quarter, state, atol=1e-5)
    drawn = [encode_frames(frozen.vae, pixels, generator=torch.Generator().manual_seed(s)).latents for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], found.latents)


def test_padding_has_imagenet_s_mean_colour(frozen: Frozen) -> None:
    clip = look_at(frozen, [noise_clip(0, 2, 20, 30)])
    assert clip.padding.shape == (1, 32, 32)
    assert int((~clip.padding).sum()) == 600


# --- the model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["image", "text", "concat", "attn"])
def test_gradients_reach_every_trained_parameter(frozen: Frozen, build: Callable[..., VdIt], fusion: str) -> None:
    """Through the frozen UNet to prompt and noise; nothing frozen gets one."""
    model = build(fusion=fusion)
    with torch.no_grad():  # some layers start at zero
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    clip = look_at(frozen, [noise_clip(k, 2, 32, 48) for k in range(2)])
    outputs = model(frozen, clip, TEXTS)
    assert outputs.logits.shape == (2, 2, 2, 5)
    assert outputs.boxes.shape == (2, 2, 2, 5, 4)
    assert outputs.low.shape == (2, 2, 2, 5, 16, 24)
    refined = model.refine(outputs, outputs.patches[-1][:, :, 0])
    assert refined.shape == (2, 2, 32, 48)
    (refined.sum() + outputs.boxes.sum() + outputs.logits.sum() + outputs.low.square().sum()).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in silent if not name.startswith("roberta.pooler")] == []
    assert all(p.grad is None for part in (frozen.unet, frozen.vae, frozen.vision) for p in part.parameters())


def test_prompts_of_the_four_fusions() -> None:
    text, image = torch.randn(3, 77, 32), torch.randn(3, 5, 16)
    lengths = {}
    for fusion in ("image", "text", "concat", "attn"):
        layers = FeatureLayers(replace(vdit_tiny.CONFIG, fusion=fusion))
        found, other = layers.prompts(text, image), layers.prompts(text, image + 1)
        lengths[fusion] = found.shape[1]
        assert torch.equal(found, other) == (fusion == "text")
        assert torch.equal(found, layers.prompts(text + 1, image)) == (fusion == "image")
    assert lengths == {"image": 5, "text": 77, "concat": 82, "attn": 77}


@torch.inference_mode()
def test_the_query_with_the_best_mean_answers(frozen: Frozen, build: Callable[..., VdIt]) -> None:
    """The largest mean sigmoid over the frames, not the mean logit and not the best frame."""
    model = build()
    clip = look_at(frozen, [noise_clip(3, 2, 32, 32)])
    outputs = model(frozen, clip, TEXTS[:1])
    outputs.logits[-1, 0] = torch.tensor([[0.0, 9.0, 1.0, 0, 0], [0.0, -1.5, 1.0, 0, 0]])
    assert int(model.choose(outputs)) == 2  # means .73 against .59; by logits or by the best frame it would be query 1
    chosen = model.segment(frozen, clip, TEXTS[:1])
    outputs = model(frozen, clip, TEXTS[:1])
    best = int(outputs.logits[-1, 0].sigmoid().mean(0).argmax())
    assert torch.allclose(chosen, model.refine(outputs, outputs.patches[-1][:, :, best]), atol=1e-5)


@torch.inference_mode()
def test_a_clip_does_not_depend_on_its_neighbours(frozen: Frozen, build: Callable[..., VdIt]) -> None:
    """Two clips of different sizes in a batch give what each gives alone; padded words and pixels are not seen."""
    model = build()
    clips = [noise_clip(0, 2, 32, 48), noise_clip(1, 2, 32, 48)]
    together = model(frozen, look_at(frozen, clips), ["red", "a much longer sentence about smoke"])
    for number, text in enumerate(["red", "a much longer sentence about smoke"]):
        alone = model(frozen, look_at(frozen, [clips[number]]), [text])
        assert torch.allclose(alone.boxes[:, 0], together.boxes[:, number], atol=1e-5)
        assert torch.allclose(alone.patches[:, 0], together.patches[:, number], atol=1e-3)


# --- checkpoints -------------------------------------------------------------------------------------


def official_state(model: VdIt) -> dict[str, torch.Tensor]:
    """What the released code would save for these weights: the inverse of the key map, aliases and frozen parts too."""
    found: dict[str, torch.Tensor] = {}
    for key, value in model.state_dict().items():
        if key.startswith("backbone."):
            name = "backbone.0.diff_ftex." + key.removeprefix("backbone.")
            found[name] = value
            if "act_postprocess" in name:
                number, rest = name.split("act_postprocess.")[1].split(".", 1)
                found[f"backbone.0.diff_ftex.act_{int(number) + 1}_postprocess.{rest}"] = value
        elif key.startswith("roberta."):
            found["text_encoder.text_backbone." + key.removeprefix("roberta.")] = value
        else:
            found[key] = value
            if key.startswith("bbox_embed."):
                found["transformer.decoder." + key] = value
    found["text_encoder.text_backbone.embeddings.position_ids"] = torch.arange(514)[None]
    for name in ("unet.conv_in.weight", "vae.encoder.conv_in.bias", "text_encoder.x", "cv_model.vision_model.x"):
        found[f"backbone.0.diff_ftex.{name}"] = torch.zeros(3)
    found |= {"sentence_proj.fc.weight": torch.zeros(2), "sentence_proj.layer_norm.bias": torch.zeros(2)}
    return found


def save_official(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """As the released trainer does, with the scheduler's Counter and the arguments."""
    import argparse
    from collections import Counter

    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8])
    assert isinstance(scheduler.state_dict()["milestones"], Counter)
    args = argparse.Namespace(lr=1e-4, lr_drop=[6, 8])
    content = {"model": state, "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(),
               "epoch": 5, "args": args, "grad_scaler": {"scale": 1.0}}  # fmt: skip
    torch.save(content, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_official_checkpoint_loads_strictly(build: Callable[..., VdIt], tmp_path: Path, prefix: str) -> None:
    source, target = build(seed=1), build(seed=2)
    state = {prefix + key: value for key, value in official_state(source).items()}
    found = checkpoint.read_official(save_official(tmp_path / "vdit.pth", state))
    assert found.dropped == {
        "aliases": 6 * vdit_tiny.CONFIG.layers + 16, "frozen unet": 1, "frozen vae": 1, "frozen text_encoder": 1,
        "frozen cv_model": 1, "unused layers": 2, "counters": 1,
    }  # fmt: skip
    checkpoint.load_head(target, found.state, "vdit.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_the_key_set_of_the_full_size(tmp_path: Path) -> None:
    """Names and sizes of the paper's model survive the way there and back: 30.04 million numbers and RoBERTa's."""
    from transformers import RobertaConfig, RobertaModel

    with torch.device("meta"):
        model = VdIt(
            VdItConfig(), RobertaModel(RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1))
        )
    rules = {
        key: value for key, value in official_state(model).items() if "bbox_embed" not in key and "act_" not in key
    }
    shapes = {key: tuple(value.shape) for key, value in checkpoint.convert_state(rules).state.items()}
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()
                if "bbox_embed" not in key and "act_" not in key}  # fmt: skip
    assert shapes == expected
    assert sum(p.numel() for n, p in model.named_parameters() if not n.startswith("roberta.")) == 30_038_986
    assert round(sum(p.numel() for p in model.roberta.parameters()) / 1e6, 1) == 124.6


def test_checkpoints_that_do_not_fit_are_refused(build: Callable[..., VdIt], tmp_path: Path) -> None:
    model = build()
    state = official_state(model)
    with pytest.raises(InputError, match="does not have[\\s\\S]*backbone.1.extra"):
        checkpoint.convert_state(state | {"backbone.1.extra": torch.zeros(1)})
    with pytest.raises(InputError, match="module"):
        checkpoint.convert_state(state | {"module.query_tensors": torch.zeros(1)})
    alias = "transformer.decoder.bbox_embed.0.layers.0.weight"
    with pytest.raises(InputError, match="different numbers[\\s\\S]*bbox_embed"):
        checkpoint.convert_state(state | {alias: state[alias] + 1})
    partial = {key: value for key, value in state.items() if not key.startswith("controller.layers.1")}
    with pytest.raises(InputError, match="2 missing[\\s\\S]*controller.layers.1.weight"):
        checkpoint.load_head(model, checkpoint.convert_state(partial).state, "part.pth")

    class Bomb:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"model": state, "args": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(InputError):
        checkpoint.read_official(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "head.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(InputError, match="not a trained VD-IT"):
        checkpoint.read_head(tmp_path / "head.safetensors")


# --- training ----------------------------------------------------------------------------------------

QUICK = Recipe(
    "quick", epochs=3, rate=1e-3, drops=(2,), frames=2, batch=2, sides=(), vae="sample", matching_masks="final",
    text_rate=1e-4,
)  # fmt: skip


def test_resume_is_one_run(frozen: Frozen, build: Callable[..., VdIt], tmp_path: Path) -> None:
    data = [scene(TRAIN + k, side=32, square=11) for k in range(4)]
    one = build(seed=3)
    whole = train(QUICK, one, frozen, data, tmp_path / "one")

    class Stop(Exception):
        pass

    def stop(epoch: int, loss: float) -> None:
        raise Stop

    two = build(seed=3)
    with pytest.raises(Stop):
        train(QUICK, two, frozen, data, tmp_path / "two", after_epoch=stop)
    three = build(seed=4)
    resumed = train(QUICK, three, frozen, data, tmp_path / "two", resume=True)
    assert resumed.losses == whole.losses
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [HEAD, STATE]
    state, config = checkpoint.read_head(resumed.head)
    assert config == vdit_tiny.CONFIG
    assert set(state) == set(three.state_dict())
    for changes, words in (({}, "holds a run"), ({"rate": 0.1}, "another recipe")):
        with pytest.raises(UsageError, match=words):
            train(replace(QUICK, **changes), two, frozen, data, tmp_path / "two", resume=bool(changes))


def test_roberta_is_frozen_unless_it_has_a_rate(frozen: Frozen, build: Callable[..., VdIt], tmp_path: Path) -> None:
    data = [scene(TRAIN + k, side=32, square=11) for k in range(2)]
    for rate in (0.0, 1e-3):
        model = build(seed=5)
        before = [p.clone() for p in model.roberta.encoder.parameters()]
        train(replace(QUICK, epochs=1, drops=(), text_rate=rate), model, frozen, data, tmp_path / f"{rate}")
        same = all(torch.equal(a, b) for a, b in zip(before, model.roberta.encoder.parameters(), strict=True))
        assert same == (rate == 0.0)


def test_a_mirrored_sample_swaps_left_and_right() -> None:
    item = {**scene(1), "text": "the Left   square, leftmost"}
    found = draw_sample(replace(QUICK, flipped_share=1.0, reversed_share=0.0), {**item, "text": "left of right"},
                        np.random.default_rng(0))  # fmt: skip
    assert found.text == "right of left"
    assert np.array_equal(found.masks, item["masks"][:, :, ::-1])
    plain = draw_sample(replace(QUICK, flipped_share=0.0, reversed_share=1.0), item, np.random.default_rng(0))
    assert np.array_equal(plain.frames, item["frames"][::-1])
    assert plain.text == "the left square, leftmost"
    with pytest.raises(InputError, match="bool"):
        draw_sample(QUICK, {**item, "masks": item["masks"].astype(np.uint8)}, np.random.default_rng(0))


# --- the predictor -----------------------------------------------------------------------------------


def test_missing_weights_name_the_steps(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="CC BY-NC 4.0[\\s\\S]*hf download ali-vilab") as caught:
        predictor.load()
    assert caught.value.exit_code == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissingError, match="roberta-base|text-to-video"):
        predictor.load(base=str(tmp_path / "empty"), weights=str(folder / HEAD))
    with pytest.raises(UsageError, match="vae = 'mean'"):
        predictor.load(base=str(folder), vae="mean")


def collect(method: Any, frames: list[np.ndarray], texts: list[str], seed: int = 0) -> np.ndarray:
    masks = np.zeros((len(texts), len(frames), *frames[0].shape[:2]), bool)
    for chunk in method.predict(frames, texts, fps=24.0, seed=seed):
        masks[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
    return masks


def test_windows_texts_and_seeds(folder: Path) -> None:
    """Windows are independent clips; one encoding serves all texts; the seed matters only to sampled latents."""
    frames = list(noise_clip(7, 5, 37, 53))
    method = predictor.load(base=str(folder), side=32, window=3)
    masks = collect(method, frames, TEXTS)
    assert np.array_equal(masks[:, 3:], collect(method, frames[3:], TEXTS))
    assert np.array_equal(masks[1:], collect(method, frames, TEXTS[1:], seed=5))
    assert np.array_equal(masks[:1], collect(method, frames, ["The  RED square"]))
    assert method.method.weights_sha256
    assert method.method.licence.startswith("CC BY-NC 4.0")
    sampled = predictor.load(base=str(folder), side=32, window=3, vae="sample")
    assert np.array_equal(collect(sampled, frames, TEXTS, 1), collect(sampled, frames, TEXTS, 1))


def test_a_whole_clip_checkpoint_is_accepted_and_a_short_one_is_not(folder: Path, tmp_path: Path) -> None:
    """The published CLIP folder holds the text tower too; a folder that lacks part of the image tower is refused."""
    from safetensors.torch import load_file, save_file
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**tower, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config={**tower, "vocab_size": 99}, vision_config=vision)).save_pretrained(tmp_path)
    assert predictor.load_vision(tmp_path, torch.float32).config.image_size == 16
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if "visual_projection" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="missing visual_projection"):
        predictor.load_vision(tmp_path, torch.float32)


def test_configuration_round_trip(tmp_path: Path) -> None:
    config = replace(vdit_tiny.CONFIG, fusion="concat")
    checkpoint.write_state({"x": torch.zeros(1)}, config, tmp_path / "head.safetensors")
    assert checkpoint.read_head(tmp_path / "head.safetensors")[1] == config
    assert asdict(config)["fusion"] == "concat"


assert TEST > TRAIN + 10_000  # families of clips never meet
