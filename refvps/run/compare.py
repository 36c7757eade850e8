"""Are two methods different? Paired by clip, clustered by source video, corrected for several looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refvps import stats
from refvps.errors import UsageError
from refvps.metrics import METRICS
from refvps.run import score, signature
from refvps.run.counts import Counts, select
from refvps.run.results import Result
from refvps.types import Estimate, Row, Rules


@dataclass(frozen=True, slots=True)
class Difference:
    """Second method minus first, on one metric; fractions.

    ``p`` is the sign-flip test's, ``p_holm`` the same after Holm's correction over the methods compared
    with the first. ``wins`` and ``losses`` count units (clips) where the second is better or worse.
    """

    metric: str
    first: float | None
    second: float | None
    difference: Estimate
    p: float | None
    p_holm: float | None
    wins: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    """``differences`` per compared method; ``concepts`` and ``clips`` explain the first metric."""

    first: str
    methods: tuple[str, ...]
    signature: str
    clips: int
    differences: Mapping[str, tuple[Difference, ...]]
    by_concept: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    by_clip: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    ranks: Mapping[str, Mapping[str, tuple[int, int]]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        from dataclasses import asdict

        return asdict(self)


def alike(results: Sequence[Result]) -> tuple[list[tuple[Row, ...]], Rules, str, tuple[str, ...]]:
    """Rows of every result under one set of rules, on the clips all of them share.

    With counts, all are re-scored under the first result's rules, on the clips whose content digest is the
    same in all; without, their signatures must agree. Raises UsageError when they cannot be made alike.
    """
    first = results[0]
    if any(result.protocol for result in results):
        return _by_protocol(results)
    clashes = [
        f"{result.name}: {text}"
        for result in results[1:]
        for text in signature.differences(first.signature, result.signature)
    ]
    common = [m for m in first.rules.metrics if all(m in result.rules.metrics for result in results)]
    if not all(result.has_counts() for result in results):
        if clashes or not common:
            raise UsageError(
                "These results were scored differently and their counts are not at hand.",
                where=clashes or ["no metric in common"],
                fix="put the .counts.npz files beside the results, or evaluate again under the same rules",
            )
        rows = _same_rows([result.rows for result in results])
        return rows, replace(first.rules, metrics=tuple(common)), first.signature, ()
    tables = [result.counts() for result in results]
    for table in tables:
        table.check_complete()
    tables, notes = _shared_clips(tables, [result.name for result in results])
    missing = "zero" if any(table.missing for table in tables) else first.rules.missing
    rules = replace(first.rules, metrics=first.rules.metrics, missing=missing)
    metrics, said = _scorable(tables, rules)
    rules = replace(rules, metrics=metrics)
    if clashes:
        notes += ("re-scored from counts under one set of rules, because they differ in " + "; ".join(clashes),)
    from refvps import __version__

    line = signature.signature(tables[0], rules, __version__)
    return _same_rows([score.rows_of(table, rules, metrics) for table in tables]), rules, line, notes + said


def _by_protocol(results: Sequence[Result]) -> tuple[list[tuple[Row, ...]], Rules, str, tuple[str, ...]]:
    """Results by one tool's protocol: compared as they are, and only where every rule and all data agree."""
    first = results[0]
    clashes = [
        f"{result.name}: {text}"
        for result in results[1:]
        for text in signature.differences(first.signature, result.signature)
    ]
    if clashes:
        raise UsageError(
            "Results by different protocols, or of different data, are never compared.",
            where=clashes,
            fix="evaluate all of them with the same --protocol on the same ground truth",
        )
    return _same_rows([result.rows for result in results]), first.rules, first.signature, ()


def _shared_clips(tables: Sequence[Counts], names: Sequence[str]) -> tuple[list[Counts], tuple[str, ...]]:
    if len({table.benchmark["name"] for table in tables}) > 1:
        raise UsageError(
            "These results belong to different benchmarks.",
            where=[f"{name}: {table.benchmark['name']}" for name, table in zip(names, tables, strict=True)],
            fix="compare results of one benchmark",
        )
    digests = [{clip.id: clip.digest for clip in table.clips} for table in tables]
    shared = [clip for clip, digest in digests[0].items() if all(other.get(clip) == digest for other in digests)]
    if not shared:
        _refuse_styles(tables, names)
        raise UsageError(
            "These results have no clip in common.",
            where=[f"{name}: {len(digest)} clips" for name, digest in zip(names, digests, strict=True)],
            fix="compare results of the same benchmark version",
        )
    if all(len(digest) == len(shared) for digest in digests):
        return list(tables), ()
    note = f"compared on the {len(shared)} clips whose content is the same in all results"
    return [select(table, shared) for table in tables], (note,)


def _refuse_styles(tables: Sequence[Counts], names: Sequence[str]) -> None:
    """Raise UsageError where the same classes were asked for in sentences of different styles."""
    asked = [{(each.clip, each.id): (each.text, each.annotator) for each in table.expressions} for table in tables]
    for name, others in zip(names[1:], asked[1:], strict=True):
        pairs = [(said, others[key]) for key, said in asked[0].items() if key in others]
        if pairs and all(first[1] != other[1] for first, other in pairs):
            (text, style), (other, its) = next((p for p in pairs if p[0][0] != p[1][0]), pairs[0])
            raise UsageError(
                "These results answer differently worded expressions; their scores cannot be compared.",
                where=[f"{names[0]}: {text!r} ({style})", f"{name}: {other!r} ({its})"],
                fix="predict and evaluate with one style of expressions, raw or clean; see refvps expressions --help",
            )


