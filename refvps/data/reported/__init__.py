"""Figures as papers print them, and what is known of the methods behind them.

They are records, not measurements of refvps: each is marked "reported", names its paper, its table and its
version of the benchmark, and keeps the digits that were printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from refvps import home
from refvps.data.manifest import records
from refvps.errors import InputError
from refvps.files import read_bytes

MAX_BYTES = 1 << 24
"""Largest file of records that is read."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One printed number (fields: ``refvps/data/schemas/reported-figure.json``).

    ``value`` is as printed: percent for scores, a text for sizes such as "712x576". ``annotation_fps`` is
    None where unknown. ``table`` is "" where not known.
    """

    kind: Literal["score", "cost", "statistic"]
    method: str
    variant: str
    training: str
    dataset: str
    benchmark: str
    benchmark_version: str
    annotation_fps: float | None
    metric: str
    value: float | str
    unit: str
    precision: int
    paper: str
    table: str
    note: str
    status: Literal["reported"] = "reported"

    @property
    def text(self) -> str:
        """The value with the digits that were printed: "59.10"."""
        return self.value if isinstance(self.value, str) else f"{self.value:.{self.precision}f}"

    @property
    def fraction(self) -> str:
        """A score as an exact decimal fraction: "0.5910"; raises ValueError for what is not in percent."""
        if self.unit != "percent":
            raise ValueError(f"{self.metric} is not in percent")
        return str(Decimal(self.text).scaleb(-2))

    @property
    def place(self) -> tuple[str, str, str]:
        """Dataset, its version and the paper: figures of different places must not be ranked together."""
        return self.dataset, self.benchmark_version, self.paper

    @property
    def subject(self) -> tuple[str, str, str]:
        """Method, variant and training data."""
        return self.method, self.variant, self.training


@dataclass(frozen=True, slots=True)
class KnownMethod:
    """What is known of a method; "" is unknown, never a guess."""

    name: str
    paper: str
    pretraining: str
    supervision: str
    licence: str
    code: str
    note: str


@dataclass(frozen=True, slots=True)
class Paper:
    """Where figures were printed; ``read_from`` says what they were taken from."""

    id: str
    short: str
    title: str
    authors: str
    venue: str
    arxiv: str
    read_from: str


@dataclass(frozen=True)
class Reported:
    """Every record: figures in the order of the file, methods and papers by name."""

    figures: tuple[Figure, ...]
    methods: dict[str, KnownMethod]
    papers: dict[str, Paper]


def load_reported(folder: Path | None = None) -> Reported:
    """Read the records of ``folder`` (default: those that come with refvps, ``annotations/reported``).

    Raises InputError where a line does not follow its schema, names a method or a paper that is not there, or
    contradicts another line.
    """
    folder = folder if folder is not None else home.annotations() / "reported"
    methods = [KnownMethod(**record) for _, record in _read(folder / "methods.jsonl", "reported-method")]
    papers = [Paper(**record) for _, record in _read(folder / "papers.jsonl", "reported-paper")]
    path = folder / "figures.jsonl"
    figures = [(place, _figure(record)) for place, record in _read(path, "reported-figure")]
    known = {m.name: m for m in methods}, {p.id: p for p in papers}
    wrong = _contradictions(figures, *known)
    for name, records_, found in (("methods", methods, known[0]), ("papers", papers, known[1])):
        if len(found) != len(records_):
            wrong.append(f"{folder / name}.jsonl: a name stands twice")
    if wrong:
        raise InputError("The reported figures contradict themselves.", where=wrong, fix="correct these lines")
    return Reported(tuple(figure for _, figure in figures), *known)


def most_precise(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Per metric the figure printed with most digits, of figures of one subject in one place; ties: the first."""
    best: dict[str, Figure] = {}
    for figure in figures:
        if figure.metric not in best or figure.precision > best[figure.metric].precision:
            best[figure.metric] = figure
    return best


def _read(path: Path, schema: str) -> Iterable[tuple[str, dict[str, Any]]]:
    return records(read_bytes(path, MAX_BYTES), str(path), schema)


def _figure(record: dict[str, Any]) -> Figure:
    source = record.pop("source")
    return Figure(**record, **source)


def _contradictions(
    figures: list[tuple[str, Figure]], methods: dict[str, KnownMethod], papers: dict[str, Paper]
) -> list[str]:
    """Figures without their method or paper, of a wrong form, printed twice alike, or in disagreement."""
    wrong = []
    seen: dict[tuple[Any, ...], Figure] = {}
    tables: set[tuple[Any, ...]] = set()
    for place, figure in figures:
        if (figure.method in methods) == (figure.kind == "statistic"):
            wrong.append(f"{place}: method {figure.method!r} does not fit a {figure.kind}")
        if figure.paper not in papers:
            wrong.append(f"{place}: no paper {figure.paper!r} in papers.jsonl")
        if isinstance(figure.value, str) != (figure.unit == "pixels"):
            wrong.append(f"{place}: a value in {figure.unit or 'counts'} cannot be {figure.value!r}")
            continue
        if figure.kind == "score" and not (figure.unit == "percent" and 0 <= float(figure.value) <= 100):
            wrong.append(f"{place}: a score is in percent, not {figure.value!r}")
        if not isinstance(figure.value, str) and float(figure.text) != figure.value:
            wrong.append(f"{place}: {figure.value!r} has more than {figure.precision} digits")
        key = (*figure.place, *figure.subject, figure.metric)
        if (*key, figure.table) in tables:
            wrong.append(f"{place}: {figure.metric} of {figure.method or figure.dataset} stands twice in one table")
        tables.add((*key, figure.table))
        first = seen.setdefault(key, figure)
        if not _agree(first, figure):
            wrong.append(f"{place}: {figure.metric} of {figure.method} is {figure.text}, elsewhere {first.text}")
    return wrong


def _agree(one: Figure, other: Figure) -> bool:
    """True when both could be one number, rounded to the digits of each."""
    if isinstance(one.value, str) or isinstance(other.value, str):
        return one.value == other.value
    slack = Decimal(5).scaleb(-one.precision - 1) + Decimal(5).scaleb(-other.precision - 1)
    return abs(Decimal(one.text) - Decimal(other.text)) <= slack
