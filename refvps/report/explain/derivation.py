"""A result taken apart: its integers as tracks, every mean above them, and where it contradicts itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from refvps.errors import DataMissingError, RefvpsError
from refvps.metrics import METRICS
from refvps.predictions.problems import Report
from refvps.report.explain.arithmetic import Frame, Track, average, metric, track
from refvps.run import protocols
from refvps.run.counts import AREAS, EDGES, MISSING, NOT_ANNOTATED, Counts
from refvps.run.counts_file import read_counts
from refvps.run.protocols import refdavis
from refvps.run.results import read_result, to_dict
from refvps.run.score import UNIT_NAMES, score
from refvps.run.signature import parse
from refvps.types import Method, Rules, Scores

Key = tuple[str, str, str]
"""Clip, expression and target."""

MOST_DRAWS = 100_000
"""Bootstrap draws up to which the bounds of intervals are computed again."""


@dataclass(frozen=True)
class Opened:
    """A result with its counts; ``data`` is the result file, None where there are only counts."""

    path: Path
    data: Mapping[str, Any] | None
    counts: Counts
    rules: Rules

    @property
    def name(self) -> str:
        """The method's name."""
        if self.data is not None:
            return str(self.data["method"]["name"])
        return str(self.counts.method.get("name") or self.path.name.removesuffix(".counts.npz"))

    @property
    def protocol(self) -> str:
        """The protocol of another tool that the counts belong to, "" for refvps' own rules."""
        return str(self.counts.protocol.get("protocol", ""))

    @cached_property
    def tracks(self) -> dict[Key, Track]:
        """Every (clip, expression, target) with its scored and missing frames, in table order.

        Where a protocol omits them, the frames before the target is seen or predicted are left out.
        """
        columns = {name: column.tolist() for name, column in self.counts.columns.items()}
        grouped: dict[tuple[int, int], list[Frame]] = {}
        for k, state in enumerate(columns["state"]):
            frames = grouped.setdefault((columns["expression"][k], columns["target"][k]), [])
            if state == NOT_ANNOTATED:
                continue
            both, p, g, pi, i = (columns[name][k] for name in AREAS)
            edges = None
            if self.counts.boundary is not None:
                n_p, n_g, m_p, m_g = (columns[name][k] for name in EDGES)
                edges = n_p, n_g, m_p, m_g
            frames.append(Frame(columns["frame"][k], both, p, g, pi, i, state == MISSING, edges))
        if self.counts.protocol.get("before") == "omit":
            grouped = {pair: _from_first_sight(frames) for pair, frames in grouped.items()}
        return {self.key(e, t): track(frames, self.rules.ignore) for (e, t), frames in grouped.items() if frames}

    @cached_property
    def held(self) -> dict[Key, Key]:
        """Every row of the result with the track it is the score of; another one only where a protocol matches."""
        if self.data is None or not self.protocol:
            return {key: key for key in self.tracks}
        named = {(e.clip, e.annotator, e.target): e.id for e in self.counts.expressions}
        runs = self.counts.protocol.get("layout") == "expressions"
        found: dict[Key, Key] = {}
        for each in self.data.get("protocol", {}).get("objects", ()):
            clip, target = each["clip"], each["object"]
            own = named.get((clip, each["label"], target), "") if runs else target
            if (clip, each["prediction"], target) in self.tracks:
                found[clip, own, target] = clip, each["prediction"], target
        return found

    def row_of(self, key: Key) -> Key | None:
        """The row that a track is scored in; None for a pair that no mean takes in."""
        return next((row for row, held in self.held.items() if held == key), None)

    def key(self, expression: int, target: int) -> Key:
        """The ids behind two indices of the table."""
        entry = self.counts.expressions[expression]
        return entry.clip, entry.id, self.counts.targets[target][1]

    @cached_property
    def values(self) -> dict[str, dict[Key, float | None]]:
        """Every asked metric of every row, by the plain arithmetic."""
        return {
            name: {row: metric(name, self.tracks[held]).value for row, held in self.held.items()}
            for name in self.rules.metrics
        }

    def stated(self, row: Key) -> Mapping[str, float | None] | None:
        """What the result file says of a row; None where it says nothing."""
        return self._rows.get(row)

    @cached_property
    def _rows(self) -> dict[Key, Mapping[str, float | None]]:
        rows = () if self.data is None else self.data["rows"]
        return {(row["clip"], row["expression"], row["target"]): row["values"] for row in rows}


def _from_first_sight(frames: list[Frame]) -> list[Frame]:
    first = next((k for k, frame in enumerate(frames) if frame.target or frame.prediction), 0)
    return frames[first:]


