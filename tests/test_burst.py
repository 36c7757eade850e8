"""BURST by class: REM's protocol on hand-computed cases, hostile annotations, names of classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_burst import AIRPLANE, CAR, DOG, HAT, NAMES, PERSON, box, copy, jpegs, sequence, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco
from trees import encode

from refvps.data.importers.burst import load_burst
from refvps.data.importers.spans import walk
from refvps.errors import InputError, UsageError
from refvps.masks import rle
from refvps.run.evaluate import evaluate_submission
from refvps.types import Benchmark, Rules, Scores

SIZE = (10, 10)


def bar(width: int) -> np.ndarray:
    """The first ``width`` columns: 10 * width pixels."""
    return box(SIZE, 0, 0, 10, width)


def video(dataset: str, name: str, tracks: dict[str, int], masks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    count = 2 * len(masks)
    return sequence(dataset, name, SIZE, jpegs(count), list(range(0, count, 2)), tracks, masks, **more)


def rem_tree(root: Path, masks: dict[tuple[str, str], list[np.ndarray]], step: int = 2) -> Path:
    """Predictions by (data set/sequence, number_class), as REM's script writes them: palette PNGs of 0 and 1."""
    for (place, name), found in masks.items():
        for index, mask in enumerate(found):
            path = root / place / "pred" / name / f"frame{step * index + 1:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(mask.astype(np.uint8))
            picture.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
            picture.save(path)
    return root


@pytest.fixture
def worked(tmp_path: Path) -> tuple[Path, Benchmark, Path]:
    """Two classes in three sequences of two annotated frames each, and predictions for them.

    dog  in s1 (val):  truth 2 columns, then nothing; prediction 4 columns, then nothing.
         J = 20/40 and 1 (both empty), so 0.75.
    dog  in s2 (test): two tracks, columns 0-3 and 2-5, so their union is 6 columns; then 5 columns.
         prediction 3 columns, then 5 columns from the right: 30/60 and 0/100, so 0.25.
    hat  in s2 (test): truth 5 columns on both; prediction right on both: 1.
    The class dog has (0.75 + 0.25) / 2 = 0.5, hat 1; over classes 0.75. The mean over the three pairs would be 2/3,
    over sequences (0.75 + (0.25 + 1) / 2) / 2 = 0.6875.
    """
    root, nothing = tmp_path / "burst", np.zeros(SIZE, bool)
    right = box(SIZE, 0, 5, 10, 10)
    two = box(SIZE, 0, 2, 10, 6)
    write(root, "val", [video("LaSOT", "s1", {"1": DOG}, [{"1": bar(2)}, {}])])
    masks = [{"1": bar(4), "2": two, "3": bar(5)}, {"2": bar(5), "3": bar(5)}]
    write(root, "test", [video("BDD", "s2", {"1": DOG, "2": DOG, "3": HAT}, masks)])
    preds = rem_tree(
        tmp_path / "burst_valtest",
        {
            ("LaSOT/s1", f"{DOG}_dog"): [bar(4), nothing],
            ("BDD/s2", f"{DOG}_dog"): [bar(3), right],
            ("BDD/s2", f"{HAT}_hat"): [bar(5), bar(5)],
        },
    )
    return root, load_burst(root), preds


def score(benchmark: Benchmark, preds: Path, rules: Rules | None = None) -> Scores:
    return evaluate_submission(benchmark, preds, rules).scores


def test_j_is_averaged_over_frames_then_sequences_then_classes(worked: tuple[Path, Benchmark, Path]) -> None:
    _, benchmark, preds = worked
    scores = score(benchmark, preds)
    assert scores.summary["J"].value == 0.75
    assert {row.concept + row.clip: row.values["J"] for row in scores.rows} == {
        "dogLaSOT_s1": 0.75,
        "dogBDD_s2": 0.25,
        "hatBDD_s2": 1.0,
    }
    assert {concept: each["J"].value for concept, each in scores.by_concept.items()} == {"dog": 0.5, "hat": 1.0}
    assert "refvps:J|avg:frame>clip>concept|" in scores.signature
    assert "|data:burst@valtest-raw#" in scores.signature
    other = score(benchmark, preds, Rules(metrics=("J",)))
    assert other.summary["J"].value == 0.6875


