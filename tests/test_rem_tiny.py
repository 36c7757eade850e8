"""rem-tiny's clips, words and weights: what it was trained on, and that nothing it is tested on is part of that."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")

import refvps
from refvps.errors import InputError, UsageError
from rem.tiny import captions, codec, objects, predictor, processes, recipe, words

TINY = Path(objects.__file__).parent
TRAINING = ("canvas", "objects", "words", "captions", "codec", "model", "recipe")


@pytest.mark.parametrize("paint", [objects.scene, processes.scene])
def test_a_clip_follows_from_its_numbers_alone(paint) -> None:
    np.random.seed(1)  # noqa: NPY002 - a global state that must not matter
    one = paint(1000, 3, frames=4, side=32)
    paint(1000, 4, frames=4, side=32)
    again = paint(1000, 3, frames=4, side=32)
    assert np.array_equal(one.frames, again.frames) and np.array_equal(one.masks, again.masks)
    assert one.texts == again.texts and one.frames.shape == (4, 32, 32, 3) and one.masks.shape[1:] == (4, 32, 32)
    assert not np.array_equal(one.frames, paint(1001, 3, frames=4, side=32).frames)
    assert one.masks.any(axis=(1, 2, 3)).all()


def test_a_mask_lies_where_its_sentence_says() -> None:
    """The colour that a sentence names is nearer to the pixels of its mask than any other named colour, mostly."""
    from rem.tiny.canvas import PALETTE

    right = []
    for number in range(60):
        scene = objects.scene(0, number, frames=1, side=48)
        said = [word for word in scene.texts[0].partition(" the ")[0].split() if word in PALETTE][:1]
        if said and scene.kinds[0] == "colour":
            mean = scene.frames[0][scene.masks[0, 0]].mean(axis=0) / 255
            right.append(min(PALETTE, key=lambda name: float(np.linalg.norm(mean - PALETTE[name]))) == said[0])
    assert len(right) > 20 and np.mean(right) > 0.6


def test_the_training_reads_nothing_of_the_tests() -> None:
    for module in TRAINING:
        tree = ast.parse((TINY / f"{module}.py").read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        ours = {name for name in names if name.startswith("refvps")}
        assert all(name.startswith("refvps.errors") for name in ours), (module, ours)
        assert not any("processes" in name or "report" in name for name in names), module


def test_seeds_and_words_of_tests_are_not_those_of_training() -> None:
    training = set(objects.TRAINING_SEEDS)
    assert {codec.SEED, captions.SEED} <= training
    assert not training & {*objects.TEST_SEEDS, *processes.SEEDS} and not set(objects.TEST_SEEDS) & set(processes.SEEDS)
    for seed in (1000, 5000, codec.SEED, captions.SEED):
        with pytest.raises(UsageError, match="no seed for training"):
            recipe.Clips(seed, 1)
    known = set(words.vocabulary())
    said = {word for phrases in processes.PHRASES.values() for phrase in phrases for word in phrase.split()} - {"{}"}
    assert said & known <= {"the", "a", "that", "of", "up", "down"}
    concepts = {word for each in refvps.load("sample").expressions for word in each.concept.split()}
    assert concepts & known == {"moving"}


def test_invented_words_are_no_words_of_the_tests() -> None:
    rng = np.random.default_rng(0)
    made = {words.invented(rng) for _ in range(5000)}
    phrases = [phrase for listed in processes.PHRASES.values() for phrase in listed]
    tested = {word for text in phrases for word in text.split()}
    tested |= {word.strip(",") for each in refvps.load("sample").expressions for word in each.text.split()}
    assert not made & tested


def test_pairs_held_out_are_in_no_training_sentence_and_in_every_test() -> None:
    def pair(text: str) -> tuple[str, str] | None:
        own = text.split(" the ")[0].split()
        found = [next((word for word in own if word in table), None) for table in (objects.COLOURS, words.SHAPES)]
        return (found[0], found[1]) if all(found) else None

    trained = [pair(objects.scene(0, number, frames=1, side=16).texts[0]) for number in range(150)]
    trained += [pair(objects.caption(captions.SEED, number)[0]) for number in range(500)]
    tested = [pair(objects.scene(1000, number, frames=1, side=16).texts[0]) for number in range(150)]
    trained, tested = [each for each in trained if each], [each for each in tested if each]
    assert len(trained) > 50 and not any(objects.held_out(*each) for each in trained)
    assert len(tested) > 5 and all(objects.held_out(*each) for each in tested)
    share = np.mean([objects.held_out(colour, shape) for colour in objects.COLOURS for shape in words.SHAPES])
    assert 0.05 < share < 0.3


def test_every_training_word_is_one_token_and_any_text_encodes(tmp_path: Path) -> None:
    tokenizer = words.write_tokenizer(tmp_path)
    for word in words.vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word
    assert tokenizer.pad_token_id == 0 and tokenizer.model_max_length == 77
    for text in (
        "the bubbling lava near the crater",
        "naïve Übergröße, 火",
        *(e.text for e in refvps.load("sample").expressions),
    ):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True).strip().replace(" ", "") == text.lower().replace(" ", "")
        assert len(ids) <= 77
    shipped = predictor.shipped() / "tokenizer"
    assert (shipped / "merges.txt").read_bytes() == (tmp_path / "merges.txt").read_bytes()
    assert (shipped / "vocab.json").read_bytes() == (tmp_path / "vocab.json").read_bytes()


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "weights"
    shutil.copytree(predictor.shipped().parent, place)
    assert predictor.shipped(place) == place / "model"
    assert sum(path.stat().st_size for path in place.rglob("*")) < 6_000_000
    path = place / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"damaged[\s\S]*diffusion_pytorch_model"):
        predictor.shipped(place)
    path.unlink()
    with pytest.raises(InputError, match="missing"):
        predictor.shipped(place)
