"""Sources that cannot be imported: every one is named, with its place and a fix, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import masklets as made
import numpy as np
import pytest
from masklets import SIZE, disks, names

from refvps.annotate.clip import Request
from refvps.annotate.importing import import_clip
from refvps.errors import InputError


def _sav(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        content = made.sav({0: disks(4), 1: disks(4, seed=1)})
        change(content)
        return made.write_json(root / "x.json", content)

    return build


def _mevis(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        content: dict[str, Any] = {"0": made.entries(disks(4)), "1": made.entries(disks(4, seed=1))}
        change(content)
        return made.write_json(root / "x.json", content)

    return build


def _videos(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        content = made.ytvis({3: disks(4)}, names(4), "disk")
        change(content)
        return made.write_json(root / "x.json", content)

    return build


def _png(data: bytes) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        made.labels(root, {1: disks(3)}, names(3))
        (root / "00003.png").write_bytes(data)
        return root

    return build


def _soft(root: Path) -> Path:
    made.labels(root, {1: disks(3)}, names(3))
    made.picture(root / "00003.png", np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE), "L")
    return root


def _twice(root: Path) -> Path:
    for name in ("a", "b"):
        made.labels(root / name / "disk", {1: disks(2)}, names(2))
    return root


def _mixed(root: Path) -> Path:
    made.object_folders(root / "disk", {"001": disks(3)}, names(3))
    return made.labels(root / "disk", {1: disks(3)}, names(3)).parent


BROKEN: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "no masks": ("davis", lambda root: made.write_json(root / "a/b/c.json", {}).parents[2], "no masks of this clip"),
    "cut off": ("davis", _png(b"\x89PNG\r\n\x1a\n\0\0"), r"00003\.png: the file is cut off"),
    "no PNG": ("davis", _png(b"\xff\xd8\xff\xe0"), "JPEG"),
    "soft": ("davis", _soft, "neither 255 nor the number"),
    "two forms": ("davis", _mixed, "beside folders"),
    "two labels in a folder": (
        "davis",
        lambda root: made.labels(root / "disk/001", {1: disks(3), 2: disks(3, seed=3)}, names(3)).parents[1],
        "folder of one object",
    ),
    "two clips": ("davis", _twice, "not clear which"),
    "other videos": (
        "davis",
        lambda root: made.labels(root / "cat", {1: disks(2)}, names(2)).parent,
        r"PNG files in cat",
    ),
    "not JSON": ("coco-rle", lambda root: _png(b"x")(root), "no JSON file here"),
    "no object": ("sa-v", lambda root: made.write_json(root / "x.json", {"a": 1}), "no masklet"),
    "SA-V as COCO": ("coco-rle", _sav(lambda c: None), "--layout sa-v"),
    "a row too short": ("sa-v", _sav(lambda c: c["masklet"][2].pop()), r"masklet\[2\]"),
    "wrong size": ("sa-v", _sav(lambda c: c.update(video_height=41.0)), "56x40, not 56x41"),
    "half a height": ("sa-v", _sav(lambda c: c.update(video_height=40.5)), "40.5 is no number"),
    "too few frames": ("sa-v", _sav(lambda c: c.update(video_frame_count=12.0)), "do not fit into"),
    "too many frames": ("sa-v", _sav(lambda c: c.update(video_frame_count=1e12)), "do not fit into"),
    "no height": ("sa-v", _sav(lambda c: c.pop("video_height")), "no 'video_height'"),
    "one number twice": ("sa-v", _sav(lambda c: c.update(masklet_id=[1, 1])), "one number"),
    "broken RLE": (
        "sa-v",
        _sav(lambda c: c["masklet"][1][0].update(counts="")),
        r"masklet 0\[1\]: it is an empty string",
    ),
    "huge size": (
        "coco-rle",
        _mevis(lambda c: c["0"].__setitem__(0, {"size": [10**9, 1], "counts": "0"})),
        "impossible size",
    ),
    "runs": (
        "coco-rle",
        _mevis(lambda c: c["0"].__setitem__(0, {"size": [40, 56], "counts": [1, -1]})),
        "do not add up",
    ),
    "text": ("coco-rle", _mevis(lambda c: c["0"].__setitem__(0, "mask")), r"0\[0\]: neither null nor"),
    "lengths": ("coco-rle", _mevis(lambda c: c["0"].pop()), "several lengths"),
    "all null": ("coco-rle", lambda root: made.write_json(root / "x.json", {"0": [None]}), "no mask has a size"),
    "no such video": (
        "coco-rle",
        _videos(lambda c: c["videos"][1].update(file_names=["z/0.jpg"])),
        "0 are called disk",
    ),
    "track too short": ("coco-rle", _videos(lambda c: c["annotations"][0]["segmentations"].pop()), "no list of 4"),
    "frames without names": (
        "coco-rle",
        _videos(lambda c: c["videos"][1].update(file_names=["disk/ .jpg"])),
        "not name",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sources_are_named(name: str, tmp_path: Path) -> None:
    layout, build, phrase = BROKEN[name]
    source = build(tmp_path / "given")
    with pytest.raises(InputError, match=phrase) as caught:
        import_clip(Request(source, layout, "disk", tmp_path / "set"))
    assert caught.value.where
    assert caught.value.fix
    assert not (tmp_path / "set").exists()
