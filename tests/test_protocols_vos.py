"""vos-benchmark and SA-V: equal to vos-benchmark 0.1.0, as it is installed from PyPI, to the last bit.

SA-V's evaluator is no package; it is vos-benchmark's Evaluator, fed one object folder at a time (protocol_tools.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from protocol_data import SIZE, data_set, disc, drawn, save, write, write_folders
from protocol_tools import sav_dataset, vos_benchmark
from vos_benchmark.benchmark import VideoEvaluator
from vos_benchmark.evaluator import Evaluator

from refvps.errors import InputError, UsageError
from refvps.run.protocols import choose, evaluate_protocol
from refvps.run.protocols.objects import set_order


def ours(root, name="vos-benchmark", keep_ends=False, shared=False, **options):
    protocol = choose(name, keep_ends=keep_ends, shared=shared)
    return evaluate_protocol(protocol, root / "gt", root / "pred", shared=shared, **options)


def folders(root, truth, guess, mode="P"):
    write(root / "gt", truth, mode)
    write(root / "pred", guess, mode)
    return root


def same(done, scores, by_video):
    """Equal to the last bit: the scores, the objects of every video, and each of their J and F."""
    block = done.protocol
    assert block["scores"] == scores
    found = {}
    for one in block["objects"]:
        found.setdefault(one["clip"], ({}, {}))
        for k, name in enumerate(("J", "F")):
            found[one["clip"]][k][one["object"]] = one["scores"][name]
    assert found == {
        video: tuple(
            {name if isinstance(name, str) else str(int(name)): x for name, x in side.items()} for side in pair
        )
        for video, pair in by_video.items()
        if pair[0]
    }


def rich():
    """Ids with gaps, objects that come late or go, that only one side shows, 255, and frames with nothing."""
    always = (0, 99)
    shapes = {
        "judo": (20, [(3, (3, *always)), (17, (17, 2, 99)), (200, (200, 0, 3)), (8, (0, *always))], {}),
        "bike": (21, [(1, (1, 3, 4)), (0, (9, *always)), (2, (0, 4, 99))], {"void": True}),
        "camel": (22, [(9, (9, 1, 5)), (1, (1, *always)), (17, (17, *always)), (5, (5, 3, 99))], {"frames": 9}),
        "empty": (23, [(0, (4, *always))], {}),
        "soapbox": (24, [(k, (k, k % 4, 99)) for k in (33, 1, 64, 8, 40, 72, 16)], {"frames": 8}),
    }
    truth, guess = {}, {}
    for video, (seed, objects, options) in shapes.items():
        truth[video], guess[video] = drawn(seed, objects, **options)
    return truth, guess


@pytest.mark.parametrize("mode", ["P", "L"])
@pytest.mark.parametrize("keep_ends", [False, True], ids=["ends skipped", "ends kept"])
def test_multi_object_pngs(mode, keep_ends, tmp_path):
    folders(tmp_path, *rich(), mode)
    expected = vos_benchmark(tmp_path, skip_first_and_last=not keep_ends)
    done = ours(tmp_path, keep_ends=keep_ends)
    same(done, *expected)
    same(ours(tmp_path, "sav", keep_ends=keep_ends), *expected)
    notes = "\n".join(done.scores.notes)
    assert "255 for an object: bike" in notes
    assert "only the predictions use; they score nothing themselves: bike/9" in notes
    assert "without an object to score, which count for nothing: empty" in notes
    assert "before an object was first seen or predicted" in notes


@pytest.mark.parametrize("name", ["plain", "void", "gaps", "long"])
def test_the_data_of_the_davis_goldens(name, tmp_path):
    folders(tmp_path, *data_set(name))
    same(ours(tmp_path), *vos_benchmark(tmp_path))


def test_binary_masks_of_mode_1_and_of_0_and_255(tmp_path):
    truth, guess = drawn(30, [(1, (1, 0, 99))])
    for mode, factor in (("1", 1), ("L", 255)):
        root = folders(tmp_path / mode, {"v": [g * factor for g in truth]}, {"v": [p * factor for p in guess]}, mode)
        expected = vos_benchmark(root)
        same(ours(root), *expected)
        assert list(expected[1]["v"][0]) == [factor]


@st.composite
def label_videos(draw):
    """Ground truth and prediction [T, H, W] with up to eight ids anywhere in 1 to 255, boxes over boxes."""
    size = draw(st.tuples(st.integers(1, 15), st.integers(1, 21)))
    frames = draw(st.integers(3, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = draw(st.lists(st.integers(1, 255), min_size=1, max_size=8, unique=True))
    images = np.zeros((2, frames, *size), np.uint8)
    for side in images:
        for t in range(frames):
            for label in ids:
                if rng.random() < 0.5:
                    y, x = np.sort(rng.integers(0, size[0] + 1, 2)), np.sort(rng.integers(0, size[1] + 1, 2))
                    side[t, y[0] : y[1], x[0] : x[1]] = label
    return images


@given(images=label_videos(), keep_ends=st.booleans())
@settings(max_examples=100)
def test_random_videos(images, keep_ends, tmp_path_factory):
    root = tmp_path_factory.mktemp("random")
    folders(root, {"v": list(images[0])}, {"v": list(images[1])})
    _, j, f = VideoEvaluator(str(root / "gt"), str(root / "pred"), skip_first_and_last=not keep_ends)("v")
    if not j:
        with pytest.raises(InputError, match="no object"):
            ours(root, keep_ends=keep_ends)
        return
    mean_j, mean_f = np.array(list(j.values())).mean(), np.array(list(f.values())).mean()
    same(ours(root, keep_ends=keep_ends), {"J&F": (mean_j + mean_f) / 2, "J": mean_j, "F": mean_f}, {"v": (j, f)})


@given(st.lists(st.lists(st.integers(1, 255), unique=True, max_size=9).map(sorted), max_size=6))
def test_objects_are_averaged_in_the_order_of_the_tool(frames):
    vos = Evaluator()
    for labels in frames:
        image = np.array([[0, *labels]], np.uint8)
        vos.feed_frame(np.zeros_like(image), image)
    assert set_order(frames) == list(vos.conclude()[0])


def test_frames_are_in_the_order_of_their_names_as_text(tmp_path):
    """ "10" sorts before "8" and "9": the first frame is 10, the last 9, and the object is first seen on 7."""
    for side, shift in (("gt", 0), ("pred", 3)):
        for number in (7, 8, 9, 10):
            image = np.zeros(SIZE, np.uint8)
            image[disc(SIZE, 20, 4 * number - shift, 5)] = 1 if number in (8, 9) or side == "gt" else 0
            save(tmp_path / side / "v" / f"{number}.png", image)
    done = ours(tmp_path)
    same(done, *vos_benchmark(tmp_path))
    assert done.counts.clips[0].annotated == (1, 2)  # of 10, 7, 8, 9


def test_a_video_of_two_frames_counts_for_nothing_where_the_ends_are_skipped(tmp_path):
    truth, guess = rich()
    folders(tmp_path, {**truth, "short": truth["judo"][:2]}, {**guess, "short": guess["judo"][:2]})
    done = ours(tmp_path)
    same(done, *vos_benchmark(tmp_path))
    assert any("count for nothing: empty, short" in note for note in done.scores.notes)
    same(ours(tmp_path, keep_ends=True), *vos_benchmark(tmp_path, skip_first_and_last=False))


def test_strict_and_shared_videos(tmp_path):
    truth, guess = rich()
    folders(tmp_path, truth, {video: frames for video, frames in guess.items() if video != "judo"})
    with pytest.raises(InputError, match=r"missing-clip(?s:.*)judo(?s:.*)--shared-videos"):
        ours(tmp_path)
    done = ours(tmp_path, shared=True)
    same(done, *vos_benchmark(tmp_path, strict=False))
    assert done.scores.incomplete
    assert "videos:4 of 5" in done.scores.signature
    assert any("only 4 of 5 videos have predictions" in note for note in done.scores.notes)
    write(tmp_path / "pred", {"judo": guess["judo"], "more": guess["judo"]})
    with pytest.raises(InputError, match=r"surplus-clip(?s:.*)more"):  # as the tool, when it is strict
        ours(tmp_path)
    done = ours(tmp_path, shared=True)
    same(done, *vos_benchmark(tmp_path, strict=False))
    assert not done.scores.incomplete  # everything in the ground truth is there
    with pytest.raises(UsageError, match="knows nothing like --shared-videos"):
        choose("davis17-unsupervised", shared=True)
    with pytest.raises(UsageError, match="knows nothing like --keep-ends"):
        choose("davis17-semisupervised", keep_ends=True)


def test_the_order_of_files_and_the_number_of_processes_change_nothing(tmp_path):
    truth, guess = rich()
    folders(tmp_path, {**truth, "more": truth["soapbox"] * 30}, {**guess, "more": guess["soapbox"] * 30})
    one = ours(tmp_path)
    for side in ("gt", "pred"):  # written again in another order
        shutil.move(tmp_path / side, tmp_path / "old")
        for path in sorted((tmp_path / "old").rglob("*.png"), reverse=True):
            place = tmp_path / side / path.relative_to(tmp_path / "old")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        shutil.rmtree(tmp_path / "old")
    seen = []
    two = ours(tmp_path, jobs=2, progress=lambda done, total: seen.append((done, total)))
    assert (one.protocol, one.scores, one.counts.sha256()) == (two.protocol, two.scores, two.counts.sha256())
    assert seen[0] == (0, 6) and seen[-1] == (6, 6)


# SA-V


def masklets(seed, objects, frames=8):
    """{object: masks} of both sides; neighbours overlap, some come late, one is not predicted at all."""
    truth, guess = {}, {}
    for k in range(objects):
        g, p = drawn(seed + k, [(1, (k != 2, 2 * k, 99 if k != 1 else 5))], frames=frames)
        truth[f"{k:03d}"], guess[f"{k:03d}"] = [image == 1 for image in g], [image == 1 for image in p]
    return truth, guess


@pytest.mark.parametrize(("mode", "value"), [("L", 255), ("L", 1), ("P", 7), ("1", 1)])
@pytest.mark.parametrize("keep_ends", [False, True], ids=["ends skipped", "ends kept"])
def test_sav_folders(mode, value, keep_ends, tmp_path):
    for video, seed, objects in (("sav_000001", 40, 3), ("sav_000002", 50, 2)):
        truth, guess = masklets(seed, objects)
        write_folders(tmp_path / "gt", {video: truth}, value, mode)
        write_folders(tmp_path / "pred", {video: guess}, value, mode)
    done = ours(tmp_path, "sav", keep_ends=keep_ends)
    same(done, *sav_dataset(tmp_path, keep_ends))
    assert "layout:objects" in done.scores.signature
    assert [one["object"] for one in done.protocol["objects"]] == ["000", "001", "002", "000", "001"]


def test_sav_objects_with_frames_of_their_own(tmp_path):
    """6 fps annotations of a 24 fps video; object 001 is annotated later and has its own first and last frame."""
    truth, guess = masklets(60, 2, frames=12)
    for side, objects in (("gt", truth), ("pred", guess)):
        for name, masks in objects.items():
            for t in range(4 if name == "001" else 0, 12):
                save(tmp_path / side / "v" / name / f"{4 * t:05d}.png", masks[t].astype(np.uint8) * 255, "L")
    done = ours(tmp_path, "sav")
    same(done, *sav_dataset(tmp_path))
    assert [row.frames for row in done.scores.rows] == [10, 6]


def test_sav_real_masklets(fixtures, tmp_path):
    import json

    from pycocotools import mask as coco

    video = json.loads((fixtures / "sav/sav_000001_manual.json").read_text())
    frames = video["masklet"][::8]
    count = min(3, len(frames[0]))
    tracks = [[coco.decode(frame[k])[::4, ::4] for frame in frames] for k in range(count)]
    truth = {f"{k:03d}": [mask.astype(bool) for mask in track] for k, track in enumerate(tracks)}
    guess = {name: [np.roll(mask, (2, -3), (0, 1)) for mask in masks] for name, masks in truth.items()}
    write_folders(tmp_path / "gt", {"sav_000001": truth})
    write_folders(tmp_path / "pred", {"sav_000001": guess})
    done = ours(tmp_path, "sav")
    same(done, *sav_dataset(tmp_path))
    assert 20 < done.protocol["scores"]["J"] < 100


def test_sav_stops_where_the_tool_stops(tmp_path):
    truth, guess = masklets(70, 2)
    nothing = {**truth, "001": [np.zeros(SIZE, bool)] * 8}
    write_folders(tmp_path / "empty/gt", {"v": nothing})
    write_folders(tmp_path / "empty/pred", {"v": guess})
    with pytest.raises(InputError, match=r"stops at an object without a pixel(?s:.*)v/001"):
        ours(tmp_path / "empty", "sav")
    write_folders(tmp_path / "two/gt", {"v": truth})
    write_folders(tmp_path / "two/pred", {"v": guess})
    short = {name: masks[:2] for name, masks in truth.items()}
    write_folders(tmp_path / "short/gt", {"v": short})
    write_folders(tmp_path / "short/pred", {"v": short})
    with pytest.raises(InputError, match=r"there is no other(?s:.*)v/000: 2 frames(?s:.*)--keep-ends"):
        ours(tmp_path / "short", "sav")
    three = np.zeros(SIZE, np.uint8)
    three[0, 0], three[0, 1] = 1, 2
    bad = save(tmp_path / "two/pred/v/000/00003.png", three)
    with pytest.raises(InputError, match=r"non-binary(?s:.*)3 different values, where a file holds one object"):
        ours(tmp_path / "two", "sav")
    shutil.copy(bad, tmp_path / "two/gt/v/000/00003.png")
    with pytest.raises(InputError, match=r"Ground-truth masks(?s:.*)000/00003.png: 3 different values"):
        ours(tmp_path / "two", "sav")


def test_vos_benchmark_and_davis_do_not_read_object_folders(tmp_path):
    truth, guess = masklets(80, 2)
    write_folders(tmp_path / "gt", {"v": truth})
    write_folders(tmp_path / "pred", {"v": guess})
    for name in ("vos-benchmark", "davis17-unsupervised", "davis17-semisupervised"):
        with pytest.raises(InputError, match=r"does not read a folder per object(?s:.*)--protocol sav"):
            ours(tmp_path, name)


def test_real_masks_of_the_chair(fixtures, tmp_path):
    """60 frames of PUMaVOS at a fifth of the size, moved and eroded."""
    for k, path in enumerate(sorted((fixtures / "pumavos/chair/Annotations").glob("*.png"))):
        with Image.open(path) as picture:
            labels = np.asarray(picture)[::5, ::5]
        save(tmp_path / "gt/chair" / Path(path).name, labels)
        save(tmp_path / "pred/chair" / Path(path).name, np.roll(labels, (k % 5 - 2, k % 7 - 3), (0, 1)))
    same(ours(tmp_path), *vos_benchmark(tmp_path))
