"""Agreement with the tools people use: pycocotools, vos-benchmark, TrackEval, per frame and to the last digit.

Incumbents know no Ignore, so they get (prediction & ~ignore, target & ~ignore); pycocotools and the two
others are from PyPI and installed as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inmemory import count_arrays
from PIL import Image
from pycocotools import mask as coco
from trackeval.metrics.j_and_f import JAndF
from vos_benchmark.evaluator import Evaluator

from refvps.metrics import decay, f_from_counts, jaccard_from_counts

FORMS = [("bits", "bits"), ("rle", "rle"), ("bits", "rle"), ("rle", "bits")]


def rle(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


def ours(p, g, i, form):
    """J and F per frame, by the scorer's own counting of masks in the given form."""
    values = count_arrays({"e": p}, g, i, forms=form)[0]
    return jaccard_from_counts(*values[:, 2:7].T), f_from_counts(*values[:, 7:11].T), values


def theirs(p, g, i):
    """J and F per frame from all three incumbents; they must agree among themselves first."""
    p, g = p & ~i, g & ~i
    gts, preds = [[rle(x)] for x in g], [[rle(x)] for x in p]
    track_j = JAndF._compute_j(gts, preds, 1, 1, len(g))[0, 0]
    track_f = JAndF._compute_f(gts, preds, 0, 0, 0.008)
    vos = Evaluator()
    vos.objects_in_gt.add(1)  # else frames before the first sight are left out, by design
    for x, y in zip(p, g, strict=True):
        vos.feed_frame(x.astype(np.uint8), y.astype(np.uint8))
    iou = [
        coco.iou(a, b, [0])[0, 0] if coco.area(a)[0] + coco.area(b)[0] else 1.0 for a, b in zip(preds, gts, strict=True)
    ]
    assert np.array_equal(track_j, iou)
    assert np.array_equal(np.array(vos.object_iou[1], dtype=float), track_j)
    assert np.array_equal(np.array(vos.boundary_f[1], dtype=float), track_f)
    return track_j, track_f


def check(p, g, i, form):
    j, f, values = ours(p, g, i, form)
    their_j, their_f = theirs(p, g, i)
    assert np.array_equal(j, their_j)
    assert np.array_equal(f, their_f)
    for t in range(len(g)):
        assert tuple(values[t, 2:7]) == (
            int((p[t] & g[t] & ~i[t]).sum()),
            int(p[t].sum()),
            int((g[t] & ~i[t]).sum()),
            int((p[t] & i[t]).sum()),
            int(i[t].sum()),
        )


@st.composite
def clips(draw):
    """Predictions, targets and Ignore [T, H, W]: noise, blobs, empty, full, one pixel."""
    size = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    frames = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one(kind):
        mask = np.zeros(size, bool)
        if kind == "full":
            mask[:] = True
        elif kind == "pixel":
            mask[rng.integers(size[0]), rng.integers(size[1])] = True
        elif kind == "noise":
            mask = rng.random(size) < rng.random()
        elif kind == "box":
            y, x = np.sort(rng.integers(0, size[0] + 1, 2)), np.sort(rng.integers(0, size[1] + 1, 2))
            mask[y[0] : y[1], x[0] : x[1]] = True
        return mask

    kinds = st.sampled_from(["empty", "full", "pixel", "noise", "box", "box"])
    return tuple(np.stack([one(draw(kinds)) for _ in range(frames)]) for _ in range(3))


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@given(three=clips())
@settings(max_examples=550)
def test_random_clips(three, form):
    check(*three, form)


@given(arrays(np.bool_, (3, 1, 9, 13)))
@settings(max_examples=100)
def test_arbitrary_bits(three):
    check(*three, ("bits", "bits"))
    check(*three, ("rle", "rle"))


def perturbed(masks, seed) -> Iterator[np.ndarray]:
    """Shifted, dilated, eroded, emptied, filled and noisy versions of masks [T, H, W]."""
    import cv2

    rng = np.random.default_rng(seed)
    for k, mask in enumerate(masks):
        kind = k % 7
        if kind == 0:
            yield np.roll(mask, rng.integers(-20, 20, 2), (0, 1))
        elif kind in (1, 2):
            change = cv2.dilate if kind == 1 else cv2.erode
            yield change(mask.astype(np.uint8), oracle.disk(5)).astype(bool)
        elif kind == 3:
            yield np.zeros_like(mask)
        elif kind == 4:
            yield np.ones_like(mask)
        elif kind == 5:
            yield mask ^ (rng.random(mask.shape) < 0.02)
        else:
            yield mask.copy()


