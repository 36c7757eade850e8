"""``refvps curate``: what it prints and writes, near-duplicates, clips for a manifest, everything it must refuse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from fractions import Fraction as F
from pathlib import Path

import films
import numpy as np
import pytest
import scenes
from PIL import Image

from refvps import cli
from refvps.curate import clusters, fingerprints, near_duplicates, read_record
from refvps.data.ids import map_ids
from refvps.data.records import read_clips

pytest.importorskip("av")
pytest.importorskip("scenedetect")

ROOT = Path(__file__).resolve().parent.parent
REVIEWS = ("shots", "static", "fast", "crop", "outro", "review")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compilation of two padded shots and a card, and one plain shot."""
    root = tmp_path_factory.mktemp("videos")
    boxed = [scenes.padded(scenes.drifting(seed, 120, 320), scenes.black(), (0, 30, 320, 120)) for seed in (1, 2)]
    parts = [(boxed[0], 36), (boxed[1], 48), (scenes.plain(scenes.card(ground=(200, 30, 30))), 30)]
    scenes.film(root / "two fires.mp4", *scenes.join(parts))
    scenes.film(root / "plain.mp4", scenes.drifting(3), 40)
    return root


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = cli.run(["curate", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- what is printed and written -----------------------------------------------------------------------


def test_everything_about_one_video(shelf: Path, tmp_path: Path, capsys) -> None:
    video = shelf / "two fires.mp4"
    code, out, err = run(capsys, "review", video, "--out", tmp_path)
    assert code == 0
    assert out.splitlines() == [
        f"{video}: 320x180, 114 frames, 4.750 s",
        *(line for line in out.splitlines() if re.match(r"  (cut|clip) ", line)),
        "  propose split compilation [beginning, 1.500 s) [1.500 s, 3.500 s): 2 shots",
        "  propose crop 320x120+0+30: padding: top, bottom",
        "  propose crop 320x120+0+30: padding: top, bottom",
    ]
    assert "  clip 2: [1.500, 3.500) s" in out and "  cut at 3.500 s, frame 84, change" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two fires.review.json", "two fires.review.png"]
    found = read_record(tmp_path / "two fires.review.json")
    assert [each["accepted"] for each in found["proposals"]] == [None] * 3
    assert found["thresholds"]["cut_level"] == 15 and found["engine"] == "built-in"
    with Image.open(tmp_path / "two fires.review.png") as sheet:
        assert sheet.format == "PNG" and sheet.width == 1600 and sheet.height > 700
    assert "sheet: " in err and str(video) not in err


@pytest.mark.parametrize("command", REVIEWS)
def test_every_command_prints_json_and_writes_its_sheet(shelf: Path, tmp_path: Path, capsys, command) -> None:
    code, out, err = run(
        capsys,
        command,
        shelf / "plain.mp4",
        shelf / "two fires.mp4",
        "--json",
        "-q",
        "--out",
        tmp_path,
        "--set",
        "cut_level=14",
    )
    assert code == 0 and err == ""
    content = json.loads(out)
    assert content["failed"] == {} and [each["file"] for each in content["videos"]] == ["plain.mp4", "two fires.mp4"]
    for found in content["videos"]:
        stem = Path(found["file"]).stem
        assert read_record(tmp_path / f"{stem}.{command}.json") == found
        assert (tmp_path / f"{stem}.{command}.png").stat().st_size > 10_000
        assert found["thresholds"]["cut_level"] == 14
    asked = {
        "shots": ["split"],
        "static": [],
        "fast": [],
        "crop": ["crop", "crop"],
        "outro": ["trim"],
        "review": ["split", "crop", "crop"],
    }
    assert [each["kind"] for each in content["videos"][1]["proposals"]] == asked[command]
    assert content["videos"][0]["proposals"] == []


def test_decisions_are_kept(shelf: Path, tmp_path: Path, capsys) -> None:
    args = ("review", shelf / "two fires.mp4", "--out", tmp_path)
    assert run(capsys, *args)[0] == 0
    path = tmp_path / "two fires.review.json"
    decided = json.loads(path.read_text())
    decided["proposals"][0]["accepted"] = False
    path.write_text(json.dumps(decided))
    code, _, err = run(capsys, *args)
    assert code == 0 and "(kept)" in err and json.loads(path.read_text()) == decided
    code, _, err = run(capsys, *args, "--set", "clip_seconds=1.8")
    assert code == 2 and "Someone decided" in err and json.loads(path.read_text()) == decided
    assert run(capsys, *args, "--set", "clip_seconds=1.8", "--force")[0] == 0
    assert json.loads(path.read_text()) != decided


def test_a_known_end_card(shelf: Path, tmp_path: Path, capsys) -> None:
    Image.fromarray(scenes.card(ground=(200, 30, 30))).save(tmp_path / "logo.png")
    _, out, _ = run(capsys, "outro", shelf / "two fires.mp4", "--end-card", tmp_path / "logo.png")
    assert "  propose trim [beginning, 3.500 s): end card (looks like a known card)" in out
    code, _, err = run(capsys, "outro", shelf / "plain.mp4", "--end-card", tmp_path / "none.png")
    assert code == 4 and "none.png" in err


def test_probe(shelf: Path, tmp_path: Path, capsys) -> None:
    films.write(tmp_path / "turned.mp4", films.times(30, 40), matrix=films.MATRICES["90"])
    code, out, _ = run(capsys, "probe", tmp_path / "turned.mp4", shelf / "plain.mp4", "--json")
    turned, plain = json.loads(out)["videos"]
    assert code == 0
    assert (turned["size"], turned["rotation"], turned["frames"], turned["duration"]) == ([64, 96], 90, 40, "4/3")
    assert len(turned["problems"]) == 1 and plain["problems"] == [] and len(plain["sha256"]) == 64
    _, out, _ = run(capsys, "probe", tmp_path / "turned.mp4")
    assert "96x64, h264, 30.000 fps (constant), 40 frames, 1.333 s, sha256 " in out and "turned by 90" in out


# --- clips for a manifest ------------------------------------------------------------------------------


def test_split_prints_lines_that_extract_takes(shelf: Path, tmp_path: Path, capsys) -> None:
    code, out, _ = run(capsys, "split", shelf / "two fires.mp4", shelf / "plain.mp4", "--concept", "fire")
    assert code == 0
    (tmp_path / "proposed.jsonl").write_text(out)
    one, two, plain = read_clips(tmp_path / "proposed.jsonl")
    group = map_ids(["two fires"])["two fires"]  # a blank is not allowed in an id
    assert [each.clip.id for each in (one, two, plain)] == [f"{group}-01", f"{group}-02", "plain"]
    assert one.clip.group == two.clip.group == group
    assert {each.concept for each in (one, two, plain)} == {"fire"}
    assert (one.edit.start, one.edit.end, one.edit.crop) == (None, F(3, 2), (0, 30, 320, 120))
    assert (two.edit.start, two.edit.end, two.clip.size) == (F(3, 2), F(7, 2), (120, 320))
    assert plain.edit == type(plain.edit)() and plain.source.file == "plain.mp4" and len(plain.source.sha256) == 64
    code = cli.run(
        [
            "extract",
            "--manifest",
            str(tmp_path / "proposed.jsonl"),
            "--videos",
            str(shelf),
            "--out",
            str(tmp_path / "frames"),
        ]
    )
    assert code == 0, capsys.readouterr().err
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "frames").iterdir() if folder.is_dir()}
    assert counts == {f"{group}-01": 36, f"{group}-02": 48, "plain": 40}
    with Image.open(tmp_path / "frames" / f"{group}-02" / "00000.jpg") as image:
        first = np.asarray(image).astype(int)
    assert np.abs(first - scenes.drifting(2, 120, 320)(0)).mean() < 12


