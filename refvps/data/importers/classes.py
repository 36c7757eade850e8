"""Names of classes as sentences, "the <class>", in two styles, from a table that ships with refvps.

``raw``: the data set's own name, as REM's public scripts put it into the prompt: "the handrail_or_fence", "the
car_(automobile)". ``clean``: readable and different for every class: lower case, blanks instead of underscores, and
what stands in brackets dropped, but kept after a comma where two classes would else be called the same. Scores of
the two styles answer different questions; ``annotator`` of every expression says which it is, so the digests differ.

The tables are ``annotations/expressions/<data set>.jsonl`` with their SHA-256 in ``tables.json``; :func:`write_tables`
made them from the lists that BURST, VSPW and VIPSeg publish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps import home
from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, parse_json, read_bytes, read_json, sha256, write_atomic, write_json_lines

STYLES = ("raw", "clean")
FOLDER = "expressions"
TABLES = ("burst", "vspw")
HASHES = "tables.json"
MAX_TABLE_BYTES = 1 << 24
MAX_NAME = 200
"""Longest name of a class, in characters."""

PERSON = 805
"""BURST's category of the synset person.n.01. TAO's list calls it "baby", which its clean name does not repeat."""


@dataclass(frozen=True, slots=True)
class ClassName:
    """A class: its number in the data set, its name there, its clean name, whether VIPSeg counts it as stuff."""

    id: int
    raw: str
    clean: str
    stuff: bool = False


@dataclass(frozen=True, slots=True)
class ClassTable:
    """All classes of a data set by number. ``sha256``: of the file, in hexadecimal digits."""

    name: str
    sha256: str
    rows: Mapping[int, ClassName]


def sentence(name: str) -> str:
    """The expression that asks for a class."""
    return f"the {name}"


def annotator(style: str) -> str:
    """Who wrote the sentences of a style, for :attr:`refvps.types.Expression.annotator`."""
    return f"class names, {style}"


def check_style(style: str) -> str:
    """The style, or a UsageError."""
    if style not in STYLES:
        raise UsageError("There is no such style of expressions.", where=[repr(style)[:80]], fix=" or ".join(STYLES))
    return style


def load_table(name: str) -> ClassTable:
    """The shipped table of "burst" or "vspw"; raises InputError when it is not the one that was released."""
    if name not in TABLES:
        raise UsageError("There is no such table of classes.", where=[repr(name)[:80]], fix=" or ".join(TABLES))
    folder = home.annotations() / FOLDER
    path = folder / f"{name}.jsonl"
    data = read_bytes(path, MAX_TABLE_BYTES)
    hashes = read_json(folder / HASHES)
    if not isinstance(hashes, dict) or hashes.get(name) != sha256(data):
        raise InputError(
            "A table of class names is not the one that came with refvps.", where=[str(path)], fix="reinstall refvps"
        )
    rows = [ClassName(**parse_json(line, str(path))) for line in data.splitlines()]
    return ClassTable(name, sha256(data), {row.id: row for row in rows})


def names_in(table: ClassTable, given: Mapping[int, str], style: str) -> dict[int, str]:
    """Names by number in a style, for the names that a copy of the data set gives its classes.

    A class called as in the table has the clean name of the table; others are cleaned by the same rule. Raises
    InputError where two classes end up with one name.
    """
    if check_style(style) == "raw":
        found = dict(given)
    else:
        fresh = clean_names(given)
        known = {key: row.clean for key, row in table.rows.items() if given.get(key) == row.raw}
        found = {key: known.get(key, fresh[key]) for key in given}
    counted = Counter(found.values())
    twice = [f"{key}: {name}" for key, name in found.items() if counted[name] > 1]
    if twice:
        raise InputError(
            f"Two classes have the same name in the style {style}.",
            where=twice,
            fix="check the names of the categories" + (", or use the style raw" if style == "clean" else ""),
        )
    return found


def clean_names(names: Mapping[int, str]) -> dict[int, str]:
    """Readable names by number. Brackets are dropped, except where another class would have the same name."""
    plain = {key: _words(name.partition("(")[0]) or _words(name) for key, name in names.items()}
    shared = Counter(plain.values())
    clean = {}
    for key, name in names.items():
        meaning = _words(name.partition("(")[2].partition(")")[0])
        clean[key] = f"{plain[key]}, {meaning}" if shared[plain[key]] > 1 and meaning else plain[key]
    return clean


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("(", " ").replace(")", " ").lower().split())


def collisions(table: ClassTable) -> dict[str, list[ClassName]]:
    """Classes whose clean names would be the same without what stands in brackets, by that name."""
    found: dict[str, list[ClassName]] = {}
    for row in table.rows.values():
        found.setdefault(_words(row.raw.partition("(")[0]), []).append(row)
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def check_name(name: Any) -> str:
    """What is wrong with the name of a class from outside, '' when nothing is."""
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
        return "it is no name"
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        return "it has characters that no folder can be named with"
    return ""


def write_tables(categories: Path, labels: Path, panoptic: Path, out: Path) -> dict[str, str]:
    """Write both tables and their hashes to ``out``; returns the hashes.

    ``categories``: BURST's list of TAO categories ([{id, name, ...}]). ``labels``: VSPW's label_num_dic_final.json
    ({name: number as text}, the class being number - 1). ``panoptic``: VIPSeg's list ([{id, name, isthing}]).
    """
    burst = {int(row["id"]): str(row["name"]) for row in read_json(categories)}
    cleaned = clean_names(burst) | {PERSON: "person"}
    things = {int(row["id"]): bool(row["isthing"]) for row in read_json(panoptic)}
    vspw = {int(number) - 1: name for name, number in read_json(labels).items() if int(number) > 0}
    readable = clean_names(vspw)
    rows = {
        "burst": [{"id": key, "raw": burst[key], "clean": cleaned[key]} for key in sorted(burst)],
        "vspw": [
            {"id": key, "raw": vspw[key], "clean": readable[key], "stuff": not things[key]} for key in sorted(vspw)
        ],
    }
    hashes = {}
    for name in TABLES:
        write_json_lines(out / f"{name}.jsonl", rows[name])
        hashes[name] = sha256(read_bytes(out / f"{name}.jsonl", MAX_TABLE_BYTES))
    write_atomic(out / HASHES, canonical_json(hashes) + b"\n")
    return hashes


def main() -> None:
    """``python -m refvps.data.importers.classes CATEGORIES LABELS PANOPTIC OUT``: see :func:`write_tables`."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m refvps.data.importers.classes", description=write_tables.__doc__)
    for name in ("categories", "labels", "panoptic", "out"):
        parser.add_argument(name, type=Path)
    write_tables(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
