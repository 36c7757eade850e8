"""Source videos: every frame with its time, upright, in order; and files that are not what they say."""

from __future__ import annotations

import os
import sys
from fractions import Fraction as F
from math import floor
from pathlib import Path

import films
import numpy as np
import pytest

from refvps.errors import InputError, UsageError
from refvps.source import video as source
from refvps.source.video import SourceVideo, open_video

pytest.importorskip("av")

KINDS = [("h264", "mp4"), ("h264", "mov"), ("h264", "mkv"), ("h265", "mp4"), ("h265", "mkv"), ("vp9", "webm")]


def seen(video: SourceVideo, start: F | None = None, stop: F | None = None) -> list[tuple[int, F]]:
    return [(films.number(shown.picture()), shown.seconds) for shown in video.frames(start, stop)]


def stored_time(stamp: int, container: str) -> F:
    """What a container makes of a time in 1/90000 s: Matroska and WebM keep milliseconds."""
    return F(stamp, 90_000) if container in ("mp4", "mov") else F(floor(F(stamp, 90) + F(1, 2)), 1000)


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_frames_come_in_order_with_their_times(codec: str, container: str, tmp_path: Path) -> None:
    """B-frames included, and a rate that changes in the middle."""
    pts = [*films.times(F(30000, 1001), 20), *(60_060 + stamp for stamp in films.times(12, 8))]
    video = open_video(films.write(tmp_path / f"film.{container}", pts, codec=codec))
    assert (video.size, video.rotation, video.mirrored, video.first) == (films.SIZE, 0, False, 0)
    assert video.codec == {"h265": "hevc"}.get(codec, codec)
    found = seen(video)
    assert found == [(index, stored_time(stamp, container)) for index, stamp in enumerate(pts)]
    assert all(shown.duration > 0 for shown in video.frames())


@pytest.mark.parametrize("name", films.MATRICES)
def test_every_orientation_is_displayed_upright(name: str, tmp_path: Path) -> None:
    matrix = films.MATRICES[name]
    path = films.write(tmp_path / "film.mp4", films.times(25, 4), matrix=matrix)
    video = open_video(path)
    assert video.size == films.SIZE
    assert [number for number, _ in seen(video)] == [0, 1, 2, 3]
    upright = next(video.frames()).picture().astype(int)
    assert np.abs(upright - films.picture(0)).mean() < 12
    assert video.mirrored == (np.linalg.det(np.array(matrix).reshape(2, 2)) < 0)
    if name.isdigit():
        assert video.rotation == int(name)


def test_an_odd_angle_and_a_turn_in_the_middle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = films.write(tmp_path / "film.mp4", films.times(25, 4))
    data = path.read_bytes()
    films.set_matrix(path, (1, 1, -1, 1))
    with pytest.raises(InputError, match="odd angle"):
        open_video(path)
    path.write_bytes(data)
    video = open_video(path)
    films.set_matrix(path, films.MATRICES["90"])
    with pytest.raises(InputError, match="size or orientation"):
        list(video.frames())


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    """A cut without re-encoding keeps the frames since the last key frame, and hides them."""
    whole = films.write(tmp_path / "whole.mp4", films.times(30, 60))
    for container in ("mp4", "mov"):
        path = films.remux(whole, tmp_path / f"cut.{container}", shift=F(-7, 10))
        with open(path, "rb") as stream:
            assert b"elst" in stream.read()
        video = open_video(path)
        assert [number for number, _ in seen(video)] == list(range(21, 60))
        assert video.first == 0


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
def test_a_late_start_is_kept(container: str, tmp_path: Path) -> None:
    whole = films.write(tmp_path / "whole.mp4", films.times(30, 12))
    video = open_video(films.remux(whole, tmp_path / f"late.{container}", shift=F(1, 2)))
    assert [number for number, _ in seen(video)] == list(range(12))
    assert video.first == F(1, 2)


# --- a part --------------------------------------------------------------------------------------------


def test_a_part_begins_with_the_frame_on_screen(tmp_path: Path) -> None:
    video = open_video(films.write(tmp_path / "film.mp4", films.times(30, 40)))
    assert [n for n, _ in seen(video, F("0.51"), F("0.65"))] == [15, 16, 17, 18, 19]
    assert [n for n, _ in seen(video, F(1, 2), F(17, 30))] == [15, 16]
    assert [n for n, _ in seen(video, F(1, 2), F("0.51"))] == [15]
    assert [n for n, _ in seen(video, F("1.32"))] == [39]
    assert [n for n, _ in seen(video, None, F(1, 10))] == [0, 1, 2]
    assert seen(video, F("1.4")) == []
    assert seen(video, F(-1), F(0)) == []


def test_a_frame_that_stays_is_on_screen_although_it_began_long_ago(tmp_path: Path) -> None:
    pts = [0, 90_000, 270_000, 360_000]
    for container, codec in (("mp4", "h264"), ("webm", "vp9")):
        video = open_video(films.write(tmp_path / f"film.{container}", pts, codec=codec))
        assert [n for n, _ in seen(video, F(2), F(5, 2))] == [1]
        assert [n for n, _ in seen(video, F(29, 10), F(31, 10))] == [1, 2]