@pytest.mark.parametrize(("rate", "container"), [(30, "mp4"), (F(30000, 1001), "mkv"), (10, "webm")])
def test_split_promises_the_frames_that_come(tmp_path: Path, capsys, rate, container) -> None:
    scale = 90_000 if container == "mp4" else 1000
    count = round(rate * 4)
    scene, count = scenes.join([(scenes.drifting(5), count // 2), (scenes.drifting(6), count - count // 2)])
    codec = "vp9" if container == "webm" else "h264"
    films.write(
        tmp_path / f"x.{container}",
        films.times(rate, count, scale, 700),
        scale=scale,
        rate=rate,
        shape=scene,
        codec=codec,
    )
    code, out, _ = run(capsys, "split", tmp_path / f"x.{container}")
    assert code == 0 and len(out.splitlines()) == 2
    (tmp_path / "p.jsonl").write_text(out)
    args = ["--manifest", tmp_path / "p.jsonl", "--videos", tmp_path, "--out", tmp_path / "f"]
    assert cli.run(["extract", *map(str, args)]) == 0, capsys.readouterr().err
    for record in read_clips(tmp_path / "p.jsonl"):
        assert len(list((tmp_path / "f" / record.clip.id).iterdir())) == len(record.clip.frames)


# --- near-duplicates -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies")
    scene = scenes.drifting(21, speed=1)
    scenes.film(root / "a.mp4", scene, 72)
    scenes.film(root / "later.webm", lambda i: scene(i + 24), 48, codec="vp9")
    scenes.film(root / "mirrored.mp4", lambda i: np.ascontiguousarray(scene(i)[:, ::-1]), 72)

    def small(index: int):
        return np.asarray(Image.fromarray(scene(index)).resize((240, 136)))

    scenes.film(root / "boxed.mp4", scenes.padded(small, scenes.black(240, 240), (0, 52, 240, 136)), 72)
    scenes.film(root / "within.mp4", *scenes.join([(scenes.drifting(23), 30), (lambda i: scene(i + 12), 48)]))
    scenes.film(root / "other.mp4", scenes.drifting(22, speed=1), 72)
    black = scenes.plain(scenes.black())
    for name, seed in (("dark1.mp4", 31), ("dark2.mp4", 32)):
        scenes.film(root / name, *scenes.join([(black, 48), (scenes.drifting(seed), 30)]))
    shutil.copy(root / "other.mp4", root / "same.mp4")
    return root


def test_near_duplicates(copies: Path) -> None:
    prints = [fingerprints(path) for path in sorted(copies.iterdir())]
    found = {(each.one.stem, each.other.stem): each for each in near_duplicates(prints)}
    family = ["a", "boxed", "later", "mirrored", "within"]
    assert set(found) == {(one, other) for one in family for other in family if one < other} | {("other", "same")}
    assert found["other", "same"].identical and not found["a", "boxed"].identical
    assert found["a", "boxed"].seconds == 3 and found["a", "boxed"].bits <= 3
    assert abs(found["a", "later"].one_start - found["a", "later"].other_start - 1) <= F(1, 6)
    assert abs(found["a", "later"].seconds - 2) <= F(1, 4)
    assert abs(found["a", "within"].other_start - found["a", "within"].one_start - F(3, 4)) <= F(1, 6)
    assert {pair for pair, each in found.items() if each.mirrored} == {
        ("a", "mirrored"),
        ("boxed", "mirrored"),
        ("later", "mirrored"),
        ("mirrored", "within"),
    }
    assert near_duplicates(prints[::-1]) == near_duplicates(prints)
    groups = [[path.stem for path in group] for group in clusters(prints, tuple(found.values()))]
    assert [sorted(group) for group in groups] == [family, ["other", "same"]]
    assert groups[0][0] == "within" and groups[0][-1] == "boxed"  # the longest of the largest; the smallest


def test_a_copy_half_a_tick_later_in_a_fast_pan(tmp_path: Path) -> None:
    scene = scenes.drifting(21, speed=6)
    scenes.film(tmp_path / "a.mp4", scene, 60)
    scenes.film(tmp_path / "b.mp4", lambda i: scene(i + 13), 46)
    scenes.film(tmp_path / "c.mp4", lambda i: scene(int(i * 2.4) + 10), 20, rate=10)
    found = near_duplicates([fingerprints(tmp_path / f"{name}.mp4", crops=False) for name in "abc"])
    assert {(each.one.stem, each.other.stem) for each in found} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(each.seconds >= F(3, 2) for each in found)


def test_duplicates_on_the_command_line(copies: Path, tmp_path: Path, capsys) -> None:
    videos = [copies / name for name in ("a.mp4", "mirrored.mp4", "other.mp4")]
    code, out, err = run(capsys, "duplicates", *videos, "--out", tmp_path)
    assert code == 0
    assert out.splitlines()[0] == f"2 alike, keep {videos[0]}: {videos[1]}"
    assert "for 3.00 s" in out and ", mirrored)" in out and "duplicates.png" in err
    with Image.open(tmp_path / "duplicates.png") as sheet:
        assert sheet.width == 1600
    code, out, _ = run(capsys, "duplicates", *videos[::-1], "--json")
    content = json.loads(out)
    assert [each["mirrored"] for each in content["pairs"]] == [True]
    assert content["clusters"] == [{"keep": str(videos[0]), "others": [str(videos[1])]}]
    assert run(capsys, "duplicates", videos[0], videos[2])[1] == "no near-duplicates\n"
    strict = run(capsys, "duplicates", *videos[:2], "--set", "duplicate_seconds=9")[1]
    assert strict != "no near-duplicates\n"  # most of the shorter one is enough


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["probe", "split", "duplicates", *REVIEWS])
def test_hostile_files(shelf: Path, tmp_path: Path, capsys, command) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{shelf / 'plain.mp4'}'\n")
    whole = (shelf / "plain.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("empty.mp4", "text.mp4", "list.mp4", "cut.mp4"):
        code, out, err = run(capsys, command, tmp_path / name)
        assert code == 4 and out == "" and name in err and "bug" not in err
    assert run(capsys, command, tmp_path / "absent.mp4")[0] == 2
    assert run(capsys, command, tmp_path)[0] in (2, 4)
    assert run(capsys, command)[0] == 2
    code, out, err = run(capsys, command, shelf / "plain.mp4", tmp_path / "text.mp4")
    assert code == 4 and out != "" and "Some videos could not be looked at" in err


def test_wrong_requests(shelf: Path, tmp_path: Path, capsys) -> None:
    video = shelf / "plain.mp4"
    assert run(capsys, "shots", video, "--engine", "magic")[0] == 2
    assert run(capsys, "shots", video, "--set", "magic=1")[0] == 2
    (tmp_path / "a").mkdir()
    other = Path(shutil.copy(video, tmp_path / "a" / "plain.mp4"))
    assert run(capsys, "shots", video, other)[0] == 0
    code, _, err = run(capsys, "shots", video, other, "--out", tmp_path)
    assert code == 2 and "Two videos have one name" in err
    assert run(capsys, "split", video, other)[0] == 2
    shutil.copy(shelf / "two fires.mp4", tmp_path / "x.mp4")
    shutil.copy(video, tmp_path / "x-01.mp4")
    code, out, err = run(capsys, "split", tmp_path / "x.mp4", tmp_path / "x-01.mp4")
    assert code == 2 and out == "" and "x-01" in err
    (tmp_path / "plain.shots.json").write_text("{}")
    code, _, err = run(capsys, "shots", video, "--out", tmp_path)
    assert code == 4 and "not a record of proposals" in err
    assert (tmp_path / "plain.shots.json").read_text() == "{}"
    (tmp_path / "file").write_text("")
    assert run(capsys, "shots", video, "--out", tmp_path / "file")[0] == 4


# --- the page of the docs ------------------------------------------------------------------------------


def test_every_command_of_the_docs_runs(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = (ROOT / "docs" / "curate.md").read_text()
    lines = [line for block in re.findall(r"^```\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("refvps ")]
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    shutil.copy(shelf / "two fires.mp4", "videos/fires.mp4")
    shutil.copy(shelf / "plain.mp4", "videos/storm.mp4")
    Image.fromarray(scenes.card()).save("logo.png")
    used = set()
    for words in commands:
        words = [str(name) for word in words[1:] for name in (sorted(Path().glob(word)) if "*" in word else [word])]
        target = words[words.index(">") + 1] if ">" in words else ""
        words = words[: words.index(">")] if target else words
        assert cli.run(words) == 0, (words, capsys.readouterr().err)
        out = capsys.readouterr().out
        if target:
            Path(target).write_text(out)
        used.add(words[1] if words[0] == "curate" else words[0])
    assert used >= {"probe", "split", "duplicates", "extract", *REVIEWS}
    for name in (*Path("proposals").glob("*.json"),):
        assert read_record(name)["proposals"] is not None
    from refvps.curate import Thresholds

    for name in re.findall(r"`(\w+)`", text.partition("## Thresholds")[2]):
        assert hasattr(Thresholds(), name), name
