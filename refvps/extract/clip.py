"""Extract one clip: decode, choose, convert, encode and write; whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from refvps.errors import CheckError, InputError, UsageError
from refvps.extract.alignment import Judgement, Verdict, compare
from refvps.extract.cut import Cut
from refvps.extract.frames import frame_files
from refvps.extract.record import FrameRecord, is_whole, read_record, record_path, to_line
from refvps.files import sha256_file, write_atomic
from refvps.source.video import SourceVideo, open_video


@dataclass(frozen=True, slots=True)
class Done:
    """A clip that is in place: its record, whether it was there before, and how it compares with the reference."""

    record: FrameRecord
    kept: bool
    verdict: Verdict
    notes: tuple[str, ...]


def extract_clip(
    cut: Cut,
    out: Path,
    *,
    reference: FrameRecord | None = None,
    force: bool = False,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Done:
    """Write ``out/<clip>/<frame>.jpg`` (or .png) and the record beside it, unless they are there already.

    ``progress`` is called with the number of frames written so far. Raises InputError for an unusable video or
    a crop outside the picture, UsageError for a folder that another extraction made (``force`` replaces it), and
    CheckError, leaving nothing behind, for another number of frames than the manifest has, or for frames that
    are not those of ``reference``.
    """
    _remove_leftovers(out, cut.clip)
    request = cut.request(_hash_of(cut.video))
    if reference is None and cut.sha256 not in ("", request["source_sha256"]):
        raise CheckError(
            "A video is not the one of the manifest, and there are no fingerprints to compare its frames with.",
            where=[f"{cut.clip}: {cut.video}"],
            fix="get the original file, or name a reference with --against",
        )
    if (known := _there(cut, out, request, force)) is not None:
        judged = _judged(cut, known, reference)
        return Done(known, True, judged.verdict, (*known.notes, *([judged.sentence] if judged.sentence else [])))
    video = open_video(cut.video)
    staging = out / f".{cut.clip}.{secrets.token_hex(6)}.tmp"
    staging.mkdir(parents=True)
    try:
        record = replace(_write(cut, video, staging, threads, progress), request=request)
        judged = _judged(cut, record, reference)
        _put(staging, out, record)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return Done(record, False, judged.verdict, (*record.notes, *([judged.sentence] if judged.sentence else [])))


@lru_cache(maxsize=4)
def _sha256_of(path: Path, length: int, changed: int) -> str:
    return sha256_file(path)


def _hash_of(path: Path) -> str:
    """The hash of a video; several clips of one video cost one reading."""
    try:
        about = path.stat()
        return _sha256_of(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise InputError(
            "A video cannot be read.", where=[f"{path}: {error.strerror}"], fix="check the path and its permissions"
        ) from error


def _there(cut: Cut, out: Path, request: dict[str, Any], force: bool) -> FrameRecord | None:
    """The record of the clip if all of it is in place; UsageError for what this command did not make."""
    folder, path = out / cut.clip, record_path(out, cut.clip)
    if folder.is_symlink() or path.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("The place of the frames is not a folder.", where=[str(folder)], fix="move it away")
    if force:
        return None
    if not path.exists():
        if folder.exists():
            raise UsageError(
                "The frames of a clip are there, but not from refvps extract.",
                where=[str(folder)],
                fix="name another folder with --out, or replace them with --force",
            )
        return None
    known = read_record(path)
    if known.request != request or (cut.names is not None and known.names != cut.names):
        differing = [
            f"{cut.clip}: {key} is {known.request.get(key)!r} there, {value!r} now"
            for key, value in request.items()
            if known.request.get(key) != value
        ]
        raise UsageError(
            "The frames of a clip were extracted otherwise.",
            where=differing or [f"{cut.clip}: the names of the frames differ"],
            fix="name another folder with --out, or replace them with --force",
        )
    _checked_size(cut, known.size)
    return known if is_whole(out, known) else None


def _write(
    cut: Cut, video: SourceVideo, staging: Path, threads: int, progress: Callable[[int], None] | None
) -> FrameRecord:
    """Decode and write into ``staging``; the record still lacks its request."""
    kept: list[tuple[str, int, str, int, int]] = []  # name, pts, sha256, bytes, fingerprint
    digits = max(5, len(str(cut.ticks - 1 if cut.ticks else 0)))
    size: tuple[int, int] | None = None
    content, over = b"", 0
    for shown, ticks, frame in frame_files(cut, video, threads):
        size = _checked_size(cut, frame.size) if size is None else size
        content = frame.content
        for index in ticks:
            if cut.names is not None and index >= len(cut.names):
                over += 1
                if over > 1:
                    raise _other_count(cut, f"more than {len(cut.names) + 1:,}")
                continue
            name = cut.names[index] if cut.names is not None else f"{index:0{digits}d}"
            (staging / f"{name}.{cut.format}").write_bytes(content)
            kept.append((name, shown.pts, frame.sha256, len(content), frame.fingerprint))
        if progress is not None:
            progress(len(kept))
    if size is None:
        raise InputError(
            "No frame of a video lies in the cut.",
            where=[f"{cut.clip}: {cut.video}: [{cut.start}, {cut.end}) s, its first frame is at {video.first} s"],
            fix="correct start and end",
        )
    notes = []
    if cut.names is not None and len(kept) + over != len(cut.names):
        if len(cut.names) - len(kept) > 1:
            raise _other_count(cut, f"{len(kept):,}")
        notes.append(f"one tick {'more' if over else 'less'} at the very end than the manifest has frames")
        if not over:
            kept.append((cut.names[-1], *kept[-1][1:]))
            (staging / f"{cut.names[-1]}.{cut.format}").write_bytes(content)
    if cut.names is None and len(str(len(kept) - 1)) > digits:
        raise InputError(
            "A video is longer than it says.", where=[f"{cut.video}: {len(kept):,} frames"], fix="cut it with --end"
        )
    names, pts, digests, lengths, fingerprints = zip(*kept, strict=True)
    return FrameRecord(
        clip=cut.clip,
        names=names,
        fingerprints=fingerprints,
        size=size,
        t0=cut.start if cut.start is not None else video.first,
        time_base=video.time_base,
        pts=pts,
        sha256=digests,
        bytes=lengths,
        duplicates=tuple(now[0] for then, now in pairwise(kept) if now[1] != then[1] and now[2] == then[2]),
        source=_about(cut, video),
        tools=_tools(),
        notes=tuple(notes),
    )


def _other_count(cut: Cut, ticks: str) -> CheckError:
    return CheckError(
        "A clip has another number of frames than its manifest says.",
        where=[f"{cut.clip}: {ticks} ticks in {cut.video.name}, {len(cut.names or ()):,} names in the manifest"],
        fix="is this the right video, and are start, end and fps right?",
    )


def _checked_size(cut: Cut, size: tuple[int, int]) -> tuple[int, int]:
    if cut.size is not None and size != cut.size:
        raise CheckError(
            "The frames of a clip do not have its size.",
            where=[f"{cut.clip}: {size[1]}x{size[0]}, the manifest has {cut.size[1]}x{cut.size[0]}"],
            fix="is this the right video, and is the crop right?",
        )
    return size


def _judged(cut: Cut, found: FrameRecord, reference: FrameRecord | None) -> Judgement:
    """Compare with the reference; CheckError unless the frames are the same, or cannot be compared."""
    if reference is None:
        return Judgement("unverified")
    judged = compare(reference, found)
    if judged.verdict != "same":
        raise CheckError(
            "Extracted frames are not those of the reference.",
            where=[judged.sentence],
            fix="is this the right video, cut at the right time? Such frames are not put in place",
        )
    if cut.sha256 not in ("", found.request["source_sha256"]) and not judged.sentence:
        return Judgement("same", f"clip {cut.clip}: another file of the same video; its frames look the same")
    return judged


def _put(staging: Path, out: Path, record: FrameRecord) -> None:
    """Record first, folder second: after a kill in between, the next run sees what is missing and does it again."""
    folder = out / record.clip
    write_atomic(record_path(out, record.clip), to_line(record))
    if folder.is_dir():
        shutil.rmtree(folder)
    os.replace(staging, folder)


def _remove_leftovers(out: Path, clip: str) -> None:
    for leftover in out.glob(f".{clip}.????????????.tmp"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
    record = record_path(out, clip)
    for leftover in out.glob(f".{record.name}.????????????.tmp"):
        leftover.unlink(missing_ok=True)


def _about(cut: Cut, video: SourceVideo) -> dict[str, Any]:
    return {
        "file": cut.video.name,
        "bytes": cut.video.stat().st_size,
        "container": video.container,
        "codec": video.codec,
        "average_rate": None if video.average_rate is None else str(video.average_rate),
        "size": list(video.size),
        "rotation": video.rotation,
        "mirrored": video.mirrored,
    }


def _tools() -> dict[str, str]:
    """Versions of everything that touches a pixel."""
    import av

    from refvps import __version__

    found = {"refvps": __version__, "av": av.__version__}
    libraries = {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
    for name in ("opencv-python-headless", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | libraries
