"""The embedded sample: the shipped annotation is what the generator draws, the same everywhere, and fair."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from refvps import home
from refvps.data import sample
from refvps.data.sample import clips, integers, textures
from refvps.data.sample.canvas import Box, Canvas, Disc, Ellipse, Line, Polygon
from refvps.errors import UsageError
from refvps.types import CATEGORIES, ID

Drawn = dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]

OBVIOUS = {
    "candle-wax": "flame",
    "pond-ripples": "ball",
    "beach-wave": "boat",
    "ink-cloud": "goldfish",
    "train-smoke": "locomotive",
    "crane-cloud": "container",
    "storm-flash": "car",
    "ice-puddle": "sponge",
    "lamp-pool": "lamp",
    "glass-shards": "ball",
    "block-sparks": "blocks",
}
"""Clips with a large moving thing that is not the target."""


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """RGB [T, H, W, 3] and labels [T, H, W] of every clip."""
    return {
        clip: (
            np.stack(list(sample.frames(clip))),
            np.stack([sample.labels(clip, index) for index in range(len(sample.frames(clip)))]),
        )
        for clip in sample.clip_ids()
    }


@pytest.fixture(scope="module")
def folder() -> Path:
    return home.annotations() / "sample"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- the shipped files


def test_shipped_annotation_is_what_the_generator_writes(folder: Path, tmp_path: Path) -> None:
    sample.build(tmp_path)
    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.json*")}
    shipped = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json*")}
    assert written.keys() == shipped.keys()
    assert [name for name in written if written[name] != shipped[name]] == []
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "benchmark.json", "clips.jsonl", "expressions.jsonl", "masks"
    }  # fmt: skip


def test_stored_digest_covers_the_pixels(folder: Path, drawn: Drawn) -> None:
    digest = hashlib.sha256()
    for rgb, _ in drawn.values():
        digest.update(rgb.tobytes())
    about = json.loads((folder / "benchmark.json").read_text())
    assert about == {
        "name": "sample",
        "version": "1",
        "licence": "Apache-2.0",
        "pixel_digest": digest.hexdigest(),
    }


def test_pixel_digest_runs_over_all_clips_in_order(monkeypatch: pytest.MonkeyPatch, drawn: Drawn) -> None:
    two = ["pond-ball", "candle-wax"]
    monkeypatch.setattr(sample, "CLIPS", {clip: clips.CLIPS[clip] for clip in two})
    expected = hashlib.sha256(b"".join(drawn[clip][0].tobytes() for clip in two)).hexdigest()
    assert sample.pixel_digest() == expected


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
def test_shipped_masks_decode_to_the_labels(folder: Path, drawn: Drawn) -> None:
    for record in lines(folder / "clips.jsonl"):
        header, *tracks = lines(folder / "masks" / f"{record['id']}.jsonl")
        size = record["size"]
        assert header == {
            "schema": "refvps.masks/1", "clip": record["id"], "size": size, "frames": record["annotated"]
        }  # fmt: skip
        labels = drawn[record["id"]][1]
        wanted = {1: labels == 1, 255: labels == 255}
        assert [track.get("target", track.get("ignore")) for track in tracks] == ["1", True][: len(tracks)]
        assert len(tracks) == (2 if wanted[255].any() else 1)
        for value, track in zip((1, 255), tracks, strict=False):
            assert track["counts"] == [
                coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode() for mask in wanted[value]
            ]
            rles = [{"size": size, "counts": counts.encode()} for counts in track["counts"]]
            assert np.array_equal(coco.decode(rles).transpose(2, 0, 1) == 1, wanted[value])


def test_clip_records_describe_the_clips(folder: Path, drawn: Drawn) -> None:
    records = lines(folder / "clips.jsonl")
    assert tuple(record["id"] for record in records) == sample.clip_ids()
    for record in records:
        rgb, labels = drawn[record["id"]]
        assert rgb.shape == (len(record["frames"]), *record["size"], 3)
        assert labels.shape == rgb.shape[:3]
        assert record["frames"] == record["annotated"] == [f"{index:05d}" for index in range(len(rgb))]
        assert record["fps"] == record["annotation_fps"] == 24
        assert record["split"] == "test"
        assert ID.fullmatch(record["id"])


def test_whole_folder_is_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 250_000


def test_card_lists_every_clip_with_its_numbers(folder: Path, drawn: Drawn) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("| ")]
    found = {row[0]: row[2:] for row in rows[1:]}
    empty = sum(int((~(labels == 1).any(axis=(1, 2))).sum()) for _, labels in drawn.values())
    assert f"{empty} of {sum(len(labels) for _, labels in drawn.values())} (" in card
    assert found == {
        clip: [
            clips.CLIPS[clip].concept,
            f"{labels.shape[2]}x{labels.shape[1]}",
            str(len(labels)),
            str(int((~(labels == 1).any(axis=(1, 2))).sum())),
        ]
        for clip, (_, labels) in drawn.items()
    }


# ---------------------------------------------------------------- what is in it


def test_clips_are_many_short_and_of_many_shapes(drawn: Drawn) -> None:
    sizes = [labels.shape[1:] for _, labels in drawn.values()]
    assert len(drawn) >= 10
    assert 2 * sum(height > width for height, width in sizes) == len(sizes)
    assert len(set(sizes)) >= 2
    assert any(width % 8 for _, width in sizes)
    assert any(height % 8 for height, _ in sizes)
    assert all(36 <= len(labels) <= 72 for _, labels in drawn.values())


def test_all_categories_occur() -> None:
    assert {category for scene in clips.CLIPS.values() for category in scene.categories} == set(CATEGORIES)
    assert all(scene.categories and scene.concept for scene in clips.CLIPS.values())


def test_two_clips_are_cut_from_one_video() -> None:
    groups = [scene.group for scene in clips.CLIPS.values()]
    assert sorted(groups.count(group) for group in set(groups)) == [1] * (len(groups) - 2) + [2]


def test_four_sentences_by_two_annotators(folder: Path) -> None:
    records = lines(folder / "expressions.jsonl")
    texts = [record["text"] for record in records]
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and len(text.split()) >= 3 for text in texts)
    for clip in sample.clip_ids():
        mine = [record for record in records if record["clip"] == clip]
        assert [(record["id"], record["annotator"], record["target"]) for record in mine] == [
            ("0", "a1", "1"), ("1", "a1", "1"), ("2", "a2", "1"), ("3", "a2", "1")
        ]  # fmt: skip
        scene = clips.CLIPS[clip]
        assert all(record["concept"] == scene.concept for record in mine)
        assert all(tuple(record["categories"]) == scene.categories for record in mine)


def test_every_event_has_a_before_and_an_after(drawn: Drawn) -> None:
    empty = {clip: ~(labels == 1).any(axis=(1, 2)) for clip, (_, labels) in drawn.items()}
    for frames in empty.values():
        assert frames[0]
        assert frames[-1]
        assert (~frames).sum() >= 20
    share = sum(int(frames.sum()) for frames in empty.values()) / sum(len(frames) for frames in empty.values())
    assert 0.15 <= share <= 0.35


def test_ignore_is_a_border_not_the_target(drawn: Drawn) -> None:
    with_ignore = 0
    for rgb, labels in drawn.values():
        assert rgb.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, 255}
        target, ignore = (labels == 1).sum(axis=(1, 2)), (labels == 255).sum(axis=(1, 2))
        assert target[target > 0].min() >= clips.LEAST
        assert ignore[target > 0].sum() < target.sum()
        with_ignore += bool(ignore.any())
    assert with_ignore >= 10


def test_the_picture_changes_where_the_target_is(drawn: Drawn) -> None:
    for clip, (rgb, labels) in drawn.items():
        before = rgb[0].astype(np.int64)
        busiest = int((labels == 1).sum(axis=(1, 2)).argmax())
        inside = labels[busiest] == 1
        assert np.abs(rgb[busiest].astype(np.int64) - before).max(axis=2)[inside].mean() > 12, clip


# ---------------------------------------------------------------- only the sentence tells


def overlap(masks: NDArray[np.bool_], labels: NDArray[np.uint8]) -> float:
    """Mean J over the frames of one clip, Ignore dropped, 1 where both are empty."""
    target, seen = labels == 1, labels != 255
    union = ((masks | target) & seen).sum(axis=(1, 2))
    both = (masks & target & seen).sum(axis=(1, 2))
    return float(np.where(union == 0, 1.0, both / np.maximum(union, 1)).mean())


def moving(rgb: NDArray[np.uint8], threshold: int) -> NDArray[np.bool_]:
    """Pixels that differ from the median over time in any channel."""
    still = np.sort(rgb, axis=0)[len(rgb) // 2].astype(np.int64)
    return np.abs(rgb.astype(np.int64) - still).max(axis=3) > threshold


def test_blind_answers_lose_where_the_obvious_object_is_not_the_target(drawn: Drawn) -> None:
    scores: dict[str, list[float]] = {name: [] for name in ("oracle", "full", "centre", "12", "24", "48")}
    for clip in OBVIOUS:
        rgb, labels = drawn[clip]
        height, width = labels.shape[1:]
        box = np.zeros(labels.shape, bool)
        box[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        scores["oracle"].append(overlap(labels == 1, labels))
        scores["full"].append(overlap(np.ones(labels.shape, bool), labels))
        scores["centre"].append(overlap(box, labels))
        for threshold in (12, 24, 48):
            scores[str(threshold)].append(overlap(moving(rgb, threshold), labels))
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    assert means.pop("oracle") == 1.0
    assert max(means.values()) < 0.35, means
    assert means["full"] < 0.15
    assert max(scores["24"]) < 0.45


def test_pairs_of_scenes_differ_in_the_target(drawn: Drawn) -> None:
    for thing, process in (("pond-ball", "pond-ripples"), ("glass-ball", "glass-shards")):
        blind = {clip: overlap(moving(drawn[clip][0], 48), drawn[clip][1]) for clip in (thing, process)}
        assert blind[thing] > blind[process] + 0.15
    assert clips.CLIPS["candle-wax"].concept != clips.CLIPS["candle-flame"].concept


# ---------------------------------------------------------------- the same on every machine


def test_frames_do_not_depend_on_the_order_of_access(drawn: Drawn) -> None:
    order = [(clip, index) for clip in drawn for index in range(0, len(drawn[clip][0]), 9)]
    random.Random(5).shuffle(order)
    clips.render.cache_clear()
    clips._backdrop.cache_clear()
    textures.grid.cache_clear()
    for clip, index in order:
        assert np.array_equal(sample.labels(clip, index), drawn[clip][1][index])
        assert np.array_equal(sample.frames(clip)[index], drawn[clip][0][index])


def test_another_process_draws_the_same(drawn: Drawn) -> None:
    code = (
        "import hashlib; from refvps.data import sample; "
        "print(hashlib.sha256(b''.join(f.tobytes() for f in sample.frames('storm-flash')[10:20:3])).hexdigest())"
    )
    root = Path(home.__file__).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
    )
    assert run.stdout.decode().strip() == hashlib.sha256(drawn["storm-flash"][0][10:20:3].tobytes()).hexdigest()


SOURCES = sorted(Path(sample.__file__).parent.glob("*.py"))
NUMPY = {
    "abs", "arange", "array", "asfortranarray", "bool_", "broadcast_shapes", "broadcast_to", "clip", "full", "int64",
    "maximum", "minimum", "ndarray", "searchsorted", "uint64", "uint8", "where", "zeros",
}  # fmt: skip
"""All of numpy that the generator may use: exact on integers, no random numbers."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_floating_point_in_the_sources(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{path.name}:{getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), place
        assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), place
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "np":
                assert node.attr in NUMPY, place
            if node.value.id == "math":
                assert node.attr == "isqrt", place
        if isinstance(node, ast.Name) and path.stem != "records":  # the records give rates as floats
            assert node.id != "float", place
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"numpy", "math", "hashlib", "argparse"}, place
        if isinstance(node, ast.ImportFrom) and node.module == "pycocotools":
            assert path.stem == "records", place


