"""A result on disk: ``<out>/<benchmark>@<version>/<method>.json`` with its ``.counts.npz`` beside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, locked, read_json, remove_leftovers, sha256, write_atomic
from refvps.home import home
from refvps.metrics import METRICS
from refvps.run.counts import Counts
from refvps.run.counts_file import read_counts, write_counts
from refvps.run.signature import parse
from refvps.types import Estimate, Row, Rules, Scores, check_id

SCHEMA = 1
VOLATILE = ("environment", "inputs", "timings")
"""Keys of a result that say how it was made and are no part of "the same result"."""


@dataclass(frozen=True)
class Result:
    """A result read from disk; ``counts()`` loads the integers behind it and checks their hash."""

    path: Path
    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The method's name."""
        return str(self.data["method"]["name"])

    @property
    def signature(self) -> str:
        """The signature line."""
        return str(self.data["signature"])

    @property
    def rules(self) -> Rules:
        """The rules the result was scored with."""
        rules = dict(self.data["rules"])
        return Rules(**{**rules, "metrics": tuple(rules["metrics"])})

    @property
    def rows(self) -> tuple[Row, ...]:
        """Scores per (clip, expression)."""
        return tuple(Row(**row) for row in self.data["rows"])

    @property
    def protocol(self) -> str:
        """Name of the other tool's protocol it was scored by, "" for refvps' own rules."""
        return str(self.data["protocol"]["name"]) if "protocol" in self.data else ""

    def has_counts(self) -> bool:
        """True when the counts file lies beside the result."""
        return (self.path.parent / str(self.data["counts"]["file"])).is_file()

    def counts(self) -> Counts:
        """The integers; InputError when the file is missing, broken or not the one that was scored."""
        path = self.path.parent / str(self.data["counts"]["file"])
        if path.parent != self.path.parent:
            raise InputError("A result names a counts file outside its folder.", where=[str(self.path)])
        counts = read_counts(path)
        if counts.sha256() != self.data["counts"]["sha256"]:
            raise InputError(
                "These counts are not the ones this result was scored from.",
                where=[str(path)],
                fix="take both files from the same place, or evaluate again",
            )
        return counts


def _estimates(values: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in values.items()}


