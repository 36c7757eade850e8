"""How long the clips of a data set are (paper, Figure A)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from refvps.errors import UsageError
from refvps.report.figures import Drawing
from refvps.report.figures.style import INK, new_figure, plain_text, styled

MOST_BARS = 40
"""Bars at most; fewer for few clips."""

_STEPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)
FILL = "#56B4E9"


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[k]`` clips have a length in [``first`` + k·``step``, + one step), in seconds."""

    first: float
    step: float
    counts: tuple[int, ...]


def histogram(lengths: Sequence[float]) -> Histogram:
    """Bars at multiples of a round step, the smallest that makes no more of them than these clips can fill."""
    top, low = max(lengths), min(lengths)
    base = 0.0 if low < 0.7 * top else low
    most = min(MOST_BARS, max(8, round(3 * math.sqrt(len(lengths)))))
    step = next((step for step in _STEPS if (top - base) / step < most - 1), (top - base) / (most - 2))
    start = math.floor(base / step)
    places = [math.floor(length / step + 1e-9) - start for length in lengths]
    return Histogram(start * step, step, tuple(places.count(place) for place in range(max(places) + 1)))


def draw(lengths: Sequence[float], title: str, unknown: int = 0, column: str = "single") -> Drawing:
    """The histogram at print size, with mean and median; ``unknown``: clips whose rate, and so length, is not known.

    Raises UsageError when no length is known.
    """
    if not lengths:
        raise UsageError(
            "No clip has a known length.", where=[title], fix="give the frame rate: --fps, or fps in the list of clips"
        )
    bars = histogram(lengths)
    edges = [bars.first + place * bars.step for place in range(len(bars.counts))]
    mean, median = math.fsum(lengths) / len(lengths), statistics.median(lengths)
    with styled():
        from matplotlib.ticker import MaxNLocator

        figure, axes = new_figure(column, 2.1)
        axes.bar(edges, bars.counts, width=bars.step, align="edge", color=FILL, edgecolor="white", linewidth=0.5)
        top = max(bars.counts)
        axes.set_ylim(0, 1.08 * top)
        for value, name, line in ((mean, "mean", "-"), (median, "median", (0, (3, 2)))):
            axes.axvline(value, color=INK, linewidth=0.9, linestyle=line, label=f"{name} {value:.2f} s")
        figure.legend(loc="outside lower left", ncols=2, handlelength=1.6, borderaxespad=0.2)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(axis="y", color="#dddddd", linewidth=0.4)
        axes.set_axisbelow(True)
        axes.set_xlim(edges[0], edges[-1] + bars.step)
        axes.set_xlabel("length of a clip (s)")
        axes.set_ylabel("clips")
        axes.set_title(f"{len(lengths):,} clips of {plain_text(title)}", parse_math=False)
    notes = [f"{unknown:,} clips have no frame rate, so no length"] if unknown else []
    data = {
        "plot": "clip-lengths",
        "benchmark": title,
        "clips": len(lengths),
        "mean": mean,
        "median": median,
        "first": bars.first,
        "step": bars.step,
        "counts": list(bars.counts),
    }
    return Drawing(figure, data, tuple(notes))
