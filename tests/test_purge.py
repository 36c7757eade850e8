"""Withdrawn clips: gone from disk, loaders, predictions and scores; ids refused for ever; safe to kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trees import read_lines, write_labels, write_lines, write_ref_vps

import refvps
from refvps import cli, data
from refvps.data.local import load_local
from refvps.data.manifest import CLIPS
from refvps.data.records import Withdrawal, read_withdrawn
from refvps.data.records.purge import purge, remove_predictions
from refvps.data.register import register
from refvps.data.store import store
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import canonical_json
from refvps.home import home
from refvps.run.evaluate import evaluate_submission
from refvps.run.results import read_result, write_result

ROOT = Path(__file__).resolve().parent.parent
GONE = Withdrawal("smoke.2", "2026-01-31", "uploader")
LINE = {"clip": "smoke.2", "date": "2026-01-31", "reason": "uploader"}


def everything(folder: Path) -> dict[str, bytes]:
    """Content by path of all files but locks."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def data_set(root: Path, *, version: str = "1.0", withdrawn: bool = False, frames: bool = True) -> Path:
    """Three clips with provenance and candidates; the second may be withdrawn already."""
    write_ref_vps(root, {"wax-01": "png", "smoke.2": "rle", "wave_3": "png"}, about={"version": version}, frames=frames)
    clips = read_lines(root / "clips.jsonl")
    for clip in clips:
        clip["source"] = {"url": f"https://example.org/{clip['id']}", "uploader_hash": "c" * 64}
        clip["source_id"] = f"set/{clip['id']} original"
    write_lines(root / "clips.jsonl", clips)
    found = [
        {"id": "k1", "concept": "wax", "query": "wax", "kept": True, "clips": ["wax-01"], "video_id": "1"},
        {"id": "k2", "concept": "smoke", "query": "smoke", "kept": True, "clips": ["smoke.2"], "video_id": "v-smoke"},
        {"id": "k3", "concept": "wave", "query": "wave", "kept": True, "clips": ["wave_3"], "video_id": "3"},
    ]
    write_lines(root / "candidates.jsonl", found)
    if withdrawn:
        (root / "withdrawn.jsonl").write_bytes(canonical_json(LINE) + b"\n")
    return root


def masks(benchmark: Any) -> dict[tuple[str, int], bytes]:
    """The target of every annotated frame, as RLE."""
    found = {}
    for clip in benchmark.clips.values():
        for index in clip.annotated_indices():
            found[clip.id, index] = benchmark.truth(clip.id).frame(index)[0]["1"].counts()
    assert len(found) == 14
    return found


def predictions(root: Path, clips: dict[str, Any]) -> Path:
    """A tree of binary PNGs that is a little off the truth, for every clip and expression."""
    for number, (key, clip) in enumerate(clips.items()):
        for expression in ("0", "1"):
            for frame in clip.annotated:
                image = np.zeros(clip.size, np.uint8)
                image[2 : 9 + number, : 12 + int(expression)] = 255
                write_labels(root / key / expression / f"{frame}.png", image, "L")
    return root


@pytest.mark.parametrize("frames", [True, False])
def test_the_new_state_is_that_of_registering_without_the_clip(
    frames: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = register(data_set(tmp_path / "set", frames=frames))
    before = load_local()
    done = purge("ref-vps", "", [GONE])
    (one,) = done.versions
    assert (one.version, one.clips, one.before) == ("1.0", ("smoke.2",), before.digest)
    assert one.files == 2 + 7 * frames
    benchmark = load_local()
    drawn = masks(benchmark)
    assert one.after == benchmark.digest != before.digest
    assert list(benchmark.clips) == ["wax-01", "wave_3"]
    assert {each.clip for each in benchmark.expressions} == {"wax-01", "wave_3"}
    assert benchmark.notes == ("Clips withdrawn from this version: 1.",)
    here = everything(installed)
    assert not [path for path in here if "smoke" in path]
    for clue in (b"https://example.org/smoke", b"v-smoke", b"the smoke", b"set/smoke"):
        assert not [path for path, content in everything(home()).items() if clue in content], clue
    assert b'"id":"k2"' in here["candidates.jsonl"]

    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "other"))
    fresh = register(data_set(tmp_path / "set", withdrawn=True, frames=frames))
    assert everything(fresh) == here
    assert masks(load_local()) == drawn