def test_the_checked_sources_are_all_there_is() -> None:
    assert {path.stem for path in SOURCES} >= {"integers", "textures", "canvas", "clips", "records", "scenes_water"}


def test_canvas_stays_in_integers() -> None:
    for scene in clips.CLIPS.values():
        canvas = Canvas(scene.backdrop(scene.size))
        scene.draw(canvas, scene.length // 2)
        assert canvas.image.dtype == canvas.cover.dtype == np.int64
        assert canvas.cover.min() >= 0
        assert canvas.cover.max() <= integers.FULL


# ---------------------------------------------------------------- the arithmetic


def test_hash_is_splitmix64_and_the_same_for_arrays() -> None:
    assert integers.mix(0) == 0xE220A8397B1DCDAF  # first output of the published generator for seed 0
    x = np.array([[0, 1, -1], [255, -(1 << 40), (1 << 62) + 3]], dtype=np.int64)
    y = np.array([[9], [-9]], dtype=np.int64)
    found = integers.mixed(12345, y, x)
    assert found.dtype == np.uint64
    for row in range(2):
        for column in range(3):
            assert int(found[row, column]) == integers.mix(12345, int(y[row, 0]), int(x[row, column]))


def test_hash_spreads() -> None:
    values = [integers.pick(0, 8, 3, number) for number in range(8000)]
    assert all(850 < values.count(value) < 1150 for value in range(8))


def test_sine_table_is_the_sine() -> None:
    for angle in range(-1024, 2048):
        assert abs(integers.sin(angle) - 4096 * math.sin(math.tau * angle / 1024)) <= 0.51
        assert abs(integers.cos(angle) - 4096 * math.cos(math.tau * angle / 1024)) <= 0.51
    angles = np.arange(-3000, 3000, dtype=np.int64)
    assert integers.sines(angles).tolist() == [integers.sin(angle) for angle in angles.tolist()]


def test_roots_are_square_roots() -> None:
    edges = [0, 1, 2, 3, 65535, 65536, 65537, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 32) - 1]
    values = edges + [integers.pick(0, 1 << bits, bits, number) for bits in range(1, 33) for number in range(60)]
    found = integers.roots(np.array(values, dtype=np.int64)).tolist()
    assert all(0 <= root - math.isqrt(value) <= 1 for value, root in zip(values, found, strict=True))
    assert found[0] == 0


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Disc(20 * 64, 22 * 64, 13 * 64), math.pi * 13 * 13),
        (Ellipse(21 * 64, 20 * 64, 15 * 64, 8 * 64), math.pi * 15 * 8),
        (Box(5 * 64, 6 * 64, 25 * 64, 16 * 64), 200),
        (Line((10 * 64, 10 * 64), (30 * 64, 10 * 64), 4 * 64), 160 + math.pi * 16),
        (Polygon(((4 * 64, 4 * 64), (34 * 64, 4 * 64), (4 * 64, 34 * 64))), 450),
        (Polygon(((4 * 64, 34 * 64), (34 * 64, 4 * 64), (4 * 64, 4 * 64))), 450),
    ],
    ids=["disc", "ellipse", "box", "line", "triangle", "triangle the other way"],
)
def test_shapes_cover_their_area(shape: Disc, area: float) -> None:
    canvas = Canvas(np.zeros((45, 45, 3), dtype=np.int64))
    canvas.fill(shape, (255, 255, 255), target=True)
    assert int(canvas.cover.sum()) / 256 == pytest.approx(area, rel=0.03)


