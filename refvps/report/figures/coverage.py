"""Concept coverage: J of every concept, best to worst, for several methods (paper, B.3 and Figure E)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refvps import stats
from refvps.errors import UsageError
from refvps.report.collection import Group, by_concept
from refvps.report.figures import Drawing, Options, few_enough
from refvps.report.figures.style import (
    BESIDE,
    SMALL,
    WIDTHS,
    Look,
    extent,
    looks,
    new_figure,
    styled,
    told_apart,
    without_glyph,
    wrapped,
)
from refvps.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAIL = 0.25
"""The long tail: this share of the concepts, those with the lowest J."""

MOST_NAMES = {"single": 22, "double": 50}
"""How many concept names stay legible at print width; beyond, ranks are shown."""

LONGEST_CONCEPT = 96.0
"""Points that a concept's name may take; the rest becomes an ellipsis."""

LONGEST_METHOD = 90.0
"""Points that a method's name may take."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One method: ``concepts`` in drawing order with ``scores`` (fractions); ``mean`` over all, ``tail`` over the last.

    A concept the method has no J for keeps its place with None. ``label`` is the method in words, short enough for
    a legend; ``incomplete``: frames without a prediction scored 0.
    """

    method: str
    concepts: tuple[str, ...]
    scores: tuple[Estimate | None, ...]
    mean: float
    tail: float | None
    label: str = ""
    incomplete: bool = False

    def percent(self) -> Floats:
        """J in percent, float64 [concepts], NaN where there is none."""
        return np.array([_percent(one) for one in self.scores])


@dataclass(frozen=True)
class Coverage:
    """Curves ordered by mean, best first; ``reference`` is the method all are sorted by, None for each its own."""

    curves: tuple[Curve, ...]
    reference: str | None
    why: str
    tail: int

    @property
    def label(self) -> str:
        """The reference in words, short enough for an axis."""
        return next((curve.label for curve in self.curves if curve.method == self.reference), "")


def coverage(group: Group, sort: str | None = None) -> Coverage:
    """The data of the plot.

    ``sort``: the method whose J orders the concepts, "own" for each method's own order, None for the method with
    the highest mean over concepts. Ties are broken by the concept's name. Raises UsageError where a result has
    no J by concept, where there are no concepts, or for an unknown method.
    """
    few_enough(group)
    tables = {result.name: by_concept(result, "J") for result in group.results}
    if without := [str(r.path) for r in group.results if not tables[r.name]]:
        raise UsageError(
            "A result has no J by concept.",
            where=without,
            fix="evaluate without --protocol: other tools' protocols know no concepts"
            if group.results[0].protocol
            else "refvps evaluate --from-counts FILE.counts.npz --metrics J,TC",
        )
    concepts = sorted({concept for table in tables.values() for concept in table})
    if len(concepts) < 2:
        raise UsageError(
            "There is nothing to sort: these results have fewer than two concepts.",
            where=[group.title],
            fix="concepts are part of the benchmark; see docs/reports.md",
        )
    means = {name: _mean(table.values()) for name, table in tables.items()}
    ranked = sorted(means, key=lambda name: (-means[name], name))
    own = sort == "own" and group.named("own") is None
    reference = None if own else sort or ranked[0]
    if reference is not None and reference not in tables:
        raise _unknown(reference, group)
    tail = math.ceil(TAIL * len(concepts))
    with styled():
        labels = told_apart(ranked, LONGEST_METHOD)
    curves = []
    for name in ranked:
        order = _sorted(concepts, tables[reference or name])
        scores = tuple(tables[name].get(concept) for concept in order)
        last = [one for one in scores[-tail:] if one is not None and one.value is not None]
        found = group.named(name)
        holes = found is not None and bool(found.data["incomplete"])
        low = _mean(last) if last else None
        curves.append(Curve(name, tuple(order), scores, means[name], low, labels[name], holes))
    why = "" if sort else "highest mean J"
    return Coverage(tuple(curves), reference, why, tail)


def _mean(scores: Any) -> float:
    values = [one.value for one in scores if one.value is not None]
    return stats.exact_mean(values) if values else 0.0


