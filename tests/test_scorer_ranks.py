"""One validation on several processes: any division of the masks, any order of the parts, the same bytes."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scorer import QUICK
from tiny import ArrayReaders, tiny_benchmark, tiny_masks

import refvps
from refvps.errors import InputError, RefvpsError, UsageError
from refvps.predictions.export import export
from refvps.run.counts_file import unpack_counts
from refvps.run.evaluate import evaluate_submission
from refvps.types import Rules

BENCH = replace(tiny_benchmark(), rules=QUICK)
MASKS = tiny_masks(BENCH)
FRAMES = [(key, index) for key, array in MASKS.items() for index in range(len(array))]


def scorer_of(keys, rules=None, method="m"):
    scorer = refvps.Scorer(BENCH, rules, method)
    for key in keys:
        scorer.update(*key, MASKS[key])
    return scorer


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("preds") / "preds"
    export(out, BENCH, ArrayReaders(MASKS), "tree")
    return evaluate_submission(BENCH, out, method="m")


@settings(max_examples=30)
@given(st.data())
def test_any_division_over_four_ranks_in_any_order_is_the_whole(expected, data):
    """Every single frame goes to a rank of its own choice; parts travel as bytes; a merge may be of merges."""
    owner = data.draw(st.lists(st.integers(0, 3), min_size=len(FRAMES), max_size=len(FRAMES)))
    parts = [refvps.Scorer(BENCH, method="m") for _ in range(4)]
    for rank, part in enumerate(parts):
        mine: dict = {}
        for (key, index), whose in zip(FRAMES, owner, strict=True):
            if whose == rank:
                mine.setdefault(key, []).append(index)
        for key, indices in mine.items():
            part.update(*key, MASKS[key][indices], frames=indices)
    states = [part.state() for part in parts]
    first, second, third, fourth = data.draw(st.permutations(range(4)))
    half = parts[first].merge(parts[second])
    whole = refvps.Scorer.from_state(BENCH, states[third])
    whole.merge(half).merge(refvps.Scorer.from_state(BENCH, states[fourth]))
    done = whole.result()
    assert done.counts == expected.counts
    assert done.scores == expected.scores


def test_a_merge_takes_nothing_from_the_other_and_shares_nothing_with_it():
    first, second = scorer_of([("melt", "a0")]), scorer_of([("melt", "a1"), ("flash", "left")])
    before = second.state()
    whole = refvps.Scorer(BENCH, method="m").merge(first).merge(second)
    assert second.state() == before
    second.reset()
    whole.update("flash", "right", MASKS["flash", "right"])
    assert "36 of 64 masks" in repr(whole)
    assert "12 of 64 masks" in repr(first)


def test_padding_is_refused_and_said_to_be_identical():
    """A DistributedSampler over 7 items and 4 ranks gives one item to two ranks."""
    keys = list(MASKS)
    padded = [*keys, keys[0]]
    parts = [scorer_of(padded[rank::4]) for rank in range(4)]
    whole = refvps.Scorer(BENCH, method="m")
    for part in parts[:3]:
        whole.merge(part)
    before = whole.state()
    with pytest.raises(UsageError, match="the same masks again, as from a sampler's padding") as error:
        whole.merge(parts[3])
    assert "melt/a0, frames 0-11" in str(error.value)
    assert "DistributedSampler" in error.value.fix
    assert whole.state() == before, "nothing of the refused part was taken over, not even what was new"
    other = refvps.Scorer(BENCH, method="m")
    other.update("melt", "a0", ~MASKS["melt", "a0"][3:5], frames=[3, 4])
    with pytest.raises(UsageError, match=r"with other masks than before[\s\S]*melt/a0, frames 3-4"):
        whole.merge(other)
    with pytest.raises(UsageError, match="given twice"):
        whole.merge(whole)


def test_scorers_of_other_things_are_not_merged():
    scorer = scorer_of([("melt", "a0")])
    cases = {
        "another method": scorer_of([("melt", "a1")], method="n"),
        "another rules": scorer_of([("melt", "a1")], replace(QUICK, missing="zero")),
        "another benchmark": refvps.Scorer(replace(BENCH, digest="e" * 64), method="m"),
    }
    for where, other in cases.items():
        with pytest.raises(UsageError, match=where):
            scorer.merge(other)


def test_a_state_is_small_plain_and_checked():
    scorer = scorer_of(MASKS)
    state = scorer.state()
    assert isinstance(state, bytes)
    assert state == scorer_of(reversed(list(MASKS))).state()
    assert len(unpack_counts(state, "state")) == 64
    with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
        assert arrays["both"].dtype == np.int32
    again = refvps.Scorer.from_state(BENCH, bytearray(state))
    assert again.method == "m"
    assert again.compute() == scorer.compute()
    empty = refvps.Scorer.from_state(BENCH, refvps.Scorer(BENCH).state())
    assert "0 of 64" in repr(empty)
    lists = refvps.Scorer.from_state(BENCH, scorer_of([("flash", "left")]).state())
    with pytest.raises(UsageError, match="given twice"):
        lists.update("flash", "left", MASKS["flash", "left"])


def test_a_state_of_another_benchmark_or_rule_is_refused():
    state = scorer_of(MASKS).state()
    for bench, rules in (
        (refvps.load("sample"), QUICK),
        (replace(BENCH, digest="e" * 64), QUICK),
        (replace(BENCH, expressions=BENCH.expressions[:-1]), QUICK),
        (BENCH, Rules()),
        (BENCH, replace(QUICK, ignore="background")),
        (BENCH, replace(QUICK, bound_th=0.01)),
    ):
        with pytest.raises(InputError, match="belongs to another benchmark or to other rules"):
            refvps.Scorer.from_state(bench, state, rules)
    other = refvps.Scorer.from_state(BENCH, state, replace(QUICK, draws=0, missing="zero"))
    assert other.compute().summary["J"].low is None, "rules that do not touch the integers may differ"


def changed(state, change):
    """A state with one column changed."""
    with zipfile.ZipFile(io.BytesIO(state)) as archive:
        arrays = {name: np.load(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    change(arrays)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(name, stream.getvalue())
    return out.getvalue()


def missing_row(arrays):
    arrays["state.npy"][0] = 1
    for name in ("both", "prediction", "prediction_ignore"):
        arrays[f"{name}.npy"][0] = 0


def unannotated(arrays):
    """A row of ripple (rows 48 to 51 of the table) on a frame that has no ground truth."""
    arrays["frame.npy"][arrays["clip.npy"] == 1] = [0, 4, 8, 11]


def other_target(arrays):
    rows = arrays["expression.npy"] == 5
    arrays["target.npy"][rows] = arrays["target.npy"][arrays["expression.npy"] == 6][0]


HOSTILE = {
    "state of an absent mask": missing_row,
    "frame without ground truth": unannotated,
    "target of another expression": other_target,
    "frame twice": lambda arrays: arrays["frame.npy"].__setitem__(1, arrays["frame.npy"][0]),
    "more hits than pixels": lambda arrays: arrays["both.npy"].__setitem__(0, 10**6),
    "no such clip": lambda arrays: arrays["clip.npy"].__setitem__(0, 99),
    "a column less": lambda arrays: arrays.pop("edge_target.npy"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_state_is_refused(kind):
    state = scorer_of(MASKS).state()
    assert refvps.Scorer.from_state(BENCH, changed(state, lambda arrays: None)).state() == state
    with pytest.raises(InputError, match="rows that no scorer makes|cannot be used"):
        refvps.Scorer.from_state(BENCH, changed(state, HOSTILE[kind]))


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_state_never_crashes(position, value):
    state = bytearray(scorer_of([("flash", "left")]).state())
    state[position % len(state)] = value
    try:
        scorer = refvps.Scorer.from_state(BENCH, bytes(state))
    except RefvpsError:
        return
    assert scorer._rows.keys() <= MASKS.keys()


@pytest.mark.parametrize("state", [None, "text", 10**12, [1, 2]])
def test_only_bytes_are_a_state(state):
    with pytest.raises(UsageError, match="A state is bytes"):
        refvps.Scorer.from_state(BENCH, state)


RANK = """
    import sys
    import torch.distributed as dist
    from test_scorer_ranks import BENCH, MASKS
    import refvps, torch

    folder, rank = sys.argv[1], int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=4)
    validation = refvps.Scorer(BENCH, method="m")
    for clip, expression in list(MASKS)[rank::4]:
        validation.update(clip, expression, torch.from_numpy(MASKS[clip, expression]))
    states = [None] * 4
    dist.all_gather_object(states, validation.state())
    whole = refvps.Scorer(BENCH, method="m")
    for state in states:
        whole.merge(refvps.Scorer.from_state(BENCH, state))
    print(whole.result().counts.sha256(), whole.compute().flat())
    dist.destroy_process_group()
"""


def test_four_real_ranks(expected, tmp_path):
    """torch.distributed (gloo) on four processes, by the recipe in the docstring; every rank gets the whole."""
    path = ":".join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(RANK), str(tmp_path)]
    ranks = [
        subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        for k in range(4)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 4, said[0][1]
    assert {out.strip() for out, _ in said} == {f"{expected.counts.sha256()} {expected.scores.flat()}"}