def open_result(path: Path) -> Opened:
    """Read a result file and the counts beside it, or counts alone.

    Raises InputError for files that are not what they should be, DataMissingError for a result without counts.
    Counts that are not those of the result are opened all the same: :func:`contradictions` says so.
    """
    alone = path.name.endswith(".counts.npz")
    if alone and not path.with_name(path.name.removesuffix(".counts.npz") + ".json").exists():
        counts = read_counts(path)
        if counts.protocol:
            raise DataMissingError(
                "Counts of another tool's protocol are explained with their result.",
                where=[str(path)],
                fix="put the result (.json) beside them, or score them: refvps evaluate --from-counts",
            )
        metrics = ("J", "F", "TC") if (counts.boundary or {}).get("ignore") == "drop" else ("J", "TC")
        bound_th = float((counts.boundary or {}).get("bound_th", Rules().bound_th))
        missing = Rules(metrics=metrics, missing="zero" if counts.missing else "error", bound_th=bound_th)
        return Opened(path, None, counts, missing)
    result = read_result(path)
    beside = result.path.with_name(str(result.data["counts"]["file"]))
    if not beside.is_file():
        raise DataMissingError(
            "The integers behind this result are not beside it.",
            where=[str(beside)],
            fix=f"put {beside.name} from the result's author there, or make it: refvps evaluate --pred preds/",
        )
    return Opened(result.path, result.data, read_counts(beside), result.rules)


# --- means -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A mean on the way up, over ``members`` (name and value; ``over`` says of what), and what the file states."""

    level: str
    name: str
    over: str
    members: tuple[tuple[str, float], ...]
    value: float | None
    note: str = ""
    states: bool = False
    stated: float | None = None

    @property
    def same(self) -> bool:
        """False when the file states another value."""
        return not self.states or self.stated == self.value


_KINDS = {
    "frame>expression>clip": "clip",
    "frame>object": "object",
    "frame>clip>concept": "clip and concept",
    "frame>expression": "",
}
"""What stands between an expression and the benchmark, by averaging order."""


def climb(opened: Opened, row: Key, name: str) -> list[Step]:
    """From the value of one row to the benchmark's, for one metric, in the averaging order of the rules."""
    values = opened.values[name]
    said = opened.stated(row)
    steps = [
        Step(
            "expression",
            "/".join(row[:2]),
            "frames",
            (),
            values[row],
            states=said is not None,
            stated=(said or {}).get(name),
        )
    ]
    units = _units(opened, name)
    here = _unit_of(opened, row)
    kind = _KINDS[opened.rules.average]
    if here in units and kind:
        steps.append(Step(kind, " · ".join(filter(None, here)), "expressions", units[here], _mean(units[here])))
    found = {unit: _mean(members) for unit, members in units.items()}
    if opened.rules.average == "frame>clip>concept":
        concepts: dict[str, list[tuple[str, float]]] = {}
        for (clip, concept), value in found.items():
            concepts.setdefault(concept, []).append((clip, value))
        if here[1] in concepts:
            steps.append(_concept(opened, name, here[1], concepts[here[1]]))
        top = [(concept, _mean(members)) for concept, members in sorted(concepts.items())]
    else:
        top = [(" · ".join(filter(None, unit)), value) for unit, value in found.items()]
    steps.append(_benchmark(opened, name, top))
    return steps


def _unit_of(opened: Opened, row: Key) -> tuple[str, str]:
    clip, expression, target = row
    concepts = {(e.clip, e.id): e.concept for e in opened.counts.expressions}
    parts = {
        "frame>object": target,
        "frame>clip>concept": concepts.get((clip, expression), ""),
        "frame>expression": expression,
    }
    return clip, parts.get(opened.rules.average, "")


def _units(opened: Opened, name: str) -> dict[tuple[str, str], tuple[tuple[str, float], ...]]:
    units: dict[tuple[str, str], list[tuple[str, float]]] = {}
    several = {row[:2] for row in opened.values[name] if row[2] not in ("1", row[1])}
    for row, value in opened.values[name].items():
        if value is not None:
            plain = opened.rules.average == "frame>object" or row[:2] not in several
            units.setdefault(_unit_of(opened, row), []).append((row[1] if plain else f"{row[1]}→{row[2]}", value))
    return {unit: tuple(members) for unit, members in units.items()}


def _concept(opened: Opened, name: str, concept: str, members: Sequence[tuple[str, float]]) -> Step:
    said = {} if opened.data is None else opened.data.get("by_concept", {}).get(concept, {})
    return Step(
        "concept",
        concept,
        "clips",
        tuple(members),
        _mean(members),
        states=name in said,
        stated=said[name]["value"] if name in said else None,
    )


def _mean(members: Sequence[tuple[str, float]]) -> float:
    return math.fsum(value for _, value in members) / len(members)


def _benchmark(opened: Opened, name: str, members: Sequence[tuple[str, float]]) -> Step:
    bench = opened.counts.benchmark
    said = {} if opened.data is None else opened.data["summary"]
    value, note = average([value for _, value in members]), ""
    if METRICS[name].needs_complete and opened.counts.missing:
        value, note = None, f"{opened.counts.missing:,} frames of the benchmark have no prediction"
    return Step(
        "benchmark",
        f"{bench['name']}@{bench['version']}",
        "concepts" if opened.rules.average == "frame>clip>concept" else UNIT_NAMES[opened.rules.average],
        tuple(members),
        value,
        note=note,
        states=name in said,
        stated=said[name]["value"] if name in said else None,
    )


