"""Every error a user can meet: what went wrong, where (the first three places), how to fix it.

The library raises these; only :mod:`refvps.cli` prints them and turns them into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_CODES = {
    0: "done",
    1: "a bug in refvps",
    2: "wrong usage",
    3: "data is not on this machine; the message says how to get it",
    4: "an input file cannot be used",
    5: "network or checksum failure",
    6: "compare --fail-if-worse: the second result is significantly worse",
    7: "a check or a replay failed",
    130: "interrupted; finished clips are kept",
}
"""Exit codes of the command line and their meaning."""


class RefvpsError(Exception):
    """An error with a place and a remedy.

    ``what`` is one sentence, ``where`` any number of places (the first three are shown and the
    rest counted), ``fix`` what the user should do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: Iterable[str] = (), fix: str = "") -> None:
        self.what = what
        self.where = tuple(where)
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.what]
        lines += [f"  at {place}" for place in self.where[:3]]
        if len(self.where) > 3:
            lines.append(f"  and {len(self.where) - 3:,} more")
        if self.fix:
            lines.append(f"Fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # survives the trip back from a worker process
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[RefvpsError], what: str, where: tuple[str, ...], fix: str) -> RefvpsError:
    return kind(what, where=where, fix=fix)


class UsageError(RefvpsError):
    """The request itself makes no sense (exit code 2)."""

    exit_code = 2


class DataMissingError(RefvpsError):
    """Data that is not on this machine; ``fix`` lists the steps to get it (exit code 3)."""

    exit_code = 3


class InputError(RefvpsError):
    """A file that cannot be used: prediction, annotation, video or checkpoint (exit code 4)."""

    exit_code = 4


class NetworkError(RefvpsError):
    """A download that failed or did not match its checksum (exit code 5)."""

    exit_code = 5


class WorseError(RefvpsError):
    """``compare --fail-if-worse`` found a significant loss (exit code 6)."""

    exit_code = 6


class CheckError(RefvpsError):
    """A check or a replay that failed (exit code 7)."""

    exit_code = 7