def _scorable(tables: Sequence[Counts], rules: Rules) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Metrics that mean the same in all tables, and why others were left out."""
    kept, notes = [], []
    for name in score.check_metrics(rules.metrics):
        metric = METRICS[name]
        if metric.spans_frames and len({signature.rate(table) for table in tables}) > 1:
            notes.append(f"{name} left out: annotation rates differ")
        elif metric.needs_boundary and any(
            table.boundary != {"bound_th": rules.bound_th, "ignore": rules.ignore} for table in tables
        ):
            notes.append(f"{name} left out: not counted alike in all results")
        else:
            kept.append(name)
    if not kept:
        raise UsageError("These results have no metric that can be compared.", where=notes, fix="evaluate again")
    return tuple(kept), tuple(notes)


def _same_rows(tables: Sequence[tuple[Row, ...]]) -> list[tuple[Row, ...]]:
    keys = [tuple((row.clip, row.expression, row.target, row.frames) for row in rows) for rows in tables]
    if any(key != keys[0] for key in keys):
        raise UsageError(
            "These results do not score the same expressions.",
            where=[f"{len(key)} rows" for key in keys],
            fix="compare results of the same benchmark version",
        )
    return list(tables)


def _differences(first: Sequence[Row], second: Sequence[Row], metric: str) -> list[Row]:
    """Rows whose value is second minus first, None where either is undefined."""
    paired = []
    for a, b in zip(first, second, strict=True):
        x, y = a.values[metric], b.values[metric]
        paired.append(replace(a, values={metric: None if x is None or y is None else y - x}))
    return paired


def compare(results: Sequence[Result]) -> Comparison:
    """Compare every result with the first one."""
    if len(results) < 2:
        raise UsageError("Two results are needed to compare.", fix="refvps compare A.json B.json")
    rows, rules, line, notes = alike(results)
    names = _unique([result.name for result in results])
    table: dict[str, list[Difference]] = {name: [] for name in names[1:]}
    for metric in rules.metrics:
        found = []
        for other in rows[1:]:
            paired = _differences(rows[0], other, metric)
            chosen = score.units(paired, metric, rules.average)
            sign = -1 if METRICS[metric].better == "lower" else 1
            found.append(
                Difference(
                    metric,
                    score.estimate(rows[0], metric, replace(rules, draws=0)).value,
                    score.estimate(other, metric, replace(rules, draws=0)).value,
                    estimate := score.estimate(_with_missing(paired, rows[0], other), metric, rules),
                    None
                    if estimate.value is None
                    else stats.sign_flip(score.sample_of(chosen), flips=rules.draws, seed=rules.seed),
                    None,
                    sum(sign * unit.value > 0 for unit in chosen),
                    sum(sign * unit.value < 0 for unit in chosen),
                )
            )
        defined = [k for k, one in enumerate(found) if one.p is not None]
        for k, p in zip(defined, stats.holm([p for one in found if (p := one.p) is not None]), strict=True):
            found[k] = replace(found[k], p_holm=p)
        for name, one in zip(names[1:], found, strict=True):
            table[name].append(one)
    return Comparison(
        first=names[0],
        methods=tuple(names[1:]),
        signature=line,
        clips=len({row.clip for row in rows[0]}),
        differences={name: tuple(values) for name, values in table.items()},
        by_concept=_grouped(rows, rules, lambda row: row.concept),
        by_clip=_grouped(rows, rules, lambda row: row.clip),
        ranks=_ranks(rows, rules, names),
        notes=notes,
    )


def _with_missing(paired: Sequence[Row], first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    """Mark a pair incomplete when either side is, so that TC stays undefined."""
    return [replace(row, missing=a.missing + b.missing) for row, a, b in zip(paired, first, second, strict=True)]


def _grouped(rows: Sequence[tuple[Row, ...]], rules: Rules, key: Any) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """Per metric and group of rows, the value of every method."""
    plain = replace(rules, draws=0, average="frame>expression>clip")
    members: dict[str, list[int]] = {}
    for k, row in enumerate(rows[0]):
        members.setdefault(key(row), []).append(k)
    return {
        metric: {
            name: tuple(score.estimate([table[k] for k in chosen], metric, plain).value for table in rows)
            for name, chosen in sorted(members.items())
        }
        for metric in rules.metrics
    }


def _ranks(
    rows: Sequence[tuple[Row, ...]], rules: Rules, names: Sequence[str]
) -> dict[str, dict[str, tuple[int, int]]]:
    """95 % rank ranges per metric; only where every method is defined on the same units."""
    ranks = {}
    for metric in rules.metrics:
        units = [score.units(table, metric, rules.average) for table in rows]
        better = METRICS[metric].better
        same = len({tuple(unit.key for unit in table) for table in units}) == 1
        if rules.draws < 1 or better == "-" or not same or len({unit.group for unit in units[0]}) < 2:
            continue
        ranges = stats.rank_ranges(
            [score.sample_of(table) for table in units],
            higher_is_better=better == "higher",
            draws=rules.draws,
            seed=rules.seed,
            confidence=rules.confidence,
        )
        ranks[metric] = dict(zip(names, ranges, strict=True))
    return ranks


def _unique(names: Sequence[str]) -> list[str]:
    """Names made distinct by a number where two results carry the same."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique
