"""Tables for papers and pages: what stands in them, and how they are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refvps.data.reported import Reported
from refvps.report.board.content import Board, main_boards, reported_boards
from refvps.report.collection import Group

Build = Callable[[Sequence[Group], Reported, str | None], list[Board]]


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of table: one line about it, whether it shows results, and what builds it.

    ``build`` takes groups of results, the reported figures, and a benchmark to keep (None: all).
    """

    summary: str
    needs_results: bool
    build: Build


TABLES = {
    "main": Table("methods with J, TC and their intervals, reported figures below", True, main_boards),
    "reported": Table("the figures that papers print, marked as such", False, reported_boards),
}
"""Tables by name."""