def to_dict(
    scores: Scores, rules: Rules, counts_file: str, protocol: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The result as plain JSON, without the volatile keys."""
    asked = tuple(scores.summary)
    return {
        "schema": SCHEMA,
        "signature": scores.signature,
        "benchmark": dict(scores.benchmark),
        "method": {"name": scores.method.name},
        "rules": {**asdict(rules), "metrics": list(rules.metrics)},
        "summary": _estimates(scores.summary),
        "diagnostics": _estimates(scores.diagnostics),
        "by_concept": {key: _estimates(values) for key, values in scores.by_concept.items()},
        "by_category": {key: _estimates(values) for key, values in scores.by_category.items()},
        "rows": [{**asdict(row), "values": {name: row.values[name] for name in asked}} for row in scores.rows],
        "counts": {"file": counts_file, "sha256": scores.counts_sha256},
        "incomplete": scores.incomplete,
        "notes": list(scores.notes),
        **({} if protocol is None else {"protocol": dict(protocol)}),
    }


def environment() -> dict[str, str]:
    """Versions behind a result."""
    from importlib.metadata import version

    from refvps import __version__

    return {"refvps": __version__, "python": platform.python_version(), "numpy": version("numpy")}


def dump(data: Mapping[str, Any]) -> str:
    """The text of a result file: keys sorted, one top-level key per line, floats as ``repr`` writes them."""
    lines = []
    for key in sorted(data):
        if key == "rows":
            rows = ",\n".join("  " + json.dumps(row, sort_keys=True, ensure_ascii=False) for row in data[key])
            lines.append(f' "rows": [\n{rows}\n ]')
        else:
            lines.append(
                f" {json.dumps(key)}: {json.dumps(data[key], sort_keys=True, ensure_ascii=False, allow_nan=False)}"
            )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _stable(data: Mapping[str, Any]) -> bytes:
    return canonical_json({key: value for key, value in data.items() if key not in VOLATILE})


def write_result(
    scores: Scores,
    counts: Counts,
    rules: Rules,
    out: Path,
    *,
    inputs: Mapping[str, Any] | None = None,
    timings: Mapping[str, float] | None = None,
    force: bool = False,
    protocol: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write a result; returns its path and content. ``protocol``: its block, when another tool's rules were used.

    The same result again is a no-op, which also mends a counts file that a killed run left behind;
    another one under the same name raises UsageError unless ``force``. The counts are written first, so a
    result file always has its counts. Names that could leave ``out`` are refused.
    """
    for kind, name in (("method", scores.method.name), ("benchmark", scores.benchmark["name"])):
        check_id(name, kind)
    check_id(scores.benchmark["version"], "benchmark version")
    folder = out / f"{scores.benchmark['name']}@{scores.benchmark['version']}"
    stem = scores.method.name if protocol is None else f"{scores.method.name}.{protocol['name']}"
    check_id(stem, "result")
    path = folder / f"{stem}.json"
    counts_path = folder / f"{stem}.counts.npz"
    data = to_dict(scores, rules, counts_path.name, protocol)
    with locked(home() / "locks" / sha256(str(path.resolve()).encode("utf-8", "replace"))[:32]):
        for leftover in (path, counts_path):
            remove_leftovers(leftover)
        there = _counts_sha256(counts_path)
        old = _old(path)
        same = old is not None and _stable(old) == _stable(data)
        if same and there == scores.counts_sha256:
            return path, dict(old or {})
        foreign = path.exists() if old is not None else path.exists() or there not in (None, scores.counts_sha256)
        if foreign and not same and not force:
            raise UsageError(
                "Another result is already there.",
                where=[str(path if path.exists() else counts_path)],
                fix="pass --force to replace it, or --method NAME or --out DIR to keep both",
            )
        data = {**data, "environment": environment(), "inputs": dict(inputs or {}), "timings": dict(timings or {})}
        text = dump(data).encode("utf-8")  # before anything is written
        write_counts(counts, counts_path)
        write_atomic(path, text)
    return path, data


def _old(path: Path) -> dict[str, Any] | None:
    """The result that is there already, or None where there is none that can be read."""
    try:
        data = read_json(path) if path.exists() else None
    except InputError:
        return None
    return data if isinstance(data, dict) else None


def _counts_sha256(path: Path) -> str | None:
    """The hash of the counts that are there already: None without a file, "" for one that is broken."""
    try:
        return read_counts(path).sha256() if path.exists() else None
    except InputError:
        return ""


def schema() -> dict[str, Any]:
    """The JSON Schema of a result file, shipped with the package."""
    loaded: dict[str, Any] = read_json(Path(__file__).with_name("results-1.json"))
    return loaded


def read_result(path: Path) -> Result:
    """Read and check a result file; raises InputError when it is not one."""
    import jsonschema

    if path.name.endswith(".counts.npz"):
        path = path.with_name(path.name.removesuffix(".counts.npz") + ".json")
    data = read_json(path)
    error = next(iter(sorted(jsonschema.Draft202012Validator(schema()).iter_errors(data), key=str)), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "top level"
        raise InputError(
            "This is not a result file of refvps.",
            where=[f"{path}: {place}: {error.message[:200]}"],
            fix="name a .json file that refvps evaluate wrote",
        )
    result = Result(path, data)
    wrong = _contradictions(result)
    if wrong:
        raise InputError(
            "A result file contradicts itself.",
            where=[f"{path}: {reason}" for reason in wrong],
            fix="take the file from its author again, or evaluate again",
        )
    return result


def _contradictions(result: Result) -> list[str]:
    """Where rules, signature and rows of a result disagree."""
    rules, fields = result.rules, parse(result.signature)
    said = {
        "refvps": "+".join(rules.metrics),
        "avg": rules.average,
        "ign": rules.ignore,
        "miss": rules.missing,
        "ci": f"{100 * rules.confidence:g}%,{rules.draws},seed{rules.seed},group",
    }
    if "bth" in fields:
        said["bth"] = f"{rules.bound_th:g}"
    wrong = [
        f"signature {key}:{fields.get(key)}, rules say {value}"
        for key, value in said.items()
        if fields.get(key) != value
    ]
    if fields.get("protocol", "") != result.protocol:
        wrong.append(f"signature protocol:{fields.get('protocol')}, the result says {result.protocol or 'none'}")
    if block := result.data.get("protocol"):
        tables = [block, *block["sequences"], *block["objects"]]
        if any(sorted(table["scores"]) != sorted(block["columns"]) for table in tables):
            wrong.append("the tables of its protocol do not hold the columns they name")
        wrong += [
            f"signature {k}:{fields.get(k)}, its protocol says {v}"
            for k, v in block["rules"].items()
            if fields.get(k) != v
        ]
    wrong += [f"{name!r} is no metric" for name in rules.metrics if name not in METRICS]
    lacking = [row for row in result.rows if set(row.values) != set(rules.metrics)]
    wrong += [f"row {row.clip}/{row.expression} does not hold the metrics of the rules" for row in lacking]
    return wrong
