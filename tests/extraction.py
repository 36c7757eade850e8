"""What the tests of ``refvps extract`` share: three short films, a manifest of four clips, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import films
import pytest

from refvps import cli


def videos(root: Path) -> Path:
    """first.mp4 (30 fps, 60 frames), second.mkv (25 fps, 40 frames) and turned.mp4 (24 fps, 12 frames, rotated)."""
    films.write(root / "first.mp4", films.times(30, 60))
    films.write(root / "second.mkv", films.times(25, 40))
    films.write(root / "turned.mp4", films.times(24, 12), matrix=films.MATRICES["90"])
    return root


def line(clip: str, frames: int, **fields) -> dict:
    names = [f"{index:05d}" for index in range(frames)]
    base = {"id": clip, "size": list(films.SIZE), "fps": 24.0, "frames": names, "annotated": names[::4]}
    return base | {"annotation_fps": 6.0, "group": clip, "split": "test"} | fields


def manifest(path: Path, *lines: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def good(path: Path) -> Path:
    return manifest(
        path,
        line("one", 48, source={"file": "first.mp4"}),
        line("cut", 24, group="one", source={"file": "first.mp4"}, edit={"start": 0.5, "end": "1.5"}),
        line("second", 38),
        line("crop", 12, group="turned", size=[48, 80], edit={"crop": [8, 8, 80, 48], "jpeg_quality": 60}),
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = cli.run(["extract", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
