"""What was printed about the versions of a data set, held against what is counted: never assumed, always beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps import home
from refvps.data.manifest import violation
from refvps.errors import InputError, UsageError
from refvps.files import read_json

VERSIONS = "versions.json"

Value = float | tuple[float, float] | None
"""A figure: a number; two sides in pixels, or least and greatest where clips differ; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure in print: its name in the statistics, as printed, as a value, how to compare, and where it stands."""

    figure: str
    printed: str
    value: Value
    rule: str
    where: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a data set as a publication describes it, with where that contradicts itself."""

    version: str
    source: str
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A fact and the count beside it; ``agrees`` is None where nothing was counted."""

    fact: Fact
    counted: Value
    agrees: bool | None


def read_versions(path: Path | None = None) -> dict[str, Version]:
    """The versions in a ``versions.json``, by default those of Ref-VPS, which come with refvps."""
    path = path or home.annotations() / "ref-vps" / VERSIONS
    document = read_json(path)
    if reason := violation(document, "versions"):
        raise InputError("A list of versions cannot be used.", where=[f"{path}: {reason}"], fix="correct it")
    return {entry["version"]: _version(entry) for entry in document["versions"]}


def version_named(name: str) -> Version:
    """A version of Ref-VPS by name, such as "v1"; raises UsageError for one that is not known."""
    known = read_versions()
    if name not in known:
        raise UsageError(
            "No such version of Ref-VPS is described.", where=[repr(name)[:80]], fix=f"one of {', '.join(known)}"
        )
    return known[name]


def compare(version: Version, counted: Mapping[str, Value]) -> tuple[Comparison, ...]:
    """Every printed fact beside what was counted; figures that ``counted`` lacks are not judged."""
    return tuple(
        Comparison(fact, counted.get(fact.figure), _agrees(fact, counted.get(fact.figure))) for fact in version.facts
    )


def _agrees(fact: Fact, counted: Value) -> bool | None:
    if counted is None or fact.value is None or fact.rule == "not-counted":
        return None
    if isinstance(counted, tuple) or isinstance(fact.value, tuple):
        return counted == fact.value
    if fact.rule == "more-than":
        return counted > fact.value
    if fact.rule == "less-than":
        return counted < fact.value
    if fact.rule == "rounded":
        _, _, decimals = fact.printed.replace(",", "").partition(".")
        return f"{counted:.{len(decimals)}f}" == f"{fact.value:.{len(decimals)}f}"
    return counted == fact.value


def _version(entry: Mapping[str, Any]) -> Version:
    facts = [{**fact, "value": _value(fact["value"])} for fact in entry["facts"]]
    return Version(entry["version"], entry["source"], tuple(Fact(**fact) for fact in facts), tuple(entry["notes"]))


def _value(value: Any) -> Value:
    return (value[0], value[1]) if isinstance(value, list) else value
