"""Result files made up for tests of reports: sound by every check, with numbers chosen by the test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def estimate(value, reach=0.0, n=1, groups=1):
    """An estimate with an interval of +- ``reach``, cut at 0 and 1; none for reach 0."""
    if not reach or value is None:
        return {"value": value, "low": None, "high": None, "n": n, "groups": groups}
    return {
        "value": value,
        "low": max(0.0, round(value - reach, 6)),
        "high": min(1.0, round(value + reach, 6)),
        "n": n,
        "groups": max(groups, 2),
    }


def result(method, j, tc=0.03, *, name="ref-vps", version="1", concepts=None, reach=0.02, **changes):
    """The JSON of a result. ``concepts``: J by concept, or (J, reach)."""
    digest = changes.pop("digest", "d" * 64)
    rules = {
        "metrics": ["J", "TC"],
        "average": "frame>expression>clip",
        "ignore": "drop",
        "missing": "error",
        "bound_th": 0.008,
        "draws": 10000,
        "seed": 0,
        "confidence": 0.95,
        **changes.pop("rules", {}),
    }
    metrics = rules["metrics"]
    scores = {"J": j, "TC": tc, "F": 0.5, "J&F": 0.5, **changes.pop("scores", {})}
    table = {}
    for concept, value in (concepts or {}).items():
        value, spread = value if isinstance(value, tuple) else (value, 0.0)
        table[concept] = {m: estimate(value if m == "J" else 0.02, spread) for m in metrics}
    bth = "|bth:0.008" if {"F", "J&F"} & set(metrics) else ""
    rate = changes.pop("rate", "24")
    data = {
        "schema": 1,
        "signature": f"refvps:{'+'.join(metrics)}|avg:{rules['average']}|ign:{rules['ignore']}|empty:1"
        f"|miss:{rules['missing']}|tc:abs/T-1|rate:{rate}{bth}|ci:95%,{rules['draws']},seed{rules['seed']},group"
        f"|test:flip{rules['draws']}|data:{name}@{version}#{digest[:12]}|v:{changes.pop('v', '0.1.0')}",
        "benchmark": {"name": name, "version": version, "digest": digest},
        "method": {"name": method},
        "rules": rules,
        "summary": {m: estimate(scores[m], reach, 111, 90) for m in metrics},
        "diagnostics": {m: estimate(scores[m], reach, 111, 90) for m in ("J", "TC") if m not in metrics},
        "by_concept": table,
        "by_category": {},
        "rows": [],
        "counts": {"file": f"{method}.counts.npz", "sha256": "0" * 64},
        "incomplete": False,
        "notes": [],
    }
    return {**data, **changes}


def write(folder, *results):
    """Write results where refvps evaluate would; returns their paths."""
    paths = []
    for data in results:
        bench = data["benchmark"]
        path = Path(folder) / f"{bench['name']}@{bench['version']}" / f"{data['method']['name']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data))
        paths.append(path)
    return paths


PROCESSES = (
    "smoke dispersing", "glass shattering", "wave rising", "wax melting", "lightning", "ink spreading", "ice melting",
    "cloud moving", "flame flickering", "water rippling", "sparks flying", "light fluctuating", "paint mixing",
    "leaves falling",
)  # fmt: skip


def processes(seed=0, reach=0.09):
    """Four methods and a floor on fourteen concepts with intervals."""
    rng = np.random.default_rng(seed)
    hard = np.linspace(0.75, 0.12, len(PROCESSES))
    found = []
    for name, shift, noise in (("rem", 0.0, 0.05), ("vdit", -0.14, 0.10), ("uninext", -0.22, 0.14), ("empty", -0.9, 0)):
        scores = np.clip(hard + shift + rng.normal(0, noise, len(hard)), 0.0, 0.97).round(6)
        table = {concept: (float(s), reach if s else 0.0) for concept, s in zip(PROCESSES, scores, strict=True)}
        found.append(result(name, float(scores.mean()), float(0.02 + noise / 3), concepts=table))
    return found


def long_tail(count=454, seed=1):
    """Four methods on as many classes as BURST has."""
    rng = np.random.default_rng(seed)
    base = np.clip(1.02 * (1 - np.linspace(0, 1, count) ** 0.8) + rng.normal(0, 0.02, count), 0, 1)
    found = []
    for name, scale, noise in (("rem", 1.0, 0.0), ("vdit", 0.8, 0.16), ("uninext", 0.78, 0.2), ("mutr", 0.7, 0.2)):
        scores = np.clip(base * scale + rng.normal(0, noise, count), 0, 1).round(6)
        table = {f"class {k:03d}": float(s) for k, s in enumerate(scores)}
        found.append(result(name, float(scores.mean()), 0.03, name="burst", concepts=table, rate="1"))
    return found
