"""Counts made up for tests: consistent integers without masks."""

from __future__ import annotations

import numpy as np

from refvps.run.counts import AREAS, EDGES, KEYS, MISSING, SCORED, ClipEntry, Counts, ExpressionEntry, assemble


def random_counts(seed=0, clips=6, expressions=2, frames=9, boundary=False, missing=0.0, fps=24.0, name="toy"):
    """A table of possible integers; clips 0 and 1 share a source video."""
    rng = np.random.default_rng(seed)
    entries, sentences, rows = [], [], []
    for c in range(clips):
        entries.append(
            ClipEntry(f"c{c}", (8, 10), 24.0, fps, frames, tuple(range(frames)), f"v{max(c, 1)}", f"{c:064d}")
        )
        for e in range(expressions):
            index = len(sentences)
            sentences.append(
                ExpressionEntry(f"c{c}", str(e), f"text {e}", "1", f"k{c % 3}", ("motion patterns",), "a1")
            )
            for t in range(frames):
                g, i = int(rng.integers(0, 30)), int(rng.integers(0, 20))
                both, pi, rest = (
                    int(rng.integers(0, g + 1)),
                    int(rng.integers(0, i + 1)),
                    int(rng.integers(0, 80 - g - i)),
                )
                gone = rng.random() < missing
                areas = [0, 0, g, 0, i] if gone else [both, both + pi + rest, g, pi, i]
                edges = [0] * 4
                if boundary and not gone:
                    n_p, n_g = int(rng.integers(0, 30)), int(rng.integers(0, 30))
                    edges = [n_p, n_g, int(rng.integers(0, n_p + 1)), int(rng.integers(0, n_g + 1))]
                rows.append([c, index, c, t, MISSING if gone else SCORED, *areas, *(edges if boundary else [])])
    table = np.array(rows, dtype=np.int64)
    names = (*KEYS, *AREAS, *(EDGES if boundary else ()))
    return assemble(
        Counts(
            benchmark={"name": name, "version": "1", "digest": "d" * 64},
            clips=tuple(entries),
            expressions=tuple(sentences),
            targets=tuple((f"c{c}", "1") for c in range(clips)),
            columns={key: table[:, k] for k, key in enumerate(names)},
            boundary={"bound_th": 0.008, "ignore": "drop"} if boundary else None,
        )
    )
