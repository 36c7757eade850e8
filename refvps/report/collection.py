"""Results gathered for a report: read, checked, and sorted into groups that may stand side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from refvps.errors import InputError, RefvpsError, UsageError
from refvps.files import canonical_json, sha256
from refvps.metrics import METRICS
from refvps.metrics.catalogue import PERCENT_EXEMPT
from refvps.run.results import Result, read_result
from refvps.run.signature import parse
from refvps.types import Estimate, Rules, check_id

FIRST_STEPS = "run refvps evaluate --pred preds/ first; it writes results/<benchmark>@<version>/<method>.json"
SLACK = 1e-9
"""Scores may leave [-1, 1] by this much, for a mean is rounded."""


@dataclass(frozen=True)
class Group:
    """Results on the same content, scored by the same rules: only these share a figure or a column.

    ``results`` are ordered by method name. ``apart`` names the protocol of another tool, and how the rules
    differ from those of the ``others``, the number of other groups of this benchmark and version.
    """

    results: tuple[Result, ...]
    apart: str = ""
    others: int = 0

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return str(self.results[0].data["benchmark"]["name"])

    @property
    def version(self) -> str:
        """The benchmark's version."""
        return str(self.results[0].data["benchmark"]["version"])

    @property
    def rate(self) -> str:
        """Annotation rates, as the signature writes them: "24", "6+24", "?"."""
        return parse(self.results[0].signature).get("rate", "?")

    @property
    def title(self) -> str:
        """Benchmark and version, and what sets the group apart."""
        return f"{self.benchmark}@{self.version}" + (f" ({self.apart})" if self.apart else "")

    @property
    def file_name(self) -> str:
        """The same for a file: two groups never share it."""
        tail = f"-{sha256(canonical_json(_rules(self.results[0])))[:8]}" if self.apart else ""
        return f"{self.benchmark}@{self.version}{tail}"

    def named(self, method: str) -> Result | None:
        """The result of a method."""
        return next((result for result in self.results if result.name == method), None)


def find(paths: Sequence[Path], folder: Path = Path("results")) -> list[Path]:
    """Result files: those named, all below the folders named, or all below ``folder`` when none is named.

    Hidden files and folders (".ipynb_checkpoints") are not looked into. Raises UsageError where there is none.
    """
    found: dict[str, Path] = {}
    for path in paths or [folder]:
        if path.is_dir():
            below = (one for one in path.rglob("*.json") if not any(p[0] == "." for p in one.relative_to(path).parts))
            inside = sorted(below, key=lambda one: one.as_posix())
        else:
            named = path.name.removesuffix(".counts.npz") + ".json" if path.name.endswith(".counts.npz") else path.name
            inside = [path.with_name(named)] if paths else []
        if not inside:
            raise UsageError("There are no results yet.", where=[str(path)], fix=FIRST_STEPS)
        for each in inside:
            found.setdefault(os.path.realpath(each), each)
    return list(found.values())


def collect(paths: Iterable[Path], benchmark: str | None = None) -> list[Group]:
    """Read results into groups, ordered by benchmark, version and rules.

    ``benchmark``: a name, or "name@version", to keep. Raises InputError naming a file that is no sound result,
    UsageError when nothing is left or when two results of a group have one name.
    """
    results = [_read(path) for path in paths]
    known = sorted({f"{r.data['benchmark']['name']}@{r.data['benchmark']['version']}" for r in results})
    if benchmark is not None:
        results = [r for r in results if benchmark in (r.data["benchmark"]["name"], _place(r))]
        if not results:
            raise UsageError("No result is on this benchmark.", where=[benchmark], fix="there are " + ", ".join(known))
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in sorted(results, key=lambda r: (r.name, r.path.as_posix())):
        groups.setdefault((_place(result), *_rules(result)), []).append(result)
    found = []
    for key, members in sorted(groups.items()):
        _distinct(members)
        others = [theirs[0] for other, theirs in sorted(groups.items()) if other[0] == key[0] and other != key]
        found.append(Group(tuple(members), _apart(members[0], others), len(others)))
    return found


