"""Which files of a ground-truth folder belong to which video, expression and frame."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from refvps.errors import InputError, UsageError
from refvps.frames import natural_key
from refvps.zips import is_junk, shown

BESIDE = ("JPEGImages", "ImageSets", "meta_expressions")
"""Folders that stand beside ``Annotations`` in published data sets."""


@dataclass(frozen=True, slots=True)
class Video:
    """The mask files of one video folder: ``parts`` maps expression folder to frame name to path.

    Without expression folders the only part is "". Parts and frames are in natural order.
    """

    name: str
    parts: Mapping[str, Mapping[str, str]]

    @property
    def files(self) -> list[str]:
        """All mask files."""
        return [path for frames in self.parts.values() for path in frames.values()]

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames that have a file in some part."""
        if len(self.parts) == 1:
            return tuple(*self.parts.values())
        return tuple(sorted({name for frames in self.parts.values() for name in frames}, key=natural_key))


def find_videos(folder: Path, beside: Collection[str] = ()) -> tuple[list[Video], list[str]]:
    """Videos in natural order, and notes on what was passed over; names in ``beside`` are no part of the ground truth.

    Raises UsageError when there is no such folder, InputError naming every file and folder that fits neither
    layout (see :mod:`refvps.data.folder`).
    """
    root = str(folder)
    if not folder.is_dir():
        raise UsageError("There is no such ground-truth folder.", where=[shown(root)], fix="give the path of a folder")
    notes: list[str] = []
    folders, files, junk = _listing(root)
    if "Annotations" in folders and all(name in BESIDE for name in folders if name != "Annotations"):
        notes.append("The ground truth was read from the folder Annotations inside it.")
        folders, files, junk = _listing(folders["Annotations"])
    folders = {name: path for name, path in folders.items() if name not in beside}
    files = {name: path for name, path in files.items() if name not in beside}
    if files:
        raise InputError(
            "Files stand beside the video folders of the ground truth.",
            where=[shown(path) for path in files.values()],
            fix="the layout is <gt>/<video>/<frame>.png: put the masks of a video into a folder of its own",
        )
    wrong: list[str] = []
    videos: list[Video] = []
    for name, path in folders.items():
        parts, more = _parts(path, wrong)
        videos.append(Video(name, parts))
        junk += more
    flat = [video.name for video in videos if "" in video.parts]
    if 0 < len(flat) < len(videos):
        other = next(video.name for video in videos if "" not in video.parts)
        wrong.append(f"{shown(folders[flat[0]])} holds frames, {shown(folders[other])} holds folders of frames")
    if wrong:
        raise InputError(
            "The layout of the ground truth is not clear.",
            where=wrong,
            fix="use <gt>/<video>/<frame>.png or <gt>/<video>/<expression>/<frame>.png throughout, and nothing else",
        )
    if not videos:
        raise InputError("There is no ground truth in this folder.", where=[shown(root)], fix="check the path")
    if junk:
        notes.append(f"Entries of file managers, such as .DS_Store, that were not read: {junk}.")
    return videos, notes


def _parts(folder: str, wrong: list[str]) -> tuple[dict[str, dict[str, str]], int]:
    """Frames by expression folder, and the number of junk entries."""
    inside, direct, junk = _listing(folder)
    if inside and direct:
        wrong.append(f"{shown(folder)}: both files and folders")
    if not inside:
        parts = {"": _frames(direct, wrong)}
    else:
        parts = {}
        for name, path in inside.items():
            deeper, files, more = _listing(path)
            junk += more
            wrong += [f"{shown(below)}: folders this deep have no meaning" for below in deeper.values()]
            parts[name] = _frames(files, wrong)
    empty = [name for name, frames in parts.items() if not frames]
    wrong += [f"{shown(os.path.join(folder, name) if name else folder)}: no PNG file" for name in empty]
    return parts, junk


def _frames(files: Mapping[str, str], wrong: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, path in files.items():
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() != "png" or not stem:
            wrong.append(f"{shown(path)}: not a PNG file")
        elif stem in found:
            wrong.append(f"{shown(path)}: a second file for the frame {shown(stem)}")
        else:
            found[stem] = path
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))


def _listing(folder: str) -> tuple[dict[str, str], dict[str, str], int]:
    """Paths of folders (in natural order) and of files by name, and the number of junk entries."""
    folders: list[str] = []
    files: list[str] = []
    odd: list[str] = []
    junk = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_junk(entry.name):
                    junk += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    files.append(entry.name)
                    odd += [] if entry.is_file() else [f"{shown(entry.path)}: a pipe, a device, or a broken link"]
    except OSError as error:
        raise InputError(
            "A folder of the ground truth cannot be read.",
            where=[f"{shown(folder)}: {error.strerror}"],
            fix="check its permissions",
        ) from error
    odd += [
        f"{shown(folder)}: the name {shown(name)} is not plain text"
        for name in folders + files
        if not name.isprintable()  # nor are bytes that could not be decoded
    ]
    if odd:
        raise InputError("The ground truth holds what cannot be read.", where=sorted(odd), fix="remove or rename it")
    folders.sort(key=natural_key)
    files.sort()
    here = os.path.join(folder, "")
    return {name: here + name for name in folders}, {name: here + name for name in files}, junk
