"""The masks of all clips, from the files of any of the four layouts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from refvps.archive import shown
from refvps.data.importers.ref_vps.layout import Found
from refvps.data.importers.ref_vps.masks import (
    Drawn,
    add_ignore,
    empty_frames,
    from_folders,
    from_labels,
    from_rle,
    ignore_label,
    scanned,
    without,
)
from refvps.data.importers.referring.meta_expressions import Video as Listing
from refvps.data.index import Progress
from refvps.errors import InputError, UsageError
from refvps.files import read_json


def read_pictures(
    found: Found, clips: Collection[str], choice: str, jobs: int, progress: Progress | None
) -> dict[str, Drawn]:
    """The masks of clips by their foreign names, from PNG files; ``choice``: the option ignore-value.

    Raises InputError naming every file that cannot be used, UsageError where 255 could be two things.
    """
    videos = [video for video in found.videos if video.name in clips]
    ignored = [video for video in found.ignore or () if video.name in clips]
    labels = scanned([*videos, *ignored], jobs, progress)
    ignore = ignore_label(videos, labels, found.ignore is not None, choice)
    read = from_folders if found.layout == "expression-folders" else from_labels
    drawn = {video.name: read(video, labels, ignore) for video in videos}
    for video in ignored:
        add_ignore(drawn[video.name], video, labels)
    return drawn


def read_tracks(found: Found, videos: Mapping[str, Listing], clips: Collection[str], null: str) -> dict[str, Drawn]:
    """The same from COCO RLE; ``null``: the option of that name.

    Raises UsageError where null could be an empty mask or a frame that nobody annotated.
    """
    assert found.rle is not None and found.meta is not None
    tracks, meta = read_json(found.rle), read_json(found.meta)
    beside = read_json(found.rle_ignore) if found.rle_ignore else {}
    if not isinstance(tracks, dict) or not isinstance(beside, dict):
        raise InputError(
            "Masks cannot be used.", where=[shown(found.rle)], fix="it must be an object of tracks by number"
        )
    used: set[str] = set()
    drawn: dict[str, Drawn] = {}
    wrong: list[str] = []
    blank = total = 0
    if null not in ("auto", "empty", "unannotated"):
        raise UsageError("This is no meaning of null.", where=[shown(null)], fix="--option null=empty, or unannotated")
    for name in clips:
        video = videos[name]
        named = meta["videos"][name].get("ignore_anno_id", [])
        keys = [str(each) for each in (named if isinstance(named, list) else [named])]
        keys += [key for key in (f"{name}/ignore", f"{name}_ignore") if key in tracks]
        objects = {key for sentence in video.sentences for key in sentence.masks}
        lacking = sorted((objects | set(keys)) - tracks.keys())
        wrong += [f"{shown(name)}: no mask {shown(key)}" for key in lacking]
        if lacking:
            continue
        used |= objects | set(keys)
        ignored = [tracks[key] for key in keys] + ([beside[name]] if name in beside else [])
        drawn_here = {key: tracks[key] for key in sorted(objects)}
        frames, count = list(video.frames), len(video.frames)
        nothing = empty_frames([*drawn_here.values(), *ignored], count)
        blank, total = blank + len(nothing), total + count
        if null == "unannotated" and len(nothing) < count:
            frames = [frame for k, frame in enumerate(frames) if k not in nothing]
            drawn_here = {key: without(track, nothing, count) for key, track in drawn_here.items()}
            ignored = [without(track, nothing, count) for track in ignored]
        drawn[name] = from_rle(frames, drawn_here, ignored, name)
    if null == "auto" and 2 * blank > total and not wrong:
        raise UsageError(
            "Most frames have no mask at all: null may mean that they are empty, or that nobody annotated them.",
            where=[f"{found.rle}: {blank:,} of {total:,} frames"],
            fix="--option null=unannotated where only some frames are annotated (6 of 24 per second), else null=empty",
        )
    wrong += [
        f"{shown(key)}: a track of Ignore of no clip" for key in sorted(tracks.keys() - used) if "ignore" in key.lower()
    ]
    wrong += [f"{found.rle_ignore}: {shown(key)}: no such clip" for key in sorted(beside.keys() - videos.keys())]
    if wrong:
        raise InputError("Masks and sentences do not match.", where=wrong, fix="get both files of one version")
    return drawn
