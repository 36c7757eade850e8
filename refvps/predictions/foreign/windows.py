"""Windows: predictions for pseudo-videos ``<clip>__w000``, ``<clip>__w001``, ... read as those of whole clips.

``refvps export benchmark --layout ytvos --window N`` cuts clips, and frames keep their names: what a method wrote for
the parts is joined again by taking the part out of every path.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from refvps.archive import FileSet, Stream, shown
from refvps.errors import InputError

_WINDOW = re.compile(r"(.+)__w[0-9]{3,}")


def window_name(clip: str, number: int) -> str:
    """The pseudo-video of window ``number``, from 0, of a clip."""
    return f"{clip}__w{number:03d}"


@dataclass(frozen=True)
class Joined(FileSet):
    """Files under the names they have without windows; ``real``: where they are. ``windows``: how many were joined."""

    real: Mapping[str, str] = field(default_factory=dict, repr=False)
    windows: int = 0

    def only(self, names: Iterable[str]) -> Joined:
        """The same source with fewer names."""
        chosen = tuple(sorted(names))
        kept = {name: self.real.get(name, name) for name in chosen}
        entries = {name: self.entries[name] for name in kept.values()} if self.kind == "zip" else {}
        return replace(self, names=chosen, entries=entries, real=kept)

    def read(self, name: str, limit: int) -> bytes:
        """The content of one file of at most ``limit`` bytes; raises InputError, naming the reason and the file."""
        return super().read(self.real.get(name, name), limit)

    def stream(self, name: str) -> Stream:
        """One file read from its start in pieces."""
        return super().stream(self.real.get(name, name))


def join_windows(files: FileSet, clips: Collection[str]) -> FileSet:
    """``files`` as they are when none lies in a window of one of ``clips``, else with windows joined.

    Raises InputError where two windows have one frame.
    """
    real: dict[str, str] = {}
    windows: dict[str, None] = {}
    twice: list[str] = []
    for name in files.names:
        parts = name.split("/")
        for place, part in enumerate(parts[:-1]):
            found = _WINDOW.fullmatch(part)
            if found and found[1] in clips and part not in clips:
                windows["/".join(parts[: place + 1])] = None
                parts[place] = found[1]
                break
        joined = "/".join(parts)
        if joined in real:
            twice.append(f"{shown(name)} and {shown(real[joined])}")
        real[joined] = name
    if not windows:
        return files
    if twice:
        raise InputError("Two windows have the same frame.", where=twice, fix="use the windows of one export")
    own = {name: getattr(files, name) for name in ("root", "kind", "junk", "entries", "stamp", "data")}
    return Joined(names=tuple(sorted(real)), real=real, windows=len(windows), **own)
