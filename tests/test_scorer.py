"""The scorer that is fed masks: equal to ``refvps evaluate`` to the last byte, and strict about what it takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from inmemory import ArrayTruth
from PIL import Image
from pycocotools import mask as coco
from tiny import ArrayReaders, tiny_benchmark, tiny_masks
from trees import labels, write_labels

import refvps
from refvps import cli
from refvps.errors import InputError, RefvpsError, UsageError
from refvps.predictions.export import export
from refvps.run.evaluate import evaluate_submission
from refvps.types import Benchmark, Clip, Expression, Rules

VOLATILE = ("environment", "inputs", "timings")
QUICK = Rules(metrics=("J", "F", "TC"), draws=200)


def stable(path: Path) -> bytes:
    """A result file without what says how it was made, and the counts beside it, as bytes."""
    data = json.loads(path.read_text())
    assert set(VOLATILE) <= set(data)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(tuple(f' "{k}"' for k in VOLATILE))]
    return "\n".join(lines).encode() + path.with_name(data["counts"]["file"]).read_bytes()


def evaluated(out, *args):
    """What ``refvps evaluate`` writes."""
    assert cli.run(["evaluate", "-q", "--method", "m", "--out", str(out), *map(str, args)]) == 0
    (path,) = out.rglob("*.json")
    return stable(path)


def fed(bench, masks, rules=None, form=lambda array: array):
    scorer = refvps.Scorer(bench, rules, "m")
    for (clip, expression), array in masks.items():
        scorer.update(clip, expression, form(array))
    return scorer


def tensors(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def prove(tmp_path, bench, masks, rules, expected):
    """One piece from numpy and from torch, and four parts in every order, give the bytes of the command line."""
    assert stable(fed(bench, masks, rules).write(tmp_path / "numpy")) == expected
    assert stable(fed(bench, masks, rules, lambda a: tensors(a.astype(np.uint8) * 255)).write(tmp_path / "t")) == (
        expected
    )
    keys = list(masks)
    parts = [fed(bench, {key: masks[key] for key in keys[rank::4]}, rules, tensors) for rank in range(4)]
    for number, order in enumerate(permutations(parts)):
        whole = refvps.Scorer(bench, rules, "m")
        for part in order:
            assert whole.merge(part) is whole
        if number % 8 == 0:
            assert stable(whole.write(tmp_path / f"merged{number}")) == expected
        else:
            assert whole.result().counts.sha256().encode() in expected


def test_the_sample_equals_the_command_line(tmp_path):
    """The masks of ``motion``, read back with pycocotools."""
    assert cli.run(["predict", "-q", "-p", "motion", "-b", "sample", "--out", str(tmp_path / "preds")]) == 0
    masks = {}
    for path in sorted((tmp_path / "preds").glob("*.jsonl")):
        header, *lines = map(json.loads, path.read_text().splitlines())
        for line in lines:
            rles = [{"size": header["size"], "counts": counts} for counts in line["counts"]]
            masks[header["clip"], line["expression"]] = np.ascontiguousarray(coco.decode(rles).transpose(2, 0, 1))
    assert len(masks) == 56
    expected = evaluated(tmp_path / "cli", "--pred", tmp_path / "preds", "-b", "sample", "--metrics", "J,F,TC")
    bench = refvps.load("sample")
    prove(tmp_path, bench, masks, replace(bench.rules, metrics=("J", "F", "TC")), expected)


def test_a_folder_equals_the_command_line(tmp_path, fixtures):
    """Real ground truth (PUMaVOS, chair) against masks that are shifted, eroded, and once empty."""
    gt, predictions = tmp_path / "gt" / "chair", {}
    gt.mkdir(parents=True)
    for number, path in enumerate(sorted((fixtures / "pumavos/chair/Annotations").glob("*.png"))[::5]):
        (gt / path.name).write_bytes(path.read_bytes())
        with Image.open(path) as picture:
            mask = np.array(picture) > 0
        moved = np.roll(mask, (3, number), (0, 1)) & np.roll(mask, (-number % 4, 2), (0, 1))
        predictions[path.stem] = moved if number != 4 else np.zeros_like(mask)
        (tmp_path / "preds/chair").mkdir(parents=True, exist_ok=True)
        Image.fromarray(predictions[path.stem]).save(tmp_path / "preds/chair" / path.name)
    expected = evaluated(tmp_path / "cli", "--pred", tmp_path / "preds", "--gt", gt.parent, "--metrics", "J,F,J&F,TC")
    bench = refvps.load("folder", gt=gt.parent)
    rules = replace(bench.rules, metrics=("J", "F", "J&F", "TC"))
    masks = {("chair", "1"): np.stack([predictions[name] for name in bench.clips["chair"].frames])}
    assert stable(fed(bench, masks, rules).write(tmp_path / "numpy")) == expected
    assert 0 < json.loads(next(tmp_path.glob("cli/*/m.json")).read_bytes())["summary"]["J"]["value"] < 1
    parts = []
    for rank in range(4):  # one clip: the ranks share its frames
        part = refvps.Scorer(bench, rules, "m")
        names = bench.clips["chair"].frames[rank::4]
        part.update("chair", "1", torch.stack([tensors(predictions[name]) for name in names]), frames=names)
        parts.append(part)
    for order in permutations(parts):
        whole = refvps.Scorer(bench, rules, "m")
        for part in order:
            whole.merge(part)
        assert stable(whole.write(tmp_path / "merged")) == expected  # written once, then found to be the same


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny benchmark (every fourth frame annotated in one clip, two targets in another), masks, and what
    ``evaluate`` says of them on disk."""
    bench = replace(tiny_benchmark(), rules=QUICK)
    masks = tiny_masks(bench)
    out = tmp_path_factory.mktemp("tiny") / "preds"
    export(out, bench, ArrayReaders(masks), "npz")
    return bench, masks, out


