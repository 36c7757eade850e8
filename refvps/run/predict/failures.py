"""Clips that could not be predicted: kept apart so that they do not take the others with them."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field

from refvps.errors import DataMissingError, InputError, RefvpsError

HOPELESS = 3
"""So many failures at the very start, all of one kind, and a run stops."""


@dataclass(slots=True)
class Failures:
    """What went wrong, by clip, in the order in which it happened."""

    errors: dict[str, RefvpsError] = field(default_factory=dict)

    def add(self, clip: str, error: RefvpsError) -> None:
        """Note a failure; what its stack held, such as tensors that did not fit, is let go."""
        each: BaseException | None = error
        while each is not None:
            traceback.clear_frames(each.__traceback__)
            each = each.__cause__
        self.errors[clip] = error

    @property
    def hopeless(self) -> bool:
        """Whether the clips so far failed in the same way, so that the others would, too."""
        return len(self.errors) >= HOPELESS and len({_kind(*item) for item in self.errors.items()}) == 1

    def summary(self, of: int, untried: int) -> RefvpsError:
        """One error for all: the failure itself when there was one clip, else how many, and the first three."""
        errors = list(self.errors.values())
        if of == 1:
            return errors[0]
        if untried:
            what = f"The first {len(errors)} clips failed in the same way; {untried:,} others were not tried."
        else:
            what = f"{len(errors):,} of {of:,} clips could not be predicted; all others are done."
        fixes = dict.fromkeys(error.fix for error in errors if error.fix)
        absent = all(isinstance(error, DataMissingError) for error in errors)
        return (DataMissingError if absent else InputError)(
            what,
            where=[
                *(f"{clip}: {_line(error)}" for clip, error in self.errors.items()),
                *(errors[0].where[1:] if len(errors) == 1 else ()),  # such as the last words of a program
            ],
            fix="; ".join([*list(fixes)[:1], "the same command again does only what is missing"]),
        )


def _line(error: RefvpsError) -> str:
    return f"{error.what} {error.where[0] if error.where else ''}".strip()[:600]


def _kind(clip: str, error: RefvpsError) -> str:
    """The error without what differs from clip to clip: its name, quoted sentences, numbers."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", _line(error).replace(clip, ""))