def test_pumavos_chair(fixtures):
    files = sorted((fixtures / "pumavos/chair/Annotations").glob("*.png"))
    g = np.stack([np.asarray(Image.open(file)) == 1 for file in files])
    assert len(g) == 60
    p = np.stack(list(perturbed(g, 0)))
    edge = np.stack(list(perturbed(g, 1))) & ~g  # ambiguous surroundings
    for form in FORMS:
        check(p, g, np.zeros_like(g), form)
    check(p, g, edge, ("bits", "bits"))
    check(p, g, edge, ("rle", "rle"))


@pytest.mark.parametrize("kind", ["manual", "auto"])
def test_sav_masklets(fixtures, kind):
    video = json.loads((fixtures / f"sav/sav_000001_{kind}.json").read_text())
    frames = video["masklet"][::6]
    tracks = [np.stack([coco.decode(frame[k]).astype(bool) for frame in frames]) for k in range(len(frames[0]))]
    empty = 0
    for k in range(0, len(tracks) - 1, 2):  # neighbours overlap and come and go
        g, p, i = tracks[k], tracks[k + 1], tracks[k - 1]
        empty += int((~g.any(axis=(1, 2))).sum())
        check(p, g, np.zeros_like(g), ("rle", "rle"))
        check(p, g, i & ~g, ("bits", "rle"))
    assert kind == "auto" or empty > 0


def long_clip(frames):
    y, x = np.mgrid[0:24, 0:40]
    g = np.stack([(x - 8) ** 2 + (y - 12) ** 2 < 49 for _ in range(frames)])
    p = np.stack([(x - 8 - 14 * t / frames) ** 2 + (y - 12) ** 2 < 49 for t in range(frames)])
    return p, g


def test_408_frames_agree_but_for_the_decay_that_wraps_in_trackeval():
    p, g = long_clip(408)
    check(p, g, np.zeros_like(g), ("rle", "bits"))
    j, _, _ = ours(p, g, np.zeros_like(g), ("bits", "bits"))
    data = {
        "num_timesteps": 408,
        "num_tracker_ids": 1,
        "num_gt_ids": 1,
        "gt_dets": [[rle(x)] for x in g],
        "tracker_dets": [[rle(x)] for x in p],
        "gt_ids": [[0]] * 408,
        "tracker_ids": [[0]] * 408,
    }
    theirs = JAndF().eval_sequence(data)
    assert theirs["J-Mean"] == pytest.approx(j.mean(), abs=1e-12)
    assert decay(j) == pytest.approx(j[:103].mean() - j[305:].mean(), abs=1e-12)  # borders 0, 102, 204, 305, 407
    assert abs(theirs["J-Decay"] - decay(j)) > 0.3  # uint8 borders: [0, 102, 204, 49, 151]


def test_decay_agrees_with_trackeval_where_it_does_not_wrap():
    for frames in (1, 2, 5, 60, 200, 255):
        p, g = long_clip(frames)
        j, _, _ = ours(p, g, np.zeros_like(g), ("bits", "bits"))
        gts, preds = [[rle(x)] for x in g], [[rle(x)] for x in p]
        data = dict(
            num_timesteps=frames, num_tracker_ids=1, num_gt_ids=1, gt_dets=gts, tracker_dets=preds,
            gt_ids=[[0]] * frames, tracker_ids=[[0]] * frames,
        )  # fmt: skip
        found = JAndF().eval_sequence(data)
        assert found["J-Decay"] == pytest.approx(decay(j), abs=1e-12)
        assert found["J-Recall"] == (j > 0.5).mean()


def test_frames_before_the_object_appears_differ_by_design():
    """vos-benchmark leaves out frames before an object is first seen; DAVIS and refvps count them as 1."""
    g = np.zeros((10, 6, 6), bool)
    g[6:, :3, :2] = True
    p = np.zeros_like(g)
    p[6:, :3, 1:3] = True
    j, _, _ = ours(p, g, np.zeros_like(g), ("bits", "bits"))
    assert j.mean() == pytest.approx((6 + 4 / 3) / 10)
    vos = Evaluator()
    for x, y in zip(p, g, strict=True):
        vos.feed_frame(x.astype(np.uint8), y.astype(np.uint8))
    assert vos.conclude()[0][1] == pytest.approx(100 / 3)


def test_void_differs_by_design():
    """vos-benchmark takes 255 for an object; refvps and DAVIS (unsupervised) leave it out."""
    labels = np.zeros((8, 8), np.uint8)
    labels[:4, :4], labels[4:, :4] = 1, 255
    p = np.zeros((8, 8), bool)
    p[:, :4] = True
    j, _, _ = ours(p[None], (labels == 1)[None], (labels == 255)[None], ("bits", "bits"))
    assert j[0] == 1.0
    vos = Evaluator()
    vos.feed_frame(p.astype(np.uint8), labels)
    assert sorted(vos.conclude()[0]) == [1, 255]
    assert vos.conclude()[0][1] == 50.0