def _unknown(method: str, group: Group) -> UsageError:
    from difflib import get_close_matches

    names = [result.name for result in group.results]
    close = get_close_matches(method, [*names, "own"], 1)
    return UsageError(
        "There is no such method to sort by.",
        where=[f"{ascii(method)[:100]} on {group.title}"],
        fix=(f"did you mean {close[0]}? " if close else "") + f"one of {', '.join(names)}, or own",
    )


def _sorted(concepts: Sequence[str], scores: Mapping[str, Estimate]) -> list[str]:
    """Concepts by falling J; those without come last."""

    def key(concept: str) -> tuple[bool, float, str]:
        found = scores.get(concept)
        value = None if found is None else found.value
        return (value is None, -(value or 0.0), concept)

    return sorted(concepts, key=key)


def _percent(one: Estimate | None) -> float:
    return math.nan if one is None or one.value is None else 100 * one.value


def running_mean(values: Floats, window: int) -> Floats:
    """Centred mean over ``window`` values (odd), fewer at the ends; NaN values do not count. float64 [N]."""
    half = window // 2
    found = np.full(len(values), np.nan)
    for k in range(len(values)):
        near = values[max(0, k - half) : k + half + 1]
        near = near[~np.isnan(near)]
        if len(near):
            found[k] = near.mean()
    return found


