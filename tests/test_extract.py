"""Which source frames are extracted: read off the pictures, against brute force and against ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction as F
from math import floor
from pathlib import Path

import films
import numpy as np
import oracle_ticks
import pytest
from PIL import Image

from refvps import extract
from refvps.extract.record import read_record, record_path

av = pytest.importorskip("av")


@dataclass(frozen=True)
class Film:
    codec: str
    container: str
    pts: tuple[int, ...]
    shift: F = F(0)
    matrix: tuple[int, int, int, int] = (1, 0, 0, 1)

    def shown(self) -> list[tuple[int, F]]:
        """Number and time of every displayed frame, as the container keeps times."""
        times = [(index, F(stamp, 90_000) + self.shift) for index, stamp in enumerate(self.pts)]
        if self.container in ("mkv", "webm"):
            times = [(index, F(floor(time * 1000 + F(1, 2)), 1000)) for index, time in times]
        return [(index, time) for index, time in times if time >= 0]

    def end(self) -> F:
        return self.shown()[-1][1] + F(self.pts[-1] - self.pts[-2], 90_000)


def film(codec: str, container: str, rate: F | int, count: int, shift: F = F(0), turn: str = "upright") -> Film:
    return Film(codec, container, tuple(films.times(rate, count)), shift, films.MATRICES[turn])


RAGGED = (0, 3000, 5000, 30_000, 31_000, 32_000, 33_000, 60_000, 120_000, 121_500, 123_000, 124_500, 180_000, 183_000)

FILMS = {
    "ntsc-h264": film("h264", "mp4", F(30000, 1001), 100),
    "ntsc-h265": film("h265", "mp4", F(30000, 1001), 50),
    "ntsc-vp9": film("vp9", "webm", F(30000, 1001), 50),
    "60-mkv": film("h264", "mkv", 60, 100),
    "59-mov": film("h265", "mov", F(60000, 1001), 80),
    "25-mov": film("h264", "mov", 25, 60),
    "24-mkv": film("h265", "mkv", 24, 50),
    "24-webm": film("vp9", "webm", 24, 50),
    "23-mp4": film("h264", "mp4", F(24000, 1001), 50),
    "23-mkv": film("vp9", "mkv", F(24000, 1001), 50),
    "10-webm": film("vp9", "webm", 10, 24),
    "10-mp4": film("h264", "mp4", 10, 24),
    "120-mp4": film("h264", "mp4", 120, 150),
    "16-mp4": film("h264", "mp4", 16, 40),
    "16-mkv": film("h264", "mkv", 16, 40),
    "48-mp4": film("h265", "mp4", 48, 60),
    "48-webm": film("vp9", "webm", 48, 60),
    "vfr-mp4": Film("h264", "mp4", RAGGED),
    "vfr-mov": Film("h265", "mov", RAGGED),
    "vfr-mkv": Film("h264", "mkv", RAGGED),
    "vfr-webm": Film("vp9", "webm", RAGGED),
    "late-mp4": film("h264", "mp4", 30, 40, F(1, 2)),
    "late-mkv": film("h264", "mkv", 25, 40, F(73, 100)),
    "late-ts": film("h264", "ts", 25, 40, F(2)),
    "edit-mp4": film("h264", "mp4", 30, 60, F(-7, 10)),
    "edit-mov": film("h265", "mov", F(30000, 1001), 60, F(-15015, 30000)),
    **{f"turn-{turn}": film("h264", "mp4", 30, 10, turn=turn) for turn in ("90", "180", "270", "mirrored")},
    "turn-mov": film("h265", "mov", 25, 10, turn="90"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for name, each in FILMS.items():
        made = films.write(root / "made.mp4", each.pts, codec=each.codec, matrix=each.matrix)
        target = root / f"{name}.{each.container}"
        shutil.copy(made, target) if each.container == "mp4" and not each.shift else films.remux(
            made, target, shift=each.shift
        )
        if each.matrix != (1, 0, 0, 1) and each.container == "mov":
            films.set_matrix(target, each.matrix)
    (root / "made.mp4").unlink()
    return root


@pytest.fixture(scope="module")
def frames(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frames")
    done = extract.extract(extract.from_files(sorted(folder.iterdir())), out)
    done.raise_for_failures()
    assert set(done.done) == set(FILMS)
    return out


@pytest.mark.parametrize("name", FILMS)
def test_extracted_frames_are_those_of_the_oracle(name: str, frames: Path) -> None:
    shown = FILMS[name].shown()
    record = read_record(record_path(frames, name))
    expected = oracle_ticks.shown([time for _, time in shown], F(24), end=FILMS[name].end())
    if name.startswith("vfr"):  # the encoder guesses how long the last frame lasts: one tick more or less
        expected += expected[-1:] * (len(record.names) == len(expected) + 1)
        expected = expected[:-1] if len(record.names) == len(expected) - 1 else expected
    assert films.numbers(frames / name) == [shown[index][0] for index in expected]
    assert record.time_base is not None and record.size == films.SIZE
    assert [pts * record.time_base for pts in record.pts] == [shown[index][1] for index in expected]
    assert record.t0 == shown[0][1]
    assert len(record.names) == len(list((frames / name).iterdir()))


def need_ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        if os.environ.get("REFVPS_PROOF"):
            pytest.fail("make proof needs the ffmpeg command line (apt-get install ffmpeg)")
        pytest.skip("the ffmpeg command line is absent")
    return found


def by_ffmpeg(path: Path, filters: str, *options: str) -> list[int]:
    command = [need_ffmpeg(), "-v", "error", *options, "-i", str(path), "-map", "0:v:0", "-vf", filters]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return [films.number(picture) for picture in np.frombuffer(data, np.uint8).reshape(-1, *films.SIZE, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILMS)
def test_extracted_frames_are_those_of_ffmpeg(name: str, folder: Path, frames: Path) -> None:
    """At the very end ffmpeg may leave out the last frame's duration (5.1 does for MP4 with B-frames)."""
    path = next(folder.glob(f"{name}.*"))
    theirs, ours = by_ffmpeg(path, "setpts=PTS-STARTPTS,fps=24:round=near"), films.numbers(frames / name)
    shared = min(len(theirs), len(ours))
    assert ours[:shared] == theirs[:shared]
    times = [time for _, time in FILMS[name].shown()]
    lasts = max(times[-1] - times[-2], FILMS[name].end() - times[-1])
    assert abs(len(theirs) - len(ours)) <= 24 * lasts + 1
    assert shared >= 7


