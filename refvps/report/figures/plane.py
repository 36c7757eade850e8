"""J against TC, one point per method: a steady method is only good where it is also right (paper, B.4)."""

from __future__ import annotations

import math
from typing import Any

from refvps.errors import UsageError
from refvps.report.collection import Group, estimate
from refvps.report.figures import Drawing, Options, few_enough
from refvps.report.figures.style import BESIDE, FAINT, SMALL, WIDTHS, looks, new_figure, styled, told_apart, wrapped
from refvps.types import Estimate

LONGEST_METHOD = 84.0
"""Points that a method's name may take."""


def draw(group: Group, options: Options) -> Drawing:
    """The plot of one group of results at print size; methods without J or TC raise UsageError when none is left."""
    few_enough(group)
    points: dict[str, tuple[Estimate, Estimate]] = {}
    left_out = []
    for result in group.results:
        j, tc = estimate(result, "J"), estimate(result, "TC")
        if j is None or tc is None or j.value is None or tc.value is None:
            left_out.append(result.name)
        else:
            points[result.name] = (j, tc)
    if not points:
        raise UsageError(
            "None of these results has both J and TC.",
            where=[group.title],
            fix="TC needs every frame predicted and two annotated frames a clip; see docs/reports.md",
        )
    top = 100 * max(tc.high or tc.value or 0.0 for _, tc in points.values())
    ceiling = max(1.0, 1.08 * top)
    room = 72 * (WIDTHS[options.column] - BESIDE)
    with styled():
        figure, axes = new_figure(options.column, 2.55 + 0.14 * math.ceil(len(points) / 2))
        styles, labels = looks(list(points)), told_apart(sorted(points), LONGEST_METHOD)
        for name, (j, tc) in sorted(points.items(), key=lambda item: (-(item[1][0].value or 0.0), item[0])):
            look = styles[name]
            x, y = 100 * (j.value or 0.0), 100 * (tc.value or 0.0)
            container = axes.errorbar(
                [x],
                [y],
                xerr=_reach(j),
                yerr=_reach(tc),
                color=look.colour,
                marker=look.marker,
                markerfacecolor=look.face,
                markersize=4.5,
                markeredgewidth=1.0,
                elinewidth=0.7,
                linestyle="none",
                label=labels[name],
                clip_on=False,
                zorder=3,
            )
            container.lines[0].set_gid(f"point-{name}")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, ceiling)
        axes.grid(color="#dddddd", linewidth=0.4)
        axes.set_axisbelow(True)
        axes.annotate(
            "always wrong: J 0, TC 0",
            xy=(1, 0.01 * ceiling),
            xytext=(14, 0.10 * ceiling),
            fontsize=SMALL,
            color=FAINT,
            arrowprops={"arrowstyle": "->", "color": FAINT, "linewidth": 0.6},
        )
        axes.set_xlabel("J (%), higher is better")
        axes.set_ylabel("TC (%), lower is better")
        rate = "rate unknown" if group.rate == "?" else f"{group.rate} fps"
        bounds = f"{100 * group.results[0].rules.confidence:g}% intervals"
        axes.set_title(wrapped(f"J and TC on {group.title}, {rate}, {bounds}", room), parse_math=False)
        legend = figure.legend(loc="outside lower left", ncols=2, handlelength=1.2, borderaxespad=0.2)
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    notes = [f"left out, because TC needs every frame: {', '.join(left_out)}"] if left_out else []
    return Drawing(figure, _plain(group, points), tuple(notes))


def _reach(one: Estimate) -> list[list[float]] | None:
    """How far the interval reaches below and above the value, in percent."""
    if one.value is None or one.low is None or one.high is None:
        return None
    return [[max(0.0, 100 * (one.value - one.low))], [max(0.0, 100 * (one.high - one.value))]]


def _plain(group: Group, points: dict[str, tuple[Estimate, Estimate]]) -> dict[str, Any]:
    return {
        "plot": "j-vs-tc",
        "benchmark": group.benchmark,
        "version": group.version,
        "signature": group.results[0].signature,
        "annotation_fps": group.rate,
        "methods": [
            {
                "method": name,
                **{m: {"value": e.value, "low": e.low, "high": e.high} for m, e in zip(("J", "TC"), pair, strict=True)},
            }
            for name, pair in points.items()
        ],
    }