def test_again_and_dry_run_change_nothing(tmp_path: Path) -> None:
    register(data_set(tmp_path / "set"))
    before = everything(home())
    done = purge("ref-vps", "", [GONE], dry_run=True)
    assert done.versions[0].clips == ("smoke.2",)
    assert everything(home()) == before
    purge("ref-vps", "", [GONE])
    after = everything(home())
    assert after != before
    for given in ([GONE], [], [Withdrawal("SMOKE.2", "2026-02-01", "other")]):
        again = purge("ref-vps", "", given)
        assert (again.versions[0].clips, again.versions[0].files) == ((), 0)
        assert again.versions[0].before == again.versions[0].after == load_local().digest
        assert everything(home()) == after
    assert read_withdrawn(home() / "benchmarks" / "ref-vps" / "withdrawn.jsonl") == (GONE,)


def test_all_versions_are_purged_and_ids_are_never_used_again(tmp_path: Path) -> None:
    register(data_set(tmp_path / "one"))
    register(data_set(tmp_path / "two", version="2.0"))
    purge("ref-vps", "2.0", [Withdrawal("SMOKE.2", "2026-01-31", "licence")])
    assert "smoke.2" not in load_local(version="2.0").clips
    assert "smoke.2" in load_local(version="1.0").clips
    purge("ref-vps")
    assert "smoke.2" not in load_local(version="1.0").clips
    three = data_set(tmp_path / "three", version="3.0")
    shutil.rmtree(home() / "benchmarks" / "ref-vps" / "2.0")
    for source in (three, tmp_path / "one"):
        with pytest.raises(InputError, match=r"smoke\.2: withdrawn from ref-vps") as caught:
            register(source)
        assert "withdrawn.jsonl" in caught.value.fix
    write_lines(three / "withdrawn.jsonl", [LINE])
    assert register(three).name == "3.0"
    with pytest.raises(InputError, match="never used again"):
        store(_renamed(data_set(tmp_path / "four", version="4.0"), tmp_path))


def _renamed(source: Path, tmp_path: Path) -> Any:
    """A benchmark named ref-vps that has the withdrawn clip, loaded from another home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFVPS_HOME", str(tmp_path / "elsewhere"))
        register(source)
        return load_local()


def test_clips_withdrawn_before_registration_are_remembered(tmp_path: Path) -> None:
    purge("ref-vps", "", [GONE])
    with pytest.raises(InputError, match="withdrawn from ref-vps"):
        register(data_set(tmp_path / "set"))
    register(data_set(tmp_path / "set", withdrawn=True))
    assert list(load_local().clips) == ["wax-01", "wave_3"]


def test_a_registered_withdrawal_counts_for_later_versions(tmp_path: Path) -> None:
    register(data_set(tmp_path / "one", withdrawn=True))
    with pytest.raises(InputError, match="withdrawn from ref-vps"):
        register(data_set(tmp_path / "two", version="2.0"))


def test_when_no_clip_is_left_the_version_goes(tmp_path: Path) -> None:
    register(data_set(tmp_path / "set"))
    done = purge("ref-vps", "", [Withdrawal(clip, "2026-01-31", "licence") for clip in ("wax-01", "smoke.2", "wave_3")])
    assert done.versions[0].after == ""
    with pytest.raises(DataMissingError):
        load_local()
    assert list(everything(home() / "benchmarks" / "ref-vps")) == ["withdrawn.jsonl"]
    purge("ref-vps")


def test_a_mark_in_the_list_of_clips_needs_a_record(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    clips = read_lines(root / "clips.jsonl")
    clips[1]["withdrawn_in"] = "1.0"
    write_lines(root / "clips.jsonl", clips)
    with pytest.raises(InputError, match=r"smoke\.2: withdrawn_in 1\.0"):
        register(root)
    write_lines(root / "withdrawn.jsonl", [LINE])
    register(root)
    assert list(load_local().clips) == ["wax-01", "wave_3"]


KILLED = """
import json, os, signal, sys
from refvps.data.records import Withdrawal, purge, withdrawal
def dying(function):
    def run(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return run
purge.write_atomic = dying(purge.write_atomic)
withdrawal.write_atomic = dying(withdrawal.write_atomic)
purge._delete = dying(purge._delete)
purge._take_place = dying(purge._take_place)
ends = []
for left, home in enumerate(sys.argv[1:]):
    os.environ["REFVPS_HOME"] = home
    child = os.fork()
    if not child:
        purge.purge("ref-vps", "", [Withdrawal("smoke.2", "2026-01-31", "uploader")])
        os._exit(0)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ends))
