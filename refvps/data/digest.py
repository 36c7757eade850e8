"""The content digest: two benchmarks with one digest ask the same questions and know the same answers.

``source_id`` stays out: it says where a record came from, moves no number and may be filled in later. Names and
versions of the benchmark and pixels of the frames stay out as well; everything else of clips, expressions and
masks is in. Order of listing never matters, except the order of frames in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from refvps.data.manifest import clip_record, expression_record
from refvps.files import canonical_json, sha256
from refvps.types import Annotation, Clip, Expression, MaskTrack


def clip_digest(clip: Clip, expressions: Iterable[Expression], annotation: Annotation) -> str:
    """Hex SHA-256 over the canonical JSON of a clip, its expressions (by id) and its RLE strings.

    The strings must be canonical COCO RLE, as every loader of refvps hands out.
    """
    content = {
        "clip": clip_record(clip) | {"source_id": ""},
        "expressions": [
            expression_record(expression) | {"source_id": ""}
            for expression in sorted(expressions, key=lambda expression: expression.id)
        ],
        "targets": {target: _strings(track) for target, track in annotation.targets.items()},
        "ignore": None if annotation.ignore is None else _strings(annotation.ignore),
    }
    return sha256(canonical_json(content))


def benchmark_digest(clips: Mapping[str, str]) -> str:
    """Hex SHA-256 over the canonical JSON of the sorted pairs [clip id, clip digest]."""
    return sha256(canonical_json(sorted([clip, digest] for clip, digest in clips.items())))


def _strings(track: MaskTrack) -> list[str | None]:
    return [None if counts is None else counts.decode("ascii") for counts in track.counts]
