"""Which files of a ground truth and of predictions a protocol compares; names only, nothing is decoded.

``<video>/<frame>.png`` with ids, or ``<video>/<object>/<frame>.png`` with binary masks, as a folder or a zip,
directly or below ``Annotations``. Frames have the order of their names as text, as in the tools: frame 10 comes
before frame 9, which decides what is first and last. A prediction is the file of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refvps.archive import FileSet, open_files, shown
from refvps.errors import InputError
from refvps.predictions.problems import Findings, Report
from refvps.run.protocols.rules import Layout, Protocol

BESIDE = ("JPEGImages", "ImageSets", "meta_expressions")
"""Folders that stand beside ``Annotations`` in published data sets."""

_LAYOUTS = {"ids": "<video>/<frame>.png", "objects": "<video>/<object>/<frame>.png"}
_MISSING = "write a mask for every scored frame, an empty one where nothing is seen; the tool knows no missing frame"

Parts = Mapping[str, Mapping[str, str]]
"""Object folder ("" without) to frame to file name."""


@dataclass(frozen=True, slots=True)
class Track:
    """The frames of one video, or of one of its object folders, in text order.

    ``truth`` names a file per frame; ``scored`` are the positions that the protocol scores, ``predictions`` the
    file for each of these.
    """

    object: str
    frames: tuple[str, ...]
    truth: tuple[str, ...]
    scored: tuple[int, ...]
    predictions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Video:
    """One video: a single track with ids, or a track per object folder."""

    name: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What is compared with what: all files of both sides, the videos in order, and notes about the rest.

    ``found`` is the number of videos of the ground truth; fewer are in ``videos`` where only shared ones count.
    """

    truth: FileSet
    predictions: FileSet
    layout: Layout
    videos: tuple[Video, ...]
    found: int
    report: Report


def pair(
    gt: Path, pred: Path, protocol: Protocol, *, sequences: Sequence[str] | None = None, shared: bool = False
) -> Pairing:
    """Pair the files of both sides by name.

    ``sequences``: only these videos, in this order. ``shared``: only videos found on both sides. Raises InputError
    for whatever the tool could not, or should not, score; what can be ignored is a note in the report.
    """
    truth, predictions = _open_truth(gt), open_files(pred)
    videos = _truth(truth, gt)
    if sequences is not None:
        if unknown := [name for name in sequences if name not in videos]:
            raise InputError(
                "The list of sequences names videos that are not in the ground truth.",
                where=[shown(name) for name in unknown],
                fix="check the list and --gt",
            )
        videos = {name: videos[name] for name in dict.fromkeys(sequences)}
    layout: Layout = "ids" if all("" in parts for parts in videos.values()) else "objects"
    if layout not in protocol.layouts:
        name = next(name for name, parts in videos.items() if "" not in parts)
        raise InputError(
            f"{protocol.tool} does not read a folder per object.",
            where=[f"{shown(gt)}: {shown(name)}/{shown(next(iter(videos[name])))}/..."],
            fix=f"use --protocol sav, or {_LAYOUTS['ids']} with an id per object",
        )
    findings = Findings()
    prefix = _prefix(predictions, videos, pred)
    names = set(predictions.names)
    present = {name[len(prefix) :].partition("/")[0] for name in names if name.startswith(prefix) and "/" in name}
    missing = [name for name in videos if name not in present]
    if shared:
        findings.extend("missing-clip", [shown(name) for name in missing], severity="note", what=_LEFT_OUT, fix=" ")
    else:
        findings.extend("missing-clip", [shown(name) for name in missing], fix=_missing_fix(protocol))
    strict = protocol.shared_optional and not shared and sequences is None
    surplus = sorted(present - set(videos))
    findings.extend(
        "surplus-clip",
        [shown(name) for name in surplus],
        severity="error" if strict else None,
        what=f"Videos that the ground truth does not have, which {protocol.tool} refuses." if strict else "",
        fix="remove them, or pass --shared-videos" if strict else "",
    )
    scored = [
        Video(name, tuple(_track(prefix + name, part, frames, protocol) for part, frames in parts.items()))
        for name, parts in videos.items()
        if name in present
    ]
    wanted = {file for video in scored for track in video.tracks for file in track.predictions}
    findings.extend(
        "missing-frame", [shown(file.removeprefix(prefix)) for file in sorted(wanted - names)], fix=_MISSING
    )
    _surplus(names, wanted, scored, prefix, findings)
    _nothing_between(scored, protocol)
    return Pairing(truth, predictions, layout, tuple(scored), len(videos), findings.report())


def _open_truth(gt: Path) -> FileSet:
    try:
        return open_files(gt)
    except InputError as error:
        if not error.what.startswith("Predictions"):
            raise
        fix = "give the folder, or a .zip, that holds the videos"
        raise InputError("The ground truth cannot be opened.", where=error.where, fix=fix) from error


_LEFT_OUT = "Videos without predictions, left out of the score (--shared-videos)."


def _missing_fix(protocol: Protocol) -> str:
    other = ", or pass --shared-videos to score the others only" if protocol.shared_optional else ""
    return f"predict these videos, or list the ones you want with --sequences FILE{other}"