"""


def test_a_purge_killed_anywhere_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger, four manifests, the record, four times taking place, three deletions: killed before each of them."""
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "good"))
    register(data_set(tmp_path / "set"))
    old = load_local().digest
    homes = [tmp_path / f"home-{survived}" for survived in range(14)]
    for place in homes:
        shutil.copytree(tmp_path / "good", place)
    purge("ref-vps", "", [GONE])
    new, good = load_local().digest, everything(home())
    command = [sys.executable, "-c", KILLED, *map(str, homes)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert json.loads(done.stdout) == [-signal.SIGKILL] * 13 + [0], done.stderr
    outcomes = []
    for survived, place in enumerate(homes):
        monkeypatch.setenv("REFVPS_HOME", str(place))
        benchmark = load_local()
        outcomes.append(benchmark.digest)
        assert ("smoke.2" in benchmark.clips) == (benchmark.digest == old)
        for clip in benchmark.clips.values():
            benchmark.truth(clip.id).frame(clip.annotated_indices()[1])
            assert benchmark.frames(clip.id)[0].shape == (*clip.size, 3)
        purge("ref-vps", "", [GONE] if survived == 0 else [])
        assert everything(home()) == good
    assert outcomes == [old] * 6 + [new] * 8


def test_a_damaged_version_is_not_rewritten(tmp_path: Path) -> None:
    installed = register(data_set(tmp_path / "set"))
    for part, message in (("frames/wax-01/00003.jpg", "frames"), ("clips.jsonl", r"clips\.jsonl")):
        kept = (installed / part).read_bytes()
        (installed / part).write_bytes(kept + b" ")
        with pytest.raises(InputError, match=message):
            purge("ref-vps", "", [GONE])
        (installed / part).unlink()
        with pytest.raises(InputError):
            purge("ref-vps", "", [GONE])
        (installed / part).write_bytes(kept)
    assert "smoke.2" in load_local().clips
    purge("ref-vps")
    assert "smoke.2" not in load_local().clips


def test_the_index_forgets(tmp_path: Path) -> None:
    gt = tmp_path / "gt"
    for video in ("smoke.2", "other"):
        for frame in range(3):
            image = np.zeros((8, 9), np.uint8)
            image[frame, 2:5] = 1
            write_labels(gt / video / f"{frame}.png", image)
    data.load("folder", gt=gt)
    shutil.rmtree(gt / "smoke.2")
    data.load("folder", gt=gt)
    assert len(list((home() / "index").glob("*.json"))) == 2
    assert purge("ref-vps", "", [GONE], dry_run=True).index_entries == 1
    assert purge("ref-vps", "", [GONE]).index_entries == 1
    assert len(list((home() / "index").glob("*.json"))) == 1


# Predictions and results


def test_predictions_of_the_clip_go_in_every_layout(tmp_path: Path) -> None:
    root = tmp_path / "preds"
    keep = ["smoke.20.jsonl", "wax-01.jsonl", "wax-01/smoke.2/0.png", "smoke.2.txt", "anno_x/smoke.2/0.png", "run.json"]
    gone = [
        "smoke.2.jsonl", "SMOKE.2.npz", "smoke.2/0/00000.png", "Annotations/smoke.2/0/0.png", "anno_0/smoke.2/1.png",
        "set/smoke.2 original/0/1.png", "smoke.2.frames.json",
    ]  # fmt: skip
    for name in [*keep, *gone]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'{"schema": "x", "smoke.2": 1}')
    (root / "rle.json").write_text(json.dumps({"smoke.2": {"0": []}, "wax-01": {"0": []}}))
    outside = tmp_path / "outside"
    (outside / "smoke.2").mkdir(parents=True)
    (outside / "smoke.2" / "0.png").write_bytes(b"x")
    (root / "Smoke.2").symlink_to(outside)
    names = {"smoke.2", "set/smoke.2 original"}
    before = everything(root)
    listed = remove_predictions(root, names, dry_run=True)
    assert everything(root) == before
    assert remove_predictions(root, names) == listed
    assert len(listed) == 8
    assert set(everything(root)) == {*keep, "rle.json"}
    assert json.loads((root / "rle.json").read_text()) == {"wax-01": {"0": []}}
    assert (outside / "smoke.2" / "0.png").exists()
    assert remove_predictions(root, names) == []
    with pytest.raises(UsageError, match="unpack"):
        remove_predictions(root / "rle.json", names)


