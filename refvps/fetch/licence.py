"""Licences that were accepted on this machine, by the hash of their text."""

from __future__ import annotations

import datetime

from refvps.files import canonical_json, sha256, write_atomic
from refvps.home import home


def is_accepted(text: str) -> bool:
    """True when a licence of exactly this text was accepted before."""
    return (home() / "licences" / f"{_key(text)}.json").is_file()


def accept(name: str, text: str) -> None:
    """Remember that the user of this machine accepted a licence, and when."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"name": name, "accepted_at": now, "text": text}
    write_atomic(home() / "licences" / f"{_key(text)}.json", canonical_json(record))


def _key(text: str) -> str:
    return sha256(" ".join(text.split()).encode("utf-8", "replace"))