def evaluate(tiny, **options):
    return evaluate_submission(tiny[0], tiny[2], method="m", **options)


def test_frames_by_name_by_position_in_any_order(tiny):
    bench, masks, _ = tiny
    expected = evaluate(tiny)
    scorer = refvps.Scorer(bench, method="m")
    for (clip, expression), array in masks.items():
        entry = bench.clips[clip]
        if expression == "a0":  # chunks, the last first
            for start in (8, 4, 0):
                scorer.update(clip, expression, array[start : start + 4], frames=range(start, start + 4))
        elif expression == "a1":
            order = np.random.default_rng(0).permutation(len(array))
            scorer.update(clip, expression, array[order], frames=order)
        elif expression == "a2":
            scorer.update(clip, expression, array[::-1], frames=torch.arange(len(array) - 1, -1, -1))
        elif expression == "a3":
            for index, name in enumerate(entry.frames):
                scorer.update(clip, expression, array[index][None], frames=[name])
        elif clip == "ripple":  # only what has ground truth
            scorer.update(clip, expression, array[::4, None], frames=entry.annotated)
        else:
            scorer.update(clip, expression, array[:, None])
    done = scorer.result()
    assert done.counts == expected.counts
    assert done.scores == expected.scores


def test_frames_without_ground_truth_are_not_looked_at(tiny):
    bench, masks, _ = tiny
    array = masks["ripple", "r0"].astype(np.uint8)
    array[1] = 7
    scorer = refvps.Scorer(bench)
    scorer.update("ripple", "r0", array)
    array[4] = 7
    with pytest.raises(InputError, match="ripple/r0, frame 4: values 7"):
        refvps.Scorer(bench).update("ripple", "r0", array)


