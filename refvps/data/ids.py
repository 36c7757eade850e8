"""Ids from foreign names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from refvps.types import ID

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")


def map_ids(names: Iterable[str]) -> dict[str, str]:
    """Map every name to a valid id, unique ignoring case; valid names that clash with no other keep theirs.

    Any other name has its forbidden characters replaced by "_" and eight or more digits of the SHA-256 of
    the original appended, so the result depends on the set of names only, never on their order.
    """
    wanted = sorted(set(names))
    folded = Counter(name.casefold() for name in wanted)
    mapped = {name: name for name in wanted if ID.fullmatch(name) and folded[name.casefold()] == 1}
    taken = {name.casefold() for name in mapped}
    for name in wanted:
        if name in mapped:
            continue
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        stem = _NOT_ALLOWED.sub("_", name).lstrip("._-")[:60] or "id"
        for length in range(8, 65):
            candidate = f"{stem}-{digest[:length]}"
            if candidate.casefold() not in taken:
                break
        mapped[name] = candidate
        taken.add(candidate.casefold())
    return mapped
