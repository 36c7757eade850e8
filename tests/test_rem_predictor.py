"""REM behind refvps' protocol: loading, conformance, records, and every way not to find weights."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tinymodels  # noqa: E402
import tinywan  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from test_predictors import examine  # noqa: E402

import rem  # noqa: E402
from refvps.errors import DataMissingError, InputError, UsageError  # noqa: E402
from refvps.run import predictors  # noqa: E402
from rem import RemPipeline  # noqa: E402
from rem.checkpoints import sha256_of  # noqa: E402
from rem.predictor import load  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ModelScope whose random answers lie around the threshold."""
    made = tinymodels.modelscope_folder(tmp_path_factory.mktemp("modelscope"))
    pipeline = RemPipeline.from_pretrained(made)
    pipeline.vae.decoder.conv_out.bias.data += 0.45
    pipeline.save_pretrained(made)
    return made


def pictures(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(k).integers(0, 256, (37, 53, 3), dtype=np.uint8) for k in range(count)]


def masks(predictor: Any, texts: tuple[str, ...] = ("the disc",), seed: int = 3) -> np.ndarray:
    found = np.zeros((len(texts), 5, 37, 53), bool)
    for chunk in predictor.predict(pictures(5), texts, fps=24.0, seed=seed):
        found[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
    return found


def test_it_keeps_to_the_protocol(folder: Path) -> None:
    """Here with small clips and in this process; test_predictors_models.py also watches files, in its own."""
    predictor = predictors.load("rem.predictor:load", weights=str(folder), size=32, chunk=4, device="cpu")
    result = examine(predictor, [], most=5)
    assert result["problems"] == []
    assert not result["same_for_all"]  # it reads the text
    assert min(result["fractions"]) > 0.02 and max(result["fractions"]) < 0.98


def test_what_is_recorded(folder: Path) -> None:
    predictor = predictors.load("rem.predictor:load", weights=str(folder), size="32x48", device="cpu")
    method = predictor.method
    assert method.weights_sha256 == sha256_of(folder) and len(method.weights_sha256) == 64
    assert {key: method.options[key] for key in ("size", "chunk", "chunk_from", "noise", "dtype", "batch")} == {
        "size": [32, 48], "chunk": 72, "chunk_from": "official", "noise": "seeded", "dtype": "fp32", "batch": 1,
    }  # fmt: skip
    assert {"autocast", "attention", "tf32", "channels_last", "compile", "post", "decode_batch", "backbone"} <= set(
        method.options
    )


def test_the_seed_decides_and_nothing_else(folder: Path) -> None:
    predictor = load(str(folder), size=32, device="cpu", chunk=2)
    torch.manual_seed(0)
    found = masks(predictor, ("the disc", "ground"))
    torch.manual_seed(1)
    assert np.array_equal(found, masks(predictor, ("the disc", "ground")))
    assert np.array_equal(found[1:], masks(predictor, ("ground",)))
    assert not np.array_equal(found, masks(predictor, ("the disc", "ground"), seed=4))
    assert 0.05 < found.mean() < 0.95
    still = load(str(folder), size=32, device="cpu", noise="none")
    assert np.array_equal(masks(still, seed=3), masks(still, seed=4))


def test_options_for_speed_run(folder: Path) -> None:
    exact = masks(load(str(folder), size=32, device="cpu"))
    for options in ({"channels_last": True}, {"dtype": "bf16"}, {"autocast": "bf16"}, {"post": "bf16"}):
        found = masks(load(str(folder), size=32, device="cpu", **options))
        assert (found != exact).mean() < 0.1
    assert load(str(folder), size=32, device="cpu", dtype="bf16").method.options["dtype"] == "bf16"


def test_a_chunk_from_memory_is_logged_and_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rem.inference.memory.free_bytes", lambda device: 1 << 25)
    predictor = load(str(folder), size=32, device="cpu", chunk="auto")
    chosen = predictor.method.options["chunk"]
    assert predictor.method.options["chunk_from"] == "memory" and 1 <= chosen < 72
    assert f"chunks of {chosen} frames (official: 72)" in caplog.text
    assert predictor.settings.chunk == chosen


@pytest.mark.parametrize("form", ["pth", "safetensors", "folder"])
def test_a_denoiser_alone_needs_its_base(folder: Path, tmp_path: Path, form: str) -> None:
    unet = tinymodels.unet3d(seed=5)
    if form == "pth":
        weights = tmp_path / "stage2.pth"
        torch.save({"unet": unet.state_dict(), "epoch": 3, "args": argparse.Namespace(lr=1e-6)}, weights)
    elif form == "safetensors":
        weights = tmp_path / "denoiser.safetensors"
        save_file(unet.state_dict(), weights)
    else:
        weights = tmp_path / "converted"
        unet.save_pretrained(weights / "unet")
    predictor = load(str(weights), base=str(folder), size=32, device="cpu")
    state = predictor.pipeline.unet.state_dict()
    assert all(torch.equal(state[key], value) for key, value in unet.state_dict().items())
    assert predictor.method.weights_sha256 == sha256_of(weights)
    assert not np.array_equal(masks(predictor), masks(load(str(folder), size=32, device="cpu")))
    with pytest.raises(DataMissingError, match="base=FOLDER_OR_REPO") as caught:
        load(str(weights), size=32, device="cpu")
    assert caught.value.exit_code == 3


def test_a_training_run_is_its_newest_checkpoint(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints/step-00000002"
    for number, seed in (("1", 4), ("2", 5)):
        step = place.with_name(f"step-0000000{number}")
        step.mkdir(parents=True)
        save_file(tinymodels.unet3d(seed=seed).state_dict(), step / "denoiser.safetensors")
    predictor = load(str(tmp_path), base=str(folder), size=32, device="cpu")
    wanted = tinymodels.unet3d(seed=5).state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in predictor.pipeline.unet.state_dict().items())
    assert predictor.method.weights_sha256 == sha256_of(place / "denoiser.safetensors")
    save_file({"x": torch.zeros(1)}, place / "decoder.safetensors")
    with pytest.raises(InputError, match="trained with a mask head"):
        load(str(tmp_path), base=str(folder), size=32, device="cpu")


def test_a_checkpoint_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    save_file(tinymodels.unet3d(channels=(16, 32)).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="does not fit"):
        load(str(tmp_path / "other.safetensors"), base=str(folder), device="cpu")


def test_wan_is_loaded_in_its_own_type(tmp_path: Path) -> None:
    weights = tinywan.wan_folder(tmp_path / "wan")
    RemPipeline.from_pretrained(weights, backbone="wan").save_pretrained(weights)
    predictor = load(str(weights), backbone="wan", size=32, device="cpu", post="bf16")
    options = predictor.method.options
    assert (options["dtype"], options["noise"], options["chunk"]) == ("bf16", "none", 73)
    assert np.array_equal(masks(predictor, seed=1), masks(predictor, seed=2))
    with pytest.raises(UsageError, match="-o backbone=wan"):
        load(str(weights), size=32, device="cpu")
    (weights / "model_index.json").write_text('{"transformer": ["diffusers", "WanTransformer3DModel"]}')
    with pytest.raises(UsageError, match="-o backbone=wan"):  # a base model or conversion does not name it
        load(str(weights), size=32, device="cpu")


def test_without_weights_the_steps_are_told() -> None:
    with pytest.raises(DataMissingError, match=r"CC-BY-NC-4\.0[\s\S]*ali-vilab/text-to-video-ms-1\.7b") as caught:
        load()
    assert caught.value.exit_code == 3
    with pytest.raises(DataMissingError, match="Wan2.1-T2V-14B-Diffusers"):
        load(backbone="wan")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"weights": "no/such/folder"}, DataMissingError, "no model here"),
        ({"dtype": "int8"}, UsageError, "fp32, bf16, fp16"),
        ({"noise": "official"}, UsageError, "random at every call"),
        ({"noise": "loud"}, UsageError, "official, seeded, none"),
        ({"size": "large"}, UsageError, "size=512 or size=480x832"),
        ({"size": 100}, UsageError, "multiples of 8[\\s\\S]*size=96x96"),
        ({"chunk": -1}, UsageError, "chunk=-1"),
        ({"backbone": "sora"}, UsageError, "one of modelscope"),
        ({"base": "x"}, UsageError, "whole model"),
        ({"device": "cuda"}, UsageError, "no GPU"),
        ({"device": "gpu"}, UsageError, "no such device"),
        ({"noise": 1}, UsageError, "official, seeded, none"),
        ({"noise": False}, UsageError, "official, seeded, none"),
        ({"tf32": "no"}, UsageError, "tf32='no'"),
        ({"size": 51.2}, UsageError, "size=512 or size=480x832"),
        ({"backbone": "wan"}, UsageError, "-o backbone=modelscope"),
    ],
)
def test_options_that_cannot_be(folder: Path, options: dict[str, Any], error: Any, words: str) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(error, match=words):
        load(**{"weights": str(folder), "device": "cpu", **options})


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"\.pth, \.pt, \.safetensors"):
        load(str(tmp_path / "weights.zip"), device="cpu")


def test_importing_the_package_and_the_predictor_is_light() -> None:
    code = (
        "import sys, rem, rem.predictor, rem.backbones; print(sorted({'torch','diffusers','numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        rem.Nothing