def test_missing_masks_are_an_error_or_zero(tiny, tmp_path):
    bench, masks, _ = tiny
    some = {key: array for key, array in masks.items() if key != ("flash", "right")}
    with pytest.raises(InputError, match="flash/right, frames 0-5") as error:
        fed(bench, some).compute()
    assert 'Rules(missing="zero")' in str(error.value)
    scorer = fed(bench, {key: array for key, array in some.items() if key[0] != "melt"})
    scorer.update("melt", "a0", masks["melt", "a0"][3:7], frames=[3, 4, 5, 6])
    with pytest.raises(InputError, match=r"melt/a0, frames 0-2, 7-11[\s\S]*melt/a1, frames 0-11[\s\S]*2 more"):
        scorer.compute()
    zero = replace(bench.rules, missing="zero")
    scorer = fed(bench, {key: array for key, array in some.items() if key[0] != "ripple"}, zero)
    export(tmp_path / "some", bench, ArrayReaders(masks), "tree")
    shutil.rmtree(tmp_path / "some/ripple")
    shutil.rmtree(tmp_path / "some/flash/right")
    expected = evaluate_submission(bench, tmp_path / "some", zero, method="m")
    assert expected.scores.incomplete
    assert expected.scores.summary["TC"].value is None
    assert scorer.result().counts == expected.counts
    assert scorer.compute() == expected.scores


def test_a_part_is_scored_only_when_asked_and_says_so(tiny):
    bench, masks, _ = tiny
    scorer = refvps.Scorer(bench, method="m")
    with pytest.raises(UsageError, match="given nothing yet"):
        scorer.compute(partial=True)
    for expression in ("left", "right"):
        scorer.update("flash", expression, masks["flash", expression])
    with pytest.raises(InputError, match="partial=True"):
        scorer.compute()
    expected = evaluate(tiny, without=["melt", "ripple"])
    done = scorer.result(partial=True)
    assert done.counts == expected.counts
    assert done.scores == expected.scores
    assert done.scores.notes == ("left out: melt, ripple",)
    whole = fed(bench, masks)
    assert done.scores.signature != whole.compute().signature
    assert whole.compute(partial=True) == whole.compute() == evaluate(tiny).scores
    scorer.update("melt", "a0", masks["melt", "a0"])
    with pytest.raises(InputError, match="melt/a1") as error:
        scorer.compute(partial=True)
    assert "partial" not in str(error.value)


def test_targets_without_annotation_on_a_frame_need_no_mask(tmp_path):
    """Two expressions of a video, annotated on different frames."""
    for part, frames in (("left", range(4)), ("right", (0, 2))):
        for frame in frames:
            write_labels(tmp_path / f"gt/v/{part}/{frame:05d}.png", labels(frame, values=(1,)))
            write_labels(tmp_path / f"preds/v/{part}/{frame:05d}.png", labels(frame + 7, values=(1,)))
    bench = refvps.load("folder", gt=tmp_path / "gt")
    expected = evaluated(tmp_path / "cli", "--pred", tmp_path / "preds", "--gt", tmp_path / "gt")
    scorer = refvps.Scorer(bench, method="m")
    masks = np.stack([labels(frame + 7, values=(1,)) for frame in range(4)])
    scorer.update("v", "left", masks)
    with pytest.raises(InputError, match=r"v/right, frames 0, 2\n"):
        scorer.compute()
    scorer.update("v", "right", masks[[0, 2]], frames=["00000", "00002"])
    assert stable(scorer.write(tmp_path / "mine")) == expected
    again = refvps.Scorer(bench, method="m")
    again.update("v", "left", masks)
    again.update("v", "right", masks)  # masks of frames on which its target is not annotated change nothing
    assert stable(again.write(tmp_path / "again")) == expected


