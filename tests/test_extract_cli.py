"""``refvps extract``: manifests, resuming, comparing, exit codes; and everything it must refuse."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import films
import numpy as np
import pytest
from extraction import content, good, line, manifest, run, videos
from PIL import Image

from refvps.extract import clip as clip_module
from refvps.extract import frames as frames_module

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos(tmp_path_factory.mktemp("videos"))


# --- bare files ----------------------------------------------------------------------------------------


def test_a_bare_file(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, shelf / "first.mp4", "--fps", "24", "--out", tmp_path)
    assert code == 0
    assert out == f"{tmp_path / 'first'}: 48 frames, 96x64, unverified\n"
    assert "1 clip in" in err
    assert films.numbers(tmp_path / "first")[:6] == [0, 1, 3, 4, 5, 6]
    assert sorted(os.listdir(tmp_path)) == ["first", "first.frames.json"]
    record = json.loads((tmp_path / "first.frames.json").read_text())
    assert record["pts"][:4] == [0, 3000, 9000, 12_000]
    assert (record["time_base"], record["t0"], record["request"]["fps"]) == ("1/90000", "0", "24")
    assert set(record["tools"]) >= {"refvps", "av", "libavcodec", "libswscale", "opencv-python-headless"}
    assert all(len(text) == 16 for text in record["dhash64"])


def test_one_broken_bare_file_does_not_stop_the_others(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    code, out, err = run(capsys, broken, shelf / "turned.mp4", "--json", "--out", tmp_path / "out")
    assert code == 4
    told = json.loads(out)
    assert ([row["clip"] for row in told["clips"]], list(told["failed"])) == (["turned"], ["broken"])
    assert "broken.mp4" in err
    assert len(list((tmp_path / "out" / "turned").iterdir())) == 12


def test_pictures_and_subtitles_beside_a_video_are_not_taken_for_it(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """yt-dlp writes ID.mp4, ID.jpg, ID.json; two videos of one name are named instead of called missing."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    shutil.copy(shelf / "second.mkv", tmp_path / "in" / "a" / "second.mkv")
    for suffix in ("jpg", "json"):
        (tmp_path / "in" / f"second.{suffix}").write_text("x")
    clips = manifest(tmp_path / "clips.jsonl", line("second", 38))
    args = ["--manifest", clips, "--videos", tmp_path / "in", "--out"]
    assert run(capsys, *args, tmp_path / "out")[0] == 0
    shutil.copy(shelf / "first.mp4", tmp_path / "in" / "second.mp4")
    code, _, err = run(capsys, *args, tmp_path / "other")
    assert code == 3
    assert "not clear which file" in err
    assert str(tmp_path / "in" / "second.mp4") in err


