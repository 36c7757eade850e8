"""Predicting one folder of frames or one video: pictures, refusals, films."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import Lazy, Noisy, benchmark_of, content

from refvps import sanity
from refvps.errors import InputError, UsageError
from refvps.report.overlay import Film
from refvps.run import predictors
from refvps.run.predict import predict, predict_frames
from refvps.video import open_frames


def write_frames(folder: Path, count: int = 5, size: tuple[int, int] = (37, 53)) -> Path:
    folder.mkdir()
    for index, frame in enumerate(Lazy(1, range(count), size)):
        Image.fromarray(frame).save(folder / f"shot_{index}.png")
    return folder


def frames_run(
    out: Path, folder: Path, texts: Sequence[str], predictor: Any = None, **options: Any
) -> tuple[Path, ...]:
    frames = open_frames(folder)
    return predict_frames(
        predictor or Noisy(), frames, texts, fps=frames.fps, seed=0, out=out, names=frames.names, **options
    )


@pytest.mark.parametrize("texts", [["a"], ["a", "bb", "ccc"]])
def test_masks_of_a_folder_of_frames(texts: list[str], tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames")
    paths = frames_run(tmp_path / "out", folder, texts)
    expected = [f"{k}/shot_{t}.png" if len(texts) > 1 else f"shot_{t}.png" for k in range(len(texts)) for t in range(5)]
    assert [str(path.relative_to(tmp_path / "out")) for path in paths] == expected
    assert sorted(content(tmp_path / "out")) == sorted([*expected, "run.json"])
    frames = open_frames(folder)
    for found in Noisy().predict(frames, texts, fps=24.0, seed=0):
        for offset, mask in enumerate(found.masks):
            with Image.open(paths[found.text * 5 + found.start + offset]) as image:
                assert image.mode == "1"
                assert np.array_equal(np.array(image), mask)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["input"]["texts"] == texts
    before = content(tmp_path / "out")
    (paths[0].parent / ".shot_0.png.0a1b.tmp").write_bytes(b"of a killed process")
    frames_run(tmp_path / "out", folder, texts)
    assert content(tmp_path / "out") == before


def test_folders_of_other_runs_over_frames(tmp_path: Path) -> None:
    folder, out = write_frames(tmp_path / "frames"), tmp_path / "out"
    frames_run(out, folder, ["a", "b"])
    (out / "0" / "mine.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"input\.texts is \['a', 'b'\] there, \['c'\] now"):
        frames_run(out, folder, ["c"])
    frames_run(out, folder, ["c"], force=True)
    assert sorted(content(out)) == ["0/mine.png", "run.json", *(f"shot_{t}.png" for t in range(5))]
    with pytest.raises(UsageError, match="another run"):
        predict(benchmark_of([2]), Noisy(), out)
    pictures = tmp_path / "frames"
    with pytest.raises(UsageError, match="not empty"):
        frames_run(pictures, folder, ["a"])  # would overwrite its own input


def test_wrong_requests_over_frames(tmp_path: Path) -> None:
    frames = open_frames(write_frames(tmp_path / "frames"))
    good: dict[str, Any] = {"fps": 24.0, "seed": 0, "out": tmp_path / "out", "names": frames.names}
    for arguments, error, words in [
        ((frames, []), UsageError, "--text"),
        ((frames, ["a", " "]), UsageError, "--text"),
        ((frames[:0], ["a"]), InputError, "no frames"),
        ((frames[:2], ["a"]), UsageError, "one name each"),
    ]:
        with pytest.raises(error, match=words):
            predict_frames(Noisy(), *arguments, **good)
    for name in ("../x", "", ".", "a/b", "a\\b", "a\0"):
        with pytest.raises(UsageError, match="file name"):
            predict_frames(Noisy(), frames, ["a"], **{**good, "names": ["1", "2", "3", "4", name]})
    assert not (tmp_path / "out").exists()


def test_a_film_of_the_masks(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", size=(90, 120))
    frames = open_frames(folder, fps=10)
    with Film(tmp_path / "o.webm", frames.size, frames.fps, ["a", "b"]) as film:
        frames_run(tmp_path / "out", folder, ["a", "b"], sanity.full(), overlay=film)
    shown = open_frames(tmp_path / "o.webm")
    assert len(shown) == 5
    assert shown.size[0] > 90
    assert shown.size[1] == 120
    picture = shown[2][:90].astype(int)
    assert np.abs(picture - frames[2]).mean() > 20  # something was drawn


@pytest.mark.parametrize("name", predictors.names())
def test_every_built_in_runs_on_a_real_video(name: str, fixtures: Path, tmp_path: Path) -> None:
    if name not in predictors.BUILT_IN:
        pytest.skip("needs weights")
    frames = open_frames(fixtures / "oddities" / "video_90.mov")
    paths = predict_frames(
        predictors.load(name), frames, ["keys"], fps=frames.fps, seed=0, out=tmp_path, names=frames.names
    )
    with Image.open(paths[-1]) as image:
        assert (image.mode, image.size) == ("1", (320, 568))