def estimate(result: Result, metric: str) -> Estimate | None:
    """A metric of a result, asked for or beside it; None where the counts did not allow it."""
    for table in ("summary", "diagnostics"):
        if metric in result.data.get(table, {}):
            return Estimate(**result.data[table][metric])
    return None


def by_concept(result: Result, metric: str) -> dict[str, Estimate]:
    """A metric per concept; empty where the result was scored without it."""
    table = result.data.get("by_concept", {})
    return {concept: Estimate(**values[metric]) for concept, values in table.items() if metric in values}


def _place(result: Result) -> str:
    return f"{result.data['benchmark']['name']}@{result.data['benchmark']['version']}"


def _rules(result: Result) -> tuple[str, ...]:
    """The signature but for the list of metrics; results without F have the usual tolerance of F."""
    fields = {"bth": f"{Rules().bound_th:g}", **parse(result.signature)}
    return tuple(f"{key}:{value}" for key, value in sorted(fields.items()) if key != "refvps")


def _apart(result: Result, others: Sequence[Result]) -> str:
    """The protocol of another tool, and what the rules of ``result`` have that those of ``others`` have not."""
    rules = [_rules(other) for other in others]
    return ", ".join(
        field for field in _rules(result) if field.startswith("protocol:") or any(field not in rule for rule in rules)
    )


def _distinct(results: Sequence[Result]) -> None:
    for one, two in pairwise(results):
        if one.name == two.name:
            raise UsageError(
                f"Two results of {_place(one)} are called {one.name}.",
                where=[str(one.path), str(two.path)],
                fix="name the files to report, or score one again under its own name: "
                "refvps evaluate --from-counts FILE.counts.npz --method NAME",
            )


def _read(path: Path) -> Result:
    """A result whose names can be shown and whose scores are scores; raises InputError naming the file."""
    try:
        result = read_result(path)
    except InputError as error:
        named = any(where.startswith(str(path)) for where in error.where)
        where = error.where if named else [f"{path}: {ascii(reason)[:100]}" for reason in error.where or ("",)]
        raise InputError(error.what, where=where, fix=error.fix) from error
    data = result.data
    wrong = []
    for value, kind in (
        (result.name, "method"),
        (data["benchmark"]["name"], "benchmark"),
        (data["benchmark"]["version"], "benchmark version"),
    ):
        try:
            check_id(value, kind)
        except RefvpsError as error:
            wrong.append(error.what)
    said = parse(result.signature)["data"]
    if not wrong and said != f"{_place(result)}#{data['benchmark']['digest'][:12]}":
        wrong.append(f"the signature speaks of {ascii(said)[:80]}")
    if not result.signature.isprintable():
        wrong.append("the signature holds unprintable characters")
    tables = [data["summary"], data.get("diagnostics", {}), *data.get("by_concept", {}).values()]
    wrong += [reason for table in tables for name, values in table.items() if (reason := _unsound(name, values))]
    if wrong:
        raise InputError(
            "This result cannot be reported.",
            where=[f"{path}: {reason}" for reason in wrong],
            fix="take the file from its author again, or evaluate again",
        )
    return result


def _unsound(name: str, values: dict[str, float | None]) -> str:
    """Why an estimate cannot be one, or ""."""
    if name not in METRICS:
        return f"{ascii(name)[:80]} is no metric"
    value, low, high = values["value"], values["low"], values["high"]
    numbers = [number for number in (value, low, high) if number is not None]
    floor = -1.0 if name in ("J_decay", "TC_signed") else 0.0
    top = float("inf") if name in PERCENT_EXEMPT else 1.0
    if any(not floor - SLACK <= number <= top + SLACK for number in numbers):
        return f"{name} is outside its range: {values}"
    if (low is None) != (high is None) or (low is not None and high is not None and (value is None or low > high)):
        return f"{name} has an impossible interval: {values}"
    return ""
