"""Any benchmark in the registered form: the same digest, masks, rules and pixels afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import CLIPS, EXPRESSIONS, TinyTruths, tiny_benchmark
from trees import flat

from refvps import data
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.folder import load_folder
from refvps.data.local import load_local
from refvps.data.records.lists import Withdrawal
from refvps.data.store import store
from refvps.data.truth import annotation
from refvps.errors import CheckError, DataMissingError, InputError, RefvpsError, UsageError
from refvps.frames import ImageFrames
from refvps.home import home
from refvps.masks.mask import Mask
from refvps.types import Benchmark, Clip, Rules

ROOT = Path(__file__).resolve().parent.parent
RULES = Rules(metrics=("J", "F"), average="frame>clip>concept", missing="zero", bound_th=0.01, seed=7)


def digested(benchmark: Benchmark) -> Benchmark:
    """The benchmark with the digests its content has."""
    digests = {
        key: clip_digest(clip, benchmark.expressions_of(key), annotation(benchmark.truth(key), clip))
        for key, clip in benchmark.clips.items()
    }
    return replace(benchmark, digest=benchmark_digest(digests), clip_digests=digests)


def tiny(**fields: object) -> Benchmark:
    return replace(digested(tiny_benchmark()), **fields)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_stored_is_what_was_loaded() -> None:
    before = tiny(rules=RULES, licence="CC BY 4.0", notes=("Pixels given to Ignore: 12.",))
    reports: list[tuple[int, int]] = []
    folder = store(before, progress=lambda done, total: reports.append((done, total)))
    assert folder == home() / "benchmarks" / "tiny" / "1"
    assert reports == [(0, 3), (1, 3), (2, 3), (3, 3)]
    after = data.load("tiny")
    for field in ("name", "version", "digest", "clips", "expressions", "rules", "licence", "notes"):
        assert getattr(after, field) == getattr(before, field), field
    assert dict(after.clip_digests) == dict(before.clip_digests)
    empty = drawn = 0
    for clip in CLIPS:
        for index in range(len(clip.frames)):
            (old, _), (new, ignored) = before.truth(clip.id).frame(index), after.truth(clip.id).frame(index)
            assert old.keys() == new.keys()
            for target, mask in old.items():
                if mask is None:
                    assert new[target] is None
                    continue
                np.testing.assert_array_equal(new[target].array(), mask.array())  # type: ignore[union-attr]
                assert ignored is not None and ignored.area() == 3 * clip.size[1]
                empty, drawn = empty + (mask.area() == 0), drawn + (mask.area() > 0)
    assert (empty, drawn) == (4, 24)
    with pytest.raises(DataMissingError, match="frames"):
        after.frames("melt")
    assert "tiny" in {row.name for row in data.names() if row.available}


def test_the_sample_keeps_its_digest_and_its_pixels(tmp_path: Path) -> None:
    before = data.load("sample")
    few = list(before.clips)[3:5]
    digests = {key: before.clip_digests[key] for key in few}
    before = replace(
        before,
        clips={key: before.clips[key] for key in few},
        expressions=tuple(each for each in before.expressions if each.clip in few),
        clip_digests=digests,
        digest=benchmark_digest(digests),
    )
    store(before, name="copy", frames="copy", jobs=2)
    after = load_local("copy")
    assert (after.digest, after.name, after.version) == (before.digest, "copy", before.version)
    for key in few:
        np.testing.assert_array_equal(after.frames(key)[3], before.frames(key)[3])
        assert len(after.frames(key)) == len(before.clips[key].frames)


def test_a_folder_of_masks_without_texts_is_stored(tmp_path: Path) -> None:
    before = load_folder(flat(tmp_path / "gt", (1, 2, 255)))
    assert {each.text for each in before.expressions} == {""}
    folder = store(before, name="mine", version="1.2")
    assert folder.name == "1.2"
    assert load_local("mine").digest == before.digest


def test_storing_again_changes_nothing_and_other_content_is_refused() -> None:
    before = tiny()
    folder = store(before)
    content = files(home())
    assert store(before) == folder
    assert files(home()) == content
    other = tuple(replace(each, text=each.text + "!") for each in EXPRESSIONS)
    with pytest.raises(UsageError, match="different digest, clips"):
        store(digested(tiny_benchmark(CLIPS, other)))
    with pytest.raises(UsageError, match="different rules"):
        store(replace(before, rules=RULES))
    assert files(home()) == content


def test_frames_can_be_added_later(tmp_path: Path) -> None:
    before = tiny(frames=_pictures(tmp_path / "frames", "jpg"))
    folder = store(before)
    content = files(folder)
    assert store(before, frames="copy") == folder
    assert len(load_local("tiny").frames("melt")) == 12
    with_frames = files(folder)
    assert {part: with_frames[part] for part in content if part != "benchmark.json"} == {
        part: data for part, data in content.items() if part != "benchmark.json"
    }
    assert store(before) == folder
    assert store(before, frames="copy") == folder
    assert files(folder) == with_frames
    (tmp_path / "frames" / "melt" / "img_003.jpg").write_bytes((tmp_path / "frames/melt/img_004.jpg").read_bytes())
    with pytest.raises(UsageError, match="different frames_sha256"):
        store(before, frames="copy")


def test_withdrawn_clips_are_remembered() -> None:
    withdrawal = Withdrawal("gone", "2026-01-31", "uploader")
    store(tiny(), withdrawals=[withdrawal])
    assert load_local("tiny").notes == ("Clips withdrawn from this version: 1.",)
    clip = replace(CLIPS[0], id="Gone")
    again = tiny_benchmark((clip, *CLIPS[1:]), (replace(EXPRESSIONS[0], clip="Gone"), *EXPRESSIONS[4:]))
    with pytest.raises(InputError, match="withdrawn"):
        store(replace(again, version="2", digest="", clip_digests={}))


def test_worker_processes_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = []
    for jobs in (1, 2):
        monkeypatch.setenv("REFVPS_HOME", str(tmp_path / str(jobs)))
        written.append(files(store(tiny(), jobs=jobs)))
    assert written[0] == written[1]
    assert len(written[0]) == 2 + 3 + 3 + 1


def test_records_without_rules_load_and_strange_rules_do_not() -> None:
    folder = store(tiny(rules=RULES))
    path = folder / "benchmark.json"
    record = json.loads(path.read_bytes())
    assert record["rules"]["metrics"] == ["J", "F"]
    path.write_text(json.dumps({key: value for key, value in record.items() if key not in ("rules", "notes")}))
    assert load_local("tiny").rules == Rules()
    path.write_text(json.dumps(record | {"rules": {"draws": 5}}))
    assert load_local("tiny").rules == Rules(draws=5)
    strange = (
        {"average": "best"},
        {"unknown": 1},
        {"draws": True},
        {"draws": 1.5},
        {"metrics": "J"},
        {"seed": None},
        [],
    )
    for rules in strange:
        path.write_text(json.dumps(record | {"rules": rules}))
        with pytest.raises(InputError):
            load_local("tiny")


def test_a_wrong_digest_is_noticed_and_leaves_nothing() -> None:
    before = tiny()
    with pytest.raises(CheckError, match="flash"):
        store(replace(before, clip_digests=dict(before.clip_digests) | {"flash": "0" * 64}))
    with pytest.raises(CheckError, match="before"):
        store(replace(before, digest="0" * 64, clip_digests={}))
    assert not list((home() / "benchmarks" / "tiny").glob("[!.]*"))
    assert not list((home() / "benchmarks" / "tiny").glob(".staging*"))


@dataclass(frozen=True)
class Odd:
    """A truth of one clip that is wrong in one way."""

    clip: Clip
    how: str

    def frame(self, index: int) -> tuple[dict[str, Mask | None], Mask | None]:
        masks, ignore = TinyTruths(CLIPS, EXPRESSIONS)(self.clip.id).frame(index)
        found = dict(masks)
        if self.how == "no target":
            found.pop("1")
        elif self.how == "bare frame" and index == 2:
            found = dict.fromkeys(found)
        elif self.how == "overlap":
            found["1"] = Mask.from_array(np.ones(self.clip.size, np.bool_))
        return found, ignore


ODD = {"no target": "no mask of the target 1", "bare frame": "flash/00002", "overlap": "both target and Ignore"}


@pytest.mark.parametrize("how", ODD)
def test_masks_that_break_the_invariants_are_refused(how: str) -> None:
    good = TinyTruths(CLIPS, EXPRESSIONS)

    def truth(key: str) -> object:
        return Odd(CLIPS[2], how) if key == "flash" else good(key)

    with pytest.raises(InputError) as caught:
        store(tiny(truth=truth, digest="", clip_digests={}))
    assert ODD[how] in str(caught.value)
    assert not list((home() / "benchmarks" / "tiny").glob("[!.]*"))


def _with_clip(**fields: object) -> Benchmark:
    clip = replace(CLIPS[0], **fields)  # type: ignore[arg-type]
    return tiny_benchmark((clip, *CLIPS[1:]))


OUTSIDE = {
    "a frame outside": lambda: _with_clip(frames=("../../x",), annotated=("../../x",)),
    "a text with a control character": lambda: tiny_benchmark(
        CLIPS, (replace(EXPRESSIONS[0], text="\x1b[31m"), *EXPRESSIONS[1:])
    ),
    "a clip without expressions": lambda: tiny_benchmark(CLIPS, EXPRESSIONS[:-3]),
    "two expressions of one id": lambda: tiny_benchmark(CLIPS, (*EXPRESSIONS, replace(EXPRESSIONS[0], id="A0"))),
    "no clips": lambda: tiny_benchmark((), ()),
    "a strange version": lambda: tiny(version="../1"),
    "a taken name": lambda: tiny(name="sample"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(RefvpsError) as caught:
        store(OUTSIDE[name]())
    assert caught.value.exit_code in (2, 4)
    assert not [path for path in home().rglob("*") if path.is_file() and path.name != ".lock"]


@dataclass(frozen=True)
class FrameFolder:
    """``benchmark.frames`` of files on disk."""

    folder: Path

    def __call__(self, key: str) -> ImageFrames:
        return ImageFrames(sorted((self.folder / key).iterdir()), 24.0, key)


def _pictures(folder: Path, ending: str) -> FrameFolder:
    for clip in CLIPS:
        (folder / clip.id).mkdir(parents=True)
        for index in range(len(clip.frames)):
            image = Image.fromarray(np.full((*clip.size, 3), 9 * index, np.uint8))
            image.save(folder / clip.id / f"img_{index:03d}.{ending}")
    return FrameFolder(folder)


@pytest.mark.parametrize("keep", ["copy", "link"])
def test_frames_are_copied_or_linked_under_the_names_of_the_clip(keep: str, tmp_path: Path) -> None:
    frames = _pictures(tmp_path / "frames", "JPG")
    folder = store(tiny(frames=frames), frames=keep)  # type: ignore[arg-type]
    first = folder / "frames" / "melt" / "00000.jpg"
    source = tmp_path / "frames" / "melt" / "img_000.JPG"
    assert first.read_bytes() == source.read_bytes()
    assert (first.stat().st_ino == source.stat().st_ino) is (keep == "link")
    assert load_local("tiny").frames("ripple").names == CLIPS[1].frames


def test_frames_of_another_kind_become_png_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    folder = store(tiny(frames=_pictures(tmp_path / "webp", "webp")), frames="copy", version="webp")
    assert (folder / "frames" / "flash" / "00005.png").is_file()
    frames = _pictures(tmp_path / "few", "png")
    Image.new("RGB", (8, 8)).save(tmp_path / "few" / "flash" / "img_000.png")
    with pytest.raises(InputError, match="differ in size"):
        store(tiny(frames=frames), frames="copy", version="small")
    (tmp_path / "few" / "flash" / "img_000.png").unlink()
    with pytest.raises(InputError, match="5 frames, 6 in the list"):
        store(tiny(frames=frames), frames="copy", version="few")
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", "webp"]


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
from test_store import store, tiny
left = int(sys.argv[1])
def dying(function):
    def run(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return run
os.replace, os.rename = dying(os.replace), dying(os.rename)
store(tiny())
"""


@pytest.mark.parametrize("survived", [0, 3, 8, 9])
def test_a_killed_store_leaves_nothing_behind(survived: int) -> None:
    """Two manifests, three clips in two forms, the record: nine files, then the move."""
    command = [sys.executable, "-c", KILLED, str(survived)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(RefvpsError):
        data.load("tiny")
    folder = store(tiny())
    assert load_local("tiny").digest == tiny().digest
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", "1"]
