"""A second look at some frames of a video, in its order, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from refvps.curate.shots import Shot
from refvps.source.video import Picture, SourceVideo


def pictures(video: SourceVideo, frames: Collection[int]) -> Iterator[tuple[int, Picture]]:
    """(index, upright picture) of the frames named; decoding stops after the last of them."""
    wanted = set(frames)
    if not wanted:
        return
    last = max(wanted)
    for index, shown in enumerate(video.frames()):
        if index in wanted:
            yield index, shown.picture()
        if index >= last:
            return


def spread(part: Shot, count: int) -> tuple[int, ...]:
    """At most ``count`` frames of a part, spread evenly."""
    frames = part.stop - part.first
    count = min(count, frames)
    return tuple(part.first + (2 * index + 1) * frames // (2 * count) for index in range(count))


def small(picture: Picture, width: int) -> Picture:
    """A picture at most ``width`` pixels wide."""
    from PIL import Image

    height, wide = picture.shape[:2]
    if wide <= width:
        return picture
    size = (width, max(1, round(height * width / wide)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