def test_what_is_painted_over_the_target_hides_it() -> None:
    canvas = Canvas(np.zeros((20, 30, 3), dtype=np.int64))
    canvas.fill(Box(0, 0, 30 * 64, 20 * 64), (255, 0, 0), soft=1, target=True)
    canvas.fill(Box(10 * 64, 0, 20 * 64, 20 * 64), (0, 255, 0), soft=1)
    labels = canvas.labels(50, 128, least=10)
    assert (labels[:, 11:19] == 0).all()
    assert (labels[1:-1, 1:9] == 1).all()
    assert (labels[1:-1, 21:29] == 1).all()


def test_too_few_pixels_are_ignore() -> None:
    canvas = Canvas(np.zeros((20, 30, 3), dtype=np.int64))
    canvas.cover[3, 4:10] = 256
    canvas.cover[3, 12] = 60
    assert np.unique(canvas.labels(50, 128, least=7)).tolist() == [0, 255]
    kept = canvas.labels(50, 128, least=6)
    assert (kept == 1).sum() == 6
    assert (kept == 255).sum() == 1


# ---------------------------------------------------------------- the frames as a sequence


def test_frames_are_a_lazy_sequence() -> None:
    clips.render.cache_clear()
    frames = sample.frames("lamp-pool")
    part = frames[4:40:6][1:-1]
    assert isinstance(part, type(frames))
    assert clips.render.cache_info().misses == 0
    assert len(part) == 4
    assert np.array_equal(part[0], frames[10])
    assert clips.render.cache_info().misses == 1
    assert np.array_equal(frames[-1], frames[len(frames) - 1])
    assert np.array_equal(pickle.loads(pickle.dumps(part))[-1], frames[28])
    assert len(list(part)) == 4
    for index in (len(frames), -len(frames) - 1):
        with pytest.raises(IndexError):
            frames[index]
        with pytest.raises(IndexError):
            sample.labels("lamp-pool", index)


def test_a_caller_may_write_on_its_frame() -> None:
    frames = sample.frames("pond-ball")
    mine, labels = frames[20], sample.labels("pond-ball", 20)
    before = mine.copy(), labels.copy()
    mine[:] = 0
    labels[:] = 7
    assert np.array_equal(frames[20], before[0])
    assert np.array_equal(sample.labels("pond-ball", 20), before[1])


def test_an_unknown_clip_is_a_clear_error() -> None:
    for call in (sample.frames, lambda clip: sample.labels(clip, 0)):
        with pytest.raises(UsageError, match="no such clip") as caught:
            call("pond")
        assert "pond-ball" in caught.value.fix