@pytest.mark.parametrize(
    ("codec", "container", "shift"),
    [
        *((*kind, F(0)) for kind in KINDS),
        ("h264", "mp4", F(-7, 10)),
        ("h265", "mov", F(-7, 10)),
        ("h264", "mp4", F(1, 2)),
    ],
)
def test_a_late_part_is_the_same_as_decoding_from_the_beginning(
    codec: str, container: str, shift: F, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key frames every 20 frames; the margin is made short, so that decoding really starts late."""
    monkeypatch.setitem(films.CODECS, codec, (films.CODECS[codec][0], films.CODECS[codec][1] | {"g": "20"}))
    if codec == "h265":
        settings = {"crf": "18", "preset": "ultrafast", "x265-params": "log-level=none:bframes=2:keyint=20"}
        monkeypatch.setitem(films.CODECS, codec, ("libx265", settings))
    monkeypatch.setattr(source, "SEEK_MARGIN", F(1, 4))
    path = films.write(tmp_path / "whole.mp4", films.times(F(30000, 1001), 180), codec=codec)
    path = films.remux(path, tmp_path / f"film.{container}", shift=shift)
    video = open_video(path)
    everything = [(shown.pts, shown.picture()) for shown in video.frames()]
    decoded = 0
    original = source._decode

    def counted(*args):
        nonlocal decoded
        for frame in original(*args):
            decoded += 1
            yield frame

    monkeypatch.setattr(source, "_decode", counted)
    for start in (F(2), F(5, 2), F("3.3701"), F(17, 4)):
        part = [(shown.pts, shown.picture()) for shown in video.frames(start, start + F(1, 5))]
        first = max(index for index, (pts, _) in enumerate(everything) if pts * video.time_base <= start)
        expected = everything[first : first + len(part)]
        assert len(part) >= 6
        assert [pts for pts, _ in part] == [pts for pts, _ in expected]
        assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(part, expected, strict=True))
    assert decoded < 4 * 60  # and not 60 + 75 + 100 + 130 frames from the beginning


def test_an_index_that_points_behind_the_cut_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = open_video(films.write(tmp_path / "film.mp4", films.times(30, 60)))
    monkeypatch.setattr(source, "SEEK_MARGIN", F(1, 4))
    original, asked = source._decode, []

    def too_late(path, seek, threads):
        asked.append(seek)
        for index, frame in enumerate(original(path, None, threads)):
            if seek is None or index >= 45:
                yield frame

    monkeypatch.setattr(source, "_decode", too_late)
    assert [n for n, _ in seen(video, F(1), F(11, 10))] == [30, 31, 32]
    assert asked == [F(3, 4), None]


# --- broken and hostile --------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_file_that_stops_in_the_middle_is_refused(keep: float, container: str, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if container == "mp4" else {}
    path = films.write(tmp_path / f"film.{container}", films.times(30, 90), options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"damaged[\s\S]*film[\s\S]*after \d+ frames[\s\S]*ffmpeg") as caught:
        list(open_video(path).frames())
    assert caught.value.exit_code == 4


def test_noise_in_the_middle_is_not_concealed(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.mp4", films.times(30, 90), options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(range(200, 240))
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"after \d+ frames"):
        list(open_video(path).frames())


def test_an_index_before_the_data_without_the_data(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.mp4", films.times(30, 30))  # the index is at the end
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a video"):
        open_video(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"a text, no film\n" * 100, "not a video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not a video"),
        (b"ffconcat version 1.0\nfile film.mp4\n", "not a video"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(300), "not a video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a video"),
        (os.urandom(3000), "not a video"),
    ],
)
def test_what_is_no_video(content: bytes, words: str, tmp_path: Path) -> None:
    films.write(tmp_path / "film.mp4", films.times(30, 3))
    path = tmp_path / "other.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        open_video(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_video(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="not a regular file"):
        open_video(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="not a regular file"):
        open_video(tmp_path / "pipe.mp4")
    real = films.write(tmp_path / "film.mp4", films.times(30, 3))
    (tmp_path / "link.mp4").symlink_to(real)
    assert len(list(open_video(tmp_path / "link.mp4").frames())) == 3


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = films.write(tmp_path / "film.mp4", films.times(30, 3))
    monkeypatch.setattr(source, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(InputError, match=r"too large[\s\S]*96x64"):
        open_video(path)
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    at = data.index(b"avc1", data.index(b"stsd"))
    assert data[at + 28 : at + 32] == b"\x00\x60\x00\x40"
    data[at + 28 : at + 32] = b"\xff\xff\xff\xff"  # the container lies; the stream says 96x64
    path.write_bytes(data)
    assert open_video(path).size == films.SIZE


def test_a_stream_that_grows_while_it_is_decoded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes in one stream of packets, as in a broadcast."""
    first = films.write(tmp_path / "a.ts", films.times(30, 10))
    wide = lambda index: np.repeat(films.picture(index), 2, axis=1)  # noqa: E731
    second = films.write(tmp_path / "b.ts", films.times(30, 10, start=60_000), shape=wide)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(InputError, match=r"size or orientation[\s\S]*after 10 frames"):
        list(open_video(path).frames())


def test_time_that_goes_back_and_frames_without_time(tmp_path: Path) -> None:
    late = films.write(tmp_path / "a.ts", films.times(30, 10, start=900_000))
    early = films.write(tmp_path / "b.ts", films.times(30, 10))
    path = tmp_path / "both.ts"
    path.write_bytes(late.read_bytes() + early.read_bytes())
    with pytest.raises(InputError, match=r"back in time[\s\S]*after 10 frames"):
        list(open_video(path).frames())
    films.write(tmp_path / "raw.h264", films.times(30, 10))
    with pytest.raises(InputError, match="no time"):
        open_video(tmp_path / "raw.h264")
    films.write(tmp_path / "b-frames.avi", films.times(30, 10), rate=30, scale=90_000)
    with pytest.raises(InputError, match="back in time"):  # AVI keeps no times; B-frames come out of order
        list(open_video(tmp_path / "b-frames.avi").frames())


def test_sound_only(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        for _ in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        open_video(tmp_path / "sound.mp4")


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = films.write(tmp_path / "film.mp4", films.times(30, 3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"PyAV[\s\S]*pip install refvps\[video\]") as caught:
        open_video(path)
    assert caught.value.exit_code == 2