def rem_score(root: Path, preds: Path) -> float:
    """REM's evaluation, written from its description with dense arrays: test before val, lists by class name."""
    by_class: dict[str, list[float]] = {}
    for split in ("test", "val"):
        content = json.loads((root / split / "all_classes.json").read_text())
        names = {row["id"]: row["name"] for row in content["categories"]}
        for seq in content["sequences"]:
            size = [seq["height"], seq["width"]]
            for category in set(seq["track_category_ids"].values()):
                values = []
                for file, entries in zip(seq["annotated_image_paths"], seq["segmentations"], strict=True):
                    truth = np.zeros(size, bool)
                    for track, owner in seq["track_category_ids"].items():
                        if owner == category and track in entries:
                            truth |= coco.decode({"size": size, "counts": entries[track]["rle"].encode()}) == 1
                    name = f"{category}_{names[category]}/{file.split('.')[0]}.png"
                    with Image.open(preds / seq["dataset"] / seq["seq_name"] / "pred" / name) as picture:
                        found = np.array(picture).astype(bool)
                    union = np.count_nonzero(truth | found)
                    values.append(np.count_nonzero(truth & found) / union if union else 1.0)
                by_class.setdefault(names[category], []).append(float(np.mean(values)))
    return float(np.mean([np.mean(values) for values in by_class.values()]))


def test_the_score_is_rems_on_random_masks(tmp_path: Path) -> None:
    random = np.random.default_rng(3)

    def blob() -> np.ndarray:
        return random.random(SIZE) < random.uniform(0, 0.6)

    classes, preds = [CAR, DOG, HAT, PERSON], {}
    for split in ("val", "test"):
        videos = []
        for number in range(4):
            tracks = {str(key): classes[int(random.integers(4))] for key in range(1, 6)}
            masks = [{t: blob() for t in tracks if random.random() < 0.6} for _ in range(3)]
            videos.append(video("AVA", f"{split}{number}", tracks, masks))
            for category in set(tracks.values()):
                key = f"AVA/{split}{number}", f"{category}_{NAMES[category]}"
                preds[key] = [blob() & (random.random() < 0.8) for _ in masks]
        write(tmp_path / "burst", split, videos)
    tree = rem_tree(tmp_path / "preds", preds)
    scores = score(load_burst(tmp_path / "burst"), tree)
    assert scores.summary["J"].value == pytest.approx(rem_score(tmp_path / "burst", tree), abs=1e-12)
    assert 0.1 < rem_score(tmp_path / "burst", tree) < 0.9


def test_the_target_is_the_union_of_the_tracks_of_a_class(tmp_path: Path) -> None:
    benchmark = load_burst(copy(tmp_path).root)
    truth = benchmark.truth("LaSOT_airplane-1")
    a, first, second = (12, 20), box((12, 20), 0, 0, 4, 4), box((12, 20), 2, 2, 6, 6)
    wanted = {0: first, 3: first | second, 6: second}
    for index in range(7):
        targets, ignore = truth.frame(index)
        assert ignore is None
        if index not in wanted:
            assert targets == {str(AIRPLANE): None, str(PERSON): None}
            continue
        assert np.array_equal(targets[str(PERSON)].array(), wanted[index])  # type: ignore[union-attr]
    assert truth.frame(6)[0][str(AIRPLANE)].area() == 0  # type: ignore[union-attr]
    assert benchmark.clips["LaSOT_airplane-1"].size == a


@given(masks=arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))))
def test_the_union_of_rles_is_exact_and_canonical(masks: np.ndarray) -> None:
    size = masks.shape[1:]
    assert rle.union([rle.encode(mask) for mask in masks], size) == rle.encode(masks.any(axis=0))


def test_one_rle_alone_becomes_canonical() -> None:
    rle.check([b"040"], (2, 2))  # runs 0, 4, 0: valid, with a run too many
    assert rle.union([b"040"], (2, 2)) == rle.encode(np.ones((2, 2), bool)) != b"040"


def test_counts_stand_beside_the_papers(tmp_path: Path) -> None:
    notes = "\n".join(load_burst(copy(tmp_path).root).notes)
    assert "3 sequences with a class and 5 classes. The paper says 2,049 and 454 for val and test." in notes
    assert "Pairs of sequence and class: 5; masks of tracks: 11, on 8 frames." in notes
    assert "Sequences without a track, which are left out: 1." in notes
    assert "several data sets use; REM's evaluator mixes these: 1." in notes
    assert "Null masks, which count as empty: 2." in notes
    assert "Pairs without a single pixel, for which an empty prediction is right: 1." in notes
    assert "Pairs whose class is not annotated exhaustively, which count like others: 1." in notes
    assert "Category 805 (person.n.01) is called 'baby' here." in notes
    assert "otherwise" not in notes