def _truth(files: FileSet, path: Path) -> dict[str, Parts]:
    """Frames of the ground truth by video and object folder, videos in text order."""
    tops = {name.partition("/")[0] for name in files.names}
    prefix = "Annotations/" if "Annotations" in tops and tops <= {"Annotations", *BESIDE} else ""
    found: dict[str, dict[str, dict[str, str]]] = {}
    wrong: list[str] = []
    for name in files.names:
        if not name.startswith(prefix):
            continue
        video, *rest = name[len(prefix) :].split("/")
        stem, _, suffix = name.rpartition("/")[2].rpartition(".")
        if not rest:
            continue  # a list or a readme beside the videos, which every tool passes over
        if len(rest) > 2:
            wrong.append(f"{shown(name)}: too deep")
        elif suffix.lower() != "png" or not stem:
            wrong.append(f"{shown(name)}: not a PNG file")
        else:
            part = rest[0] if len(rest) == 2 else ""
            found.setdefault(video, {}).setdefault(part, {})[rest[-1]] = name
    wrong += [
        f"{shown(video)}: both frames and folders"
        for video, parts in found.items()
        if "" in parts and parts.keys() != {""}
    ]
    flat = [video for video, parts in found.items() if "" in parts]
    if 0 < len(flat) < len(found):
        wrong.append(f"{shown(flat[0])} holds frames, {shown(next(v for v in found if v not in flat))} holds folders")
    if wrong or not found:
        raise InputError(
            "The layout of the ground truth is not clear." if wrong else "There is no ground truth here.",
            where=wrong or [shown(path)],
            fix=f"give the folder that holds the videos (DAVIS: Annotations_unsupervised/480p), with nothing but "
            f"{_LAYOUTS['ids']} or {_LAYOUTS['objects']}",
        )
    return {
        video: {part: dict(sorted(frames.items())) for part, frames in sorted(parts.items())}
        for video, parts in sorted(found.items())
    }


def _prefix(files: FileSet, videos: Mapping[str, Parts], path: Path) -> str:
    """Where the predicted videos lie: at the root, or all of them in the one folder there is."""
    tops = {name.partition("/")[0] for name in files.names if "/" in name}
    if not tops:
        raise InputError(
            "There are no predictions here.",
            where=[shown(path)],
            fix=f"give the folder (or a .zip of it) that holds {_LAYOUTS['ids']}",
        )
    if tops & videos.keys():
        return ""
    if len(tops) == 1:
        prefix = f"{next(iter(tops))}/"
        if {name[len(prefix) :].partition("/")[0] for name in files.names if name.count("/") > 1} & videos.keys():
            return prefix
    raise InputError(
        "None of the videos of the ground truth has predictions.",
        where=[
            f"{shown(path)} holds {', '.join(shown(name, 40) for name in sorted(tops)[:5])}",
            f"the ground truth holds {', '.join(shown(name, 40) for name in list(videos)[:5])}",
        ],
        fix="give the folder that holds the videos; names must be the same",
    )


def _track(folder: str, part: str, frames: Mapping[str, str], protocol: Protocol) -> Track:
    positions = tuple(range(len(frames)))
    scored = positions[1:-1] if protocol.skip_ends else positions
    names = tuple(frames)
    inside = f"{folder}/{part}/" if part else f"{folder}/"
    return Track(
        part,
        tuple(name.rpartition(".")[0] for name in names),
        tuple(frames.values()),
        scored,
        tuple(inside + names[k] for k in scored),
    )


def _surplus(names: set[str], wanted: set[str], videos: Sequence[Video], prefix: str, findings: Findings) -> None:
    """Note predictions of scored videos that nobody asks for, and files beside them."""
    known = {video.name: {track.object for track in video.tracks} for video in videos}
    ends = {
        f"{prefix}{video.name}/{f'{track.object}/' if track.object else ''}{name.rpartition('/')[2]}"
        for video in videos
        for track in video.tracks
        for name in track.truth
    }
    folders: set[str] = set()
    for name in sorted(names - wanted - ends):
        video, *rest = name.removeprefix(prefix).split("/")
        if not rest or not name.startswith(prefix):
            findings.add("surplus-file", shown(name))
        elif video in known:
            inside = rest[0] if len(rest) > 1 else ""
            if inside in known[video]:
                findings.add("surplus-frame", shown(name.removeprefix(prefix)))
            else:
                folders.add(f"{shown(video)}/{shown(inside)}" if inside else shown(name.removeprefix(prefix)))
    findings.extend(
        "surplus-expression",
        sorted(folders),
        what="Predicted objects that the ground truth does not have; they are ignored.",
    )


def _nothing_between(videos: Sequence[Video], protocol: Protocol) -> None:
    """Raise InputError for tracks without a scored frame where the tool crashes; others it passes over."""
    empty = [
        f"{shown(video.name)}{f'/{shown(track.object)}' if track.object else ''}: {len(track.frames)} frames"
        for video in videos
        for track in video.tracks
        if not track.scored and (track.object or protocol.objects == "first-frame")
    ]
    if empty:
        raise InputError(
            f"{protocol.tool} leaves out the first and the last frame, and there is no other.",
            where=empty,
            fix="leave these videos out" + (", or pass --keep-ends" if protocol.ends_optional else ""),
        )
