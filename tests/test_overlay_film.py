"""``refvps overlay`` films: decoded again, they have every frame of the clip and the colours of its masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import write_labels, write_lines, write_ref_vps

from refvps import cli
from refvps.data import load
from refvps.errors import InputError
from refvps.predictions.submission import open_submission
from refvps.report import film
from refvps.report.film import Band, wrapped, write_films
from refvps.report.overlay import BLUE, INK, VERMILION, YELLOW, font, legend
from refvps.video import WebmWriter, open_frames

SIZE = (192, 160)
GROUND = 120


def label(frame):
    """Target in a box, Ignore in another, both moving down 8 pixels a frame."""
    image = np.zeros(SIZE, np.uint8)
    image[16 + 8 * frame : 80 + 8 * frame, 32:96] = 1
    image[16 + 8 * frame : 80 + 8 * frame, 112:144] = 255
    return image


def guess(frame):
    """The right half of the target, and as much beside it, all of Ignore included."""
    image = np.zeros(SIZE, np.uint8)
    image[16 + 8 * frame : 80 + 8 * frame, 64:160] = 1
    return image


CLIPS = {"dense": range(7), "sparse": range(1, 7, 3)}


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """Two clips of seven grey frames: one annotated on every frame, one on frames 1 and 4; with predictions."""
    root = tmp_path_factory.mktemp("films")
    names = [f"{k:05d}" for k in range(7)]
    clips = [
        {"id": clip, "size": list(SIZE), "fps": 10, "frames": names, "annotated": [names[k] for k in on],
         "annotation_fps": 10 / (on[1] - on[0]), "group": clip, "split": "test", "concept": "box", "categories": []}
        for clip, on in CLIPS.items()
    ]  # fmt: skip
    write_lines(root / "set/clips.jsonl", clips)
    texts = [
        {"clip": clip, "id": str(k), "text": f"the box, version {k}", "target": "1"} for clip in CLIPS for k in range(2)
    ]
    write_lines(root / "set/expressions.jsonl", texts)
    for clip, on in CLIPS.items():
        for k in range(7):
            path = root / f"set/frames/{clip}/{names[k]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*SIZE, 3), GROUND, np.uint8)).save(path)
            if k in on:
                write_labels(root / f"set/masks/{clip}/{names[k]}.png", label(k))
                for expression in "01":
                    image = guess(k) if expression == "0" else np.zeros(SIZE, np.uint8)
                    write_labels(root / f"preds/{clip}/{expression}/{names[k]}.png", image, "1")
    return root


@pytest.fixture
def home(registered, monkeypatch):
    """The data set, registered once."""
    monkeypatch.setenv("REFVPS_HOME", str(registered / "home"))
    if not (registered / "home").exists():
        assert cli.run(["download", "-q", "ref-vps", "--from", str(registered / "set")]) == 0
    return registered


def decoded(path):
    frames = open_frames(path)
    return frames, [frames[k].astype(int) for k in range(len(frames))]


def filled(colour, ground=GROUND):
    """What ``draw`` makes of the ground under a fill."""
    return (np.array(colour) * 166 + ground * 90 + 128) >> 8


def seen(image, scale, y, x):
    """Mean colour around a pixel of the clip, away from the edges that compression blurs."""
    y, x = y * scale, x * scale
    return image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(axis=0)


def near(a, b):
    return np.abs(np.asarray(a) - np.asarray(b)).max() < 14


def test_every_frame_is_there_with_its_colours(home, tmp_path, capsys):
    command = ["overlay", "--pred", str(home / "preds"), "--clip", "dense", "--out", str(tmp_path / "out"), "--json"]
    assert cli.run(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["films"] == [str(tmp_path / "out/films/dense/0.webm")]
    assert Path(said["sheet"]).is_file()
    found, images = decoded(Path(said["films"][0]))
    scale = 2
    assert len(found) == 7
    assert found.fps == pytest.approx(10)
    assert found.size[1] == SIZE[1] * scale
    assert SIZE[0] * scale < found.size[0] < SIZE[0] * scale + 160
    for k, image in enumerate(images):
        top = 16 + 8 * k
        assert near(seen(image, scale, top + 32, 80), filled(BLUE)), k
        assert near(seen(image, scale, top + 32, 48), filled(YELLOW)), k
        assert near(seen(image, scale, top + 32, 104), filled(VERMILION)), k
        assert near(seen(image, scale, top + 32, 152), filled(VERMILION)), k
        assert near(seen(image, scale, 8, 8), (GROUND,) * 3), k
        ignored = image[(top + 20) * scale : (top + 44) * scale, 118 * scale : 138 * scale].reshape(-1, 3)
        assert (ignored.max(axis=1) - ignored.min(axis=1)).mean() < 12  # grey hatching, whatever was predicted there
        assert ignored.std() > 30
    bands = [image[SIZE[0] * scale :] for image in images]
    assert near(np.median(bands[0].reshape(-1, 3), axis=0), INK)
    assert np.abs(bands[0] - bands[6]).max() > 80  # the line with the frame's name changes


def test_masks_are_held_between_annotated_frames(home, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(Band, "__call__", lambda self, line: lines.append(line) or self.ground)
    bench = load("ref-vps")
    (path,) = write_films(
        bench, open_submission(home / "preds", bench), "sparse", bench.expressions_of("sparse")[:1], tmp_path
    )
    found, images = decoded(path)
    assert len(found) == 7
    scale = 2
    assert near(seen(images[0], scale, 60, 80), (GROUND,) * 3)  # nothing before the first
    for k in range(1, 7):
        since = 1 if k < 4 else 4
        top = 16 + 8 * since
        assert near(seen(images[k], scale, top + 5, 80), filled(BLUE)), k
        assert near(seen(images[k], scale, top + 59, 48), filled(YELLOW)), k
    j = 100 * (64 * 32) / (64 * 64 + 64 * 96 - 64 * 32 - 64 * 32)
    assert lines == [
        "frame 00000 · not annotated yet",
        f"frame 00001 · J {j:.1f}",
        *(f"frame {k:05d} · masks of frame 00001, held · J {j:.1f}" for k in (2, 3)),
        f"frame 00004 · J {j:.1f}",
        *(f"frame {k:05d} · masks of frame 00004, held · J {j:.1f}" for k in (5, 6)),
    ]


def test_films_only_where_asked_for(home, tmp_path, capsys):
    preds = ["overlay", "-q", "--pred", str(home / "preds")]

    def films(*args):
        out = tmp_path / "-".join(each.strip("-") for each in args) / "out"
        assert cli.run([*preds, *args, "--out", str(out)]) == 0, capsys.readouterr().err
        assert (out / "sheet.png").is_file()
        return sorted(path.relative_to(out / "films").as_posix() for path in out.rglob("*.webm"))

    assert films("--columns", "2") == []
    assert films("--clip", "dense", "--no-film") == []
    assert films("--clip", "dense", "--expression", "all") == ["dense/0.webm", "dense/1.webm"]
    assert films("--film") == ["dense/0.webm", "sparse/0.webm"]
    assert films("--clip", "sparse", "--expression", "1", "--clip", "sparse") == ["sparse/1.webm"]


def test_wrong_requests_leave_nothing(home, tmp_path, capsys):
    base = ["overlay", "--pred", str(home / "preds"), "--out", str(tmp_path / "out")]
    assert cli.run([*base, "--clip", "denes"]) == 2
    assert "did you mean dense?" in capsys.readouterr().err
    assert cli.run([*base, "--clip", "dense", "--expression", "7"]) == 2
    assert not (tmp_path / "out").exists()


def test_a_broken_mask_leaves_no_film(home, tmp_path):
    import shutil

    shutil.copytree(home / "preds", tmp_path / "preds")
    (tmp_path / "preds/dense/0/00003.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    bench = load("ref-vps")
    from refvps.errors import InputError

    with pytest.raises(InputError, match="cannot be used"):
        write_films(
            bench, open_submission(tmp_path / "preds", bench), "dense", bench.expressions_of("dense"), tmp_path / "f"
        )
    assert [path for path in (tmp_path / "f").rglob("*") if path.is_file()] == []


def test_frames_that_are_not_here_are_grey_and_missing_masks_are_said(tmp_path, monkeypatch):
    write_ref_vps(tmp_path / "set", frames=False)
    assert cli.run(["download", "-q", "ref-vps", "--from", str(tmp_path / "set")]) == 0
    lines = []
    monkeypatch.setattr(Band, "__call__", lambda self, line: lines.append(line) or self.ground)
    bench = load("ref-vps")
    (tmp_path / "preds/wave_3/0").mkdir(parents=True)
    write_labels(tmp_path / "preds/wave_3/0/00002.png", np.ones((17, 29), np.uint8), "1")
    steps = []
    (path,) = write_films(
        bench,
        open_submission(tmp_path / "preds", bench),
        "wave_3",
        bench.expressions_of("wave_3")[:1],
        tmp_path / "films",
        lambda done, total: steps.append((done, total)),
    )
    found, images = decoded(path)
    assert len(found) == 7 and found.fps == pytest.approx(24)
    assert found.size[1] == 29 * 12  # enlarged by the least whole factor that reaches 320
    assert near(np.median(images[0][: 17 * 12].reshape(-1, 3), axis=0), (96, 96, 96))
    assert [line.endswith("no prediction") for line in lines] == [True, True, False, True, True, True, True]
    assert steps == [(k + 1, 7) for k in range(7)]


def test_words_fit_into_the_band():
    long = "the thin white smoke that rises from the chimney behind the second of the two wooden houses on the hill"
    lines = wrapped(long, 14, 320)
    assert len(lines) == 2
    assert all(font(14).getlength(line) <= 320 for line in lines)
    assert long.startswith(lines[0]) and lines[1].endswith("…")
    assert wrapped("short", 14, 320) == ["short"]
    assert wrapped("", 14, 320) == [""]
    assert wrapped("x" * 400, 14, 320)[0].endswith("…")
    band = Band(320, "clip/0", long)
    one, two = band("frame 1 · J 10.0"), band("frame 2 · J 20.0")
    assert one.shape == two.shape == (band.height, 320, 3)
    changed = np.flatnonzero((one != two).any(axis=(1, 2)))
    assert band.line <= changed[0] and changed[-1] < band.line + 3 * band.points // 2
    key = legend(12, INK, ink=(255, 255, 255), width=300)
    assert key.shape[1] <= 300 and key.shape[0] >= 2 * 18
    bottom = one[-key.shape[0] - band.points // 2 :]
    assert (np.abs(bottom.astype(int) - np.array(BLUE)).max(axis=2) < 60).any()


@pytest.mark.parametrize(("given", "used"), [(24.0, 24.0), (0.0, 24.0), (1e5, 24.0), (6.0, 6.0)])
def test_a_clip_without_a_usable_rate_plays_at_24(given, used):
    from refvps.types import Clip

    assert film.rate(Clip("c", (4, 4), given, ("0",), ("0",), given, "g")) == used


@pytest.mark.parametrize("size", [(3000, 3), (2, 3000), (1, 1)])
def test_pictures_of_any_shape_make_a_film_and_a_sheet(size, tmp_path):
    """A picture is enlarged until words fit below it, but never to a tower of a hundred thousand pixels."""
    mask = np.ones(size, np.uint8)
    for folder in ("gt", "preds"):
        for frame in range(2):
            write_labels(tmp_path / folder / "clip" / f"{frame}.png", mask)
    args = ["--gt", tmp_path / "gt", "--pred", tmp_path / "preds", "--out", tmp_path / "out", "--film", "-q"]
    assert cli.run(["overlay", *(str(arg) for arg in args)]) == 0
    frames = open_frames(tmp_path / "out/films/clip/1.webm")
    height, width = frames[0].shape[:2]
    assert len(frames) == 2 and 320 <= width <= 3000 and height <= 3200
    picture = np.array(Image.open(tmp_path / "out/sheet.png").convert("RGB")).astype(int)
    assert picture.shape[0] < 4000
    assert (np.abs(picture - picture.mean(2, keepdims=True)).max(2) > 30).any()  # the prediction is drawn in blue


def test_pictures_that_webm_cannot_hold_are_named(tmp_path):
    with pytest.raises(InputError, match="too large for a film"):
        WebmWriter(tmp_path / "a" / "one.webm", (20, 16385), 24)
    assert not (tmp_path / "a").exists()
