"""Boards as text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from refvps.data.reported import KnownMethod
from refvps.metrics import METRICS
from refvps.metrics.catalogue import PERCENT_EXEMPT
from refvps.report.board.content import Block, Board, Cell, Line, known_methods
from refvps.report.table import grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}
_SYMBOLS = {"J": r"$\mathcal{J}$", "F": r"$\mathcal{F}$", "J&F": r"$\mathcal{J}\&\mathcal{F}$"}
_ARROWS = {"higher": "\\uparrow", "lower": "\\downarrow"}


def write(boards: Sequence[Board], form: str) -> str:
    """The boards in one of :data:`FORMATS`, ending in a line feed."""
    return FORMATS[form](boards)


def text(boards: Sequence[Board]) -> str:
    """Aligned columns for a terminal; percent."""
    parts = []
    for board in boards:
        rows = [_head(board), *(_cells(board, line, line.label) for block in board.blocks for line in block.lines)]
        lines = grid(rows).splitlines()
        shown, at = [lines[0]], 1
        for block in board.blocks:
            shown += ["", _title(block), *lines[at : at + len(block.lines)]]
            at += len(block.lines)
        parts += ["\n".join(shown), "\n".join(f"note: {note}" for note in board.notes), board.signature]
    known = [f"  {method.name}: {_facts(method)}" for method in known_methods(boards)]
    if known:
        parts.append("\n".join(["the reported methods:", *known]))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(boards: Sequence[Board]) -> str:
    """Pipe tables, one per block; percent; the best of each column in bold."""
    parts = []
    for board in boards:
        for block in board.blocks:
            best = _best(board, block)
            rows = [_head(board), ["---", *["---:"] * (len(_head(board)) - 1)]]
            body = [_cells(board, line, markdown_text(line.label), best, "**{}**") for line in block.lines]
            parts.append(f"**{markdown_text(_title(block))}**")
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in [_escaped(rows[0]), rows[1], *body]))
        parts.append("\n".join(f"- {markdown_text(note)}" for note in board.notes))
        if board.signature:
            parts.append(f"```\n{board.signature}\n```")
    known = [f"- {markdown_text(method.name)}: {markdown_text(_facts(method))}" for method in known_methods(boards)]
    if known:
        parts.append("\n".join(["The reported methods:", "", *known]))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(boards: Sequence[Board]) -> str:
    """One tabular per board for booktabs; percent; the best of each column in bold, notes as comments."""
    parts = [r"% needs \usepackage{booktabs}; scores in percent"]
    for board in boards:
        bounds = bool(board.interval)
        each = 2 if bounds else 1
        width = 1 + each * len(board.metrics) + bounds
        heads = [rf"\multicolumn{{{each}}}{{c}}{{{_symbol(name)}}}" for name in board.metrics]
        lines = [
            rf"\begin{{tabular}}{{l{('rl' if bounds else 'r') * len(board.metrics)}{'r' if bounds else ''}}}",
            r"\toprule",
            " & ".join(["method", *heads, *([board.unit] if bounds else [])]) + r" \\",
        ]
        for block in board.blocks:
            best = _best(board, block)
            titles = [one for one in (block.title, block.source) if one]
            lines += [
                r"\midrule",
                *(rf"\multicolumn{{{width}}}{{l}}{{\footnotesize\emph{{{latex_text(one)}}}}} \\" for one in titles),
            ]
            for line in block.lines:
                cells = _cells(board, line, latex_text(line.label), best, r"\textbf{{{}}}", r"{{\scriptsize {}}}")
                lines.append(" & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        said = [*board.notes, *([board.signature] if board.signature else [])]
        parts.append("\n".join([*lines, *(f"% {note}" for note in said)]))
    known = [f"% {method.name}: {_facts(method)}" for method in known_methods(boards)]
    return "\n\n".join([*parts, *(["\n".join(known)] if known else [])]) + "\n"


def comma(boards: Sequence[Board]) -> str:
    """CSV: one row per method, exact fractions; blocks with different numbers must not be ranked together."""
    metrics = [name for name in METRICS if any(name in board.metrics for board in boards)]
    bounds = [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    facts = ["pretraining", "supervision", "licence", "code"]
    head = ["block", "status", "benchmark", "version", "digest", "annotation_fps", "method", "remark", "incomplete"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*head, *bounds, "units", "source", *facts, "signature"])
    number = 0
    for board in boards:
        for block in board.blocks:
            number += 1
            for line in block.lines:
                cells = [line.cells.get(name, Cell()) for name in metrics]
                own = line.status == "scored"
                writer.writerow(
                    [
                        number,
                        line.status,
                        block.benchmark,
                        block.version,
                        block.digest,
                        "" if block.rate == "?" else block.rate,
                        line.method,
                        line.remark,
                        str(line.incomplete).lower() if own else "",
                        *(part for cell in cells for part in (cell.exact, _exact(cell.low), _exact(cell.high))),
                        "" if line.units is None else line.units,
                        line.source,
                        *(getattr(line.known, fact) if line.known else "" for fact in facts),
                        board.signature if own else "",
                    ]
                )
    return stream.getvalue()


def plain(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """The boards as plain JSON; scores are fractions, ``shown`` is percent."""
    return [asdict(board) for board in boards]


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": comma,
}
"""Forms of a table by name."""


def _head(board: Board) -> list[str]:
    if not board.interval:
        return ["method", *board.metrics]
    return ["method", *(cell for name in board.metrics for cell in (name, board.interval)), board.unit]


def _cells(
    board: Board,
    line: Line,
    label: str,
    best: Sequence[str] = (),
    bold: str = "{}",
    bounds: str = "{}",
) -> list[str]:
    """A line under the columns of :func:`_head`."""
    row = [label]
    for name in board.metrics:
        cell = line.cells[name]
        strong = not line.incomplete and f"{name} {cell.shown}" in best
        row.append(bold.format(cell.shown) if strong else cell.shown)
        if board.interval:
            row.append(bounds.format(cell.interval) if cell.interval else "")
    return [*row, "" if line.units is None else str(line.units)] if board.interval else row


def _best(board: Board, block: Block) -> list[str]:
    """Metric and shown value of the best complete line, where higher is better and there are two lines to compare.

    TC is never marked: masks that are always wrong have the best one.
    """
    found = []
    for name in board.metrics:
        values = [line.cells[name] for line in block.lines if line.cells[name].value is not None]
        whole = [line.cells[name] for line in block.lines if not line.incomplete]
        top = max((cell.value for cell in whole if cell.value is not None), default=None)
        if METRICS[name].better == "higher" and len(values) > 1 and top is not None:
            found += [f"{name} {cell.shown}" for cell in whole if cell.value == top]
    return found


def _title(block: Block) -> str:
    return f"{block.title}; {block.source}" if block.source else block.title


def _facts(method: KnownMethod) -> str:
    named = {
        "pretraining": method.pretraining,
        "supervision": method.supervision,
        "licence": method.licence,
        "code": method.code,
    }
    return "; ".join(
        [*(f"{name} {value}" for name, value in named.items() if value), *([method.note] if method.note else [])]
    )


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _escaped(row: Sequence[str]) -> list[str]:
    return [markdown_text(cell) for cell in row]


def markdown_text(value: str) -> str:
    """A text with everything that Markdown would read as markup escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|~#&])", r"\\\1", value)


def latex_text(value: str) -> str:
    """A text with everything that LaTeX would read as a command escaped."""
    return "".join(_LATEX.get(character, character) for character in value)


def _symbol(name: str) -> str:
    arrow = _ARROWS.get(METRICS[name].better)
    unit = "" if name in PERCENT_EXEMPT else r" (\%)"
    return _SYMBOLS.get(name, latex_text(name)) + (f" ${arrow}$" if arrow else "") + unit
