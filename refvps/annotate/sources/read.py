"""Reading a source by the name of its layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from refvps.annotate.sources.drawn import Drawn, Size
from refvps.annotate.sources.folders import Progress, find_pictures, read_pictures, read_regions
from refvps.annotate.sources.rle_json import BESIDE, find_json, read_rle, read_rle_regions
from refvps.archive import FileSet, open_files, shown
from refvps.errors import InputError, UsageError

LAYOUTS: dict[str, str] = {
    "davis": "PNG: <frame>.png with one number per object and 255 as Ignore, or <object>/<frame>.png (SAM 2)",
    "coco-rle": "JSON: mask_dict.json of MeViS, or videos and annotations of YouTube-VIS and SA-Co",
    "sa-v": "<video>_manual.json or _auto.json of SA-V, or its Annotations_6fps/<video>/<object>/<frame>.png",
}
"""What ``--layout`` names."""


def read_source(
    path: Path,
    layout: str,
    clip: str,
    *,
    size: Size | None = None,
    ignore_value: int | str | None = "auto",
    progress: Progress | None = None,
) -> Drawn:
    """What a folder, zip or .json says about one clip.

    ``size``: (height, width) of the frames, if that is known; ``ignore_value``: see
    :func:`~refvps.annotate.sources.folders.read_pictures`, for ``davis`` only. Raises InputError for what cannot be
    used, naming every file.
    """
    files = _opened(path)
    if layout == "davis":
        pictures = find_pictures(files, clip)
        return read_pictures(files, pictures, size=size, ignore=ignore_value, progress=progress)
    if ignore_value != "auto":
        raise UsageError("--ignore-value belongs to --layout davis.", fix="drop it")
    if layout == "coco-rle" or (layout == "sa-v" and find_json(files)):
        return read_rle(files, clip, layout, size)
    if layout != "sa-v":
        raise UsageError("There is no such layout.", where=[shown(layout)], fix=f"one of {', '.join(LAYOUTS)}")
    pictures = find_pictures(files, clip)
    if pictures.flat:
        raise InputError(
            "This is not the layout of SA-V: its masks lie in one folder per object.",
            where=[shown(path)],
            fix="give --layout davis for one picture a frame",
        )
    return read_pictures(files, pictures, size=size, ignore=None, progress=progress)


def read_ignore(path: Path, clip: str, size: Size, progress: Progress | None = None) -> Drawn:
    """A layer of Ignore: PNG files in which all that is not 0 is Ignore, or a .json of RLE."""
    files = _opened(path)
    if not any(name.lower().endswith(".png") for name in files.names):
        return read_rle_regions(files, clip, size)
    return read_regions(files, clip, size, progress)


def _opened(path: Path) -> FileSet:
    if not path.exists():
        raise UsageError("There is nothing to import here.", where=[shown(path)], fix="check the path")
    files = open_files(path)
    if path.suffix.lower() == ".json" and path.is_file():
        beside = [name for name in BESIDE if name != path.name and (path.parent / name).is_file()]
        return replace(files, names=tuple(sorted([path.name, *beside])))
    return files
