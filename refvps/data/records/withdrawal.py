"""Withdrawn clips: which they are, files without them, and the ledger by which their ids are never used again.

The ledger of a data set is ``<home>/benchmarks/<name>/withdrawn.jsonl`` together with the ``withdrawn.jsonl`` of
every version of it that is registered here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from refvps.data.manifest import CLIPS, EXPRESSIONS, MAX_MANIFEST_BYTES, records
from refvps.data.records.lists import CANDIDATES, WITHDRAWN, Withdrawal, parse_withdrawn, withdrawn_lines
from refvps.errors import InputError
from refvps.files import canonical_json, read_bytes, write_atomic


def gone_among(clips: Iterable[str], withdrawals: Iterable[Withdrawal]) -> set[str]:
    """The ids among ``clips`` that are withdrawn; upper and lower case count as one, as for all ids."""
    gone = {each.clip.lower() for each in withdrawals}
    return {clip for clip in clips if clip.lower() in gone}


def merged(*lists: Iterable[Withdrawal]) -> tuple[Withdrawal, ...]:
    """All withdrawals, one a clip; that of the first list counts."""
    found: dict[str, Withdrawal] = {}
    for each in (each for withdrawals in lists for each in withdrawals):
        found.setdefault(each.clip.lower(), each)
    return tuple(found.values())


def ledger(base: Path) -> tuple[Withdrawal, ...]:
    """Every withdrawal known of the data set whose versions are the folders in ``base``."""
    paths = [path for path in (base / WITHDRAWN, *sorted(base.glob(f"[!.]*/{WITHDRAWN}"))) if path.is_file()]
    return merged(*(parse_withdrawn(read_bytes(path, MAX_MANIFEST_BYTES), str(path)) for path in paths))


def enter(base: Path, withdrawals: Iterable[Withdrawal]) -> None:
    """Add withdrawals to the ledger; call only under the lock of ``base``."""
    known = ledger(base)
    lines = withdrawn_lines(merged(known, withdrawals))
    path = base / WITHDRAWN
    if lines and not (path.is_file() and read_bytes(path, MAX_MANIFEST_BYTES) == lines):
        write_atomic(path, lines)


def refuse_reuse(base: Path, clips: Iterable[str]) -> None:
    """Raise InputError when a data set to be registered under ``base`` has the id of a withdrawn clip."""
    if reused := sorted(gone_among(clips, ledger(base))):
        raise InputError(
            "A data set uses ids of withdrawn clips, which are never used again.",
            where=[f"{clip}: withdrawn from {base.name}" for clip in reused],
            fix=f"if these are the withdrawn clips, list them in its {WITHDRAWN}; else give the new clips other ids",
        )


def check_listed(clips: Mapping[str, str], withdrawals: Iterable[Withdrawal]) -> None:
    """Raise InputError when a clip says ``withdrawn_in`` (by id), but stands in no ``withdrawn.jsonl``."""
    listed = gone_among(clips, withdrawals)
    if unlisted := sorted(clips.keys() - listed):
        raise InputError(
            f"A clip is marked as withdrawn, but {WITHDRAWN} does not list it.",
            where=[f"{clip}: withdrawn_in {clips[clip]}" for clip in unlisted],
            fix=f"add it to {WITHDRAWN}, with the day and the class of the reason",
        )


def marked(clips: bytes) -> dict[str, str]:
    """The version by which each clip of a checked ``clips.jsonl`` says it is withdrawn, for those that do."""
    if b'"withdrawn_in"' not in clips:
        return {}
    found = (record for _, record in records(clips, CLIPS, None))
    return {record["id"]: record["withdrawn_in"] for record in found if "withdrawn_in" in record}


def stripped(part: str, data: bytes, gone: set[str]) -> bytes:
    """A checked manifest (``clips.jsonl``, ``expressions.jsonl`` or ``candidates.jsonl``) without withdrawn clips.

    Lines that stay keep their bytes. A candidate all of whose clips are gone stays in the funnel, without what
    leads to the video.
    """
    if not gone:
        return data
    ids = {clip.lower() for clip in gone}
    lines = []
    for line, (_, record) in zip(io.BytesIO(data), records(data, part, None), strict=True):
        if part == CANDIDATES:
            clips = {clip.lower() for clip in record.get("clips", ())}
            lines.append(_anonymous(record) if clips and clips <= ids else line)
        elif record[{CLIPS: "id", EXPRESSIONS: "clip"}[part]].lower() not in ids:
            lines.append(line)
    return b"".join(lines)


def _anonymous(record: Mapping[str, Any]) -> bytes:
    kept = {key: value for key, value in record.items() if key not in ("platform", "video_id", "retrieved_at")}
    return canonical_json(kept) + b"\n"
