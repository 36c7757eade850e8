"""Compare frames on disk with their own record, with another extraction, or with the fingerprints of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from refvps.errors import CheckError, InputError, UsageError
from refvps.extract.alignment import Judgement, compare
from refvps.extract.record import FrameRecord, changed_files, read_records
from refvps.frames import ImageFrames, image_files
from refvps.source.fingerprint import dhash64
from refvps.types import ID

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


def verify(frames: Path, against: Path | None = None, *, progress: Progress | None = None) -> dict[str, Judgement]:
    """How every clip of a folder of extracted frames compares, by clip id.

    Without ``against`` the files are held against their own records: "same", or "different" naming the first
    file with another content. ``against`` is another such folder, or a JSON-lines file of records; there, clips
    that it does not have are "unverified". Frames without a record are looked at themselves. Raises UsageError
    for folders without frames or without a clip in common, and InputError for what cannot be read.
    """
    records = read_records(frames) if frames.is_dir() else {}
    clips = sorted({*records, *(_pictured(frames) if frames.is_dir() else ())})
    if not clips:
        raise UsageError(
            "There are no extracted frames here.", where=[str(frames)], fix="name the folder given to --out"
        )
    reference = read_reference(against) if against is not None else None
    if reference is not None and not set(clips) & set(reference):
        raise UsageError("The two extractions have no clip in common.", where=[f"{frames}, {against}"])
    found: dict[str, Judgement] = {}
    for done, clip in enumerate(clips, start=1):
        found[clip] = _judge(frames, clip, records.get(clip), reference)
        if progress is not None:
            progress(done, len(clips))
    return found


def raise_for_differences(judged: Mapping[str, Judgement]) -> None:
    """Raise CheckError with the sentence of every clip that is not the same."""
    wrong = [each.sentence for each in judged.values() if each.verdict in ("shifted", "different")]
    if wrong:
        raise CheckError(
            f"{len(wrong):,} of {len(judged):,} clips do not have the frames they should have.",
            where=wrong,
            fix="extract them again from the right video, cut at the right time",
        )


def _judge(
    frames: Path, clip: str, record: FrameRecord | None, reference: Mapping[str, FrameRecord] | None
) -> Judgement:
    if not (frames / clip).is_dir():
        return Judgement("different", f"clip {clip}: its frames are not there")
    if record is not None and not record.sha256:
        record = None  # says nothing about these files: they are looked at themselves
    changed = changed_files(frames, record) if record is not None else []
    if reference is None and record is None:
        return Judgement("unverified", f"clip {clip}: no record with hashes of its frames, and nothing to compare with")
    if reference is None:
        if not changed:
            return Judgement("same")
        many = f" and {len(changed) - 1:,} more" if len(changed) > 1 else ""
        return Judgement("different", f"clip {clip}: {changed[0]}{many} missing or changed since the extraction")
    if clip not in reference:
        return Judgement("unverified", f"clip {clip}: not in the reference")
    found = record if record is not None and not changed else from_pictures(frames / clip)
    return compare(reference[clip], found)


def from_pictures(folder: Path) -> FrameRecord:
    """A record without times, from the pictures in a folder; InputError when they cannot be used."""
    pictures = ImageFrames(image_files(folder), 1.0, str(folder))
    return FrameRecord(folder.name, pictures.names, tuple(dhash64(picture) for picture in pictures), pictures.size)


def read_reference(path: Path) -> dict[str, FrameRecord]:
    """The records of a folder of extracted frames, made from the pictures where there are none, or of a .jsonl file.

    Raises UsageError for a path that is not there and InputError for one without frames.
    """
    if not path.exists():
        raise UsageError("There is no such reference.", where=[str(path)], fix="name a folder of frames or a .jsonl")
    records = read_records(path)
    if path.is_dir():
        records |= {clip: from_pictures(path / clip) for clip in _pictured(path) if clip not in records}
    if not records:
        raise InputError("The reference has no frames.", where=[str(path)], fix="name a folder of frames or a .jsonl")
    return records


def _pictured(folder: Path) -> list[str]:
    return [
        entry.name
        for entry in sorted(folder.iterdir())
        if ID.fullmatch(entry.name) and entry.is_dir() and image_files(entry)
    ]
