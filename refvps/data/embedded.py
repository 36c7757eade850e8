"""The benchmark ``sample``: its annotation is in ``annotations/sample``, its pixels are painted when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refvps import home
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.manifest import read_manifest
from refvps.data.masktracks import parse_masks
from refvps.data.truth import MAX_TRACK_BYTES, RleTruth
from refvps.errors import InputError
from refvps.files import read_bytes, read_json
from refvps.types import Annotation, Benchmark


def load_sample() -> Benchmark:
    """Load the embedded sample; its digest is computed from the files, once per process.

    Raises DataMissingError when the annotations folder is absent, InputError when it is damaged.
    """
    return _load(home.annotations() / "sample")


@cache
def _load(folder: Path) -> Benchmark:
    about = read_json(folder / "benchmark.json")
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in ("version", "licence")):
        raise InputError("The sample is damaged.", where=[str(folder / "benchmark.json")], fix="reinstall refvps")
    clips, expressions = read_manifest(folder, checked=True)
    annotations: dict[str, Annotation] = {}
    digests: dict[str, str] = {}
    for key, clip in clips.items():
        path = folder / "masks" / f"{key}.jsonl"
        annotations[key] = parse_masks(read_bytes(path, MAX_TRACK_BYTES), str(path), clip, checked=True)
        digests[key] = clip_digest(clip, (e for e in expressions if e.clip == key), annotations[key])

    def truth(key: str) -> RleTruth:
        return RleTruth(annotations[key])

    return Benchmark(
        name="sample",
        version=about["version"],
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=expressions,
        truth=truth,
        frames=_frames,
        clip_digests=digests,
        licence=about["licence"],
    )


def _frames(clip: str) -> Sequence[NDArray[np.uint8]]:
    from refvps.data.sample import frames  # painting needs more of numpy than scoring

    return frames(clip)
