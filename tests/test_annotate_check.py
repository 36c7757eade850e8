"""``refvps annotate check``: a good data set passes, and every check is set off by what it is for, and by that only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import masklets as made
import numpy as np
import pytest
from masklets import SIZE, disks, names
from test_docs import commands
from trees import encode, read_lines, write_lines, write_ref_vps

from refvps import cli
from refvps.annotate.checks.dataset import check_folder
from refvps.annotate.checks.table import CHECKS
from refvps.annotate.clip import Request
from refvps.annotate.importing import import_clip
from refvps.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parent.parent
COUNT = 36
Tracks = dict[str, list[Any]]


def write(folder: Path, targets: Tracks, ignore: list[Any] | None = None, clip: str = "disk", **more: Any) -> Path:
    """A data set of one clip, or one clip more."""
    frames = names(len(next(iter(targets.values()))))
    made.manifest(folder, clip, frames, **more)
    made.sentences(folder, clip, next(iter(targets)))
    head = {"schema": "refvps.masks/1", "clip": clip, "size": list(SIZE), "frames": frames}
    lines: list[dict[str, Any]] = [head]
    lines += [{"target": key, "counts": [encode(mask) for mask in track]} for key, track in targets.items()]
    lines += [{"ignore": True, "counts": [encode(mask) for mask in ignore]}] if ignore else []
    write_lines(folder / f"masks/{clip}.jsonl", lines)
    return folder


def keys(folder: Path, **more: Any) -> set[str]:
    found = check_folder(folder, **more).results
    return {key for key, check in CHECKS.items() for result in found if result.check == check}


def strip(*frames: int, rows: int = 1) -> list[Any]:
    """Ignore below the disk on some frames."""
    region = np.zeros(SIZE, np.bool_)
    region[-rows:] = True
    return [region if k in frames else region & False for k in range(COUNT)]


def ring(width: int = 1) -> list[Any]:
    """Ignore around the disk."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    found = []
    for mask in disks(COUNT):
        rows, columns = np.nonzero(mask)
        away = (y - rows.mean()) ** 2 + (x - columns.mean()) ** 2
        radius = (rows.max() - rows.min()) / 2
        found.append((away < (radius + width + 1) ** 2) & ~mask)
    return found


def test_a_good_data_set_has_nothing_to_say(tmp_path: Path) -> None:
    write(tmp_path, {"1": disks(COUNT)}, ring())
    done = check_folder(tmp_path)
    assert done.results == ()
    assert done.ok
    assert (done.clips, done.expressions, done.pictures) == (1, 4, 0)