def test_a_rate_too_small_to_be_one_is_named(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = manifest(tmp_path / "clips.jsonl", line("second", 38, fps=1e-5))
    code, _, err = run(capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "out")
    assert code == 2
    assert "does not say its frame rate" in err


def test_options_of_bare_files(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--fps", "30000/1001", "--start", "0:00.5", "--end", "1.5", "--format", "png", "--crop", "8,8,80,48"]
    code, out, _ = run(capsys, shelf / "first.mp4", shelf / "second.mkv", *args, "--json", "--out", tmp_path, "-j", "2")
    assert code == 0
    clips = {each["clip"]: each for each in json.loads(out)["clips"]}
    assert clips["first"]["frames"] == clips["second"]["frames"] == 30
    assert clips["first"]["size"] == [48, 80]
    assert clips["second"]["repeated"] == 4  # frames 12 to 37
    with Image.open(tmp_path / "second" / "00000.png") as image:
        assert image.size == (80, 48)


def test_duplicates_in_the_source_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = lambda index: np.full((*films.SIZE, 3), 90 if index < 4 else 30 * (index % 6), np.uint8)  # noqa: E731
    path = films.write(tmp_path / "film.mp4", films.times(12, 8), shape=flat)  # every frame stands for two ticks
    code, _, err = run(capsys, path, "--out", tmp_path / "out")
    assert code == 0
    assert "clip film: 3 frames equal the one before though the source frame is another (first 00002)" in err


def test_file_names_become_ids(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "..ein Film, mit $Zeichen.mp4"
    shutil.copy(shelf / "turned.mp4", odd)
    code, _, _ = run(capsys, odd, "--out", tmp_path / "out")
    assert code == 0
    (folder,) = [entry for entry in (tmp_path / "out").iterdir() if entry.is_dir()]
    assert folder.name.startswith("ein_Film_mit_Zeichen-")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Name videos, or a manifest"),
        (["F", "--manifest", "M"], "Name videos, or a manifest"),
        (["F", "--clip", "a"], "belong to --manifest"),
        (["F", "F"], "one name"),
        (["F", "--crop", "1,2,3"], "--crop is"),
        (["F", "--crop", "1,2,-3,4"], "--crop is"),
        (["F", "--fps", "0"], "out of range"),
        (["F", "--fps", "1e9"], "not a number"),
        (["F", "--start", "nan"], "not a time"),
        (["F", "--start", "-1"], "out of range"),
        (["F", "--start", "1/0"], "not a time"),
        (["F", "--start", "1", "--end", "1.01"], "half a frame"),
        (["--manifest", "M", "--videos", "V", "--fps", "24"], "manifest says"),
        (["--manifest", "M"], "--videos"),
        (["--manifest", "M", "--videos", "V", "--clip", "nobody"], "no such clip"),
        (["--manifest", "nowhere", "--videos", "V"], "no manifest"),
        (["--manifest", os.devnull, "--videos", "V"], "no manifest"),
        (["--manifest", "EMPTY", "--videos", "V"], "lists no clip"),
        (["--manifest", "M", "--videos", "nowhere"], "no folder of videos"),
        (["F", "--against", "nowhere"], "no such reference"),
        (["--verify", "V", "F"], "extracts nothing"),
        (["--verify", "V"], "no extracted frames"),
        (["nowhere.mp4"], "no such file"),
    ],
)
def test_wrong_usage(
    args: list[str], words: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"F": shelf / "first.mp4", "M": good(tmp_path / "clips.jsonl"), "V": shelf}
    places["EMPTY"] = manifest(tmp_path / "empty.jsonl")
    out = [] if "--verify" in args else ["--out", tmp_path / "out"]
    code, _, err = run(capsys, *(places.get(arg, arg) for arg in args), *out)
    assert code == 2
    assert words in err
    assert not content(tmp_path).keys() - {"clips.jsonl", "empty.jsonl"}
    assert run(capsys, shelf / "first.mp4")[0] == 2  # without --out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--crop", "90,0,10,10"], "reaches out of the picture"),
        (["--crop", "0,0,0,10"], "reaches out of the picture"),
        (["--end", "9"], "goes on after its video"),
        (["--start", "5"], "No frame"),
        (["--end", "1000000"], "goes on after its video"),
    ],
)
def test_cuts_that_do_not_fit(
    args: list[str], words: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, shelf / "first.mp4", *args, "--out", tmp_path / "out")
    assert code == 4
    assert words in err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_clock_gone_wild_does_not_fill_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in (700, 100_000):
        path = films.write(tmp_path / "film.mkv", [0, 3000, 90_000 * seconds, 90_000 * seconds + 3000])
        code, _, err = run(capsys, path, "--out", tmp_path / "out")
        assert code == 4
        assert "too many frames" in err
    assert list((tmp_path / "out").iterdir()) == []


# --- manifests -----------------------------------------------------------------------------------------