def wrong_calls(bench, masks):
    good = masks["melt", "a0"]
    return {
        "unknown clip": (UsageError, "did you mean 'melt'", ("mel", "a0", good), {}),
        "unknown expression": (UsageError, "no such expression", ("melt", "r0", good), {}),
        "number for an id": (UsageError, "0 in melt", ("melt", 0, good), {}),
        "list for an id": (UsageError, "no such clip", (["melt"], "a0", good), {}),
        "expression itself": (UsageError, "ids are texts", ("melt", bench.expressions[0], good), {}),
        "swapped": (UsageError, "no such clip", ("a0", "melt", good), {}),
        "too few": (InputError, "say which ones these are", ("melt", "a0", good[:5]), {}),
        "annotated only": (InputError, "clips.clip..annotated", ("ripple", "r0", masks["ripple", "r0"][::4]), {}),
        "transposed": (InputError, "height comes before width", ("melt", "a0", good.transpose(0, 2, 1)), {}),
        "resized": (InputError, "nothing is resized", ("melt", "a0", good[:, ::2, ::2]), {}),
        "one mask": (InputError, r"masks\[None\]", ("melt", "a0", good[0]), {}),
        "two channels": (InputError, "one expression at a time", ("melt", "a0", np.stack([good, good], 1)), {}),
        "batch of one": (InputError, "one expression at a time", ("melt", "a0", good[None]), {}),
        "soft": (InputError, "threshold first", ("melt", "a0", good.astype(np.float32)), {}),
        "gradient": (InputError, "requires grad", ("melt", "a0", torch.zeros(good.shape, requires_grad=True)), {}),
        "ids": (InputError, "values 0, 3", ("melt", "a0", good.astype(np.uint8) * 3), {}),
        "frame twice": (UsageError, "frame 3 stands twice", ("melt", "a0", good[:2]), {"frames": [3, "00003"]}),
        "no such name": (UsageError, "no frame '3'", ("melt", "a0", good[:1]), {"frames": ["3"]}),
        "no such position": (UsageError, "no frame 12", ("melt", "a0", good[:1]), {"frames": [12]}),
        "from the end": (UsageError, "no frame -1", ("melt", "a0", good[:1]), {"frames": [-1]}),
        "a float": (UsageError, "no frame 1.0", ("melt", "a0", good[:1]), {"frames": [1.0]}),
        "a mask of frames": (UsageError, "no frame True", ("melt", "a0", good[:1]), {"frames": [True]}),
        "one name": (UsageError, "a list of names", ("melt", "a0", good[:1]), {"frames": "00003"}),
        "more frames": (InputError, r"not \[3, 37, 53\]", ("melt", "a0", good[:2]), {"frames": [1, 2, 3]}),
    }


@pytest.mark.parametrize("kind", wrong_calls(tiny_benchmark(), tiny_masks(tiny_benchmark())))
def test_a_wrong_call_changes_nothing(tiny, kind):
    bench, masks, _ = tiny
    error, message, args, options = wrong_calls(bench, masks)[kind]
    scorer = fed(bench, {key: array for key, array in masks.items() if key not in (("melt", "a0"), ("ripple", "r0"))})
    before = scorer.state()
    with pytest.raises(error, match=message) as raised:
        scorer.update(*args, **options)
    assert "Fix: " in str(raised.value) or kind == "one name"
    assert scorer.state() == before
    for key in (("melt", "a0"), ("ripple", "r0")):
        scorer.update(*key, masks[key])
    assert scorer.compute() == evaluate(tiny).scores


def test_a_bad_frame_in_the_middle_is_not_half_counted(tiny):
    bench, masks, _ = tiny
    array = masks["melt", "a0"].astype(np.uint8) * 255
    array[7, 0, 0] = 1
    scorer = refvps.Scorer(bench)
    before = scorer.state()
    with pytest.raises(InputError, match="melt/a0, frame 7: values 0, 1, 255"):
        scorer.update("melt", "a0", array)
    array[7] = array[7] > 1
    with pytest.raises(InputError, match="1 in one frame and 255 in another"):
        scorer.update("melt", "a0", array)
    assert scorer.state() == before