def _changed(change: Callable[[list[Any]], Any]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        track = [mask.copy() for mask in disks(COUNT)]
        change(track)
        return write(folder, {"1": track})

    return build


def _with(ignore: Callable[[], list[Any]]) -> Callable[[Path], Path]:
    return lambda folder: write(folder, {"1": disks(COUNT)}, ignore())


def _set(frames: slice, value: bool) -> Callable[[list[Any]], Any]:
    def change(track: list[Any]) -> None:
        for mask in track[frames]:
            mask[:] = value

    return change


def _grown(at: int, times: int) -> Callable[[list[Any]], Any]:
    """The mask of one frame stretched in both directions from its centre."""

    def change(track: list[Any]) -> None:
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        rows, columns = np.nonzero(track[at])
        radius = (rows.max() - rows.min() + 1) / 2 * times**0.5
        track[at][:] = (y - rows.mean()) ** 2 + (x - columns.mean()) ** 2 < radius**2

    return change


def _shifted(track: list[Any]) -> None:
    """From one frame on another shape of the same area."""
    for mask in track[20:]:
        area = int(mask.sum())
        mask[:] = False
        mask[18, : min(SIZE[1], area)] = True
        mask[20, : max(0, area - SIZE[1])] = True


def _poked(track: list[Any]) -> None:
    rows, columns = np.nonzero(track[5])
    track[5][int(rows.mean()), int(columns.mean())] = False


def _dotted(count: int) -> Callable[[list[Any]], Any]:
    def change(track: list[Any]) -> None:
        for k in range(count):
            track[7][1, 2 + 3 * k] = True

    return change


def _half(track: list[Any]) -> None:
    for mask in track:
        mask[:] = False
        mask[4:30, 10:20] = np.mgrid[4:30, 10:20][1] > 10 + np.abs(np.mgrid[4:30, 10:20][0] - 17) // 3


CASES: dict[str, tuple[Callable[[Path], Path], set[str]]] = {
    "never visible": (_changed(_set(slice(None), False)), {"M1"}),
    "on six frames": (_changed(_set(slice(6, None), False)), {"M1.few"}),
    "full frames": (_changed(_set(slice(None), True)), {"M2"}),
    "one frame gone": (_changed(_set(slice(10, 11), False)), {"M7"}),
    "two frames gone": (_changed(_set(slice(10, 12), False)), {"M7"}),
    "three frames gone": (_changed(_set(slice(10, 13), False)), set()),
    "gone at the end": (_changed(_set(slice(-1, None), False)), set()),
    "one frame three times as large": (_changed(_grown(12, 3)), {"M4", "M5", "M6"}),
    "one frame 1.6 times as large": (_changed(_grown(12, 1.6)), {"M6"}),  # type: ignore[arg-type]
    "another shape": (_changed(_shifted), {"M4", "M15"}),
    "a hole": (_changed(_poked), {"M9"}),
    "one speck": (_changed(_dotted(1)), {"M8"}),
    "many specks": (_changed(_dotted(5)), {"M8", "M8.many"}),
    "cut in half": (_changed(_half), {"M15"}),
    "Ignore on the target": (_with(lambda: [mask.copy() for mask in disks(COUNT)]), {"G1"}),
    "wide Ignore": (_with(lambda: ring(5)), {"G2", "G2.mean"}),
    "Ignore far away": (_with(lambda: strip(*range(COUNT))), {"G4"}),
    "Ignore over the frame": (_with(lambda: [~mask for mask in disks(COUNT)]), {"G2", "G2.mean", "G5"}),
    "Ignore that toggles": (_with(lambda: [m if k % 2 else m & False for k, m in enumerate(ring())]), {"G6"}),
    "Ignore that toggles slowly": (
        _with(lambda: [m if 10 < k < 20 else m & False for k, m in enumerate(ring())]), set(),
    ),
    "Ignore without target": (
        lambda f: write(f, {"1": [m & (k < 30) for k, m in enumerate(disks(COUNT))]}, ring()), {"G3"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_check_of_masks(name: str, tmp_path: Path) -> None:
    build, wanted = CASES[name]
    assert keys(build(tmp_path)) == wanted


def test_the_places_name_frame_and_target(tmp_path: Path) -> None:
    _changed(_set(slice(10, 12), False))(tmp_path)
    (result,) = check_folder(tmp_path).results
    assert result.where == ("disk/00010: target 1, gone for 2 frames",)
    assert (result.check.id, result.check.severity) == ("M7", "W")
    assert "2 frames" in result.check.threshold


def _gaps(folder: Path) -> Path:
    """A jump between frames that are a second apart says nothing."""
    track = disks(COUNT)
    big = [mask.copy() for mask in track]
    _grown(30, 3)(big)
    write(folder, {"1": big[::3]})
    shutil.rmtree(folder)
    frames = names(12 * 24)
    made.manifest(folder, "disk", frames, frames[::24], annotation_fps=1.0)
    made.sentences(folder, "disk")
    head = {"schema": "refvps.masks/1", "clip": "disk", "size": list(SIZE), "frames": frames[::24]}
    counts = [encode(mask) for mask in big[::3]]
    write_lines(folder / "masks/disk.jsonl", [head, {"target": "1", "counts": counts}])
    return folder


def test_masks_that_are_far_apart_in_time_are_not_compared(tmp_path: Path) -> None:
    assert keys(_gaps(tmp_path)) == set()


def frames(folder: Path, count: int = COUNT, moving: bool = True, size: tuple[int, int] = SIZE) -> None:
    random = np.random.default_rng(0)
    for k in range(count):
        pixels = random.integers(0, 255, (*size, 3), np.uint8) if moving else np.full((*size, 3), 9, np.uint8)
        made.picture(folder / f"frames/disk/{k:05d}.png", pixels, "RGB")


def test_a_stuck_tracker_needs_a_picture_that_moves(tmp_path: Path) -> None:
    def stuck(track: list[Any]) -> None:
        for mask in track[10:14]:
            mask[:] = track[10]

    for moving in (True, False):
        folder = tmp_path / str(moving)
        _changed(stuck)(folder)
        assert keys(folder) == set()
        frames(folder, moving=moving)
        assert keys(folder) == ({"M14"} if moving else set())
        assert check_folder(folder).pictures == 1
    (result,) = check_folder(tmp_path / "True").results
    assert result.where == ("disk/00010: target 1, the same mask on 4 frames",)


FILES: dict[str, tuple[Callable[[Path], Any], set[str]]] = {
    "a frame missing": (lambda f: frames(f, COUNT - 1), {"F1"}),
    "a frame too many": (lambda f: frames(f, COUNT + 1), {"F1"}),
    "frames of another size": (lambda f: frames(f, size=(42, 56)), {"F1"}),
    "a broken frame": (lambda f: (frames(f), (f / "frames/disk/00003.png").write_bytes(b"x")), {"F1"}),
    "no masks": (lambda f: (f / "masks/disk.jsonl").unlink(), {"F4"}),
    "masks cut off": (lambda f: _rewrite(f, lambda text: text[:-30]), {"F3"}),
    "masks of another clip": (lambda f: _rewrite(f, lambda text: text.replace('"disk"', '"disc"')), {"F3"}),
    "another target": (lambda f: _rewrite(f, lambda text: text.replace('"target": "1"', '"target": "2"')), {"F4"}),
    "a clip that is not listed": (lambda f: shutil.copy(f / "masks/disk.jsonl", f / "masks/x.jsonl"), {"F4.stray"}),
    "not canonical": (lambda f: _rewrite(f, _padded), {"F5"}),
    "an expression of no clip": (lambda f: made.sentences(f, "other"), {"L1"}),
}


def _rewrite(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "masks/disk.jsonl"
    path.write_text(change(path.read_text()))


def _padded(text: str) -> str:
    """The first mask with a last run of length zero, which readers accept and nobody writes."""
    head, *lines = text.splitlines()
    record = json.loads(lines[0])
    full = np.ones(SIZE, np.bool_)
    record["counts"][0] = "0" + encode(full)[1:] + "0" if encode(full).startswith("0") else record["counts"][0]
    assert record["counts"][0] != json.loads(lines[0])["counts"][0]
    return "\n".join([head, json.dumps(record), ""])


@pytest.mark.parametrize("name", FILES)
def test_every_check_of_files(name: str, tmp_path: Path) -> None:
    write(tmp_path, {"1": disks(COUNT)})
    change, wanted = FILES[name]
    change(tmp_path)
    found = keys(tmp_path) - ({"M2", "M4", "M5"} if name == "not canonical" else set())
    assert found == wanted


def _texts(**change: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        records = [json.loads(line) for line in (folder / "expressions.jsonl").read_text().splitlines()]
        for record in records:
            record["text"] = change.get(record["id"], record["text"])
        write_lines(folder / "expressions.jsonl", records)

    return edit


def _clip(**change: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / "clips.jsonl").read_text())
        write_lines(folder / "clips.jsonl", [record | change])

    return edit


LISTS: dict[str, tuple[Callable[[Path], Any], set[str]]] = {
    "three expressions": (
        lambda f: write_lines(f / "expressions.jsonl", read_lines(f / "expressions.jsonl")[:3]), {"X1"}
    ),
    "no expressions": (lambda f: (f / "expressions.jsonl").unlink(), {"X1"}),
    "two words": (_texts(e0="a disk"), {"X2"}),
    "a long one": (_texts(e0="word " * 25 + "end"), {"X2"}),
    "an address": (_texts(e0="the disk on www.example.org today"), {"X2"}),
    "a handle": (_texts(e0="the disk filmed by @somebody here"), {"X2"}),
    "a mail address": (_texts(e0="ask some.one@example.org about the disk"), {"X2"}),
    "stray blanks": (_texts(e0="the disk  that drifts "), {"X2"}),
    "the same twice": (_texts(e0="the disk that drifts", e1="The disk that drifts."), {"X3"}),
    "nearly the same": (
        _texts(e0="the disk that drifts slowly to the right", e1="the disk that drifts slowly to the far right"),
        {"X3.near"},
    ),
    "30 fps": (_clip(fps=30.0, annotation_fps=30.0), {"F2"}),
    "an odd size": (_clip(size=[41, 56]), {"F1.odd", "F3"}),
    "no licence": (_clip(source={"platform": "own"}), {"P1.licence"}),
    "a strange category": (_clip(categories=["nice"]), {"L1"}),
    "no concept": (_clip(concept=""), {"L2"}),
    "withdrawn": (
        lambda f: write_lines(f / "withdrawn.jsonl", [{"clip": "disk", "date": "2026-02-03", "reason": "licence"}]),
        {"P1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_every_check_of_lists(name: str, tmp_path: Path) -> None:
    write(tmp_path, {"1": disks(COUNT)})
    change, wanted = LISTS[name]
    change(tmp_path)
    assert keys(tmp_path) == wanted


def test_one_expression_for_two_concepts(tmp_path: Path) -> None:
    write(tmp_path, {"1": disks(COUNT)})
    write(tmp_path, {"1": disks(COUNT)}, clip="disc", concept="another")
    texts = _texts(e0="the disk that drifts to the right")
    texts(tmp_path)
    assert keys(tmp_path) == {"X4"}


def test_every_check_is_set_off_somewhere() -> None:
    told = [wanted for table in (CASES, FILES, LISTS) for _, wanted in table.values()]
    rest = {"F2.long", "M14", "X4", "P3"}
    assert set().union(*told) | rest == set(CHECKS)


def test_masks_changed_by_hand_and_long_clips(tmp_path: Path) -> None:
    source = made.labels(tmp_path / "given", {1: disks(14)}, names(14))
    import_clip(Request(source, "davis", "disk", tmp_path / "set", fps=24.0))
    assert "P3" not in keys(tmp_path / "set")
    assert "F2.long" in keys(tmp_path / "set")  # 14 frames are 0.6 s
    path = tmp_path / "set/masks/disk.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"target":"1"', b'"target":"2"'))
    assert "P3" in keys(tmp_path / "set")


def test_png_masks_are_checked_as_well(tmp_path: Path) -> None:
    write_ref_vps(tmp_path / "set")
    done = check_folder(tmp_path / "set", select=["F", "G"])
    assert not [r for r in done.results if r.check.id in ("F3", "F4", "F5", "G1")]
    made.picture(tmp_path / "set/masks/wax-01/00002.png", np.full((36, 52), 7, np.uint8))
    (tmp_path / "set/masks/wave_3/00002.png").unlink()
    found = {r.check.id: r.where for r in check_folder(tmp_path / "set", select=["F3", "F4"]).results}
    assert found == {
        "F3": ("wax-01/00002: the value 7; only 0, 1 and 255 have a meaning",),
        "F4": ("wave_3/00002",),
    }


def test_the_result_does_not_depend_on_jobs_and_selection_selects(tmp_path: Path) -> None:
    for k in range(4):
        track = [mask.copy() for mask in disks(COUNT, seed=k)]
        _set(slice(10 + k, 11 + k), False)(track)
        write(tmp_path, {"1": track}, strip(*range(COUNT)), clip=f"disk{k}")
    seen: list[tuple[int, int]] = []
    one = check_folder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert one == check_folder(tmp_path, jobs=2)
    assert seen[-1] == (4, 4)
    assert [r.check.id for r in one.results] == ["M7", "G3", "G4"]
    assert [r.check.id for r in check_folder(tmp_path, select=["G"]).results] == ["G3", "G4"]
    assert [r.check.id for r in check_folder(tmp_path, select=["M7", "X"]).results] == ["M7"]
    with pytest.raises(UsageError, match="no clips"):
        check_folder(tmp_path / "masks")
    (tmp_path / "clips.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="format"):
        check_folder(tmp_path)


def run(*args: object) -> int:
    return cli.run(["annotate", "check", *map(str, args)])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _changed(_set(slice(10, 12), False))(tmp_path)
    assert run(tmp_path) == 0
    shown = capsys.readouterr()
    assert "W M7  Targets that flicker (visible or gone for 2 frames or fewer): 1" in shown.out
    assert "1 clips, 4 expressions: 0 E, 1 W, 0 I" in shown.out
    assert "M14" in shown.err
    _texts(e0="a disk")(tmp_path)
    assert run(tmp_path, "--json", "-q") == 7
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [(f["id"], f["severity"], f["total"]) for f in told["findings"]] == [("M7", "W", 1), ("X2", "E", 1)]
    assert all(f["threshold"] and f["fix"] for f in told["findings"])
    assert run(tmp_path, "--select", "M") == 0
    assert run(tmp_path, "--select", "Z") == 2
    assert "one of A" in (shown := capsys.readouterr().err) or "one of F" in shown
    assert run(tmp_path, "-b", "sample") == 2
    assert run() == 3  # bare: Ref-VPS, which is not here
    assert run(tmp_path / "nowhere") == 2


def test_the_sample_has_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-b", "sample", "-q") == 0
    assert "14 clips, 56 expressions: 0 E" in capsys.readouterr().out


def test_the_page_runs_and_names_every_check(
    tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs/annotate.md"
    for check in CHECKS.values():
        assert f"| {check.id} | {check.severity} | {check.what} | {check.threshold} |" in page.read_text(), check
    monkeypatch.chdir(tmp_path)
    for folder, there in (("Annotations", "sam2/chair"), ("JPEGImages", "frames/chair")):
        Path(there).mkdir(parents=True)
        for file in sorted((fixtures / "pumavos/chair" / folder).iterdir())[:14]:
            shutil.copy(file, there)
    shutil.copy(fixtures / "sav/sav_000001_manual.json", ".")
    region = np.zeros((480, 720), np.bool_)
    region[:4, :4] = True
    made.labels(Path("ignore"), {255: [region] * 2}, ["frame_000000", "frame_000001"], "L")
    codes = [cli.run(args) for args in commands(page)]
    assert codes == [0, 0, 7, 0, 0], capsys.readouterr().err  # the data set has no sentences yet
