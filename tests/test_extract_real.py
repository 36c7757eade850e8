"""Extraction of every real file: times against brute force, pixels against ffmpeg, juggling as the identity."""

from __future__ import annotations

import os
import shutil
import subprocess
from fractions import Fraction as F
from pathlib import Path

import films
import numpy as np
import oracle_ticks
import pytest
from PIL import Image

from refvps import cli, extract
from refvps.extract.record import FrameRecord, read_record, record_path
from refvps.source.video import open_video

av = pytest.importorskip("av")

REAL = {  # frames in the file, frames at 24 fps, (height, width), rotation: the README of the fixtures, and counted
    "clips/coffee_pour_apache2.mp4": (287, 230, (720, 1280), 0),
    "clips/fireplace_10fps_mit.mp4": (25, 57, (720, 1280), 180),
    "clips/flower_cc0.mp4": (150, 120, (540, 960), 0),
    "clips/juggle_24fps_apache2.mp4": (247, 247, (720, 1280), 0),
    "clips/stream_of_water_cc0.mp4": (90, 72, (360, 480), 0),
    "clips/stream_title_card_cc0.webm": (118, 94, (360, 640), 0),
    "oddities/unordered.mov": (4, 3, (50, 50), 0),
    "oddities/video_0.mov": (3, 2, (320, 568), 0),
    "oddities/video_90.mov": (3, 2, (568, 320), 90),
    "oddities/video_180.mov": (3, 2, (320, 568), 180),
    "oddities/video_270.mov": (3, 2, (568, 320), 270),
}


def packets(path: Path) -> tuple[list[int], F, F]:
    """Time stamps of the frames in order, their time base and the end of the last, from the container alone.

    VP8 has packets that show nothing, with the time stamp of another.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = {p.pts: p.duration for p in container.demux(stream) if p.pts is not None and not p.is_discard}
        base, last = F(stream.time_base), max(found)
        return sorted(found), base, (last + found[last]) * base


def extracted(path: Path, out: Path, **options) -> FrameRecord:
    done = extract.extract(extract.from_files([path], **options), out, jobs=2)
    done.raise_for_failures()
    return read_record(record_path(out, next(iter(done.done))))


LONG = [pytest.param(name, marks=pytest.mark.slow) if REAL[name][0] > 200 else name for name in REAL]


@pytest.mark.parametrize("name", LONG)
def test_every_real_file(name: str, fixtures: Path, tmp_path: Path) -> None:
    frames, ticks, size, rotation = REAL[name]
    record = extracted(fixtures / name, tmp_path)
    pts, base, end = packets(fixtures / name)
    assert len(pts) == frames
    expected = oracle_ticks.shown([stamp * base for stamp in pts], F(24), end=end)
    assert list(record.pts) == [pts[index] for index in expected]
    assert (len(record.names), record.size, record.source["rotation"]) == (ticks, size, rotation)
    for file in (tmp_path / record.clip).iterdir():
        with Image.open(file) as image:
            assert image.size == size[::-1]


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotated_files_come_out_upright(angle: int, fixtures: Path, tmp_path: Path) -> None:
    """A keyboard lit from above. The stored pixels are turned here by hand, with numpy, from what the name says."""
    path = fixtures / f"oddities/video_{angle}.mov"
    extracted(path, tmp_path, format="png")
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with Image.open(tmp_path / f"video_{angle}/00000.png") as image:
        upright = np.array(image)
    assert np.array_equal(upright, np.rot90(stored, -angle // 90))
    half = upright.shape[0] // 2
    assert upright[:half].mean() - upright[-half:].mean() > 5


def test_the_broken_file_is_named_with_what_could_be_read(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.run(["extract", str(fixtures / "oddities/corrupted.mp4"), "--out", str(out)]) == 4
    error = capsys.readouterr().err
    assert "damaged" in error
    assert "corrupted.mp4: after 28 frames" in error
    assert list(out.iterdir()) == []


def identity(path: Path, out: Path) -> None:
    pts, _, _ = packets(path)
    record = extracted(path, out)
    assert list(record.pts) == pts
    assert len(pts) == 247


@pytest.mark.slow
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
def test_24_fps_is_the_identity_in_every_container(container: str, fixtures: Path, tmp_path: Path) -> None:
    path = films.remux(fixtures / "clips/juggle_24fps_apache2.mp4", tmp_path / f"juggle.{container}")
    identity(path, tmp_path / "out")


def test_24_fps_is_the_identity_in_webm(fixtures: Path, tmp_path: Path) -> None:
    """WebM holds no H.264: the same 247 times, with small pictures, in VP9 and milliseconds."""
    pts, base, _ = packets(fixtures / "clips/juggle_24fps_apache2.mp4")
    scaled = [int(stamp * base * 90_000) for stamp in pts]
    identity(films.write(tmp_path / "juggle.webm", scaled, codec="vp9", rate=24), tmp_path / "out")
    assert films.numbers(tmp_path / "out/juggle") == list(range(247))


def test_real_packets_in_another_container_give_the_same_frames(fixtures: Path, tmp_path: Path) -> None:
    """29.98 fps, exact times in MP4 and milliseconds in Matroska: the same source frames, the same pictures."""
    source = fixtures / "clips/stream_of_water_cc0.mp4"
    one = extracted(source, tmp_path / "mp4")
    other = extracted(films.remux(source, tmp_path / "stream_of_water_cc0.mkv"), tmp_path / "mkv")
    assert one.sha256[:71] == other.sha256[:71]
    assert abs(len(one.names) - len(other.names)) <= 1
    assert one.time_base != other.time_base


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REAL if name != "oddities/unordered.mov"])
def test_pixels_are_those_of_ffmpeg(name: str, fixtures: Path, tmp_path: Path) -> None:
    """The same frames in the same RGB, bit for bit, rotation applied."""
    if shutil.which("ffmpeg") is None:
        if os.environ.get("REFVPS_PROOF"):
            pytest.fail("make proof needs the ffmpeg command line (apt-get install ffmpeg)")
        pytest.skip("the ffmpeg command line is absent")
    path = fixtures / name
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0"]
    command += ["-vf", "setpts=PTS-STARTPTS,fps=24:round=near", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", str(tmp_path / "theirs.raw")]
    subprocess.run(command, check=True)
    height, width = REAL[name][2]
    theirs = np.memmap(tmp_path / "theirs.raw", np.uint8, "r").reshape(-1, height, width, 3)
    video = open_video(path)
    record = extracted(path, tmp_path / "out")
    by_pts = {shown.pts: shown.picture for shown in video.frames()}
    assert 0 <= len(record.pts) - len(theirs) <= 3
    for pts, picture in zip(record.pts, theirs, strict=False):
        assert np.array_equal(by_pts[pts](), picture), pts
