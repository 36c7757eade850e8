"""CLIPSeg per frame, and how checkpoints of transformers are found and read."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tinyvision
import torch
from safetensors.torch import load_file, save_file
from tinyvision import Frames, answers

from baselines import clipseg, pretrained
from refvps.errors import DataMissingError, InputError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinyvision.clipseg(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Any:
    return clipseg.load(str(folder), device="cpu")


# --- the predictor ------------------------------------------------------------------------------------


def test_it_equals_the_stock_processor_and_model(folder: Path, predictor: Any) -> None:
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor, CLIPTokenizer, ViTImageProcessorPil

    frames, text = list(Frames(4)), "the disc that moves"
    processor = CLIPSegProcessor(ViTImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder))
    model = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    inputs = processor(text=[text] * 4, images=frames, padding=True, return_tensors="pt")
    with torch.inference_mode():
        chances = model(**inputs).logits.sigmoid()
    resized = torch.nn.functional.interpolate(chances[:, None], (37, 53), mode="bilinear")[:, 0]
    assert (resized - 0.5).abs().min() > 1e-6  # no pixel hangs on the last bits
    found = answers(predictor, Frames(4), [text])[0]
    assert np.array_equal(found, (resized > 0.5).numpy())
    assert 0.05 < found.mean() < 0.95


def test_texts_frames_and_sizes(predictor: Any) -> None:
    tinyvision.check_independence(predictor)


def test_batches_only_bound_the_memory(folder: Path, predictor: Any) -> None:
    small = clipseg.load(str(folder), device="cpu", batch=2)
    starts = [chunk.start for chunk in small.predict(Frames(5), ["a"], fps=24.0, seed=0)]
    assert starts == [0, 2, 4]
    assert np.array_equal(answers(small, Frames(5), ["a bird"]), answers(predictor, Frames(5), ["a bird"]))


def test_the_threshold_is_strict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = clipseg.load(str(folder), device="cpu", threshold=0.5)
    monkeypatch.setattr(strict, "_logits", lambda activations, condition: torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]]))
    frame = np.zeros((2, 2, 3), np.uint8)
    assert answers(strict, [frame], ["x"])[0, 0].tolist() == [[False, True], [False, False]]


def test_a_higher_threshold_keeps_less(folder: Path, predictor: Any) -> None:
    some, few = (
        answers(predictor, Frames(2), ["x"]),
        answers(clipseg.load(str(folder), threshold=0.9), Frames(2), ["x"]),
    )
    assert few.sum() < some.sum()
    assert not (few & ~some).any()


def test_a_long_text_loses_its_last_words(predictor: Any, caplog: pytest.LogCaptureFixture) -> None:
    long = "word " * 100
    before = predictor.notes["texts cut"]
    with caplog.at_level(logging.WARNING, "baselines"):
        found = answers(predictor, Frames(1), [long])
    assert predictor.notes["texts cut"] == before + 1
    assert "18 of 100 words fit into 77 tokens" in caplog.text  # 4 letters a word, two marks
    assert np.array_equal(found, answers(predictor, Frames(1), ["word " * 18]))
    answers(predictor, Frames(1), ["w" * 500])  # a single endless word is cut by the tokenizer


def test_nothing_is_kept(predictor: Any) -> None:
    tinyvision.check_release(predictor)


def test_it_runs_and_is_scored(predictor: Any, tmp_path: Path) -> None:
    scores, method = tinyvision.check_sample(predictor, tmp_path)
    assert scores.summary["J"].value is not None
    assert method["name"] == "clipseg"
    assert method["options"]["threshold"] == 0.5


def test_autocast_leaves_the_weights_alone(folder: Path) -> None:
    half = clipseg.load(str(folder), device="cpu", dtype="bf16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
    assert half.method.options["dtype"] == "bf16"
    whole = clipseg.load(str(folder), device="cpu")
    one, two = answers(half, Frames(1), ["a bird"]), answers(whole, Frames(1), ["a bird"])
    assert 0 < (one ^ two).mean() < 0.2 or np.array_equal(one, two)


# --- checkpoints --------------------------------------------------------------------------------------


def test_the_record_names_the_very_file(folder: Path, predictor: Any) -> None:
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert predictor.method.weights_sha256 == expected
    assert str(folder) not in json.dumps(dict(predictor.method.options))
    assert predictor.method.licence == "Apache-2.0"


def test_two_files_have_one_hash(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    tensors = sorted(load_file(folder / "model.safetensors").items())
    save_file(dict(tensors[:9]), tmp_path / "a" / "other.safetensors")
    first = pretrained.find(str(tmp_path / "a"), clipseg.PUBLISHED).sha256
    assert first not in (pretrained.find(str(folder), clipseg.PUBLISHED).sha256, "")
    (tmp_path / "a" / "other.safetensors").rename(tmp_path / "a" / "another.safetensors")
    assert pretrained.find(str(tmp_path / "a"), clipseg.PUBLISHED).sha256 != first


def test_absent_weights_come_with_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(DataMissingError, match=r"hf download CIDAS/clipseg-rd64-refined .*Apache-2.0") as caught:
        clipseg.load()
    assert caught.value.exit_code == 3
    with pytest.raises(DataMissingError, match="hf download some/fork --revision abc"):
        clipseg.load("some/fork", revision="abc")
    with pytest.raises(DataMissingError, match="folder of weights is not there"):
        clipseg.load(str(tmp_path / "nowhere"))
    with pytest.raises(DataMissingError, match="lacks config.json or"):
        clipseg.load(str(tmp_path))


def test_a_downloaded_repository_is_found_and_its_commit_recorded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "models--CIDAS--clipseg-rd64-refined"
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, commit):
        found = pretrained.find(None, clipseg.PUBLISHED, revision)
        assert found.origin == f"CIDAS/clipseg-rd64-refined@{commit}"
    with pytest.raises(DataMissingError, match="at revision v2"):
        pretrained.find(None, clipseg.PUBLISHED, "v2")


def test_wrong_tensors_are_named(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    key = "decoder.film_mul.weight"
    cases: dict[str, dict[str, Any]] = {
        f"missing key {key}": {name: each for name, each in tensors.items() if name != key},
        "unexpected key decoder.extra": {**tensors, "decoder.extra": torch.zeros(2)},
        key: {**tensors, key: torch.zeros(3, 3)},
    }
    for number, (words, state) in enumerate(cases.items()):
        broken = shutil.copytree(folder, tmp_path / str(number))
        save_file(state, broken / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=words):
            clipseg.load(str(broken), device="cpu")


def test_broken_folders_are_input_errors(folder: Path, tmp_path: Path) -> None:
    def spoil(name: str, content: bytes | None) -> str:
        broken = shutil.copytree(folder, tmp_path / str(len(list(tmp_path.iterdir()))))
        (broken / name).unlink() if content is None else (broken / name).write_bytes(content)
        return str(broken)

    for name, content, words in (
        ("model.safetensors", b"\x00" * 40, "cannot be read"),
        ("config.json", b"{", "cannot be read"),
        ("preprocessor_config.json", None, "image settings"),
        ("preprocessor_config.json", b"[" * 200_000, "settings"),
        ("vocab.json", None, r"there is no vocab\.json, nor tokenizer\.json"),  # every text would be read the same
        ("vocab.json", b"{" * 9, "tokenizer cannot be read"),
        ("preprocessor_config.json", b'{"size": 9999999, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]}', "settings"),
        ("preprocessor_config.json", b'{"size": 64, "image_mean": [1, 1, 1], "image_std": [0, 1, 1]}', "settings"),
    ):
        with pytest.raises(InputError, match=words):
            clipseg.load(spoil(name, content), device="cpu")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"threshold": 1.0}, "threshold must be"), ({"threshold": "x"}, "threshold must be"),
        ({"batch": 0}, "batch must be"), ({"batch": True}, "batch must be"), ({"dtype": "int8"}, "no such dtype"),
        ({"device": "quantum"}, "no such device"), ({"revision": "v1"}, "no revision"),
        ({"device": "cuda:99"}, "torch sees"),
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error(folder: Path, option: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        clipseg.load(str(folder), **option)


class _Letters:
    """A tokenizer of one token a letter and two marks."""

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [0, *map(ord, text.replace(" ", "")), 1]}


def test_texts_are_cut_between_words() -> None:
    notes: Counter[str] = Counter()
    assert pretrained.shortened(" ab cd ", _Letters(), 6, notes) == "ab cd"
    assert pretrained.shortened("", _Letters(), 6, notes) == ""
    assert notes == Counter()
    assert pretrained.shortened("ab cd e", _Letters(), 6, notes) == "ab cd"
    assert pretrained.shortened("ab cd e", _Letters(), 6, notes, end=".") == "ab."
    assert pretrained.shortened("abcdefgh i", _Letters(), 6, notes) == "abcdefgh"
    assert notes == Counter({"texts cut": 3})