def draw(group: Group, options: Options) -> Drawing:
    """The plot of one group of results at print size."""
    data = coverage(group, options.sort)
    count = len(data.curves[0].concepts)
    named = data.reference is not None and count <= MOST_NAMES[options.column]
    smooth = not named and data.reference is not None and count > 30
    window = max(3, 2 * round(0.025 * count) + 1) if smooth else 0
    bars = named and any(one and one.low is not None for curve in data.curves for one in curve.scores)
    room = 72 * (WIDTHS[options.column] - BESIDE)
    with styled():
        label = wrapped(_said(data, count, window, _confidence(group) if bars else ""), room)
        rows = math.ceil(len(data.curves) / _legend_columns(options.column)) + label.count("\n")
        names = list(told_apart(data.curves[0].concepts, LONGEST_CONCEPT).values()) if named else []
        longest = max((extent(name, SMALL) for name in names), default=SMALL)
        figure, axes = new_figure(options.column, 2.25 + longest / 72 + 0.14 * rows)
        _shade_tail(axes, data, count)
        styles = looks([curve.method for curve in data.curves])
        for number, curve in enumerate(data.curves):
            spread = 0.5 * (number - (len(data.curves) - 1) / 2) / len(data.curves) if bars else 0.0
            if bars:
                _draw_intervals(axes, curve, styles[curve.method], spread)
            own = data.reference in (None, curve.method)
            every = (number * count // 12 // len(data.curves), max(1, count // 12)) if count > 60 else (0, 1)
            _draw_curve(axes, curve, styles[curve.method], 0 if own else window, spread, every)
        _label_axes(axes, count, names)
        axes.set_xlabel(label, parse_math=False)
        axes.set_title(wrapped(f"Concept coverage on {group.title}", room), parse_math=False)
        _legend(figure, options.column)
    return Drawing(figure, _plain(group, data), _notes(data, count, named, bars))


def _legend_columns(column: str) -> int:
    return 1 if column == "single" else 2


def _confidence(group: Group) -> str:
    return f"{100 * group.results[0].rules.confidence:g}%"


def _said(data: Coverage, count: int, window: int, bars: str) -> str:
    """The label under the concepts: their order, and what is drawn."""
    if data.reference is None:
        said = f"rank of {count} concepts, each method sorted by its own J"
    else:
        why = f" ({data.why})" if data.why else ""
        said = f"{count} concepts, sorted by J of {data.label}{why}"
    if window:
        said += f"; points: other methods, with a running mean over {window}"
    return said + (f"; bars: {bars} intervals" if bars else "")


def _draw_curve(axes: Axes, curve: Curve, look: Look, window: int, spread: float, every: tuple[int, int]) -> None:
    """J at every concept, joined; with ``window`` as faint points under their running mean."""
    percent = curve.percent()
    x = np.arange(1, len(percent) + 1) + spread
    tail = "-" if curve.tail is None else f"{100 * curve.tail:.1f}"
    if window:
        axes.plot(
            x,
            percent,
            gid=f"points-{curve.method}",
            linestyle="none",
            marker=look.marker,
            color=look.colour,
            markersize=1.6,
            markeredgewidth=0.5,
            alpha=0.3,
            clip_on=False,
        )
    axes.plot(
        x,
        running_mean(percent, window) if window else percent,
        gid=f"line-{curve.method}",
        label=f"{curve.label}{' (incomplete)' if curve.incomplete else ''}  {100 * curve.mean:.1f} | {tail}",
        color=look.colour,
        linewidth=0.7 if every == (0, 1) else 1.1,
        linestyle=look.line,
        marker=look.marker,
        markerfacecolor=look.face,
        markersize=3.2,
        markeredgewidth=0.8,
        markevery=every,
        clip_on=False,
        zorder=3,
    )


def _draw_intervals(axes: Axes, curve: Curve, look: Look, spread: float) -> None:
    x = np.arange(1, len(curve.scores) + 1) + spread
    low = [math.nan if s is None or s.low is None else 100 * s.low for s in curve.scores]
    high = [math.nan if s is None or s.high is None else 100 * s.high for s in curve.scores]
    axes.vlines(x, low, high, color=look.colour, linewidth=0.6, alpha=0.6, gid=f"interval-{curve.method}")


def _shade_tail(axes: Axes, data: Coverage, count: int) -> None:
    start = count - data.tail + 0.5
    axes.axvspan(start, count + 0.5, color="#efefef", linewidth=0, zorder=0, gid="tail")
    owner = "each method" if data.reference is None else data.label
    axes.annotate(
        f"long tail of {owner}:\nlowest {data.tail} of {count}",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(-3, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=SMALL,
        parse_math=False,
        gid="tail-text",
    )


def _label_axes(axes: Axes, count: int, names: Sequence[str]) -> None:
    """Limits, ticks and labels; without ``names``, ranks stand in their place."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, count + 0.5)
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color="#dddddd", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_ylabel("J per concept (%)")
    if not names:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xticks(range(1, count + 1), names, rotation=90)
    for tick in axes.get_xticklabels():
        tick.set_parse_math(False)


def _legend(figure: Figure, column: str) -> None:
    legend = figure.legend(
        loc="outside lower left",
        ncols=_legend_columns(column),
        title="method  mean J over concepts | over the long tail (%)",
        title_fontsize=SMALL,
        alignment="left",
        handlelength=2.6,
        borderaxespad=0.2,
        columnspacing=1.5,
        labelspacing=0.3,
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)


def _notes(data: Coverage, count: int, named: bool, bars: bool) -> tuple[str, ...]:
    notes = []
    if data.reference is not None and len(data.curves) > 1:
        notes.append(
            f"concepts are sorted by {data.reference}, whose tail is therefore its worst case, not the others'"
        )
    if not named and data.reference is not None:
        notes.append(f"{count} concept names would not be legible; --json lists them in order")
    if named and (strange := without_glyph("".join(data.curves[0].concepts))):
        notes.append(f"the font has no glyph for {strange!a}; these characters are drawn as boxes")
    if named and not bars:
        notes.append("no intervals: every concept comes from a single source video")
    if holes := [curve.method for curve in data.curves if curve.incomplete]:
        notes.append(f"incomplete, what has no prediction scores 0 or is left out: {', '.join(holes)}")
    if any(one is None for curve in data.curves for one in curve.scores):
        notes.append("some methods have no J for some concepts; there is a gap in their place")
    return tuple(notes)


def _plain(group: Group, data: Coverage) -> dict[str, Any]:
    return {
        "plot": "concept-coverage",
        "benchmark": group.benchmark,
        "version": group.version,
        "signature": group.results[0].signature,
        "metric": "J",
        "sorted_by": "own" if data.reference is None else data.reference,
        "tail": data.tail,
        "methods": [
            {
                "method": curve.method,
                "incomplete": curve.incomplete,
                "mean": curve.mean,
                "tail_mean": curve.tail,
                "concepts": [
                    {
                        "concept": concept,
                        "J": None if one is None else one.value,
                        "low": None if one is None else one.low,
                        "high": None if one is None else one.high,
                        "clips": None if one is None else one.n,
                    }
                    for concept, one in zip(curve.concepts, curve.scores, strict=True)
                ],
            }
            for curve in data.curves
        ],
    }
