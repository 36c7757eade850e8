"""One record of every list of a data set, with every field it can have."""

from __future__ import annotations

from typing import Any

FULL: dict[str, Any] = {
    "id": "wax-01",
    "size": [576, 1024],
    "fps": 24,
    "frames": {"count": 131, "digits": 5},
    "annotated": {"count": 33, "digits": 5, "first": 0, "step": 4},
    "annotation_fps": 6,
    "group": "video-17",
    "split": "test",
    "concept": "wax melting",
    "categories": ["temporal object changes", "pattern evolution"],
    "source_id": "original name",
    "frame_count": 131,
    "scale": "table",
    "query": "a wax candle melting",
    "quality": ["watermark", "overlay-text"],
    "added_in": "v1",
    "changed_in": "v2",
    "withdrawn_in": "v3",
    "source": {
        "platform": "tiktok",
        "url": "https://example.org/v/17",
        "video_id": "17",
        "uploader_hash": "a" * 64,
        "retrieved_at": "2026-01-31T12:00:00Z",
        "retrieved_with": "browser",
        "licence": "CC-BY-4.0",
        "licence_evidence": "https://example.org/terms",
        "redistribution": "masks_only",
        "attribution": "as the licence asks",
        "file": "17.mp4",
        "sha256": "b" * 64,
        "bytes": 12345,
    },
    "edit": {
        "start": "12.345",
        "end": "1001/24",
        "crop": [0, 12, 1024, 576],
        "rotation": 90,
        "jpeg_quality": 95,
        "tool": "refvps 0.1.0",
    },
}
EXPRESSION: dict[str, Any] = {
    "clip": "wax-01", "id": "0", "text": "the wax", "target": "1", "concept": "wax melting", "categories": ["x"],
    "annotator": "a1", "slot": 1, "added_in": "v1", "changed_in": "v2", "source_id": "0",
}  # fmt: skip
CANDIDATE: dict[str, Any] = {
    "id": "k1", "concept": "wax", "category": "x", "query": "candle", "platform": "p", "video_id": "17",
    "retrieved_at": "2026-01-31", "kept": True, "criterion": "compilation", "clips": ["a", "b"],
}  # fmt: skip
WITHDRAWAL: dict[str, Any] = {"clip": "wax-01", "date": "2026-01-31", "reason": "uploader", "withdrawn_in": "v2"}
