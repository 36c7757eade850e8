"""Figures for papers, by name; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from refvps.errors import UsageError
from refvps.report.collection import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Options:
    """``sort``: a method, "own", or None for the default. ``column``: print width, "single" or "double"."""

    sort: str | None = None
    column: str = "double"


@dataclass(frozen=True)
class Drawing:
    """A figure, the data behind it as plain JSON, and what a reader must be told."""

    figure: Figure
    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """A kind of figure: its place as "module:attribute", one line about it, its column, whether it can be sorted."""

    place: str
    summary: str
    column: str
    sorts: bool = False

    def draw(self, group: Group, options: Options) -> Drawing:
        """Draw one group of results; UsageError where they lack what the figure shows."""
        module, _, attribute = self.place.partition(":")
        build: Callable[[Group, Options], Drawing] = getattr(import_module(module), attribute)
        return build(group, options)


PLOTS = {
    "concept-coverage": Plot(
        "refvps.report.figures.coverage:draw", "J per concept, best to worst, several methods", "double", sorts=True
    ),
    "j-vs-tc": Plot("refvps.report.figures.plane:draw", "J against TC with intervals, one point per method", "single"),
}
"""Figures by name."""

MOST_METHODS = 14
"""Methods one figure can tell apart."""


def few_enough(group: Group) -> None:
    """Raise UsageError for more methods than a reader can tell apart."""
    if len(group.results) > MOST_METHODS:
        raise UsageError(
            f"One figure shows at most {MOST_METHODS} methods.",
            where=[f"{group.title}: {len(group.results)} methods"],
            fix="name the result files to show",
        )