# --- contradictions --------------------------------------------------------------------------------


def unchecked(opened: Opened) -> list[str]:
    """What :func:`contradictions` does not look at in this result."""
    if opened.data is None or opened.rules.draws <= MOST_DRAWS:
        return []
    return [f"the bounds of intervals: they were drawn {opened.rules.draws:,} times, more than {MOST_DRAWS:,}"]


def contradictions(opened: Opened) -> list[str]:
    """Every place where the result file is not what its counts give; empty for an honest result."""
    said = opened.data
    if said is None:
        return []
    wrong = []
    digest = opened.counts.sha256()
    if digest != said["counts"]["sha256"]:
        wrong.append(f"hash of the counts: {digest[:16]}, the result was scored from {said['counts']['sha256'][:16]}")
    bounds = not unchecked(opened)
    rules = opened.rules if bounds else replace(opened.rules, draws=0)
    try:
        scores, block = _again(opened, rules)
    except RefvpsError as error:
        return [*wrong, f"the counts cannot be scored as the result was: {error.what}"]
    now = to_dict(scores, opened.rules, str(said["counts"]["file"]), block)
    for part in dict.fromkeys([*now.get("protocol", {}), *said.get("protocol", {})]):
        if now.get("protocol", {}).get(part) != said.get("protocol", {}).get(part):
            wrong.append(f"the {part} of the protocol: the counts give others than the result states")
    wrong += _rows_apart(now["rows"], said["rows"])
    wrong += [
        f"{name}: the result does not state it in its summary"
        for name in now["summary"].keys() - said["summary"].keys()
    ]
    for table in ("summary", "diagnostics"):
        wrong += _apart(now[table], said.get(table, {}), "", bounds)
    for table in ("by_concept", "by_category"):
        given = said.get(table, {})
        for group in dict.fromkeys([*now[table], *given]):
            wrong += _apart(now[table].get(group, {}), given.get(group, {}), f" of {group or '(none)'}", bounds)
    for what in ("benchmark", "incomplete"):
        if now[what] != said[what]:
            wrong.append(f"{what}: the counts give {now[what]}, the result states {said[what]}")
    fresh, written = parse(scores.signature), parse(str(said["signature"]))
    wrong += [
        f"signature, {field}: the counts give {fresh.get(field, '-')}, the result states {written.get(field, '-')}"
        for field in dict.fromkeys([*fresh, *written])
        if field not in ("v", *(() if bounds else ("ci", "test"))) and fresh.get(field) != written.get(field)
    ]
    return wrong


def _again(opened: Opened, rules: Rules) -> tuple[Scores, Mapping[str, Any] | None]:
    """The result scored from its counts once more, by its own protocol."""
    maker = Method(opened.name)
    if not opened.protocol:
        return score(opened.counts, rules, method=maker), None
    if opened.protocol == refdavis.NAME:
        done = refdavis.scored(opened.counts, maker, rules.draws, rules.seed, Report(()), {})
    else:
        assert opened.data is not None
        path = opened.path.with_name(str(opened.data["counts"]["file"]))
        done = protocols.rescore(path, method=opened.name, draws=rules.draws, seed=rules.seed)
    return done.scores, done.protocol


def _rows_apart(now: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]]) -> list[str]:
    fresh = {(row["clip"], row["expression"], row["target"]): row for row in now}
    written = {(row["clip"], row["expression"], row["target"]): row for row in said}
    wrong = [f"the result states the row {key} more than once" for key in _twice(said)]
    for key in dict.fromkeys([*fresh, *written]):
        place = "/".join(key[:2])
        if key not in fresh or key not in written:
            wrong.append(f"{place}: only the {'counts hold' if key in fresh else 'result states'} it")
            continue
        a, b = fresh[key], written[key]
        wrong += [
            f"{name} of {place}: the counts give {value!r}, the result states {b['values'].get(name)!r}"
            for name, value in a["values"].items()
            if value != b["values"].get(name)
        ]
        wrong += [
            f"{field} of {place}: the counts give {a[field]!r}, the result states {b[field]!r}"
            for field in ("concept", "group", "frames", "missing")
            if a[field] != b[field]
        ]
    return wrong


def _twice(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    seen: set[Key] = set()
    found = []
    for row in rows:
        key = row["clip"], row["expression"], row["target"]
        if key in seen:
            found.append("/".join(key[:2]))
        seen.add(key)
    return found


def _apart(now: Mapping[str, Any], said: Mapping[str, Any], of: str, bounds: bool) -> list[str]:
    """Differences of two tables of estimates; a metric that the file does not state is none."""
    fields = ("value", "n", "groups", *(("low", "high") if bounds else ()))
    wrong = [f"{name}{of}: the counts do not give it, the result states it" for name in said if name not in now]
    for name, estimate in now.items():
        if name in said:
            wrong += [
                f"{name}{of}{'' if field == 'value' else f' ({field})'}: the counts give {estimate[field]!r}, "
                f"the result states {said[name][field]!r}"
                for field in fields
                if estimate[field] != said[name][field]
            ]
    return wrong