def test_a_frame_counts_once(tiny):
    bench, masks, _ = tiny
    scorer = fed(bench, masks)
    before = scorer.state()
    with pytest.raises(UsageError, match="the same masks again, as from a sampler's padding") as error:
        scorer.update("melt", "a0", masks["melt", "a0"])
    assert "melt/a0, frames 0-11" in str(error.value)
    assert "clips[rank::world]" in str(error.value)
    other = masks["melt", "a0"].copy()
    other[5] ^= True
    with pytest.raises(UsageError, match="with other masks than before"):
        scorer.update("melt", "a0", other)
    with pytest.raises(UsageError, match="melt/a0, frames 2, 5"):
        scorer.update("melt", "a0", other[[2, 5]], frames=[2, 5])
    assert scorer.state() == before
    scorer.reset()
    assert "0 of 64 masks" in repr(scorer)
    scorer.update("melt", "a0", masks["melt", "a0"])
    assert "12 of 64 masks" in repr(scorer)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules(metrics=("IoU",)), "no such metric"),
        (Rules(metrics=()), "No metric"),
        (Rules(missing="ignore"), "missing"),  # type: ignore[arg-type]
        (Rules(ignore="none"), "ignore"),  # type: ignore[arg-type]
        (Rules(average="clip"), "averaging order"),  # type: ignore[arg-type]
        (Rules(confidence=95), "confidence"),
        (Rules(draws=-1), "draws"),
        (Rules(seed=0.5), "draws and seed"),  # type: ignore[arg-type]
        (Rules(bound_th=0.0), "bound_th"),
    ],
)
def test_rules_that_mean_nothing_are_refused_before_any_mask(tiny, rules, message):
    with pytest.raises(UsageError, match=message):
        refvps.Scorer(tiny[0], rules)
    with pytest.raises(UsageError, match=message):  # a misspelt rule must not pass for another one
        evaluate_submission(tiny[0], tiny[2], rules)


def test_names_of_benchmark_and_method():
    assert refvps.Scorer("sample").benchmark.digest == refvps.load("sample").digest
    with pytest.raises(UsageError, match="no benchmark of this name"):
        refvps.Scorer("samples")
    with pytest.raises(RefvpsError, match="method id"):
        refvps.Scorer("sample", method="../escaped")


def test_a_result_is_not_overwritten(tiny, tmp_path):
    bench, masks, _ = tiny
    scorer = fed(bench, masks)
    path = scorer.write(tmp_path)
    assert path == tmp_path / "tiny@1" / "m.json"
    assert scorer.write(str(tmp_path)) == path
    other = fed(bench, {key: ~array for key, array in masks.items()})
    with pytest.raises(UsageError, match="--force"):
        other.write(tmp_path)
    before = path.read_bytes()
    other.write(tmp_path, force=True)
    assert path.read_bytes() != before


def long_benchmark(clips, frames=24, size=(256, 256)):
    names = tuple(map(str, range(frames)))
    entries = {f"c{k}": Clip(f"c{k}", size, 24.0, names, names, 24.0, f"c{k}") for k in range(clips)}
    expressions = tuple(Expression("0", clip, "x", "1") for clip in entries)
    target = np.zeros((1, *size), bool)
    target[:, :100] = True
    truth = ArrayTruth({"1": np.broadcast_to(target, (frames, *size))})
    return Benchmark("long", "1", "d" * 64, entries, expressions, lambda clip: truth, rules=Rules(("J", "F", "TC")))


def test_memory_does_not_grow_with_the_masks():
    bench = long_benchmark(24)
    scorer = refvps.Scorer(bench)
    masks = np.random.default_rng(0).random((24, 256, 256)) < 0.5

    def held():
        return tracemalloc.get_traced_memory()[0]

    scorer.update("c0", "0", masks)
    tracemalloc.start()
    start = held()
    for clip in list(bench.clips)[1:]:
        scorer.update(clip, "0", masks)
    grown, peak = held() - start, tracemalloc.get_traced_memory()[1] - start
    tracemalloc.stop()
    assert grown < 200_000, "the masks of 23 clips are 36 MB as bool and 4.5 MB packed"
    assert peak < 2_000_000
    assert len(scorer.state()) < 20_000
    assert scorer.compute().summary["J"].n == 24


def test_the_scorer_needs_no_torch():
    code = (
        "import sys, numpy, refvps; s = refvps.Scorer('sample');"
        "c = s.benchmark.clips['candle-wax'];"
        "[s.update(c.id, e.id, numpy.zeros((len(c.frames), *c.size), bool)) for e in s.benchmark.expressions_of(c.id)];"
        "s.compute(partial=True); sys.exit(bool({'torch', 'pandas', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
