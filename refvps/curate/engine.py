"""PySceneDetect as a second opinion on cuts: its AdaptiveDetector, fed with frames decoded here."""

from __future__ import annotations

from typing import Any

import numpy as np

from refvps.errors import UsageError
from refvps.source.video import Picture, SourceVideo

RATIO, LEAST = 3.0, 15.0
"""Its defaults: ratio to the frames around, and least content value."""

_SIDE = 256
"""It works on pictures of about this many pixels on the longer side, as its own programs do."""


class Cuts:
    """Collects the frames at which PySceneDetect sees cuts; call it with (index, picture) for every frame.

    Flashes are not filtered (its ``min_scene_len`` is 0): telling them from cuts is the caller's.
    """

    def __init__(self, video: SourceVideo) -> None:
        try:
            from scenedetect import AdaptiveDetector, FrameTimecode
        except ImportError as error:
            raise UsageError(
                "This engine needs PySceneDetect.", fix="pip install scenedetect-headless, or --engine built-in"
            ) from error
        self._detector: Any = AdaptiveDetector(adaptive_threshold=RATIO, min_content_val=LEAST, min_scene_len=0)
        self._timecode: Any = FrameTimecode
        self._rate = float(video.average_rate or 24)
        self._last: Any = None
        self._found: list[Any] = []

    def __call__(self, index: int, picture: Picture) -> None:
        """Look at the next frame."""
        step = max(1, max(picture.shape[:2]) // _SIDE)
        self._last = self._timecode(index, self._rate)
        self._found += self._detector.process_frame(self._last, np.ascontiguousarray(picture[::step, ::step, ::-1]))

    def frames(self) -> list[int]:
        """Indices of the first frames after cuts."""
        if self._last is not None:
            self._found += self._detector.post_process(self._last)
            self._last = None
        return sorted({int(each.frame_num) for each in self._found})


def version() -> str:
    """Name and version, for records."""
    from importlib.metadata import version

    return f"scenedetect-headless {version('scenedetect-headless')}"
