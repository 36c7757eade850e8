"""What stands in a table: lines of methods, in blocks that may be ranked, on boards that share columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from refvps.data.reported import Figure, KnownMethod, Reported, most_precise
from refvps.metrics import METRICS
from refvps.report import table
from refvps.report.collection import Group, estimate
from refvps.run.results import Result
from refvps.run.signature import parse

UNCLEAR = "unclear"
"""How the version of a reported figure starts when nobody knows which one it was."""

READ_TC = "TC: lower is better, but masks that are always wrong have TC 0; read it beside J"
APART = (
    "reported figures are from papers, not from refvps; each block is one version of the benchmark, so do not "
    "rank across blocks"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One number: fractions with bounds (None: undefined), as shown (percent), and exactly, as a decimal fraction."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    shown: str = ""
    interval: str = ""
    exact: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A method with its numbers by metric, and where they come from."""

    method: str
    cells: Mapping[str, Cell]
    status: str
    remark: str = ""
    units: int | None = None
    incomplete: bool = False
    source: str = ""
    known: KnownMethod | None = None

    @property
    def label(self) -> str:
        """The method's name with what tells it from others of that name."""
        marks = [mark for mark in (self.remark, "incomplete" if self.incomplete else "") if mark]
        return self.method + (f" ({', '.join(marks)})" if marks else "")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that may be ranked together, best first; ``version`` and ``rate`` are the benchmark's.

    ``source`` is the paper with its tables, "" for results.
    """

    title: str
    lines: tuple[Line, ...]
    benchmark: str
    version: str
    rate: str
    digest: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """Blocks under the same columns: at most one of results, before those of reported figures."""

    title: str
    metrics: tuple[str, ...]
    blocks: tuple[Block, ...]
    interval: str = ""
    unit: str = "clips"
    signature: str = ""
    notes: tuple[str, ...] = field(default=())


def main_boards(groups: Sequence[Group], reported: Reported, benchmark: str | None = None) -> list[Board]:
    """One board per group of results, with the figures that papers report on that benchmark below.

    Columns: J and TC where a result has them, and every other metric that all results of the group were asked for.
    """
    return [_main(group, reported) for group in groups]


def reported_boards(groups: Sequence[Group], reported: Reported, benchmark: str | None = None) -> list[Board]:
    """The reported scores, ablations included: one board per dataset, one block per version and paper."""
    wanted = [f for f in reported.figures if f.kind == "score" and benchmark in (None, f.benchmark)]
    boards = []
    for dataset in dict.fromkeys(figure.dataset for figure in wanted):
        figures = [figure for figure in wanted if figure.dataset == dataset]
        metrics = tuple(name for name in METRICS if any(figure.metric == name for figure in figures))
        notes = [APART, READ_TC] if "TC" in metrics else [APART]
        boards.append(
            Board(
                f"{dataset}: reported figures",
                metrics,
                _reported_blocks(figures, metrics, reported),
                notes=(*notes, *_sources(figures, reported)),
            )
        )
    return boards


def _main(group: Group, reported: Reported) -> Board:
    metrics = _metrics(group.results)
    first = group.results[0]
    lines = sorted((_scored(result, metrics) for result in group.results), key=lambda line: _order(line, metrics))
    bench = first.data["benchmark"]
    unit = {"frame>object": "objects", "frame>clip>concept": "pairs"}.get(first.rules.average, "clips")
    rate = f"{group.rate} fps annotation" if group.rate != "?" else "annotation rate unknown"
    title = f"scored with refvps: {group.title}, {rate}"
    own = Block(title, tuple(lines), group.benchmark, group.version, group.rate, str(bench["digest"]))
    figures = [
        f
        for f in reported.figures
        if f.kind == "score" and f.benchmark == group.benchmark and not f.variant and f.metric in metrics
        if not f.benchmark_version.startswith(UNCLEAR)
    ]
    kept = [f for f in figures if f.metric != "TC" or _same_rate(f, group.rate)]
    notes = [READ_TC] if "TC" in metrics else []
    if "TC" in metrics and "+" in group.rate:
        notes.append(f"clips are annotated at different rates ({group.rate} fps); TC mixes them")
    if kept:
        notes.append(APART)
    if lost := [f for f in figures if f not in kept]:
        rates = " and ".join(sorted({f"{f.annotation_fps:g} fps" if f.annotation_fps else "unknown" for f in lost}))
        notes.append(
            f"reported TC is left out: its annotation rate ({rates}) is not that of your results ({group.rate} fps), "
            "and TC depends on it"
        )
    notes += _fewer(group.results, metrics, unit)
    foreign = "protocol" in parse(first.signature)
    if any(line.incomplete for line in lines):
        zero = "frames without a prediction score J = F = 0, and TC is not reported"
        notes.append(f"incomplete: {'videos without predictions are left out' if foreign else zero}")
    if group.others:
        again = "" if foreign else "; refvps evaluate --from-counts scores them again by the same rules"
        notes.append(
            f"other results on {group.benchmark}@{group.version} were scored by other rules"
            f"{f' ({group.apart} here)' if group.apart else ''} and have a table of their own{again}"
        )
    return Board(
        group.title,
        metrics,
        (own, *_reported_blocks(kept, metrics, reported)),
        f"{100 * first.rules.confidence:g} % interval",
        unit,
        _signature(group.results),
        (*notes, *_sources(kept, reported)),
    )


def _fewer(results: Sequence[Result], metrics: Sequence[str], unit: str) -> list[str]:
    """Which means are over fewer units than the first one is, whose number the table shows."""
    notes: dict[str, None] = {}
    for result in results:
        found = [(name, one) for name in metrics if (one := estimate(result, name)) is not None]
        for name, one in found:
            if one.value is not None and one.n < found[0][1].n:
                notes[f"{name} is over {one.n} of {found[0][1].n} {unit}: it is undefined for the others"] = None
    return list(notes)


def _metrics(results: Sequence[Result]) -> tuple[str, ...]:
    asked = [set(result.data["summary"]) for result in results]
    shared = set.intersection(*asked)
    usual = [name for name in ("J", "TC") if any(estimate(result, name) is not None for result in results)]
    return (*usual, *(name for name in METRICS if name in shared and name not in usual))


def _signature(results: Sequence[Result]) -> str:
    """The signature they share, with the metrics all of them were asked for."""
    shared = [name for name in results[0].rules.metrics if all(name in result.rules.metrics for result in results)]
    fields = results[0].signature.split("|")[1:]
    if not any(METRICS[name].needs_boundary for name in shared):
        fields = [one for one in fields if not one.startswith("bth:")]
    return "|".join([f"refvps:{'+'.join(shared)}", *fields])


def _scored(result: Result, metrics: Iterable[str]) -> Line:
    cells = {}
    units = None
    for name in metrics:
        found = estimate(result, name)
        if found is None:
            cells[name] = Cell(shown="-")
            continue
        units = found.n if units is None else units
        bounds = {"low": found.low, "high": found.high}
        cells[name] = Cell(
            found.value,
            found.low,
            found.high,
            table.number(name, found.value),
            table.interval(name, bounds),
            "" if found.value is None else repr(found.value),
        )
    return Line(result.name, cells, "scored", units=units, incomplete=bool(result.data["incomplete"]))


def _reported_blocks(figures: Sequence[Figure], metrics: Sequence[str], reported: Reported) -> tuple[Block, ...]:
    blocks = []
    for place in dict.fromkeys(figure.place for figure in figures):
        here = [figure for figure in figures if figure.place == place]
        lines = []
        for subject in dict.fromkeys(figure.subject for figure in here):
            best = most_precise(figure for figure in here if figure.subject == subject)
            tables = dict.fromkeys(figure.table or "text" for figure in best.values())
            method, *marks = subject
            lines.append(
                Line(
                    method,
                    {name: _printed(best.get(name)) for name in metrics},
                    "reported",
                    remark="; ".join(mark for mark in marks if mark),
                    source=f"{reported.papers[here[0].paper].short}, {', '.join(tables)}",
                    known=reported.methods.get(method),
                )
            )
        dataset, version, paper = place
        tables = dict.fromkeys(figure.table for figure in here if figure.table)
        title = f"reported: {dataset}{f', {version}' if version else ''}"
        source = ", ".join([reported.papers[paper].short, *tables])
        rates = {figure.annotation_fps for figure in here}
        rate = f"{rates.pop():g}" if len(rates) == 1 and None not in rates else "?"
        lines.sort(key=lambda line: _order(line, metrics))
        blocks.append(Block(title, tuple(lines), here[0].benchmark, version, rate, source=source))
    return tuple(blocks)


def _printed(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell()
    return Cell(value=float(figure.fraction), shown=figure.text, exact=figure.fraction)


def _order(line: Line, metrics: Sequence[str]) -> tuple[object, ...]:
    """Best first, by J, else by the first metric there is."""
    for name in ("J", *metrics):
        cell = line.cells.get(name)
        if cell is not None and cell.value is not None:
            return (0, -cell.value if METRICS[name].better == "higher" else cell.value, line.label)
    return (1, 0.0, line.label)


def _same_rate(figure: Figure, rate: str) -> bool:
    return figure.annotation_fps is not None and f"{figure.annotation_fps:g}" == rate


def _sources(figures: Iterable[Figure], reported: Reported) -> list[str]:
    """What must be said of the figures shown: how they were read, and what is odd about some."""
    figures = list(figures)
    papers = [reported.papers[key] for key in dict.fromkeys(figure.paper for figure in figures)]
    notes = [f"{paper.short}: figures read from {paper.read_from}" for paper in papers]
    for text in dict.fromkeys(figure.note for figure in figures if figure.note):
        metrics = dict.fromkeys(figure.metric for figure in figures if figure.note == text)
        tables = dict.fromkeys(figure.table for figure in figures if figure.note == text)
        notes.append(f"{' and '.join(metrics)} of {', '.join(tables)}: {text}")
    return notes


def known_methods(boards: Iterable[Board]) -> list[KnownMethod]:
    """The methods behind the reported lines, in order of name."""
    found = {line.known.name: line.known for b in boards for k in b.blocks for line in k.lines if line.known}
    return [found[name] for name in sorted(found)]
