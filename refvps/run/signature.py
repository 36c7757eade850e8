"""The signature: every rule that moves a number, the data and the version, in one line.

``refvps:J+TC|avg:frame>expression>clip|ign:drop|empty:1|miss:error|tc:abs/T-1|rate:24|``
``ci:95%,10000,seed0,group|test:flip10000|data:sample@1#0123456789ab|v:0.1.0``
"""

from __future__ import annotations

from refvps.errors import InputError
from refvps.metrics import METRICS
from refvps.run.counts import Counts
from refvps.types import Rules

Signature = dict[str, str]


def _number(value: float) -> str:
    return "?" if value == 0 else f"{value:g}"


def rate(counts: Counts) -> str:
    """Annotation rates of the clips, frames per second: "24", "6+24", "?" where unknown."""
    return "+".join(_number(value) for value in sorted({clip.annotation_fps for clip in counts.clips})) or "?"


def signature(counts: Counts, rules: Rules, version: str) -> str:
    """The signature of scoring ``counts`` under ``rules``."""
    fields = {
        "refvps": "+".join(rules.metrics),
        **counts.protocol,
        "avg": rules.average,
        "ign": rules.ignore,
        "empty": "1",
        "miss": rules.missing,
        "tc": "abs/T-1",
        "rate": rate(counts),
    }
    if any(METRICS[name].needs_boundary for name in rules.metrics):
        fields["bth"] = f"{rules.bound_th:g}"
    fields["ci"] = f"{100 * rules.confidence:g}%,{rules.draws},seed{rules.seed},group"
    fields["test"] = f"flip{rules.draws}"
    bench = counts.benchmark
    fields["data"] = f"{bench['name']}@{bench['version']}#{bench['digest'][:12]}"
    fields["v"] = version
    return "|".join(f"{key}:{value}" for key, value in fields.items())


def parse(text: str) -> Signature:
    """The fields of a signature by name; raises InputError when it is not one."""
    fields: Signature = {}
    for part in text.split("|"):
        key, colon, value = part.partition(":")
        if not colon or not key or key in fields:
            raise InputError("This is not a refvps signature.", where=[text[:200]], fix="copy the whole line")
        fields[key] = value
    if "refvps" not in fields or "data" not in fields:
        raise InputError("This is not a refvps signature.", where=[text[:200]], fix="copy the whole line")
    return fields


def differences(a: str, b: str) -> list[str]:
    """Fields in which two signatures differ, as "name: one | other"; the list of metrics does not count."""
    first, second = parse(a), parse(b)
    return [
        f"{key}: {first.get(key, '-')} | {second.get(key, '-')}"
        for key in dict.fromkeys([*first, *second])
        if key != "refvps" and first.get(key) != second.get(key)
    ]
