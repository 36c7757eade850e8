"""One conformance suite for every benchmark: what the rest of refvps may rely on."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trees

from refvps import data
from refvps.data import register
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.embedded import _load
from refvps.data.truth import annotation
from refvps.errors import DataMissingError
from refvps.types import CATEGORIES, ID, Benchmark, Truth


def sample(_: Path) -> Benchmark:
    _load.cache_clear()
    return data.load("sample")


def folder(root: Path) -> Benchmark:
    if not root.exists():
        for number in range(6):
            values = ((1, 2, 255), (1,), (2, 3, 9, 255))[number % 3]
            size = ((40, 61), (61, 40))[number % 2]
            for frame in range(4):
                trees.write_labels(
                    root / f"video {number}" / f"{frame}.png", trees.labels(10 * number + frame, size, values)
                )
    return data.load("folder", gt=root)


def nested(root: Path) -> Benchmark:
    if not root.exists():
        for number in range(4):
            for expression in range(2):
                for frame in range(3):
                    path = root / f"v{number}" / str(expression) / f"{frame}.png"
                    trees.write_labels(path, trees.labels(number + expression + frame, (33, 20), (1,)), "L")
    return data.load("folder", gt=root)


def ref_vps_png(root: Path) -> Benchmark:
    if not root.exists():
        register.register(trees.write_ref_vps(root, "png"))
    return data.load()


def ref_vps_rle(root: Path) -> Benchmark:
    if not root.exists():
        register.register(trees.write_ref_vps(root, "rle", frames=False))
    return data.load("ref-vps")


Loader = Callable[[Path], Benchmark]


@pytest.fixture(params=[sample, folder, nested, ref_vps_png, ref_vps_rle], ids=lambda load: load.__name__)
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Benchmark]:
    loader: Loader = request.param
    return lambda: loader(tmp_path / "data")


def targets(benchmark: Benchmark, clip: str) -> list[str]:
    return list(dict.fromkeys(e.target for e in benchmark.expressions_of(clip)))


def test_names_and_ids(load: Callable[[], Benchmark]) -> None:
    benchmark = load()
    print(
        f"{benchmark.name}@{benchmark.version}: {len(benchmark.clips)} clips, {len(benchmark.expressions)} expressions"
    )
    assert benchmark.name in {row.name for row in data.names() if row.available}
    assert ID.fullmatch(benchmark.version)
    assert benchmark.clips
    assert all(key == clip.id for key, clip in benchmark.clips.items())
    assert len({key.lower() for key in benchmark.clips}) == len(benchmark.clips)
    pairs = [(e.clip, e.id.lower()) for e in benchmark.expressions]
    assert len(set(pairs)) == len(pairs)
    assert {e.clip for e in benchmark.expressions} == benchmark.clips.keys()
    for clip in benchmark.clips.values():
        assert clip.annotated
        assert clip.group
        assert isinstance(clip.fps, float)
        assert isinstance(clip.annotation_fps, float)


def test_texts_where_there_are_frames(load: Callable[[], Benchmark]) -> None:
    benchmark = load()
    for clip in benchmark.clips:
        try:
            benchmark.frames(clip)
        except DataMissingError:
            continue
        assert all(e.text.strip() for e in benchmark.expressions_of(clip))


def test_frames_are_lazy_rgb_of_the_size_of_the_clip(load: Callable[[], Benchmark]) -> None:
    benchmark = load()
    for clip in benchmark.clips.values():
        try:
            frames = benchmark.frames(clip.id)
        except DataMissingError:
            assert benchmark.name != "sample"
            continue
        assert len(frames) == len(clip.frames)
        tail = frames[1:]
        assert len(tail) == len(frames) - 1
        assert not isinstance(tail, np.ndarray | list)
        for image in (frames[0], frames[len(frames) - 1]):
            assert image.shape == (*clip.size, 3)
            assert image.dtype == np.uint8
        np.testing.assert_array_equal(tail[0], frames[1])
        with pytest.raises(IndexError):
            frames[len(frames)]


def test_truth_is_complete_disjoint_and_of_the_size_of_the_clip(load: Callable[[], Benchmark]) -> None:
    benchmark = load()
    some_target = False
    for clip in benchmark.clips.values():
        truth: Truth = pickle.loads(pickle.dumps(benchmark.truth(clip.id)))
        annotated = set(clip.annotated_indices())
        for index in range(len(clip.frames)):
            masks, ignore = truth.frame(index)
            for target in targets(benchmark, clip.id):
                mask = masks[target]
                assert (mask is not None) == (index in annotated)
                if mask is None:
                    continue
                array = mask.array()
                assert array.shape == mask.size == clip.size
                some_target |= bool(array.any())
                if ignore is not None:
                    assert not (array & ignore.array()).any()
            if ignore is not None:
                assert index in annotated
                assert ignore.size == ignore.array().shape == clip.size
        with pytest.raises(IndexError):
            truth.frame(len(clip.frames))
    assert some_target


def test_the_digest_follows_from_the_content(load: Callable[[], Benchmark]) -> None:
    benchmark = load()
    expressions = list(benchmark.expressions)
    random.Random(1).shuffle(expressions)
    digests = {}
    for key in sorted(benchmark.clips, reverse=True):
        clip = benchmark.clips[key]
        content = annotation(benchmark.truth(key), clip, targets(benchmark, key))
        digests[key] = clip_digest(clip, [e for e in expressions if e.clip == key], content)
    assert digests == benchmark.clip_digests
    assert benchmark_digest(digests) == benchmark.digest


def test_two_loads_agree(load: Callable[[], Benchmark]) -> None:
    first, second = load(), load()
    assert first is not second
    assert (first.digest, first.version, first.notes) == (second.digest, second.version, second.notes)
    assert list(first.clips.items()) == list(second.clips.items())
    assert first.expressions == second.expressions


def test_the_sample_keeps_its_own_format(tmp_path: Path) -> None:
    from refvps import home
    from refvps.data.manifest import read_manifest
    from refvps.data.masktracks import parse_masks

    benchmark = sample(tmp_path)
    root = home.annotations() / "sample"
    clips, expressions = read_manifest(root)
    assert clips == benchmark.clips
    assert expressions == benchmark.expressions
    assert {category for e in expressions for category in e.categories} <= set(CATEGORIES)
    for key, clip in clips.items():
        path = root / "masks" / f"{key}.jsonl"
        strict = parse_masks(path.read_bytes(), str(path), clip)
        digest = clip_digest(clip, benchmark.expressions_of(key), strict)
        assert digest == benchmark.clip_digests[key]
    assert data.load("sample") is benchmark
