"""Frames in and films out, on real files and on broken ones."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refvps import video
from refvps.errors import InputError, UsageError
from refvps.frames import Frames, natural_key
from refvps.video import Backend, VideoFrames, WebmWriter, open_frames

BACKENDS: tuple[Backend, ...] = ("av", "cv2")

CLIPS = {
    "clips/coffee_pour_apache2.mp4": (287, (720, 1280), 30000 / 1001),
    "clips/fireplace_10fps_mit.mp4": (25, (720, 1280), 10.505),
    "clips/flower_cc0.mp4": (150, (540, 960), 30000 / 1001),
    "clips/juggle_24fps_apache2.mp4": (247, (720, 1280), 24.0),
    "clips/stream_of_water_cc0.mp4": (90, (360, 480), 29.983),
    "clips/stream_title_card_cc0.webm": (118, (360, 640), 30000 / 1001),
    "oddities/unordered.mov": (4, (50, 50), 32.0),
    "oddities/video_0.mov": (3, (320, 568), 30.0),
    "oddities/video_90.mov": (3, (568, 320), 30.0),
    "oddities/video_180.mov": (3, (320, 568), 30.0),
    "oddities/video_270.mov": (3, (568, 320), 30.0),
}


def need(backend: Backend) -> Backend:
    if backend == "av":
        pytest.importorskip("av")
    return backend


def picture(index: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([(x * 5 + index * 9) % 256, (y * 7) % 256, np.full(size, index * 20 % 256)], -1).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    Image.fromarray(pixels).save(path, **options)


# --- real videos -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_real_videos_by_both_decoders(name: str, fixtures: Path) -> None:
    pytest.importorskip("av")
    count, size, fps = CLIPS[name]
    opened = [open_frames(fixtures / name, backend=backend) for backend in BACKENDS]
    for frames in opened:
        assert (len(frames), frames.size) == (count, size)
        assert frames.fps == pytest.approx(fps, abs=0.001)
        assert (frames.names[0], frames.names[-1]) == ("00000", f"{count - 1:05d}")
    for index in sorted({0, 1, 20, count - 1} if count < 120 else {0, 1, 20}):
        if index < count:
            one, two = opened[0][index], opened[1][index]
            assert (one.shape, one.dtype) == (two.shape, two.dtype) == ((*size, 3), np.uint8)
            assert np.abs(one.astype(int) - two).max() <= 2, index


@pytest.mark.parametrize("backend", BACKENDS)
def test_rotation_is_applied_as_displayed(backend: Backend, fixtures: Path) -> None:
    """Four films of a keyboard lit from above: upright, the upper half is the brighter one by far."""
    for angle in (0, 90, 180, 270):
        frame = open_frames(fixtures / f"oddities/video_{angle}.mov", backend=need(backend))[0].astype(float)
        height, width = frame.shape[:2]
        down = frame[: height // 2].mean() - frame[-height // 2 :].mean()
        right = frame[:, : width // 2].mean() - frame[:, -width // 2 :].mean()
        assert down > 5, angle
        assert down > abs(right), angle


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["oddities/corrupted.mp4", "cut.mp4", "cut.webm"])
def test_damaged_videos_are_refused(name: str, backend: Backend, fixtures: Path, tmp_path: Path) -> None:
    path = fixtures / name
    if name.startswith("cut"):  # the index is whole, the frames stop in the middle
        whole = fixtures / ("clips/flower_cc0.mp4" if name == "cut.mp4" else "clips/stream_title_card_cc0.webm")
        data = whole.read_bytes()
        path = tmp_path / name
        path.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(InputError, match=r"damaged[\s\S]*after \d+ frames[\s\S]*ffmpeg") as caught:
        open_frames(path, backend=need(backend))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is text, no film" * 100, "not a video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "playlist"),
        (b"  ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(300), "not a video"),
    ],
)
def test_what_is_no_video_is_refused(content: bytes, words: str, backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_frames(path, backend=need(backend))


# --- access ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_access_equals_forward_decoding(
    backend: Backend, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fixtures / "clips/stream_of_water_cc0.mp4"
    forward = list(open_frames(path, backend=need(backend)))
    monkeypatch.setattr(video, "CACHE_BYTES", 5 * 360 * 480 * 3)  # room for five frames
    frames = open_frames(path, backend=backend)
    for index in [0, 40, 3, 4, 5, 89, 88, 87, 80, 79, 10, -1, -90, *range(60, 20, -1)]:
        assert np.array_equal(frames[index], forward[index]), index
    assert len(frames._cache) <= 5  # type: ignore[attr-defined]
    assert all(np.array_equal(a, b) for a, b in zip(frames[7:80:9], forward[7:80:9], strict=True))


def test_going_backward_does_not_start_over_every_time(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "CACHE_BYTES", 30 * 360 * 480 * 3)
    frames = VideoFrames(fixtures / "clips/stream_of_water_cc0.mp4", backend="cv2")
    starts = []
    decode = video._decode_cv2
    monkeypatch.setattr(video, "_decode_cv2", lambda path: starts.append(1) or decode(path))
    for index in reversed(range(90)):
        frames[index]
    assert len(starts) <= 5  # 90 frames, 30 kept at a time


def test_slices_are_lazy_and_compose(tmp_path: Path) -> None:
    for index in range(10):
        save(tmp_path / f"{index}.png", picture(index))
    frames = open_frames(tmp_path, fps=12)
    part = frames[2:9:3]
    assert isinstance(part, Frames)
    assert (part.names, part.fps, part.size) == (("2", "5", "8"), 4.0, (24, 32))
    assert np.array_equal(part[1:][0], picture(5))
    assert np.array_equal(frames[::-1][0], picture(9))
    assert len(frames[4:4]) == 0
    with pytest.raises(IndexError):
        part[3]
    (tmp_path / "5.png").unlink()  # nothing was decoded before it was asked for
    assert np.array_equal(part[0], picture(2))
    with pytest.raises(InputError, match=r"5\.png"):
        part[1]


def test_frames_handed_out_are_the_callers_own(fixtures: Path) -> None:
    frames = open_frames(fixtures / "oddities/video_0.mov")
    first = frames[0]
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(frames[0], kept)


def test_videos_can_be_sent_to_workers(fixtures: Path) -> None:
    frames = open_frames(fixtures / "oddities/video_90.mov")
    first = frames[1]
    assert np.array_equal(pickle.loads(pickle.dumps(frames))[1], first)


def test_without_pyav_opencv_is_used(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    frames = open_frames(fixtures / "oddities/video_90.mov")
    assert isinstance(frames, VideoFrames)
    assert (frames.backend, len(frames), frames.size) == ("cv2", 3, (568, 320))


# --- folders of images -------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip", "count", "size"), [("chair", 60, (480, 720)), ("caps", 87, (853, 480))])
def test_real_folders(clip: str, count: int, size: tuple[int, int], fixtures: Path) -> None:
    frames = open_frames(fixtures / "pumavos" / clip / "JPEGImages")
    assert (len(frames), frames.size, frames.fps) == (count, size, 24.0)
    assert frames.names[:2] == ("frame_000000", "frame_000001")
    assert frames[count - 1].shape == (*size, 3)


def test_order_is_by_number_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("f10.PNG", "f9.jpg", "f1.jpeg", "f010b.webp", "F2.png"):
        save(tmp_path / name, picture(1), format=None)
    (tmp_path / ".f3.png").write_bytes(b"junk of an operating system")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "sub").mkdir()
    assert open_frames(tmp_path).names == ("F2", "f1", "f9", "f10", "f010b")
    assert sorted(["a10b2", "a10b10", "a9", "10", "9", "a"], key=natural_key) == [
        "9",
        "10",
        "a",
        "a9",
        "a10b2",
        "a10b10",
    ]
    assert sorted(["007", "7", "07"], key=natural_key) == sorted(["7", "07", "007"], key=natural_key)


def test_other_8_bit_modes_become_rgb(tmp_path: Path) -> None:
    rgb = picture(3)
    grey = rgb[..., 0]
    save(tmp_path / "0.png", grey)
    Image.fromarray(rgb).quantize(256).save(tmp_path / "1.png")
    save(tmp_path / "2.png", np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))
    save(tmp_path / "3.png", rgb)
    frames = open_frames(tmp_path)
    assert np.array_equal(frames[0], np.dstack([grey] * 3))
    assert np.abs(frames[1].astype(int) - rgb).mean() < 10
    assert np.array_equal(frames[2], rgb)
    assert np.array_equal(frames[3], rgb)


def test_an_image_alone_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    save(tmp_path / "one.png", picture(0))
    assert open_frames(tmp_path / "one.png").names == ("one",)


def _sizes(folder: Path) -> None:
    save(folder / "0.png", picture(0))
    save(folder / "1.png", picture(0, (32, 24)))


def _turned(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "0.jpg", picture(0), exif=exif)


def _deep(folder: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(folder / "0.png")


def _twice(folder: Path) -> None:
    save(folder / "0.png", picture(0))
    save(folder / "0.jpg", picture(0))


def _no_image(folder: Path) -> None:
    (folder / "0.jpg").write_bytes(b"<html>404</html>")


def _gif_in_disguise(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(0)[..., 0]).save(buffer, "GIF")
    (folder / "0.png").write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, r"no frames[\s\S]*\.jpg"),
        (_sizes, r"differ in size[\s\S]*1\.png: 24x32, the first is 32x24"),
        (_turned, r"EXIF[\s\S]*orientation 6[\s\S]*auto-orient"),
        (_deep, r"not an 8-bit image[\s\S]*I;16"),
        (_twice, r"same name[\s\S]*0\.jpg"),
        (_no_image, r"cannot be read[\s\S]*0\.jpg"),
        (_gif_in_disguise, r"cannot be read[\s\S]*0\.png"),
    ],
)
def test_folders_that_cannot_be_used(make: object, words: str, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=words) as caught:
        open_frames(tmp_path)
    assert caught.value.exit_code == 4


def test_images_that_fail_when_they_are_decoded(tmp_path: Path) -> None:
    clear = np.dstack([picture(0, (120, 160)), np.full((120, 160), 254, np.uint8)])
    save(tmp_path / "0.png", clear)
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    save(tmp_path / "1.jpg", noise)
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    frames = open_frames(tmp_path)
    with pytest.raises(InputError, match="transparent"):
        frames[0]
    with pytest.raises(InputError, match=r"1\.jpg"):
        frames[1]


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing at this path"):
        open_frames(tmp_path / "absent")
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="frame rate"):
            open_frames(tmp_path, fps=fps)


# --- writing -----------------------------------------------------------------------------------------


def smooth(index: int, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x * 200 // size[1], y * 200 // size[0], np.full(size, 40 + 5 * index)], -1).astype(np.uint8)


@pytest.mark.parametrize("codec", ["VP80", "VP90"])
@pytest.mark.parametrize("size", [(48, 64), (37, 53), (2, 3)])
def test_webm_is_written_and_read_back(codec: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    with WebmWriter(path, size, 23.976, codec=codec) as film:  # type: ignore[arg-type]
        for index in range(5):
            film.add(smooth(index, size))
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.webm"]
    frames = open_frames(path)
    assert len(frames) == 5
    assert frames.fps == pytest.approx(23.976, abs=0.05)
    assert frames.size == (max(16, size[0] + size[0] % 2), max(16, size[1] + size[1] % 2))
    if size[0] > 16:
        for index in range(5):
            shown = frames[index][: size[0], : size[1]].astype(int)
            assert np.abs(shown - smooth(index, size)).mean() < 8


def test_a_film_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    path.write_bytes(b"old")
    (tmp_path / ".film.webm.0123.tmp.webm").write_bytes(b"of a killed process")
    film = WebmWriter(path, (32, 32), 24)
    film.add(smooth(0, (32, 32)))
    film.__exit__(KeyError, KeyError(), None)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.webm"]
    with pytest.raises(ValueError, match="expected uint8"), WebmWriter(path, (32, 32), 24) as film:
        film.add(smooth(0, (32, 30)))
    with pytest.raises(InputError), WebmWriter(path, (32, 32), 24):
        pass  # no frames: nothing to read back
    assert path.read_bytes() == b"old"
    with pytest.raises(UsageError, match=r"\.webm"):
        WebmWriter(tmp_path / "film.mp4", (32, 32), 24)


def test_writing_webm_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with WebmWriter(tmp_path / "film.webm", (32, 32), 24) as film:
        film.add(smooth(0, (32, 32)))
    assert capfd.readouterr() == ("", "")
