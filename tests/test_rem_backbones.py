"""Backbones against the stock modules they are made of: the parity details of the released code, without weights."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tinymodels  # noqa: E402
import tinywan  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from refvps.errors import DataMissingError, InputError, UsageError  # noqa: E402
from rem.backbones import BACKBONES, load_backbone  # noqa: E402
from rem.backbones.loading import cast  # noqa: E402
from rem.backbones.modelscope import ModelScope  # noqa: E402
from rem.backbones.stable_diffusion import StableDiffusion  # noqa: E402
from rem.masks import mask_pixels  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.modelscope_folder(tmp_path_factory.mktemp("modelscope"))


@pytest.fixture(scope="module")
def modelscope(folder: Path) -> ModelScope:
    return load_backbone("modelscope", folder)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinywan.wan_folder(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def wan(wan_folder: Path) -> Any:
    return load_backbone("wan", wan_folder)


def random(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the step (rem.md 7.1, 7.2) ------------------------------------------------------------------------


def test_the_smallest_timestep_is_0_and_its_noise_is_ddims(modelscope: ModelScope) -> None:
    latents, noise = random(2, 4, 3, 8, 8), random(2, 4, 3, 8, 8, seed=1)
    shifted = modelscope.shift(latents, noise)
    stock = modelscope.scheduler.add_noise(latents, noise, torch.tensor(0))
    assert torch.equal(shifted, stock)
    one, none = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)
    assert float(modelscope.shift(one, none)) == pytest.approx(0.99957490, abs=5e-9)
    assert float(modelscope.shift(none, one)) == pytest.approx(0.02915513, abs=5e-9)
    modelscope.scheduler.set_timesteps(50)
    assert int(modelscope.scheduler.timesteps[-1]) == 1  # what the usual call would feed: another noise
    assert torch.equal(modelscope.shift(latents, noise), stock)
    assert not torch.equal(modelscope.scheduler.add_noise(latents, noise, torch.tensor(1)), stock)


def test_noise_is_added_in_float32_and_can_be_left_out(modelscope: ModelScope) -> None:
    latents, noise = random(1, 4, 1, 8, 8).bfloat16(), random(1, 4, 1, 8, 8, seed=1).bfloat16()
    shifted = modelscope.shift(latents, noise)
    assert shifted.dtype == torch.float32
    assert torch.equal(shifted, modelscope.shift(latents.float(), noise.float()))
    assert torch.equal(modelscope.scheduler.add_noise(latents, noise, torch.tensor(0)), latents)  # lost in bfloat16
    assert torch.equal(modelscope.shift(latents, None), latents.float())


def test_wan_is_fed_clean_latents(wan: Any) -> None:
    latents = random(1, 4, 2, 4, 4)
    assert not wan.noise
    assert torch.equal(wan.shift(latents, None), latents)
    with pytest.raises(ValueError, match="clean"):
        wan.shift(latents, latents)


# --- the network (7.5) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 5), (2, 5)])
@pytest.mark.parametrize("name", ["modelscope", "wan"])
def test_denoise_is_the_stock_forward_at_t_0(request: Any, name: str, batch: int, frames: int) -> None:
    backbone = request.getfixturevalue(name)
    stock = tinymodels.unet3d() if name == "modelscope" else tinywan.transformer()
    assert type(backbone.denoiser) is type(stock)
    stock.requires_grad_(False)  # torch chooses other kernels for frozen weights
    latents = random(batch, 4, frames, 8, 8)
    text = random(batch, 77, 32 if name == "modelscope" else 16, seed=2)
    timestep = torch.tensor(0) if name == "modelscope" else torch.zeros(batch)
    with torch.no_grad():
        expected = stock(latents, timestep, encoder_hidden_states=text).sample
        found = backbone.denoise(latents, text)
        other = stock(latents, timestep + 1, encoder_hidden_states=text).sample
    assert found.shape == latents.shape
    assert torch.equal(found, expected)
    assert not torch.equal(found, other)


def test_stable_diffusion_sees_each_frame_alone(modelscope: ModelScope) -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, cross_attention_dim=32, attention_head_dim=8,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip
    backbone = StableDiffusion(
        modelscope.vae, unet, modelscope.text_encoder, modelscope.tokenizer, modelscope.scheduler
    )
    latents, text = random(2, 4, 3, 8, 8), random(2, 77, 32, seed=1)
    with torch.no_grad():
        found = backbone.denoise(latents, text)
        for clip in range(2):
            for frame in range(3):
                alone = unet(latents[clip, None, :, frame], 0, encoder_hidden_states=text[clip, None]).sample
                assert torch.allclose(found[clip, :, frame], alone[0], atol=1e-5)


# --- the autoencoder (7.3, 7.6) ------------------------------------------------------------------------


def test_latents_are_the_scaled_mode_of_each_frame(modelscope: ModelScope) -> None:
    pixels = random(2, 3, 3, 32, 32).clamp(-1, 1)
    found = modelscope.encode(pixels)
    assert found.shape == (2, 4, 3, 4, 4)
    stock = tinymodels.vae2d()
    with torch.no_grad():
        alone = stock.encode(pixels[1, :, 2][None]).latent_dist.mode()[0] * 0.18215
        restored = stock.decode(found[1, :, 2][None] / 0.18215).sample[0]
    assert torch.allclose(found[1, :, 2], alone, atol=1e-6)
    assert torch.allclose(modelscope.decode(found, 3)[1, :, 2], restored, atol=1e-5)
    with pytest.raises(ValueError, match="no frames"):
        modelscope.latent_frames(0)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_decoding_in_batches_is_decoding_at_once_and_none_is_empty(modelscope: ModelScope, batch: int) -> None:
    latents = random(1, 4, 5, 4, 4)
    sizes: list[int] = []
    hook = modelscope.vae.decoder.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with torch.no_grad():
        found = modelscope.decode(latents, 5, batch=batch)
    hook.remove()
    assert sum(sizes) == 5 and min(sizes) > 0 and max(sizes) <= batch
    with torch.no_grad():
        assert torch.allclose(found, modelscope.decode(latents, 5), atol=1e-5)
    with pytest.raises(ValueError, match="5 latents for 16 frames"):
        modelscope.decode(latents, 16)


def test_decode_passes_gradients_to_the_latents_only(modelscope: ModelScope) -> None:
    latents = random(1, 4, 1, 2, 2).requires_grad_()
    modelscope.decode(latents, 1).sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in modelscope.vae.parameters())


def test_a_mask_is_shown_as_black_and_white_in_0_and_1(modelscope: ModelScope) -> None:
    seen: list[Any] = []

    class Identity(torch.nn.Linear):
        config = SimpleNamespace(scaling_factor=1.0, latent_channels=3)

        def encode(self, pixels: Any) -> Any:
            seen.append(pixels)
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pixels))

    stub = ModelScope(Identity(1, 1), modelscope.denoiser, modelscope.text_encoder, modelscope.tokenizer, None)
    masks = random(1, 2, 37, 53) > 0
    assert set(stub.encode(mask_pixels(masks, (16, 24))).unique().tolist()) == {0.0, 1.0}
    (pixels,) = seen
    assert pixels.shape == (2, 3, 16, 24)
    assert torch.equal(pixels[:, 0], pixels[:, 1]) and torch.equal(pixels[:, 0], pixels[:, 2])


@pytest.mark.parametrize("frames", [1, 5])
def test_wans_latents_are_normalised_per_channel(wan: Any, frames: int) -> None:
    pixels = random(2, 3, frames, 32, 32).clamp(-1, 1)
    stock = tinywan.vae()
    mean, std = (torch.tensor(v)[None, :, None, None, None] for v in ([0.1, -0.2, 0.3, 0.0], [2.0, 1.5, 0.5, 1.0]))
    found = wan.encode(pixels)
    with torch.no_grad():
        expected = (stock.encode(pixels).latent_dist.mode() - mean) / std
        restored = stock.decode(expected * std + mean).sample
        decoded = wan.decode(found, frames)
    assert found.shape == (2, 4, (frames - 1) // 4 + 1, 4, 4)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(decoded, restored, atol=1e-5)
    assert decoded.shape == pixels.shape and float(decoded.abs().max()) <= 1


@pytest.mark.parametrize("frames", [0, 2, 4, 6, 8])
def test_wan_refuses_lengths_its_autoencoder_would_cut(wan: Any, frames: int) -> None:
    with pytest.raises(ValueError, match=r"4k \+ 1"):
        wan.encode(torch.zeros(1, 3, frames, 32, 32))
    with pytest.raises(ValueError, match=r"4k \+ 1"):
        wan.latent_frames(frames)


# --- the text (7.4) ------------------------------------------------------------------------------------


def test_all_77_states_are_used_without_a_mask(modelscope: ModelScope) -> None:
    found = modelscope.embed(["wax melting", ""])
    tokens = modelscope.tokenizer(["wax melting", ""], padding="max_length", max_length=77, return_tensors="pt")
    assert found.shape == (2, 77, 32)
    assert int((tokens.input_ids[1] == 0).sum()) == 75  # "!" behind the two special tokens
    with torch.no_grad():
        assert torch.equal(found, tinymodels.clip_text()(tokens.input_ids).last_hidden_state)
    assert not torch.equal(found[0], found[1])


def test_pads_are_attended_to_and_must_be_the_exclamation_mark(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tinymodels.clip_tokenizer(other / "tokenizer", pad="<|endoftext|>")
    with pytest.raises(InputError, match=r"<\|endoftext\|>.*id 513"):
        load_backbone("modelscope", other)
    backbone = load_backbone("modelscope", folder)
    before = backbone.embed(["wax"])
    backbone.tokenizer.pad_token = "<|endoftext|>"
    after = backbone.embed(["wax"])
    assert torch.equal(before[:, :2], after[:, :2])  # CLIP is causal: what comes before a pad cannot see it
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_long_texts_are_cut_and_the_log_says_so(
    modelscope: ModelScope, wan: Any, caplog: pytest.LogCaptureFixture
) -> None:
    long = "z" * 80
    with caplog.at_level(logging.WARNING, logger="rem"):
        assert torch.equal(modelscope.embed([long]), modelscope.embed([long + "zz"]))
        assert "82 tokens, of which the text encoder reads the first 77" in caplog.messages[0]
        caplog.clear()
        found = wan.embed(["the " * 90])
        assert found.shape == (1, 77, 16) and bool(found[0].abs().sum(-1).gt(0).all())
        assert "91 tokens, of which the network sees the first 77" in caplog.messages[0]
        assert not torch.equal(found, wan.embed(["the " * 200]))  # each state has seen the whole text
        caplog.clear()
        wan.embed(["the " * 76])
        assert not caplog.messages


def test_wans_text_is_zero_after_its_last_token(wan: Any) -> None:
    found = wan.embed(["the disc that moves", ""])
    stock = tinywan.text_encoder()
    with torch.no_grad():
        alone = stock(torch.tensor([[3, 5, 6, 7, 1]])).last_hidden_state[0]
    assert torch.allclose(found[0, :5], alone, atol=1e-6)  # 507 pads are hidden by the mask
    assert bool((found[0, 5:] == 0).all()) and bool((found[1, 1:] == 0).all()) and bool((found[1, 0] != 0).any())


def test_text_stays_in_float32(folder: Path, tmp_path: Path) -> None:
    tagged = tmp_path / "tagged"
    shutil.copytree(folder, tagged)
    config = tagged / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float16", "torch_dtype": "float16"}))
    backbone = load_backbone("modelscope", tagged, dtype=torch.bfloat16)
    assert {p.dtype for p in backbone.text_encoder.parameters()} == {torch.float32}
    assert {p.dtype for p in backbone.denoiser.parameters()} == {torch.bfloat16} == {backbone.dtype}
    assert backbone.embed(["wax"]).dtype == torch.float32
    assert backbone.encode(torch.zeros(1, 3, 1, 32, 32)).dtype == torch.float32
    assert backbone.denoise(random(1, 4, 1, 4, 4), backbone.embed(["wax"])).dtype == torch.float32


def test_wan_keeps_norms_and_modulation_in_float32(wan_folder: Path) -> None:
    loaded = load_backbone("wan", wan_folder, dtype=torch.bfloat16)
    moved = load_backbone("wan", wan_folder)
    cast(moved.denoiser, torch.bfloat16, keep=moved.denoiser._keep_in_fp32_modules)
    kinds = {name: parameter.dtype for name, parameter in loaded.denoiser.named_parameters()}
    assert kinds == {name: parameter.dtype for name, parameter in moved.denoiser.named_parameters()}
    kept = {name for name, kind in kinds.items() if kind == torch.float32}
    assert {"scale_shift_table", "blocks.0.scale_shift_table", "blocks.0.norm2.weight"} <= kept
    assert kinds["blocks.0.ffn.net.0.proj.weight"] == torch.bfloat16
    latents, text = random(1, 4, 2, 4, 4), loaded.embed(["the disc"])
    assert torch.equal(loaded.denoise(latents, text), moved.denoise(latents, text))
    exact = load_backbone("wan", wan_folder).denoise(latents, text.float())
    assert torch.allclose(loaded.denoise(latents, text), exact, atol=0.05, rtol=0.05)


# --- what cannot be loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("conv_in.weight"), r"missing conv_in\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected extra"),
        (lambda state: state.update({"conv_in.weight": torch.zeros(3)}), r"conv_in\.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder: Path, tmp_path: Path, change: Any, words: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)
    with pytest.raises(InputError, match=words):
        load_backbone("modelscope", broken)


def damage(place: str) -> Any:
    return lambda folder: (folder / place).write_bytes((folder / place).read_bytes()[:20])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *((damage(f"{part}/config.json"), f"{part}: ") for part in ("vae", "text_encoder", "unet")),
        (damage("text_encoder/model.safetensors"), "text_encoder: SafetensorError"),
        (damage("scheduler/scheduler_config.json"), "scheduler: "),
        (damage("tokenizer/tokenizer_config.json"), "tokenizer: "),
        (damage("tokenizer/vocab.json"), "tokenizer: "),
        (lambda folder: (folder / "tokenizer/vocab.json").unlink(), "no vocabulary"),
        (lambda folder: (folder / "tokenizer/vocab.json").write_text('{"!": 0}'), "tokens, not 514|tokenizer: "),
    ],
)
def test_damaged_parts_are_named(folder: Path, tmp_path: Path, change: Any, words: str) -> None:
    shutil.copytree(folder, tmp_path / "broken")
    change(tmp_path / "broken")
    with pytest.raises(InputError, match=words):
        load_backbone("modelscope", tmp_path / "broken")


def test_loading_is_silent_and_leaves_the_bars_of_others_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as transformers_logging

    load_backbone("modelscope", folder)
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.is_progress_bar_enabled()


def test_weights_with_the_names_of_2023_load(folder: Path, tmp_path: Path) -> None:
    """The published base model is that old: ``query`` for ``to_q`` in the autoencoder, and CLIP's positions saved."""
    shutil.copytree(folder, tmp_path / "old")
    vae, text = (tmp_path / "old" / name for name in ("vae/diffusion_pytorch_model", "text_encoder/model"))
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(vae.with_suffix(".safetensors"))
    for new, old in names.items():
        state = {key.replace(f".{new}.", f".{old}."): value for key, value in state.items()}
    assert any(".query." in key for key in state)
    save_file(state, vae.with_suffix(".safetensors"))
    state = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(f"{text}.safetensors").items()}
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(state | positions, f"{text}.safetensors", metadata={"format": "pt"})
    old, new = load_backbone("modelscope", tmp_path / "old"), load_backbone("modelscope", folder)
    for part in ("vae", "text_encoder"):
        pairs = zip(getattr(old, part).parameters(), getattr(new, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="one of modelscope, wan, stable-diffusion, videocrafter"):
        load_backbone("videocrafter3", folder)
    with pytest.raises(DataMissingError, match="diffusers has no class for its network"):
        load_backbone("videocrafter", folder)
    with pytest.raises(DataMissingError, match=r"vae: no config\.json"):
        load_backbone("modelscope", tmp_path)
    with pytest.raises(DataMissingError, match="no model here"):
        load_backbone("modelscope", tmp_path / "nothing" / "here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataMissingError, match="hf download no-one/nothing"):
        load_backbone("modelscope", "no-one/nothing")
    (folder / "unet" / "config.json").rename(folder / "unet" / "hidden")
    try:
        with pytest.raises(DataMissingError, match="name its base model"):
            load_backbone("modelscope", folder)
    finally:
        (folder / "unet" / "hidden").rename(folder / "unet" / "config.json")


def test_every_row_of_the_table_names_a_class() -> None:
    from rem.backbones import backbone_class

    assert {backbone_class(name).name for name in BACKBONES} == set(BACKBONES)
