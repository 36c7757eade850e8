"""Who made the masks of a clip, when, and with what: ``provenance.jsonl``, one record per import, never rewritten.

The record of the masks that are there is the one that has their hash; older ones tell what was there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refvps.data.manifest import MAX_MANIFEST_BYTES, records, violation
from refvps.errors import InputError
from refvps.files import canonical_json, read_bytes, write_atomic

PROVENANCE = "provenance.jsonl"
SCHEMA = "refvps.provenance/1"


@dataclass(frozen=True, slots=True)
class Provenance:
    """One import of the masks of one clip.

    ``at``: UTC. ``by``: a pseudonym; ``tool``: what drew the masks, with its version; both "" when nobody said.
    ``source`` and ``ignore``: name without a folder, number of files and SHA-256 over them. ``targets``: objects of
    the source by target. ``counts``: what the table of the import says. ``accepted``: errors that a person accepted.
    """

    clip: str
    at: str
    by: str
    tool: str
    layout: str
    source: Mapping[str, Any]
    targets: Mapping[str, tuple[str, ...]]
    frame_map: str
    counts: Mapping[str, int]
    masks_sha256: str
    refvps: str
    ignore: Mapping[str, Any] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_record(provenance: Provenance) -> dict[str, Any]:
    """The line of ``provenance.jsonl``."""
    return {"schema": SCHEMA, **asdict(provenance)}


def add_provenance(folder: Path, provenance: Provenance) -> None:
    """Append a record, atomically; raises InputError when the file or the record breaks the format."""
    line = canonical_json(to_record(provenance))
    if reason := violation(_plain(to_record(provenance)), "provenance"):
        raise InputError(
            "This cannot be recorded.", where=[reason], fix="use a short pseudonym and a one-line tool name"
        )
    before = b""
    if (folder / PROVENANCE).exists():
        read_provenance(folder)
        before = read_bytes(folder / PROVENANCE, MAX_MANIFEST_BYTES)
        before += b"" if before.endswith(b"\n") or not before else b"\n"
    write_atomic(folder / PROVENANCE, before + line + b"\n")


def read_provenance(folder: Path) -> tuple[Provenance, ...]:
    """All records of a data set in their order; () when it has none. Raises InputError for what is not the format."""
    path = folder / PROVENANCE
    if not path.is_file():
        return ()
    found = []
    for _, record in records(read_bytes(path, MAX_MANIFEST_BYTES), str(path), "provenance"):
        fields = {key: value for key, value in record.items() if key != "schema"}
        fields["targets"] = {key: tuple(objects) for key, objects in record["targets"].items()}
        fields["accepted"] = tuple(record.get("accepted", ()))
        found.append(Provenance(**fields))
    return tuple(found)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """The record as JSON has it: lists for tuples."""
    return record | {
        "targets": {key: list(objects) for key, objects in record["targets"].items()},
        "accepted": list(record["accepted"]),
    }
