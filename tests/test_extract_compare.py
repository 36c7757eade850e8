"""``refvps extract`` against a reference, and ``--verify``: same, shifted, different; exit code 7."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import films
import pytest
from extraction import good, run, videos

from refvps import cli

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def reference(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with fingerprints: the manifest and, beside it, the records of an extraction."""
    root = tmp_path_factory.mktemp("reference")
    clips = good(root / "clips.jsonl")
    assert cli.run(["extract", "-q", "--manifest", str(clips), "--videos", str(shelf), "--out", str(root / "f")]) == 0
    records = sorted((root / "f").glob("*.frames.json"))
    (root / "fingerprints.jsonl").write_bytes(b"".join(path.read_bytes() for path in records))
    return root


def edited_record(reference: Path, folder: Path, **changes) -> Path:
    """A copy of the extraction of one clip whose record says something else; None takes a field away."""
    shutil.copytree(reference / "f" / "second", folder / "second")
    record = json.loads((reference / "f" / "second.frames.json").read_text()) | changes
    record = {key: value for key, value in record.items() if value is not None}
    (folder / "second.frames.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("field", ["t0", "time_base"])
@pytest.mark.parametrize("value", ["1e99999999", "9" * 41, "1/0", 0.5, "nan"])
def test_numbers_of_a_record_that_would_compute_forever(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: object
) -> None:
    folder = edited_record(reference, tmp_path / "f", **{field: value})
    code, _, err = run(capsys, "--verify", folder)
    assert code == 4
    assert "not a record" in err


def test_a_record_without_hashes_proves_nothing_about_files(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = edited_record(reference, tmp_path / "f", sha256=None)
    code, out, _ = run(capsys, "--verify", folder)
    assert (code, out) == (0, "0 same, 0 shifted, 0 different, 1 unverified\n")
    code, out, _ = run(capsys, "--verify", folder, "--against", reference / "f")
    assert (code, out) == (0, "1 same, 0 shifted, 0 different, 0 unverified\n")


def test_fingerprints_beside_the_manifest_are_used(
    reference: Path, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--manifest", reference / "clips.jsonl", "--videos", shelf, "--out", tmp_path / "f"]
    code, out, _ = run(capsys, *args)
    assert code == 0
    assert [text.rsplit(", ", 1)[1] for text in out.splitlines()] == ["same"] * 4
    code, out, _ = run(capsys, *args, "--json")  # kept, and compared again
    assert {(each["kept"], each["verdict"]) for each in json.loads(out)["clips"]} == {(True, "same")}


@pytest.fixture(scope="module")
def another_shelf(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another download may look like: first.mp4 encoded anew without its third frame, second.mkv encoded anew."""
    root = tmp_path_factory.mktemp("videos2")
    settings = films.CODECS["h264"]
    films.CODECS["h264"] = (settings[0], settings[1] | {"crf": "24"})
    try:
        shifted = lambda index: films.picture(index if index < 20 else index + 1)  # noqa: E731
        films.write(root / "first.mp4", films.times(30, 60), shape=shifted)
        films.write(root / "second.mkv", films.times(25, 40), shape=lambda index: films.picture(index))
    finally:
        films.CODECS["h264"] = settings
    shutil.copy(shelf / "turned.mp4", root)
    return root


def test_a_shift_is_named_and_not_put_in_place(
    reference: Path, another_shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frame 20 of 30 a second is missing: from tick 16 on, all comes one source frame (0.8 ticks) early."""
    args = ["--manifest", reference / "clips.jsonl", "--videos", another_shelf, "--out", tmp_path / "f"]
    code, out, err = run(capsys, *args)
    assert code == 7
    assert sorted(entry.name for entry in (tmp_path / "f").iterdir()) == [
        "crop", "crop.frames.json", "second", "second.frames.json",
    ]  # fmt: skip
    assert "second: 38 frames, 96x64, same" in out
    assert "note: clip second: another file" not in out
    assert "2 of 4 clips could not be extracted" in err
    assert "clip one: frames look shifted by -1 from 00017 on" in err
    assert "clip cut: frames look shifted by -1 from 00005 on" in err  # it begins 12 ticks later


def test_two_extractions_are_compared(
    reference: Path, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "f"
    shutil.copytree(reference / "f", frames)
    for against in ([], ["--against", reference / "f"], ["--against", reference / "fingerprints.jsonl"]):
        code, out, _ = run(capsys, "--verify", frames, *against)
        assert (code, out) == (0, "4 same, 0 shifted, 0 different, 0 unverified\n")
    for name in [path.name for path in frames.glob("*.frames.json")]:
        (frames / name).unlink()  # pictures alone: fingerprints are taken from them
    assert run(capsys, "--verify", frames)[1] == "0 same, 0 shifted, 0 different, 4 unverified\n"
    code, out, _ = run(capsys, "--verify", frames, "--against", reference / "f")
    assert (code, out) == (0, "4 same, 0 shifted, 0 different, 0 unverified\n")
    code, out, _ = run(capsys, "--verify", reference / "f", "--against", frames)
    assert (code, out) == (0, "4 same, 0 shifted, 0 different, 0 unverified\n")


def test_what_verify_finds(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = tmp_path / "f"
    shutil.copytree(reference / "f", frames)
    (frames / "one/00003.jpg").write_bytes((frames / "one/00004.jpg").read_bytes())
    (frames / "cut/00009.jpg").unlink()
    (frames / "second/extra.jpg").write_bytes(b"")
    shutil.rmtree(frames / "crop")
    code, out, err = run(capsys, "--verify", frames)
    assert code == 7
    assert out == "0 same, 0 shifted, 4 different, 0 unverified\n"
    for words in ("4 of 4 clips", "clip crop: its frames are not there", "cut/00009.jpg missing or changed"):
        assert words in err
    code, out, _ = run(capsys, "--verify", frames, "--json")
    assert code == 7
    assert json.loads(out)["clips"]["one"]["sentence"].endswith("one/00003.jpg missing or changed since the extraction")
    (tmp_path / "g/elsewhere").mkdir(parents=True)
    shutil.copy(reference / "f/one/00000.jpg", tmp_path / "g/elsewhere")
    code, _, err = run(capsys, "--verify", frames, "--against", tmp_path / "g")
    assert code == 2
    assert "no clip in common" in err


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"schema": "refvps.frames/1", "clip": "../a", "frames": ["0"], "dhash64": ["0000000000000000"]}',
     '{"schema": "refvps.frames/1", "clip": "a", "frames": ["0"], "dhash64": ["zz"]}',
     '{"schema": "refvps.frames/1", "clip": "a", "frames": ["0", "1"], "dhash64": ["0000000000000000"]}',
     '{"schema": "refvps.frames/1", "clip": "a", "frames": ["0"], "dhash64": ["0000000000000000"], "t0": "1/0"}'],
)  # fmt: skip
def test_hostile_records(text: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fingerprints.jsonl").write_text(text + "\n")
    code, _, err = run(capsys, "--verify", reference / "f", "--against", tmp_path / "fingerprints.jsonl")
    assert code == 4
    assert "fingerprints.jsonl:1" in err