def scored(tmp_path: Path, **options: Any) -> Path:
    """Evaluate made-up predictions of the registered data set; returns the result's path."""
    benchmark = load_local()
    done = evaluate_submission(benchmark, predictions(tmp_path / "preds", dict(benchmark.clips)), method="m", **options)
    path, _ = write_result(done.scores, done.counts, done.rules, tmp_path / "results", inputs=done.inputs)
    return path


def test_past_results_are_scored_again_from_their_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The new result is the one that evaluating on the purged benchmark gives; the old one stays as it was."""
    register(data_set(tmp_path / "set"))
    path = scored(tmp_path)
    kept = path.read_bytes()
    withdrawn = write_lines(tmp_path / "withdrawn.jsonl", [LINE])
    arguments = ["purge", "--withdrawn", str(withdrawn), "--results", str(tmp_path / "results"), "--json"]
    assert cli.run([*arguments, "--dry-run"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert dry["results"][0]["new"] and not Path(dry["results"][0]["new"]).exists()
    assert cli.run([*arguments, "--pred", str(tmp_path / "preds")]) == 0
    report = json.loads(capsys.readouterr().out)
    (row,) = report["results"]
    assert row == dry["results"][0]
    new = Path(row["new"])
    benchmark = load_local()
    assert new == tmp_path / "results" / f"without-{benchmark.digest[:12]}" / "ref-vps@1.0" / "m.json"
    again = evaluate_submission(benchmark, tmp_path / "preds", method="m").scores
    result = read_result(new)
    assert result.data["benchmark"]["digest"] == benchmark.digest
    assert result.data["summary"]["J"]["value"] == again.summary["J"].value != json.loads(kept)["summary"]["J"]["value"]
    assert {row.clip for row in result.rows} == {"wax-01", "wave_3"}
    assert result.counts().benchmark["digest"] == benchmark.digest
    assert result.signature == again.signature
    assert path.read_bytes() == kept
    assert report["predictions"] == {str(tmp_path / "preds"): [str(tmp_path / "preds" / "smoke.2")]}
    assert cli.run(arguments[:-1]) == 0
    assert "scored again without smoke.2" in capsys.readouterr().out


def test_two_purges_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The original is scored again without both; what the first purge made is named as out of date."""
    register(data_set(tmp_path / "set"))
    path = scored(tmp_path)
    results = tmp_path / "results"
    for clip in ("smoke.2", "wave_3"):
        withdrawn = write_lines(tmp_path / "withdrawn.jsonl", [LINE | {"clip": clip}])
        assert cli.run(["purge", "ref-vps", "--withdrawn", str(withdrawn), "--results", str(results)]) == 0
    said = capsys.readouterr().out
    final = results / f"without-{load_local().digest[:12]}" / "ref-vps@1.0" / "m.json"
    assert {row.clip for row in read_result(final).rows} == {"wax-01"}
    assert "an older result without withdrawn clips" in said
    path.unlink()
    shutil.rmtree(final.parent.parent)
    assert cli.run(["purge", "ref-vps", "--results", str(results)]) == 0
    assert {row.clip for row in read_result(final).rows} == {"wax-01"}


def test_results_that_cannot_be_scored_again_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(data_set(tmp_path / "set"))
    path = scored(tmp_path)
    purge("ref-vps", "", [GONE])
    path.with_suffix(".counts.npz").rename(tmp_path / "kept.npz")
    assert cli.run(["purge", "--results", str(tmp_path / "results")]) == 0
    assert "its counts are not beside it: evaluate again" in capsys.readouterr().out
    (tmp_path / "kept.npz").rename(path.with_suffix(".counts.npz"))
    purge("ref-vps", "", [Withdrawal(clip, "2026-01-31", "licence") for clip in ("wax-01", "wave_3")])
    assert cli.run(["purge", "--results", str(tmp_path / "results")]) == 0
    assert "no clip would be left of it: delete it" in capsys.readouterr().out


