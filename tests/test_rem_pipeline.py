"""The pipeline: shared frames, batches, chunks, outputs, conventions of diffusers, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tinymodels  # noqa: E402
import tinywan  # noqa: E402

from refvps.errors import InputError, UsageError  # noqa: E402
from rem import RemPipeline  # noqa: E402
from rem.frames import frame_pixels  # noqa: E402
from rem.inference.noise import frame_noise  # noqa: E402
from rem.inference.precision import use_channels_last  # noqa: E402
from rem.inference.settings import Settings  # noqa: E402
from rem.masks import masks_from_pixels  # noqa: E402

TEXTS = ["the disc that moves", "the ground", ""]
SMALL = {"size": (32, 32), "noise": "seeded", "chunk": 3}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = RemPipeline.from_pretrained(tinymodels.modelscope_folder(tmp_path_factory.mktemp("modelscope")))
    found.vae.decoder.conv_out.bias.data += 0.45  # random weights answer near 0: bring them to the threshold
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = RemPipeline.from_pretrained(tinywan.wan_folder(tmp_path_factory.mktemp("wan")), backbone="wan")
    found.vae.decoder.conv_out.bias.data += 0.5
    found.set_progress_bar_config(disable=True)
    return found


def pictures(count: int, height: int = 37, width: int = 53) -> list[np.ndarray]:
    return [np.random.default_rng(k).integers(0, 256, (height, width, 3), dtype=np.uint8) for k in range(count)]


def seeded(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def test_a_call_is_the_sum_of_its_steps(pipeline: Any) -> None:
    frames, backbone = pictures(5), pipeline.backbone
    noise = torch.randn(1, 4, 5, 4, 4, generator=seeded(3))
    found = pipeline(frames, TEXTS[:1], size=(32, 32), noise=noise)
    with torch.no_grad():
        latents = backbone.encode(frame_pixels(frames, (32, 32))[None])
        predicted = backbone.denoise(backbone.shift(latents, noise), backbone.embed(TEXTS[:1]))
        masks = masks_from_pixels(backbone.decode(predicted, 5), (37, 53))
    assert torch.equal(found.masks, masks)
    assert found.masks.shape == (1, 5, 37, 53) and found.masks.dtype == torch.bool
    assert 0.05 < float(masks.float().mean()) < 0.95
    latents_only = pipeline(frames, TEXTS[0], size=(32, 32), noise=noise, output="latents")
    assert latents_only.masks is None and torch.equal(latents_only.latents[0], predicted)
    assert torch.equal(pipeline.predict_latents(latents, backbone.embed(TEXTS[:1]), noise=noise), predicted)


def test_several_texts_are_each_text_alone_to_the_bit(pipeline: Any) -> None:
    frames = pictures(5)
    together = pipeline(frames, TEXTS, generator=seeded(), **SMALL).masks
    for index, text in enumerate(TEXTS):
        assert torch.equal(together[index], pipeline(frames, text, generator=seeded(), **SMALL).masks[0])
    apart = pipeline(frames, TEXTS, generator=seeded(), share=False, **SMALL).masks
    assert torch.equal(together, apart)
    assert not torch.equal(together[0], together[2])


def test_frames_are_encoded_once_for_all_texts(pipeline: Any) -> None:
    seen: list[int] = []
    hook = pipeline.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    pipeline(pictures(5), TEXTS, generator=seeded(), **SMALL)
    shared, seen[:] = list(seen), []
    pipeline(pictures(5), TEXTS, generator=seeded(), share=False, **SMALL)
    hook.remove()
    assert shared == [3, 2] and seen == [3, 3, 3, 2, 2, 2]


def test_batches_of_texts_and_of_decoded_frames_change_last_digits_only(pipeline: Any) -> None:
    frames = pictures(5)
    exact = pipeline(frames, TEXTS, generator=seeded(), output="latents", **SMALL).latents
    batched = pipeline(frames, TEXTS, generator=seeded(), output="latents", batch=2, **SMALL).latents
    for one, other in zip(exact, batched, strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5)
    masks = pipeline(frames, TEXTS, generator=seeded(), **SMALL).masks
    for options in ({"batch": 3}, {"decode_batch": 1}, {"decode_batch": 2}, {"attention": "math"}):
        other = pipeline(frames, TEXTS, generator=seeded(), **SMALL, **options).masks
        assert float((other != masks).float().mean()) < 1e-3


def test_chunks_are_separate_calls_with_the_noise_of_their_frames(pipeline: Any) -> None:
    frames = pictures(5)
    noise = frame_noise(11, 0, (4, 5, 4, 4))
    whole = pipeline(frames, TEXTS[:1], size=(32, 32), chunk=2, noise=noise)
    parts = [
        pipeline(frames[k : k + 2], TEXTS[:1], size=(32, 32), noise=noise[:, :, k : k + 2]).masks for k in (0, 2, 4)
    ]
    assert torch.equal(whole.masks, torch.cat(parts, dim=1))
    one_chunk = pipeline(frames, TEXTS[:1], size=(32, 32), noise=noise)
    assert not torch.equal(whole.masks, one_chunk.masks)  # frames of a chunk see one another: part of the protocol


def test_noise_policies(pipeline: Any) -> None:
    frames, size = pictures(2), (32, 32)

    def latents(**options: Any) -> Any:
        return pipeline(frames, TEXTS[0], size=size, output="latents", **options).latents[0]

    assert not torch.equal(latents(), latents())  # official: new noise at every call
    assert torch.equal(latents(noise="seeded", generator=seeded(4)), latents(noise="seeded", generator=seeded(4)))
    assert not torch.equal(latents(noise="seeded", generator=seeded(4)), latents(noise="seeded", generator=seeded(5)))
    assert torch.equal(latents(noise="none"), latents(noise="none"))
    generator = seeded(4)
    assert not torch.equal(latents(noise="seeded", generator=generator), latents(noise="seeded", generator=generator))
    with pytest.raises(UsageError, match="needs a seed"):
        latents(noise="seeded")


def test_wan_runs_its_tail_again_and_needs_no_seed(wan: Any) -> None:
    frames = pictures(8)
    torch.manual_seed(0)
    found = wan(frames, TEXTS, size=(32, 32))
    torch.manual_seed(1)
    assert torch.equal(found.masks, wan(frames, TEXTS, size=(32, 32)).masks)
    assert [(chunk.start, chunk.stop, chunk.keep) for chunk in found.chunks] == [(0, 5, 5), (3, 8, 3)]
    tail = wan(frames[3:], TEXTS, size=(32, 32)).masks
    assert torch.equal(found.masks[:, 5:], tail[:, 2:])
    assert found.masks.shape == (3, 8, 37, 53)
    assert 0.05 < float(found.masks.float().mean()) < 0.95
    latents = wan(frames, TEXTS, size=(32, 32), output="latents").latents
    assert [tuple(part.shape) for part in latents] == [(3, 4, 2, 4, 4)] * 2
    with pytest.raises(UsageError, match="clean latents"):
        wan(frames, TEXTS, size=(32, 32), noise="seeded", generator=seeded())
    with pytest.raises(UsageError, match="multiples of 16[\\s\\S]*size=32x32"):
        wan(frames, TEXTS, size=(32, 40))


def test_masks_stream_while_frames_are_read(pipeline: Any) -> None:
    class Lazy(list[np.ndarray]):
        read = 0

        def __getitem__(self, index: Any) -> Any:
            if isinstance(index, slice):
                return [self[k] for k in range(len(self))[index]]
            self.read = max(self.read, index + 1)
            return super().__getitem__(index)

    frames = Lazy(pictures(6))
    stream = pipeline.stream(frames, TEXTS[:2], Settings(size=(32, 32), noise="none", chunk=2))
    assert frames.read == 0
    first = next(stream)
    assert (first.text, first.start, first.masks.shape, first.masks.dtype) == (0, 0, (2, 37, 53), np.bool_)
    assert frames.read == 2
    assert [(chunk.text, chunk.start) for chunk in stream] == [(1, 0), (0, 2), (1, 2), (0, 4), (1, 4)]


def test_saved_and_loaded_it_answers_to_the_bit(pipeline: Any, wan: Any, tmp_path: Path) -> None:
    for saved, name in ((pipeline, "modelscope"), (wan, "wan")):
        saved.save_pretrained(tmp_path / name)
        loaded = RemPipeline.from_pretrained(tmp_path / name, backbone=name)
        again = RemPipeline.from_pretrained(tmp_path / name, backbone=name)
        assert type(loaded.network) is type(saved.network) and loaded.config.backbone == name
        for part in ("vae", "network", "text_encoder"):
            state = getattr(loaded, part).state_dict()
            assert all(torch.equal(state[key], value) for key, value in getattr(saved, part).state_dict().items())
        options = {"size": (32, 32), "noise": "none", "output": "latents"}
        one, other = (each(pictures(5), TEXTS[:1], **options).latents[0] for each in (loaded, again))
        assert torch.equal(one, other)
        assert torch.allclose(one, saved(pictures(5), TEXTS[:1], **options).latents[0], atol=1e-5)


def test_conventions_of_diffusers(pipeline: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert {"vae", "unet", "text_encoder", "tokenizer", "scheduler"} <= set(pipeline.components)
    assert pipeline.device.type == "cpu"
    shown = RemPipeline.of(pipeline.backbone)
    shown(pictures(4), TEXTS[:2], size=(32, 32), noise="none", chunk=2)
    assert "4/4" in capsys.readouterr().err
    with pytest.raises(UsageError, match="one network"):
        RemPipeline(pipeline.vae, pipeline.text_encoder, pipeline.tokenizer)


def test_types_layouts_and_autocast_change_little(pipeline: Any, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    frames, options = pictures(3), {"size": (32, 32), "noise": "none", "output": "latents"}
    exact = pipeline(frames, TEXTS[:2], **options).latents[0]
    cast = pipeline(frames, TEXTS[:2], autocast="bf16", **options).latents[0]
    assert not torch.equal(exact, cast) and torch.allclose(exact, cast, atol=0.1)
    other = RemPipeline.from_pretrained(tmp_path)
    assert use_channels_last(other.backbone) > 10
    assert torch.allclose(exact, other(frames, TEXTS[:2], **options).latents[0], atol=1e-4)
    assert other.to(torch.bfloat16) is other
    assert other.unet.dtype == other.vae.dtype == torch.bfloat16 and other.text_encoder.dtype == torch.float32
    half = other(frames, TEXTS[:2], **options).latents[0]
    assert half.dtype == torch.float32 and torch.allclose(exact, half, atol=0.1)
    assert other.to("cpu", torch.float32).unet.dtype == torch.float32


# --- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "texts", "options", "error", "words"),
    [
        (0, ["a"], {}, InputError, "no frames"),
        (2, [], {}, UsageError, "no text"),
        (2, ["a"], {"size": (36, 32)}, UsageError, "multiples of 8[\\s\\S]*size=36x32"),
        (2, ["a"], {"size": (0, 32)}, UsageError, "size=8x32"),
        (2, ["a"], {"chunk": 0}, UsageError, "chunk=0"),
        (2, ["a"], {"noise": "some"}, UsageError, "official, seeded, none"),
        (2, ["a"], {"output": "logits"}, UsageError, "masks or latents"),
        (2, ["a"], {"post": "fp8"}, UsageError, "fp32, bf16, fp16"),
    ],
)
def test_bad_requests(pipeline: Any, count: int, texts: Any, options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        pipeline(pictures(count), texts, **{"size": (32, 32), "noise": "none", **options})


def test_one_frame_and_an_empty_text_are_fine(pipeline: Any) -> None:
    assert pipeline(pictures(1), "", size=(32, 32), noise="none").masks.shape == (1, 1, 37, 53)


@pytest.mark.parametrize(
    ("part", "words"),
    [("encode", "latents of the frames"), ("denoise", "predicted latents"), ("decode", "decoded pixels")],
)
def test_the_first_frame_that_is_not_finite_is_named(
    pipeline: Any, part: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = type(pipeline.backbone)
    original = getattr(family, part)

    def spoiled(self: Any, *given: Any, **named: Any) -> Any:
        found = original(self, *given, **named)
        if found.shape[2] == 2:  # the second chunk
            found[:, :, 1, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(family, part, spoiled)
    with pytest.raises(InputError, match=rf"{words} are not finite[\s\S]*at frame 4\n[\s\S]*bf16"):
        pipeline(pictures(5), TEXTS[:1], size=(32, 32), noise="none", chunk=3)


@pytest.mark.parametrize(
    ("part", "words"),
    [("encode", "encode: 2 frames"), ("denoise", "denoise: 2 frames of 32x32"), ("decode", "decode_batch=1")],
)
def test_out_of_memory_names_the_option_to_change(
    pipeline: Any, part: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(pipeline.backbone), part, full)
    with pytest.raises(UsageError, match=rf"Out of memory[\s\S]*{words}"):
        pipeline(pictures(2), TEXTS[:1], size=(32, 32), noise="none")
