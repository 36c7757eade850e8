"""The table of a benchmark (paper, Table A), alone or beside what a publication prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from refvps.data.census.statistics import Areas, Statistics
from refvps.data.census.versions import Comparison, Value
from refvps.report.board.formats import latex_text, markdown_text
from refvps.report.table import grid

Rows = Sequence[Sequence[str]]
"""Cells of a table, the head first; all rows of one length."""


def rows(statistics: Statistics, areas: Areas | None = None) -> list[list[str]]:
    """Figure and value, as people read them."""
    s, f = statistics, statistics.figures()
    found = [
        ("clips", f"{s.clips:,}"),
        ("source videos", f"{s.groups:,}"),
        ("concepts", shown(f["concepts"])),
        ("frames", f"{s.frames:,}"),
        ("annotated frames", f"{s.annotated:,}"),
        ("frames per clip", _range(s.frames_per_clip)),
        ("average length (s)", _seconds(s.average_seconds)),
        ("shortest length (s)", _seconds(min(s.lengths, default=None))),
        ("longest length (s)", _seconds(max(s.lengths, default=None))),
        ("frames per second", _rates(s.fps)),
        ("annotated frames per second", _rates(s.annotation_fps)),
        ("smallest clip, long × short side", _sides(s.smallest)),
        ("largest clip, long × short side", _sides(s.largest)),
        ("expressions", f"{s.expressions:,}"),
        ("expressions per clip", _range(s.expressions_per_clip)),
        ("annotators", shown(s.annotators or None)),
        ("annotators per clip", _range(s.annotators_per_clip)),
        ("words per expression", f"{s.words_per_expression:.1f}" if s.words_per_expression else "-"),
        ("targets", f"{s.targets:,}"),
    ]
    if s.lengths and len(s.lengths) < s.clips:
        found.append(("clips of unknown length", f"{s.clips - len(s.lengths):,}"))
    for title, table in (("category", s.categories), ("split", s.splits), ("quality", s.quality)):
        found += [(f"{title}: {name}", f"{count:,}") for name, count in table.items()]
    found += [(name, f"{count:,}") for name, count in s.sources.items() if not name.endswith("not known")]
    if areas is not None:
        found += [
            ("Ignore, % of annotated pixels", _percent(areas.ignore)),
            ("frames with Ignore, %", _percent(areas.ignored_frames)),
            ("target, % of a frame", _percent(areas.target)),
            ("target by clip, % of a frame", f"{_percent(areas.by_clip[0])} to {_percent(areas.by_clip[1])}"),
            ("frames without target, %", _percent(areas.empty)),
        ]
    return [["figure", "count"], *map(list, found)]


def comparison_rows(comparisons: Sequence[Comparison], version: str) -> list[list[str]]:
    """Every printed figure, the count beside it, whether they agree, and where it is printed."""
    head = ["figure", "counted", f"printed ({version})", "agree", "where it is printed"]
    said = {True: "yes", False: "NO", None: "not counted"}
    return [
        head,
        *(
            [_name(each), shown(each.counted, 2), each.fact.printed, said[each.agrees], each.fact.where]
            for each in comparisons
        ),
    ]


def shown(value: Value, decimals: int = 0) -> str:
    """A figure as people read it; a dash where nothing is known, a span where clips differ."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:g} to {value[1]:g}" if value[0] <= value[1] else _sides(value)
    return f"{value:,.{decimals}f}" if isinstance(value, float) and not value.is_integer() else f"{value:,.0f}"


def _name(comparison: Comparison) -> str:
    return comparison.fact.figure.replace("_", " ")


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _rates(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" if value else "unknown" for value in values)


def _sides(sides: tuple[float, float]) -> str:
    return f"{sides[0]:g} × {sides[1]:g}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def text(table: Rows) -> str:
    """Aligned columns for a terminal."""
    return grid(table, left=len(table[0]) if len(table[0]) > 2 else 1) + "\n"


def markdown(table: Rows) -> str:
    """A pipe table."""
    lines = [[markdown_text(cell) for cell in row] for row in table]
    lines.insert(1, ["---"] * len(table[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def latex(table: Rows) -> str:
    """A tabular for booktabs."""
    head, *body = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in table]
    columns = "l" + "r" * (len(table[0]) - 1) if len(table[0]) == 2 else "l" * len(table[0])
    lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{tabular}"]).replace("×", r"$\times$") + "\n"


def comma(table: Rows) -> str:
    """CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(table)
    return stream.getvalue()


FORMATS: dict[str, Callable[[Rows], str]] = {"text": text, "markdown": markdown, "latex": latex, "csv": comma}
"""Forms of a table by name."""