# The command


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(data_set(tmp_path / "set"))
    withdrawn = write_lines(tmp_path / "withdrawn.jsonl", [LINE])
    before = refvps.load("ref-vps").digest
    assert cli.run(["purge", "--withdrawn", str(withdrawn), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 clips: smoke.2" in said and "9 files would be deleted" in said
    assert cli.run(["purge", "ref-vps@1.0", "--withdrawn", str(withdrawn)]) == 0
    said = capsys.readouterr().out
    assert f"digest {before[:12]} -> {refvps.load('ref-vps').digest[:12]}; 9 files deleted" in said
    assert cli.run(["purge"]) == 0
    said = capsys.readouterr()
    assert "no clip to take out; 0 files deleted" in said.out and "note" not in said.err
    write_lines(withdrawn, [LINE | {"clip": "smoke.3"}])
    assert cli.run(["purge", "--withdrawn", str(withdrawn)]) == 0
    assert "not taken out of a registered version now: smoke.3" in capsys.readouterr().err


WRONG: dict[str, tuple[list[str], int, str]] = {
    "nothing registered": (["purge"], 3, "No ref-vps is registered"),
    "no such version": (["purge", "ref-vps@9", "--withdrawn", "W"], 3, "ref-vps@9"),
    "never registered": (["purge", "sample", "--withdrawn", "W"], 2, "never registered"),
    "empty version": (["purge", "ref-vps@"], 2, "no version behind"),
    "bad name": (["purge", "../x", "--withdrawn", "W"], 4, "benchmark id is not allowed"),
    "no such list": (["purge", "--withdrawn", "nowhere.jsonl"], 4, "cannot be read"),
    "bad list": (["purge", "--withdrawn", "BAD"], 4, "'reason' is a required property"),
    "empty list": (["purge", "--withdrawn", "EMPTY"], 4, "list of withdrawn clips is empty"),
    "no such predictions": (["purge", "--withdrawn", "W", "--pred", "nowhere"], 2, "no folder"),
    "results are a file": (["purge", "--withdrawn", "W", "--results", "W"], 2, "no folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_explained(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "W": write_lines(tmp_path / "w.jsonl", [LINE]),
        "BAD": write_lines(tmp_path / "bad.jsonl", [{"clip": "a", "date": "2026-01-31"}]),
        "EMPTY": write_lines(tmp_path / "empty.jsonl", []),
    }
    arguments, code, message = WRONG[name]
    assert cli.run([str(files.get(each, each)) for each in arguments]) == code
    assert message in capsys.readouterr().err


def test_a_foreign_id_that_another_clip_has_here_is_not_that_clip(tmp_path: Path) -> None:
    """What smoke.2 was called before, wave_3, is an id of this data set, whose predictions stay."""
    source = data_set(tmp_path / "set")
    clips = [clip | ({"source_id": "wave_3"} if clip["id"] == "smoke.2" else {}) for clip in read_lines(source / CLIPS)]
    write_lines(source / CLIPS, clips)
    register(source)
    done = purge("ref-vps", withdrawals=[GONE])
    assert done.names == {"smoke.2"}
    predictions(tmp_path / "preds", dict(load_local().clips))
    assert remove_predictions(tmp_path / "preds", done.names) == []


def test_a_strange_file_among_results_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(data_set(tmp_path / "set"))
    path = scored(tmp_path)
    (path.parent / "a.json").write_text("{}")
    withdrawn = write_lines(tmp_path / "withdrawn.jsonl", [LINE])
    arguments = ["purge", "--withdrawn", str(withdrawn), "--results", str(tmp_path / "results")]
    assert cli.run([*arguments, "--json"]) == 0
    strange, row = json.loads(capsys.readouterr().out)["results"]
    assert strange["result"].endswith("a.json") and "no result" in strange["problem"] and not strange["new"]
    assert Path(row["new"]).is_file()
    assert cli.run(arguments) == 0
    assert "a.json: it is no result that can be read" in capsys.readouterr().out
