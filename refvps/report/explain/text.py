"""The facts of :mod:`facts` in words, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from refvps.report.explain.arithmetic import RULES
from refvps.report.explain.facts import Facts
from refvps.report.table import grid, number

BARS = "▁▂▃▄▅▆▇█"
"""Eighths of J, from 0 to 1."""

WIDTH = 72
"""Frames per line of a sparkline."""

LISTED = 12
"""Members of a mean that are written out; more are counted."""


def spark(values: Sequence[float]) -> str:
    """One bar per value in [0, 1]; only a value of 1 gets the full bar."""
    return "".join(BARS[min(7, int(8 * value))] if value < 1 else BARS[7] for value in values)


def result_text(facts: Facts) -> str:
    """A whole result: its means, its worst and best clips."""
    facts = _printable(facts)
    metrics = list(facts["steps"])
    parts = [_head(facts), "\n".join(_step_line(name, steps[-1]) for name, steps in facts["steps"].items())]
    for title, rows in (("worst clips" if facts["best"] else "clips", facts["worst"]), ("best clips", facts["best"])):
        if rows:
            table = [[title, *metrics, "worst expression", "frames"]]
            for row in rows:
                worst = row["worst"]
                named = f"{worst['expression']} ({number(metrics[0], worst['value'])})" if worst else "-"
                table.append([row["clip"], *(number(m, row["values"][m]) for m in metrics), named, str(row["frames"])])
            parts.append(grid(table))
    if facts["undefined"]:
        parts.append(f"{metrics[0]} is undefined for {_listed(facts['undefined'])}")
    return "\n\n".join(parts)


def clip_text(facts: Facts) -> str:
    """The rows of a clip."""
    facts = _printable(facts)
    metrics = list(facts["steps"])
    table = [["expression", *metrics, "frames", "missing", "text"]]
    for row in facts["rows"]:
        values = [number(m, row["values"][m]) for m in metrics]
        table.append([_row(row), *values, str(row["frames"]), str(row["missing"]), row["text"]])
    lines = grid([row[:-1] for row in table]).splitlines()
    parts = [
        _head(facts),
        _clip(facts),
        "\n".join(f"{line}  {row[-1]}".rstrip() for line, row in zip(lines, table, strict=True)),
    ]
    parts.append(
        "J over time:\n"
        + "\n".join(
            f"  {row['expression']}: {spark(row['spark'][:WIDTH])}{'…' if len(row['spark']) > WIDTH else ''}"
            for row in facts["rows"]
        )
    )
    parts.append(_chain({name: steps[1:] for name, steps in facts["steps"].items()}))
    return "\n\n".join(parts)


def _row(row: Facts) -> str:
    """An expression, with its target where that is not the only one, and the prediction where it was matched."""
    name = str(row["expression"])
    if row["target"] not in ("1", name):
        name += f"→{row['target']}"
    return name if row["prediction"] == row["expression"] else f"{name} (prediction {row['prediction']})"


def expression_text(facts: Facts) -> str:
    """Every frame of an expression, as bars and as a table."""
    facts = _printable(facts)
    frames = facts["frames"]
    bars = [
        f"  {frames[k]['position']:>5} {spark([frame['J'] for frame in frames[k : k + WIDTH]])}"
        for k in range(0, len(frames), WIDTH)
    ]
    named = any(frame["name"] is not None for frame in frames)
    table = [["frame", *(["name"] if named else []), "|P∩G|", "|P|", "|G|", "|P∩I|", "|I|", "J", "change", ""]]
    before: float | None = None
    for frame in frames:
        change = "" if before is None else number("TC", frame["J"] - before, sign=True)
        before = frame["J"]
        areas = [f"{frame[key]:,}" for key in ("both", "prediction", "target", "prediction_ignore", "ignore")]
        state = "missing" if frame["state"] == "missing" else ""
        cells = [str(frame["position"]), *([str(frame["name"])] if named else []), *areas, number("J", before), change]
        table.append([*cells, state])
    parts = [_head(facts), _clip(facts), _expression(facts), "J over time, from 0 to 1:\n" + "\n".join(bars)]
    parts.append(grid(table, left=0))
    parts.append("\n".join(line for lines in facts["metrics"].values() for line in lines))
    parts.append(_chain(facts["steps"]) if any(facts["steps"].values()) else _unscored(facts))
    return "\n\n".join(parts)


def frame_text(facts: Facts) -> str:
    """One frame, from its integers up."""
    facts = _printable(facts)
    frame = facts["frame"]
    place = f"frame {frame['name']} (position {frame['position']})" if frame["name"] else f"frame {frame['position']}"
    parts = [_head(facts), _clip(facts), _expression(facts)]
    if facts["note"]:
        parts.append(f"note: {facts['note']}")
    if "order" not in facts:
        near = " and ".join(str(at) for at in frame["nearest"]) or "none"
        parts.append(f"{place}: {frame['state']}, so it enters no score; nearest scored frames: {near}")
        return "\n\n".join(parts)
    parts.append(f"{place}, the {_ordinal(facts['order']['index'] + 1)} of {facts['order']['of']} scored frames")
    parts.append(_areas(facts))
    parts.append(_arithmetic(facts))
    parts.append(_neighbours(facts))
    parts.append(_chain(facts["steps"], facts["metrics"]) if any(facts["steps"].values()) else _unscored(facts))
    return "\n\n".join(parts)


def _areas(facts: Facts) -> str:
    frame, (height, width) = facts["frame"], facts["clip"]["size"]
    rows = [
        ["|P∩G|", f"{frame['both']:,}", "prediction and target"],
        ["|P|", f"{frame['prediction']:,}", "prediction"],
        ["|G|", f"{frame['target']:,}", "target"],
        ["|P∩I|", f"{frame['prediction_ignore']:,}", "prediction on Ignore"],
        ["|I|", f"{frame['ignore']:,}", "Ignore"],
    ]
    if frame["edges"] is not None:
        near = f"within the tolerance, bound_th {frame['boundary']['bound_th']:g}"
        words = ("boundary of P", "boundary of G", f"boundary of P near G's, {near}", "boundary of G near P's")
        rows += [["edge", f"{value:,}", word] for value, word in zip(frame["edges"], words, strict=True)]
    lines = grid([row[:2] for row in rows]).splitlines()
    state = "" if frame["state"] == "scored" else "; there is no prediction, so its counts are 0"
    return f"pixels, of {height * width:,}{state}:\n" + "\n".join(
        f"  {a}  {row[2]}" for a, row in zip(lines, rows, strict=True)
    )


def _arithmetic(facts: Facts) -> str:
    frame = facts["frame"]
    lines = [f"rule ign:{facts['ignore']}: {RULES[facts['ignore']]}"]
    lines += [f"  {line}" for line in frame["arithmetic"]["J"]]
    if "F" in frame["arithmetic"]:
        counted = frame["boundary"]["ignore"]
        lines.append(
            f"boundaries were counted under ign:{counted}"
            + ("" if counted == facts["ignore"] else ", so F is no part of this result")
        )
        lines += [f"  {line}" for line in frame["arithmetic"]["F"]]
    return "\n".join(lines)


def _neighbours(facts: Facts) -> str:
    lines = []
    for each in facts["neighbours"]:
        mark = "  <- this frame" if each["position"] == facts["frame"]["position"] else ""
        change = "" if each["change"] is None else f"   |change| {each['change']!r}"
        lines.append(f"  J of frame {each['position']} = {each['J']!r}{change}{mark}")
    j, count = facts["frame"]["J"], facts["order"]["of"]
    lines.append(f"  of the mean over {count} frames this one gives {j!r} / {count} = {j / count!r}")
    return "with its neighbours among the scored frames:\n" + "\n".join(lines)


def _unscored(facts: Facts) -> str:
    return f"this pair enters no mean: under {facts['protocol']} another prediction is held against the target"


def _chain(steps: Mapping[str, Sequence[Facts]], worked: Mapping[str, Sequence[str]] | None = None) -> str:
    """Every metric from the expression up to the benchmark."""
    blocks = []
    for name, levels in steps.items():
        lines = [f"{name}:"]
        for step in levels:
            if step["level"] == "expression" and worked is not None:
                lines += [f"  {line}" for line in worked[name]]
            lines.append(f"  {_step_line('', step)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _step_line(name: str, step: Facts) -> str:
    line = f"{name + ' of ' if name else ''}{step['level']} {step['name']}"
    if step["value"] is None:
        line += " is undefined" + (f": {step['note']}" if step["note"] else "")
    else:
        line += f" = {_mean(step)}{step['value']!r}"
    if not step["states"]:
        return line
    said = "undefined" if step["stated"] is None else repr(step["stated"])
    return line + (", as the result states" if step["same"] else f", but the result states {said}")


def _mean(step: Facts) -> str:
    """The mean as a sum over a number, with its members where they are few."""
    members = step["members"]
    if len(members) < 2:
        return ""
    total = f"{math.fsum(value for _, value in members)!r} / {len(members)} = "
    if len(members) > LISTED:
        return f"mean over {len(members)} {step['over']} = {total}"
    return f"mean over {step['over']} " + ", ".join(f"{name} ({value:.6f})" for name, value in members) + f" = {total}"


def _printable(value: Any) -> Any:
    """Facts with every text as one line without control characters: results come from anyone."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in value[:4096])
    if isinstance(value, Mapping):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list) else value


def _head(facts: Facts) -> str:
    line = f"{facts['method']} on {facts['benchmark']}, from {facts['result']}"
    return line + (
        f"\n{facts['signature']}"
        if facts["signature"]
        else "\nno result file beside the counts: nothing to compare with"
    )


def _clip(facts: Facts) -> str:
    clip = facts["clip"]
    rate = f" at {clip['annotation_fps']:g} fps" if clip["annotation_fps"] else ""
    size = f"{clip['size'][1]}x{clip['size'][0]}"
    frames = f"{clip['frames']} frames, {clip['annotated']} annotated{rate}"
    return f"clip {clip['id']}: {size}, {frames}, source video {clip['group']}"


def _expression(facts: Facts) -> str:
    one: Mapping[str, Any] = facts["expression"]
    concept = f", concept {one['concept']}" if one["concept"] else ""
    text = f"“{one['text']}”, " if one["text"] else ""
    return f"expression {one['id']}: {text}target {one['target']}{concept}"


def _ordinal(n: int) -> str:
    return f"{n}{'th' if 10 <= n % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
