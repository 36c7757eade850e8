"""How figures look: print sizes, fonts that are embedded, colours that everyone can tell apart, stable bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {"single": 3.25, "double": 6.875}
"""Print width in inches of one and of both columns of a conference paper."""

BESIDE = 0.55
"""Inches of a figure's width that are left of its axes, at most."""

SMALL, NORMAL = 7.0, 8.0
"""Font sizes in points at print size; nothing is smaller."""

INK, FAINT = "#222222", "#767676"
SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same on every machine
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "axes.titlelocation": "left",
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "refvps",
}
FORMATS = ("pdf", "png", "svg")
DPI = 300
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"Creator": "refvps", "Producer": None, "CreationDate": None},
    "png": {"Software": None},
    "svg": {"Creator": "refvps", "Date": None},
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY = "#8c8c8c"
_FLOORS = {"empty": "o", "full": "s", "centre": "^"}


@dataclass(frozen=True, slots=True)
class Look:
    """How a method is drawn, wherever it appears in a figure; ``face`` fills its marker."""

    colour: str
    face: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look per method, by order of name; the built-in floors are grey and hollow."""
    found = {}
    rank = 0
    for name in sorted(names):
        if name in _FLOORS:
            found[name] = Look(_GREY, "white", _FLOORS[name], (0, (1, 1)))
            continue
        turn, place = divmod(rank, len(_COLOURS))
        marker = _MARKERS[(place + 3 * turn) % len(_MARKERS)]
        found[name] = Look(_COLOURS[place], _COLOURS[place], marker, ("-", "--")[turn % 2])
        rank += 1
    return found


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults with our settings, whatever the user's are; restored afterwards."""
    from matplotlib import style

    with style.context(["default", SETTINGS]):
        yield


def new_figure(column: str, height: float) -> tuple[Figure, Axes]:
    """An empty figure of print width and the given height in inches, with its axes; call under :func:`styled`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTHS[column], height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def encoded(figure: Figure, suffix: str, dpi: int = DPI) -> bytes:
    """The figure as a file's bytes; the same figure gives the same bytes, without dates."""
    stream = io.BytesIO()
    with styled(), warnings.catch_warnings():
        _ignore_glyphs()
        figure.savefig(stream, format=suffix, dpi=dpi, metadata=_METADATA[suffix])
    return stream.getvalue()


def without_glyph(text: str) -> str:
    """The printable characters of a text that the font lacks, each once."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    return "".join(sorted({c for c in text if c.isprintable() and ord(c) not in known}))


def plain_text(value: str, most: int | None = None) -> str:
    """A text of a data set as a label: one line of printable characters, at most ``most`` of them."""
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split()) or "(none)"
    return line if most is None or len(line) <= most else line[: most - 1].rstrip() + "…"


def extent(text: str, size: float) -> float:
    """Width of a line of text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        _ignore_glyphs()
        width: float = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return width


def fitted(value: str, points: float, size: float = SMALL) -> str:
    """A label of at most that width in points, cut with an ellipsis; call under :func:`styled`."""
    line = plain_text(value)
    if extent(line, size) <= points:
        return line
    shortest, longest = 0, len(line) - 1
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if extent(line[:middle] + "…", size) <= points:
            shortest = middle
        else:
            longest = middle - 1
    return line[:shortest].rstrip() + "…"


def told_apart(names: Sequence[str], points: float, size: float = SMALL) -> dict[str, str]:
    """A label of at most that width for each name, no two alike: where beginnings agree, what differs is kept."""
    lines = {name: plain_text(name) for name in names}
    labels = {name: fitted(line, points, size) for name, line in lines.items()}
    for _ in names:
        alike = _alike(labels)
        if not alike:
            return labels
        for same in alike:
            members = [lines[name] for name in same]
            columns = enumerate(zip(*members, strict=False))
            start = max(0, next((k for k, column in columns if len(set(column)) > 1), min(map(len, members))) - 3)
            labels |= {name: _without_middle(lines[name], start, points, size) for name in same}
    for same in _alike(labels):
        labels |= {name: fitted(f"{rank}: {lines[name]}", points, size) for rank, name in enumerate(same, 1)}
    return labels


def _alike(labels: Mapping[str, str]) -> list[list[str]]:
    """Names that share a label with others."""
    by_label: dict[str, list[str]] = {}
    for name, label in labels.items():
        by_label.setdefault(label, []).append(name)
    return [names for names in by_label.values() if len(names) > 1]


def _without_middle(line: str, start: int, points: float, size: float) -> str:
    """The line from ``start`` on, after as much of its beginning as fits."""
    if extent(line, size) <= points:
        return line
    end = fitted(line[start:], 0.85 * points, size)
    head = min(start, 60)
    while head and extent(f"{line[:head]}…{end}", size) > points:
        head -= 1
    return f"{line[:head]}…{end}"


def wrapped(value: str, points: float, size: float = NORMAL) -> str:
    """Words broken into lines of at most that width in points; call under :func:`styled`."""
    lines: list[str] = []
    for word in (fitted(word, points, size) for word in value.split()):
        if lines and extent(f"{lines[-1]} {word}", size) <= points:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _ignore_glyphs() -> None:
    warnings.filterwarnings("ignore", message="(Glyph .* missing from font|Matplotlib currently does not support)")
