"""What is known of predictors without importing them: licence, weights, needs, whether they can run here.

A package that registers predictors may hold a file ``predictors.toml`` at its root, one table per
predictor; it is found through the package's spec and read as data. A table without an entry point of
its name describes a method that runs elsewhere, or not at all, and ``reason`` says why.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from refvps.run.predictors import registered

FILE = "predictors.toml"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """One predictor, or one method that is none.

    ``needs``: top-level modules it imports. ``hardware``, ``gated`` (weights need a request to their owner),
    ``recipe`` (runs in an environment of its own), ``reason`` (why it cannot run here), ``flags`` such as
    ``sam-family`` (related to the model that made the ground truth of Ref-VPS). ``where``: its entry point,
    "" without one.
    """

    name: str
    description: str = ""
    licence: str = ""
    weights: str = ""
    needs: tuple[str, ...] = ()
    hardware: str = ""
    gated: bool = False
    recipe: str = ""
    reason: str = ""
    flags: tuple[str, ...] = ()
    where: str = ""

    @property
    def installed(self) -> bool:
        """Whether ``refvps predict`` can run it: an entry point of its own, and all that it imports can be found."""
        return bool(self.where) and not (self.reason or self.recipe or self.missing)

    @property
    def missing(self) -> tuple[str, ...]:
        """Needed modules that are not installed."""
        return tuple(module for module in self.needs if not _spec(module.partition(".")[0]))


def cards() -> tuple[Card, ...]:
    """A card for every registered predictor and every method that a package describes, sorted by name."""
    places = registered()
    tops = sorted({place.partition(":")[0].partition(".")[0] for place in places.values()} | {"refvps"})
    found: dict[str, Card] = {}
    for top in tops:
        for name, table in _tables(top).items():
            place = places.get(name, "")
            if not place or place.partition(":")[0].partition(".")[0] == top:  # nobody describes another's predictor
                found[name] = _card(name, table, place)
    for name, place in places.items():
        found.setdefault(name, Card(name, where=place))
    return tuple(found[name] for name in sorted(found))


def _spec(top: str) -> Any:
    try:
        return importlib.util.find_spec(top) if top.isidentifier() else None
    except (ImportError, ValueError):
        return None


def _tables(top: str) -> Mapping[str, Any]:
    """The tables of a package's file; from one that cannot be read, why: a list must not fail for one package."""
    spec = _spec(top)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / FILE
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            broken = f"{path} cannot be read: {error}"
            names = [name for name, place in registered().items() if place.startswith((f"{top}.", f"{top}:"))]
            return {name: {"description": broken} for name in names}
    return {}


def _card(name: str, table: Any, place: str) -> Card:
    """A card from a table of any quality: fields of another type are left out, unknown ones passed over."""
    given: dict[str, Any] = {}
    for each in fields(Card):
        value = table.get(each.name) if isinstance(table, dict) else None
        if each.type == "tuple[str, ...]" and isinstance(value, list):
            given[each.name] = tuple(str(item) for item in value)
        elif type(value).__name__ == each.type:
            given[each.name] = value
    return Card(**{**given, "name": name, "where": place})