def test_a_manifest(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = good(tmp_path / "clips.jsonl")
    code, out, _ = run(
        capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "frames", "--json", "-j", "1"
    )
    assert code == 0, out
    found = {each["clip"]: (each["frames"], each["verdict"], each["notes"]) for each in json.loads(out)["clips"]}
    assert found == {
        name: (count, "unverified", []) for name, count in (("one", 48), ("cut", 24), ("second", 38), ("crop", 12))
    }
    assert films.numbers(tmp_path / "frames/cut")[:3] == [15, 16, 18]
    with Image.open(tmp_path / "frames/crop/00000.jpg") as image:
        assert image.size == (80, 48)
        assert np.array(image)[4:12, 4:12].mean() < 60  # the first block of number 0


def test_two_workers_and_one_give_the_same_bytes(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = good(tmp_path / "clips.jsonl")
    for jobs in (1, 2, 3):
        args = ["--manifest", clips, "--videos", shelf, "-q", "--out", tmp_path / str(jobs), "-j", jobs]
        assert run(capsys, *args)[0] == 0
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_finished_clips_are_kept_and_damaged_ones_made_again(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, out = good(tmp_path / "clips.jsonl"), tmp_path / "frames"
    args = ["--manifest", clips, "--videos", shelf, "--out", out, "-j", 1]
    assert run(capsys, *args)[0] == 0
    before = content(out)
    (out / "one/00007.jpg").unlink()
    shutil.rmtree(out / "cut")
    (out / "second/00003.jpg").write_bytes(b"other length")
    (out / ".crop.0123456789ab.tmp").mkdir()  # what a kill leaves
    (out / ".crop.0123456789ab.tmp/00000.jpg").write_bytes(b"half")
    (out / ".crop.frames.json.0123456789ab.tmp").write_bytes(b"half")
    written = []
    original = clip_module._write
    monkeypatch.setattr(clip_module, "_write", lambda cut, *rest: written.append(cut.clip) or original(cut, *rest))
    code, text, err = run(capsys, *args, "--json")
    assert code == 0, err
    assert written == ["one", "cut", "second"]
    assert {each["clip"]: each["kept"] for each in json.loads(text)["clips"]} == {
        "one": False, "cut": False, "second": False, "crop": True,
    }  # fmt: skip
    assert content(out) == before


@pytest.mark.parametrize("place", ["write_atomic", "encode", "os.replace"])
def test_an_end_at_any_step_leaves_nothing_half_done(
    place: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    args = [shelf / "turned.mp4", "--out", tmp_path / "out", "-j", 1]
    with monkeypatch.context() as patch:
        target = {"write_atomic": clip_module, "encode": frames_module, "os.replace": clip_module.os}[place]
        if place == "os.replace":  # the record is written, the folder not yet moved
            patch.setattr(clip_module, "write_atomic", lambda path, data: path.write_bytes(data))
        patch.setattr(target, place.removeprefix("os."), stop)
        assert run(capsys, *args)[0] == 130
    assert {name for name in content(tmp_path / "out")} <= {"turned.frames.json"}
    assert run(capsys, *args)[0] == 0
    assert run(capsys, *args)[0] == 0
    assert films.numbers(tmp_path / "out/turned") == list(range(12))


def test_another_request_is_refused_unless_forced(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = shelf / "turned.mp4", tmp_path / "out"
    assert run(capsys, path, "--out", out)[0] == 0
    before = content(out)
    code, _, err = run(capsys, path, "--out", out, "--quality", "80")
    assert code == 2
    assert "turned: quality is 95 there, 80 now" in err
    assert content(out) == before
    assert run(capsys, path, "--out", out, "--quality", "80", "--force")[0] == 0
    assert content(out).keys() == before.keys()
    assert content(out) != before
    (out / "turned.frames.json").write_text("{}")
    code, _, err = run(capsys, path, "--out", out, "--quality", "80")
    assert code == 4
    assert "not a record" in err


def test_foreign_folders_and_links_are_not_touched(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "turned").mkdir(parents=True)
    (out / "turned/holiday.jpg").write_bytes(b"mine")
    code, _, err = run(capsys, shelf / "turned.mp4", "--out", out)
    assert code == 2
    assert "not from refvps extract" in err
    shutil.rmtree(out / "turned")
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_bytes(b"mine")
    (out / "turned").symlink_to(elsewhere, target_is_directory=True)
    for force in ([], ["--force"]):
        code, _, err = run(capsys, shelf / "turned.mp4", "--out", out, *force)
        assert code == 2
        assert "not a folder" in err
    assert content(elsewhere) == {"mine.txt": b"mine"}
    (tmp_path / "file").write_bytes(b"")
    assert run(capsys, shelf / "turned.mp4", "--out", tmp_path / "file")[0] == 2


def test_another_process_in_the_folder(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from refvps.files import locked

    with locked(tmp_path / ".extract.lock"):
        code, _, err = run(capsys, shelf / "turned.mp4", "--out", tmp_path)
    assert code == 2
    assert "Another process" in err


def test_missing_videos_do_not_stop_the_others(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        line("gone", 10, source={"video_id": "x/../../first", "url": "https://example.org/v"}),
        line("first", 48),
        line("withdrawn", 48, withdrawn_in="v2", source={"file": "first.mp4"}),
        line("gone2", 10, source={"file": "..mp4"}),
    ]
    code, out, err = run(
        capsys, "--manifest", manifest(tmp_path / "m/clips.jsonl", *lines).parent, "--videos", shelf,
        "--out", tmp_path / "frames",
    )  # fmt: skip
    assert code == 3
    assert out == f"{tmp_path / 'frames/first'}: 48 frames, 96x64, unverified\n"
    assert "2 of 3 clips could not be extracted" in err
    assert "gone: The video of a clip is not here" in err
    assert "https://example.org/v" in err
    assert "1 withdrawn clips left out" in err


def test_a_video_is_found_by_its_hash(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from refvps.files import sha256_file

    digest = sha256_file(shelf / "turned.mp4")
    clips = manifest(tmp_path / "clips.jsonl", line("a", 12, source={"file": "renamed.mp4", "sha256": digest}))
    assert run(capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "frames")[0] == 0
    clips = manifest(tmp_path / "clips.jsonl", line("turned", 12, source={"sha256": "0" * 64}))
    code, _, err = run(capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "other")
    assert code == 7
    assert "not the one of the manifest" in err
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"frames": 46}, 7, "another number of frames"),
        ({"frames": 50}, 7, "another number of frames"),
        ({"frames": 47}, 0, "one tick more at the very end"),
        ({"frames": 49}, 0, "one tick less at the very end"),
        ({"size": [64, 97]}, 7, "do not have its size"),
        ({"fps": 0}, 2, "does not say its frame rate"),
        ({"edit": {"crop": [0, 0, 97, 64]}}, 4, "reaches out of the picture"),
        ({"edit": {"rotation": 90}, "size": [96, 64]}, 0, ""),
        ({"id": "a.frames.json"}, 2, "like a record"),
        ({"id": "../a"}, 4, "does not follow its format"),
        ({"source": {"file": "../first.mp4"}}, 4, "does not follow its format"),
    ],
)
def test_manifests_that_do_not_fit(
    fields: dict, code: int, words: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = fields.pop("frames", 48)
    clips = manifest(tmp_path / "m/clips.jsonl", line("a", count, **{"source": {"file": "first.mp4"}, **fields}))
    found, out, err = run(capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "frames")
    assert found == code, err
    assert words in err
    if code == 0:
        assert len(list((tmp_path / "frames/a").iterdir())) == count
    else:
        assert out == ""
        assert not (tmp_path / "frames").exists() or list((tmp_path / "frames").iterdir()) == []
    assert sorted(os.listdir(tmp_path)) in (["frames", "m"], ["m"])


def test_a_rotation_of_the_manifest_overrules_the_file(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"file": "first.mp4"}
    clips = manifest(
        tmp_path / "clips.jsonl",
        *(line(f"r{turn}", 48, source=source, size=list(films.SIZE[:: 1 - turn % 180 // 45]), edit={"rotation": turn})
          for turn in (0, 90, 180, 270)),
    )  # fmt: skip
    assert run(capsys, "--manifest", clips, "--videos", shelf, "--out", tmp_path / "f", "--format", "png")[0] == 0
    upright = np.array(Image.open(tmp_path / "f/r0/00005.png"))
    for turn in (90, 180, 270):
        with Image.open(tmp_path / f"f/r{turn}/00005.png") as image:
            assert np.array_equal(np.array(image), np.rot90(upright, -turn // 90))


def test_memory_does_not_grow_with_the_film(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 files of a megabyte each, of which a handful may be in memory at a time."""
    path = films.write(tmp_path / "film.mp4", films.times(24, 120))
    monkeypatch.setattr(frames_module, "encode", lambda picture, *_: bytes([picture[0, 0, 0]]) * (1 << 20))
    tracemalloc.start()
    try:
        assert run(capsys, path, "--out", tmp_path / "out", "-j", 2)[0] == 0
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


def test_limits_hold_for_long_films(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_module, "MAX_FRAMES", 40)
    code, _, err = run(capsys, shelf / "first.mp4", "--out", tmp_path / "out")
    assert code == 4
    assert "too many frames" in err
