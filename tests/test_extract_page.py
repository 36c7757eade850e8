"""docs/frames.md: its commands and its Python run, and its table is right; extracted frames can be registered."""

from __future__ import annotations

import json
import shlex
import shutil
from fractions import Fraction as F
from pathlib import Path

import films
import numpy as np
import pytest
from PIL import Image
from test_docs import blocks, commands

from refvps import cli

pytest.importorskip("av")

PAGE = Path(__file__).resolve().parent.parent / "docs" / "frames.md"


def test_the_page_runs_from_top_to_bottom(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = fixtures / "clips/stream_of_water_cc0.mp4"
    shutil.copy(source, "video.mp4")
    Path("videos").mkdir()
    shutil.copy(source, "videos/water.mp4")
    names = {"count": 48, "digits": 5}
    record = {"id": "water", "size": [360, 480], "fps": 24, "frames": names, "annotated": names, "annotation_fps": 24}
    record |= {"group": "water", "split": "test", "edit": {"start": 1, "end": 3}}
    Path("clips.jsonl").write_text(json.dumps(record) + "\n")
    lines = commands(PAGE)
    assert len(lines) == 5
    for args in lines:
        assert cli.run(args) == 0, (args, capsys.readouterr().err)
        if "--manifest" in args:
            shutil.copytree("dataset", "reference")
    assert len(list(Path("frames/video").iterdir())) == 72
    assert len(list(Path("part/video").glob("*.png"))) == 42
    (shell,) = blocks(PAGE, "sh")
    command, _, target = shell.strip().partition(" > ")
    assert shlex.split(command) == ["cat", "reference/*.frames.json"]
    Path(target).write_bytes(b"".join(path.read_bytes() for path in sorted(Path("reference").glob("*.frames.json"))))
    again = [*lines[2][:-1], "again/"]
    assert cli.run(again) == 0
    assert "48 frames, 480x360, same" in capsys.readouterr().out
    (code,) = blocks(PAGE, "python")
    exec(compile(code, "frames.md", "exec"), {})
    assert "{'video': 24} {}" in capsys.readouterr().out


def test_the_table_of_ticks_is_right() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| ") and "16 s" in line]
    assert len(rows) == 4
    for frame, time, shifted, tick in ([cell.strip() for cell in row] for row in rows):
        exact = F(time.removesuffix(" s")) * 24 + F(1, 2)
        assert F(time.removesuffix(" s")) == F(int(frame), 16)
        assert F(shifted) == exact
        assert int(tick) == exact.numerator // exact.denominator


def test_extracted_frames_become_a_benchmark(tmp_path: Path) -> None:
    """Manifest, videos and masks: the frames are extracted in place, registered with their records beside them."""
    import refvps

    videos, root = tmp_path / "videos", tmp_path / "root"
    videos.mkdir()
    films.write(videos / "code.mp4", films.times(30, 30))
    names = [f"{index:05d}" for index in range(24)]
    record = {"id": "code", "size": list(films.SIZE), "fps": 24, "frames": names, "annotated": names[::6]}
    (root / "masks/code").mkdir(parents=True)
    (root / "clips.jsonl").write_text(
        json.dumps(record | {"annotation_fps": 4, "group": "code", "split": "test"}) + "\n"
    )
    (root / "expressions.jsonl").write_text(
        json.dumps({"clip": "code", "id": "0", "text": "the code", "target": "1"}) + "\n"
    )
    for name in names[::6]:
        Image.fromarray(np.eye(*films.SIZE, dtype=np.uint8)).save(root / f"masks/code/{name}.png")
    extract = ["extract", "-q", "--manifest", str(root), "--videos", str(videos), "--out", str(root / "frames")]
    assert cli.run(extract) == 0
    assert cli.run(["download", "-q", "ref-vps", "--from", str(root)]) == 0
    frames = refvps.load("ref-vps").frames("code")
    assert [films.number(frame) for frame in frames][:6] == [0, 1, 3, 4, 5, 6]