CUTS = [("ntsc-h264", "1.31", "2.9"), ("16-mp4", "0.5", "2"), ("vfr-mkv", "0.4", "1.9"), ("edit-mp4", "0.21", "1"),
        ("late-mp4", "0.7", "1.5"), ("59-mov", "1001/60000", "1.1"), ("vfr-webm", "1", "1.25")]  # fmt: skip


@pytest.mark.parametrize(("name", "start", "end"), CUTS)
def test_a_cut_is_that_of_the_oracle_and_of_ffmpeg(
    name: str, start: str, end: str, folder: Path, tmp_path: Path
) -> None:
    path = next(folder.glob(f"{name}.*"))
    cuts = extract.from_files([path], start=F(start), end=F(end))
    extract.extract(cuts, tmp_path).raise_for_failures()
    ours = films.numbers(tmp_path / name)
    shown = FILMS[name].shown()
    expected = oracle_ticks.shown([time for _, time in shown], F(24), t0=F(start), end=F(end))
    assert ours == [shown[index][0] for index in expected]
    if shutil.which("ffmpeg"):
        theirs = by_ffmpeg(path, f"setpts=PTS-({start})/TB,fps=24:round=near", "-copyts")
        before = -floor((shown[0][1] - F(start)) * 24 + F(1, 2))  # ticks before the cut, which ffmpeg shows as well
        assert before >= 0
        assert theirs[before : before + len(ours)] == ours


def test_a_cut_before_the_first_frame(folder: Path, tmp_path: Path) -> None:
    """The film begins at 0.5 s: until then its first frame stands. Tick 13 shows what came before 13.5/24 s."""
    extract.extract(extract.from_files([folder / "late-mp4.mp4"], start=F(0), end=F(1)), tmp_path).raise_for_failures()
    assert films.numbers(tmp_path / "late-mp4")[:15] == [0] * 13 + [1, 3]


# --- other clocks, pictures --------------------------------------------------------------------------


def test_other_rates(folder: Path, tmp_path: Path) -> None:
    for fps in (F(6), F(30000, 1001), F(60)):
        out = tmp_path / str(fps.numerator)
        extract.extract(extract.from_files([folder / "ntsc-h264.mp4"], fps=fps), out).raise_for_failures()
        each = FILMS["ntsc-h264"]
        times = [time for _, time in each.shown()]
        assert films.numbers(out / "ntsc-h264") == oracle_ticks.shown(times, fps, end=each.end())


@pytest.mark.parametrize("turn", ["90", "180", "270", "mirrored", "mov"])
def test_a_crop_is_in_displayed_pixels(turn: str, folder: Path, tmp_path: Path) -> None:
    """The 16 x 16 block at (8 + 64, 8 + 32) is a mark, black; the one to its left, white."""
    path = next(folder.glob(f"turn-{turn}.*"))
    for x, bright in ((72, False), (56, True)):
        cuts = extract.from_files([path], crop=(x + 2, 42, 12, 10), format="png")
        extract.extract(cuts, tmp_path / str(x)).raise_for_failures()
        with Image.open(tmp_path / str(x) / f"turn-{turn}" / "00000.png") as image:
            assert image.size == (12, 10)
            assert (np.array(image).mean() > 128) == bright


def test_png_is_what_the_video_shows_and_jpeg_nearly(folder: Path, tmp_path: Path) -> None:
    from refvps.source.video import open_video

    path = folder / "24-mkv.mkv"
    for form, quality in (("png", 95), ("jpg", 95), ("jpg", 30)):
        cuts = extract.from_files([path], format=form, quality=quality)  # type: ignore[arg-type]
        extract.extract(cuts, tmp_path / f"{form}{quality}").raise_for_failures()
    lengths = []
    for index, shown in enumerate(open_video(path).frames()):
        picture = shown.picture()
        with Image.open(tmp_path / "png95/24-mkv" / f"{index:05d}.png") as image:
            assert image.mode == "RGB"
            assert np.array_equal(np.array(image), picture)
        file = tmp_path / "jpg95/24-mkv" / f"{index:05d}.jpg"
        with Image.open(file) as image:
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            error = np.abs(np.array(image).astype(int) - picture)
            assert error.mean() < 3
        lengths.append(file.stat().st_size - (tmp_path / "jpg30/24-mkv" / file.name).stat().st_size)
    assert min(lengths) > 0


def test_the_same_rgb_as_everywhere_in_refvps(folder: Path) -> None:
    from refvps.source.video import open_video
    from refvps.video import VideoFrames

    for name in ("24-mkv.mkv", "turn-90.mp4", "ntsc-vp9.webm"):
        frames = VideoFrames(folder / name, backend="av")
        for index, shown in zip(range(5), open_video(folder / name).frames(), strict=False):
            assert np.array_equal(frames[index], shown.picture())
