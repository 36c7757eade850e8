"""Tables as plain text. Fractions become percent here and nowhere earlier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refvps.metrics import METRICS
from refvps.run.compare import Comparison
from refvps.run.score import UNIT_NAMES
from refvps.types import PERCENT_EXEMPT


def grid(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows as aligned columns, the first ``left`` flush left, the others flush right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if k < left else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """A score as people read it: percent with two decimals, a dash where undefined."""
    if value is None:
        return "-"
    shown = value if metric in PERCENT_EXEMPT else 100 * value
    return f"{shown:+.2f}" if sign else f"{shown:.2f}"


def interval(metric: str, estimate: Mapping[str, Any], *, sign: bool = False) -> str:
    """The bounds of an estimate, or nothing where there are none."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    low, high = number(metric, estimate["low"], sign=sign), number(metric, estimate["high"], sign=sign)
    return f"[{low}, {high}]"


def _arrow(metric: str) -> str:
    return {"higher": "higher is better", "lower": "lower is better", "-": ""}[METRICS[metric].better]


def _block(title: str, table: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> str:
    rows = [[title, *(cell for name in metrics for cell in (name, "95 % interval")), "clips"]]
    for key, values in table.items():
        cells = [c for name in metrics for c in (number(name, values[name]["value"]), interval(name, values[name]))]
        rows.append([key or "(none)", *cells, str(values[metrics[0]]["n"])])
    return grid(rows)


def result_table(data: Mapping[str, Any], *, concepts: bool = False) -> str:
    """A result (the JSON of ``refvps evaluate``) as text: summary, categories, diagnostics, signature."""
    metrics = list(data["summary"])
    unit = UNIT_NAMES[data["rules"]["average"]]
    method, bench = data["method"]["name"], data["benchmark"]
    rows = [["metric", "value", "95 % interval", unit, ""]]
    for name, estimate in data["summary"].items():
        rows.append([name, number(name, estimate["value"]), interval(name, estimate), str(estimate["n"]), _arrow(name)])
    head = grid([row[:-1] for row in rows]).splitlines()
    parts = [
        f"{method} on {bench['name']}@{bench['version']}" + (" (INCOMPLETE)" if data["incomplete"] else ""),
        "\n".join(f"{line}  {row[-1]}".rstrip() for line, row in zip(head, rows, strict=True)),
    ]
    if data.get("by_category"):
        parts.append(_block("category", data["by_category"], metrics))
    if concepts and data.get("by_concept"):
        parts.append(_block("concept", data["by_concept"], metrics))
    if shown := data.get("diagnostics"):
        pairs = [f"{name} {number(name, estimate['value'])}" for name, estimate in shown.items()]
        lines = [" · ".join(pairs[k : k + 5]) for k in range(0, len(pairs), 5)]
        parts.append("beside it (percent; area_ratio is a ratio):\n  " + "\n  ".join(lines))
    parts += [f"note: {note}" for note in data["notes"]]
    parts.append(data["signature"])
    return "\n\n".join(parts)


def comparison_table(comparison: Comparison, *, most: int = 5) -> str:
    """A comparison as text: differences with interval and p, ranks, concepts, clips that moved most."""
    parts = [f"on {comparison.clips} clips, differences are the method minus {comparison.first}"]
    rows = [
        [
            "method",
            "metric",
            comparison.first,
            "method's",
            "difference",
            "95 % interval",
            "p",
            "p (Holm)",
            "better",
            "worse",
        ]
    ]
    for name in comparison.methods:
        for one in comparison.differences[name]:
            difference = {"low": one.difference.low, "high": one.difference.high}
            rows.append(
                [
                    name,
                    one.metric,
                    number(one.metric, one.first),
                    number(one.metric, one.second),
                    number(one.metric, one.difference.value, sign=True),
                    interval(one.metric, difference, sign=True),
                    "-" if one.p is None else f"{one.p:.4f}",
                    "-" if one.p_holm is None else f"{one.p_holm:.4f}",
                    str(one.wins),
                    str(one.losses),
                ]
            )
    parts.append(grid(rows, left=2))
    for metric, ranks in comparison.ranks.items():
        said = ", ".join(f"{name} {a}" if a == b else f"{name} {a}-{b}" for name, (a, b) in ranks.items())
        parts.append(f"rank by {metric} (95 %): {said}")
    metric = next(iter(comparison.by_concept))
    names = [comparison.first, *comparison.methods]
    parts.append(_values(f"{metric} by concept", comparison.by_concept[metric], metric, names))
    moved = sorted(
        comparison.by_clip[metric].items(),
        key=lambda item: -abs((item[1][1] or 0.0) - (item[1][0] or 0.0)),
    )[:most]
    parts.append(_values(f"{metric}, clips that moved most", dict(moved), metric, names))
    parts += [f"note: {note}" for note in comparison.notes]
    parts.append(comparison.signature)
    return "\n\n".join(parts)


def _values(title: str, table: Mapping[str, Sequence[float | None]], metric: str, names: Sequence[str]) -> str:
    rows = [[title, *names, "difference"]]
    for key, values in table.items():
        change = None if values[0] is None or values[1] is None else values[1] - values[0]
        shown = number(metric, change, sign=True) if len(values) == 2 else ""
        rows.append([key or "(none)", *(number(metric, value) for value in values), shown])
    return grid(rows if len(names) == 2 else [row[:-1] for row in rows])
