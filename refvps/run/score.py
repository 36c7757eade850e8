"""From counts to scores: pure arithmetic, milliseconds, no masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from refvps import stats
from refvps.errors import InputError, UsageError
from refvps.metrics import METRICS
from refvps.run.counts import Counts
from refvps.run.signature import rate, signature
from refvps.types import Estimate, Method, Row, Rules, Scores

AVERAGES = ("frame>expression>clip", "frame>clip>concept", "frame>object", "frame>expression")
UNIT_NAMES = {
    "frame>expression>clip": "clips",
    "frame>clip>concept": "pairs",
    "frame>object": "objects",
    "frame>expression": "expressions",
}
"""What ``n`` counts, by averaging order."""

UNDEFINED = Estimate(None, None, None, 0, 0)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is averaged under a rule: a value with its group (source video) and class."""

    key: tuple[str, ...]
    group: str
    kind: str
    value: float


def check_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Metric names in the order given; raises UsageError with the nearest name for an unknown one."""
    chosen = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    unknown = [name for name in chosen if name not in METRICS]
    if unknown or not chosen:
        import difflib

        close = difflib.get_close_matches(unknown[0], METRICS, 1, 0.5) if unknown else []
        raise UsageError(
            "There is no such metric." if unknown else "No metric was asked for.",
            where=[repr(name) for name in unknown],
            fix=(f"did you mean {close[0]!r}? " if close else "") + "see refvps list metrics",
        )
    return chosen


def check_rules(rules: Rules) -> None:
    """Raise UsageError unless every field of ``rules`` means something; nothing unknown passes for a default."""
    check_metrics(rules.metrics)
    if rules.average not in AVERAGES:
        raise UsageError(
            "There is no such averaging order.", where=[repr(rules.average)], fix="one of " + ", ".join(AVERAGES)
        )
    whole = all(isinstance(value, int) and 0 <= value < 1 << 63 for value in (rules.draws, rules.seed))
    wrong = {
        "ignore": rules.ignore not in ("drop", "background", "target"),
        "missing": rules.missing not in ("error", "zero"),
        "bound_th": not 0 < rules.bound_th < 1e5,
        "draws and seed": not whole or rules.draws > 1_000_000,
        "confidence": not 0 < rules.confidence < 1,
    }
    if any(wrong.values()):
        raise UsageError(
            "Rules that mean nothing.",
            where=[name for name, bad in wrong.items() if bad],
            fix="see refvps.Rules: ignore is drop, background or target, missing is error or zero",
        )


def rows_of(counts: Counts, rules: Rules, metrics: Sequence[str]) -> tuple[Row, ...]:
    """Scores per (clip, expression, target), in benchmark order."""
    groups = {clip.id: clip.group for clip in counts.clips}
    boundary = any(METRICS[name].needs_boundary for name in metrics)
    rows = []
    for expression, target, series in counts.series(rules.ignore, boundary=boundary):
        entry = counts.expressions[expression]
        rows.append(
            Row(
                clip=entry.clip,
                expression=entry.id,
                target=counts.targets[target][1],
                concept=entry.concept,
                group=groups[entry.clip],
                frames=len(series.both),
                missing=int(series.missing.sum()),
                values={name: METRICS[name].compute(series) for name in metrics},
            )
        )
    return tuple(rows)


def units(rows: Sequence[Row], metric: str, average: str) -> list[Unit]:
    """The units that ``average`` takes the mean over; rows where the metric is undefined are left out.

    A unit is a clip, a (clip, target) or a (clip, concept), with the mean over its expressions, or one expression.
    """
    defined = [(row, value) for row in rows if (value := row.values[metric]) is not None]
    buckets: dict[tuple[str, str], list[tuple[Row, float]]] = {}
    for row, value in defined:
        parts = {"frame>object": row.target, "frame>clip>concept": row.concept, "frame>expression": row.expression}
        part = parts.get(average, "")
        buckets.setdefault((row.clip, part), []).append((row, value))
    by_class = average == "frame>clip>concept"
    return [
        Unit(key, members[0][0].group, key[1] if by_class else "", stats.exact_mean([value for _, value in members]))
        for key, members in buckets.items()
    ]


def sample_of(chosen: Sequence[Unit]) -> stats.Sample:
    """Units as the sample that intervals and tests read."""
    return stats.sample([u.value for u in chosen], [u.group for u in chosen], [u.kind for u in chosen])


def estimate(rows: Sequence[Row], metric: str, rules: Rules) -> Estimate:
    """One number with its interval; undefined where the metric needs every frame and one is missing."""
    if METRICS[metric].needs_complete and any(row.missing for row in rows):
        return UNDEFINED  # else a submission that leaves its shaky clips out would look steadier
    chosen = units(rows, metric, rules.average)
    return stats.estimate(sample_of(chosen), draws=rules.draws, seed=rules.seed, confidence=rules.confidence)


def _by(
    rows: Sequence[Row], keys: Mapping[str, Sequence[int]], metrics: Sequence[str], rules: Rules
) -> dict[str, dict[str, Estimate]]:
    within = replace(rules, average="frame>expression>clip") if rules.average == "frame>clip>concept" else rules
    return {
        key: {name: estimate([rows[k] for k in members], name, within) for name in metrics}
        for key, members in keys.items()
    }


def score(counts: Counts, rules: Rules, *, method: Method | None = None, notes: Sequence[str] = ()) -> Scores:
    """Score a table of counts under ``rules``.

    Raises InputError when frames are missing and the rule is ``missing="error"``, UsageError when the
    rules ask for what the counts do not hold (F without boundary counts, F under another tolerance).
    """
    from refvps import __version__

    check_rules(rules)
    metrics = check_metrics(rules.metrics)
    if counts.protocol:
        raise UsageError(
            "These counts were made by another tool's protocol.",
            where=[counts.protocol.get("protocol", "?")],
            fix="name it: --protocol " + counts.protocol.get("protocol", "NAME"),
        )
    if not len(counts):
        raise InputError("There is nothing to score.", where=[counts.benchmark["name"]], fix="check the benchmark")
    counts.check_complete()
    if counts.missing and rules.missing == "error":
        raise InputError(
            f"{counts.missing:,} frames have no prediction.",
            where=sorted({f"{row.clip}/{row.expression}" for row in rows_of(counts, rules, ()) if row.missing}),
            fix="predict them, or score them as zero with --missing zero",
        )
    boundary = any(METRICS[name].needs_boundary for name in metrics)
    if boundary and counts.boundary is not None and counts.boundary["bound_th"] != rules.bound_th:
        raise UsageError(
            "F was counted with another tolerance.",
            where=[f"bound_th {counts.boundary['bound_th']} instead of {rules.bound_th}"],
            fix="evaluate the masks again",
        )
    everything = dict.fromkeys([*metrics, *_diagnostics(counts, rules)])
    rows = rows_of(counts, rules, tuple(everything))
    categories = {(e.clip, e.id): e.categories for e in counts.expressions}
    concepts: dict[str, list[int]] = {}
    families: dict[str, list[int]] = {}
    for k, row in enumerate(rows):
        concepts.setdefault(row.concept, []).append(k)
        for family in categories[row.clip, row.expression]:
            families.setdefault(family, []).append(k)
    said = [*counts.notes, *notes]
    if counts.missing:
        said.append(f"incomplete: {counts.missing:,} of {len(counts):,} frames have no prediction and score 0")
    if "+" in rate(counts) and any(METRICS[name].spans_frames for name in metrics):
        said.append(f"clips are annotated at different rates ({rate(counts)} fps); TC mixes them")
    return Scores(
        signature=signature(counts, rules, __version__),
        benchmark=dict(counts.benchmark),
        method=method or Method("unnamed"),
        summary={name: estimate(rows, name, rules) for name in metrics},
        diagnostics={name: estimate(rows, name, rules) for name in everything if name not in metrics},
        by_concept=_by(rows, dict(sorted(concepts.items())), metrics, rules),
        by_category=_by(rows, dict(sorted(families.items())), metrics, rules),
        rows=rows,
        counts_sha256=counts.sha256(),
        incomplete=bool(counts.missing),
        notes=tuple(said),
    )


def _diagnostics(counts: Counts, rules: Rules) -> list[str]:
    boundary = counts.boundary is not None and counts.boundary == {"bound_th": rules.bound_th, "ignore": rules.ignore}
    return [name for name, metric in METRICS.items() if boundary or not metric.needs_boundary]