def test_renamed_categories_are_said_and_val_names_both_splits(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    for split, changes in (("val", {PERSON: "person"}), ("test", {DOG: "hound"})):
        content = json.loads((root / split / "all_classes.json").read_text())
        write(root, split, content["sequences"], NAMES | changes)
    benchmark = load_burst(root)
    texts = {each.target: each.text for each in benchmark.expressions}
    assert texts[str(PERSON)] == "the person"
    assert texts[str(DOG)] == "the dog"
    notes = "\n".join(benchmark.notes)
    assert "Categories that test calls otherwise: 382 is 'dog', there 'hound'; 805 is 'person', there 'baby'." in notes
    assert "Categories called otherwise than in TAO's list: 805 is 'person', there 'baby'." in notes
    assert "Category 805 (person.n.01) is called 'person' here." in notes
    clean = load_burst(root, style="clean")
    assert {each.target: each.text for each in clean.expressions}[str(PERSON)] == "the person"
    only = load_burst(root, split="test")
    assert only.version == "test-raw"
    assert {each.target: each.text for each in only.expressions}[str(DOG)] == "the hound"
    assert {clip.split for clip in only.clips.values()} == {"test"}
    assert set(load_burst(root, split="val").clips) == {"LaSOT_airplane-1", "YFCC100M_airplane-1"}


def test_the_styles_are_different_questions_everywhere(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    raw, clean = load_burst(root), load_burst(root, style="clean")
    assert (raw.version, clean.version) == ("valtest-raw", "valtest-clean")
    assert all(raw.clip_digests[clip] != clean.clip_digests[clip] for clip in raw.clips)
    pairs = {(a.text, b.text) for a, b in zip(raw.expressions, clean.expressions, strict=True)}
    assert pairs == {
        ("the airplane", "the airplane"),
        ("the baby", "the person"),
        ("the car_(automobile)", "the car"),
        ("the dog", "the dog"),
        ("the hat", "the hat"),
    }
    assert {each.annotator for each in clean.expressions} == {"class names, clean"}


def test_sequences_are_told_apart_by_data_set_too(tmp_path: Path) -> None:
    one, other = ({"1": bar(2)},), ({"1": bar(3)},)
    write(tmp_path, "val", [video("a", "b_c", {"1": DOG}, list(one)), video("a_b", "c", {"1": DOG}, list(other))])
    benchmark = load_burst(tmp_path, split="val")
    assert {clip.source_id for clip in benchmark.clips.values()} == {"a/b_c", "a_b/c"}
    areas = {c.source_id: benchmark.truth(c.id).frame(0)[0][str(DOG)].area() for c in benchmark.clips.values()}  # type: ignore[union-attr]
    assert areas == {"a/b_c": 20, "a_b/c": 30}


def test_rates_and_frames(tmp_path: Path) -> None:
    benchmark = load_burst(copy(tmp_path).root)
    sparse, dense = benchmark.clips["LaSOT_airplane-1"], benchmark.clips["YFCC100M_airplane-1"]
    assert (sparse.fps, sparse.annotation_fps, len(sparse.frames)) == (30.0, 1.0, 7)
    assert sparse.annotated == ("frame0001", "frame0004", "frame0007")
    assert (dense.fps, dense.annotation_fps) == (1.0, 1.0)  # every frame that is listed is annotated, one a second
    assert sparse.group == sparse.id


def test_workers_find_the_same(tmp_path: Path) -> None:
    many = [video("LaSOT", f"s{number}", {"1": DOG}, [{"1": bar(number % 9 + 1)}]) for number in range(40)]
    write(tmp_path, "val", many)
    assert load_burst(tmp_path, split="val", jobs=2).digest == load_burst(tmp_path, split="val").digest


Change = Callable[[dict[str, Any]], object]
FULL = encode(np.ones(SIZE, bool))
HOSTILE: dict[str, tuple[Change, str]] = {
    "no width": (lambda s: s.pop("width"), "no 'width'"),
    "width is true": (lambda s: s.update(width=True), "width is not a number of pixels"),
    "width is huge": (lambda s: s.update(width=10**9), "width is not a number of pixels"),
    "another size": (lambda s: s.update(segmentations=[{"1": {"rle": encode(np.zeros((9, 9)))}}]),
                     "its runs add up to 81 pixels, the frame of 10x10 has 100"),
    "no annotated frame": (lambda s: s.update(annotated_image_paths=[], segmentations=[]), "no annotated frame"),
    "a strange frame": (lambda s: s.update(annotated_image_paths=["other.jpg"]), "is not among all frames"),
    "a frame outside": (lambda s: s.update(all_image_paths=["../../x.jpg"]), "a file name is not allowed"),
    "frames twice": (lambda s: s.update(all_image_paths=["frame0001.jpg", "Frame0001.jpg"]), "two frames have one"),
    "frames are numbers": (lambda s: s.update(all_image_paths=[1, 2]), "not a list of file names"),
    "masks are short": (lambda s: s.update(segmentations=[]), "one entry for each of the 1 annotated frames"),
    "masks are a list": (lambda s: s.update(segmentations=[[]]), "not an object of tracks"),
    "a mask is a number": (lambda s: s.update(segmentations=[{"1": 3}]), "neither an object nor null"),
    "an rle is a number": (lambda s: s.update(segmentations=[{"1": {"rle": 3}}]), "an rle is no text"),
    "an rle is empty": (lambda s: s.update(segmentations=[{"1": {"rle": ""}}]), "frame frame0001, track 1: it is an"),
    "an rle is too long": (lambda s: s.update(segmentations=[{"1": {"rle": FULL + FULL}}]), "track 1: "),
    "an rle is no ASCII": (lambda s: s.update(segmentations=[{"1": {"rle": "é漢"}}]), "track 1: "),
    "a category is a text": (lambda s: s.update(track_category_ids={"1": "382"}), "does not map tracks to numbers"),
    "a category is unknown": (lambda s: s.update(track_category_ids={"1": 9999}), "category 9999 is not in the list"),
    "the name is a path": (lambda s: s.update(seq_name="../../etc"), "seq_name is no name of a folder"),
    "the name is dots": (lambda s: s.update(seq_name=".."), "seq_name is no name of a folder"),
    "the name is control": (lambda s: s.update(seq_name="a\nb"), "seq_name is no name"),
    "no data set": (lambda s: s.pop("dataset"), "dataset is no name"),
    "not exhaustive is a text": (lambda s: s.update(not_exhaustive_category_ids="all"), "not a list of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_sequences_are_named(case: str, tmp_path: Path) -> None:
    change, reason = HOSTILE[case]
    bad = sequence("LaSOT", "bad", SIZE, jpegs(2), [0], {"1": DOG}, [{"1": bar(2)}])
    change(bad)
    write(tmp_path, "val", [video("LaSOT", "good", {"1": DOG}, [{"1": bar(2)}]), bad])
    with pytest.raises(InputError) as caught:
        load_burst(tmp_path, split="val")
    assert any(reason in place for place in caught.value.where), str(caught.value)
    assert len(caught.value.where) == 1


def test_null_entries_and_tracks_without_a_class(tmp_path: Path) -> None:
    masks = [{"1": bar(2)}, {"1": bar(3), "9": bar(9)}]
    one = video("LaSOT", "s", {"1": DOG}, masks)
    one["segmentations"][0] = {"1": None, "9": {"rle": None}}
    write(tmp_path, "val", [one])
    benchmark = load_burst(tmp_path, split="val")
    truth = benchmark.truth("LaSOT_s")
    assert [truth.frame(k)[0][str(DOG)].area() for k in (0, 2)] == [0, 30]  # type: ignore[union-attr]
    notes = "\n".join(benchmark.notes)
    assert "Null masks, which count as empty: 2." in notes
    assert "Masks of tracks without a class, which are not used: 2." in notes


BROKEN = {
    "no list": '{"categories": []}',
    "a list": "[]",
    "a number": '{"sequences": 3, "categories": []}',
    "two lists": '{"sequences": [], "sequences": []}',
    "a comma too many": '{"sequences": [{"a": 1},]}',
    "a comma too few": '{"sequences": [{"a": 1} {"a": 2}]}',
    "cut off": '{"sequences": [{"a": 1}',
    "something behind": '{"sequences": []} {}',
    "not a number": '{"sequences": [{"a": NaN}]}',
    "a key twice": '{"sequences": [{"a": 1, "a": 2}]}',
    "deep": '{"sequences": [' + "[" * 100_000,
    "no colon": '{"sequences" []}',
    "no comma between members": '{"categories": [] "sequences": []}',
    "a comma at the end": '{"sequences": [],}',
    "empty": "",
}


@pytest.mark.parametrize("case", BROKEN)
def test_json_that_is_none_is_named(case: str, tmp_path: Path) -> None:
    path = tmp_path / "val" / "all_classes.json"
    path.parent.mkdir()
    path.write_text(BROKEN[case])
    with pytest.raises(InputError) as caught:
        load_burst(tmp_path, split="val")
    assert str(path) in caught.value.where[0]


LEAF = st.text() | st.integers(-(10**9), 10**9) | st.booleans() | st.none()
TREE = st.recursive(LEAF, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=6)


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(max_size=4).filter(lambda key: key != "it"), LEAF),
    st.lists(TREE, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_a_walk_sees_what_json_holds(
    tmp_path_factory: pytest.TempPathFactory, rest: dict[str, Any], items: list[Any], plain: bool, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("walk") / "file.json"
    path.write_text(json.dumps({**rest, "it": items}, ensure_ascii=plain, indent=indent), encoding="utf-8")
    seen: list[Any] = []
    spans = []

    def visit(span: Any, value: Any) -> None:
        spans.append(span)
        seen.append(value)

    assert walk(path, "it", visit) == rest
    assert seen == items
    assert [span.read() for span in spans] == items


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"it": [1], "it": [2]}')
    with pytest.raises(InputError, match="stands twice"):
        walk(tmp_path / "file.json", "it", lambda span, value: None)


def test_masks_that_were_exchanged_after_loading_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "val", [video("LaSOT", "s", {"1": DOG}, [{"1": bar(2)}])])
    benchmark = load_burst(tmp_path, split="val")
    other = write(tmp_path / "other", "val", [video("LaSOT", "s", {"1": DOG}, [{"1": np.flip(bar(2))}])])
    path.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="not the one that was checked") as caught:
        benchmark.truth("LaSOT_s").frame(0)
    assert str(path) in caught.value.where[0]


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    good = video("LaSOT", "s", {"1": DOG}, [{"1": bar(2)}])
    write(tmp_path / "twice", "val", [good, good])
    with pytest.raises(InputError, match="twice"):
        load_burst(tmp_path / "twice", split="val")
    (tmp_path / "swapped" / "test").mkdir(parents=True)
    write(tmp_path / "swapped", "val", [good]).rename(tmp_path / "swapped/test/all_classes.json")
    with pytest.raises(InputError, match="say they are another split"):
        load_burst(tmp_path / "swapped", split="test")
    write(tmp_path / "both", "val", [good])
    write(tmp_path / "both/annotations_burst", "val", [good])
    with pytest.raises(InputError, match="there twice"):
        load_burst(tmp_path / "both", split="val")
    write(tmp_path / "rem/annotations_burst", "val", [good])
    assert len(load_burst(tmp_path / "rem", split="val").clips) == 1
    write(tmp_path / "bare", "val", [video("LaSOT", "s", {}, [{}])])
    with pytest.raises(InputError, match="No sequence of BURST has a track"):
        load_burst(tmp_path / "bare", split="val")
    for names in ({DOG: "a/../b"}, {DOG: ""}, {DOG: "a\nb"}, {DOG: "dog", CAR: "dog"}, {DOG: "d" * 300}):
        write(tmp_path / "names", "val", [good], names)
        with pytest.raises(InputError):
            load_burst(tmp_path / "names", split="val")
    for options in ({"split": "train"}, {"style": "nice"}):
        with pytest.raises(UsageError):
            load_burst(tmp_path / "rem", **options)


def test_real_categories_give_every_class_its_sentence(fixtures: Path, tmp_path: Path) -> None:
    """One sequence for each of the 1,230 names of the real list, among them the strangest."""
    real = json.loads((fixtures / "burst/tao_categories.json").read_text())
    names = {row["id"]: row["name"] for row in real}
    videos = [video("LaSOT", f"s{key}", {"1": key}, [{"1": bar(2)}]) for key in names]
    write(tmp_path, "val", videos, names)
    for style, wanted in (("raw", len(set(names.values()))), ("clean", 1230)):
        benchmark = load_burst(tmp_path, split="val", style=style)
        texts = {int(each.target): each.text for each in benchmark.expressions}
        assert len(benchmark.expressions) == len(set(texts.values())) == wanted == 1230
        assert all(style == "clean" or text == f"the {names[key]}" for key, text in texts.items())
        assert not [note for note in benchmark.notes if "otherwise" in note]
    assert texts[708] == "the monitor"
