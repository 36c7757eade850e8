"""Masklets in JSON: one COCO RLE or null per frame, as MeViS, YouTube-VIS and SA-Co have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refvps.data.importers.spans import Span
from refvps.data.masktracks import empty_counts
from refvps.data.truth import Frame
from refvps.masks import rle
from refvps.masks.mask import Mask
from refvps.types import MAX_SIDE

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Track:
    """One checked masklet: its number, where it is, how many frames it has, its size (None: null everywhere)."""

    number: str
    span: Span
    frames: int
    size: Size | None


class UnionTruth:
    """Ground truth of one video; pickles as places in a file, read once by whoever asks first.

    ``spans``: (number, place) of masklets; ``targets``: (target, numbers), a target being the union of its masklets;
    ``ignored``: numbers of the masklets that are Ignore, which wins over targets.
    """

    def __init__(
        self,
        spans: tuple[tuple[str, Span], ...],
        targets: tuple[tuple[str, tuple[str, ...]], ...],
        ignored: tuple[str, ...],
        size: Size,
    ) -> None:
        self.spans, self.targets, self.ignored, self.size = spans, targets, ignored, size
        self._tracks: dict[str, list[bytes | None]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return UnionTruth, (self.spans, self.targets, self.ignored, self.size)

    def unread(self) -> UnionTruth:
        """The same without what was read."""
        return UnionTruth(self.spans, self.targets, self.ignored, self.size)

    def drawn(self, index: int) -> tuple[dict[str, bytes], bytes]:
        """RLE by target, and of Ignore, before Ignore has won."""
        if self._tracks is None:
            self._tracks = {number: strings(masklet(span.read())) for number, span in self.spans}
        return {target: self._union(numbers, index) for target, numbers in self.targets}, self._union(
            self.ignored, index
        )

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        drawn, region = self.drawn(index)
        ignore = Mask.from_rle(region, self.size)
        if not ignore.area():
            return {target: Mask.from_rle(counts, self.size) for target, counts in drawn.items()}, None
        outside = ~ignore.bits()
        found: dict[str, Mask | None] = {}
        for target, counts in drawn.items():
            found[target] = Mask.from_bits(rle.to_bits(counts, self.size) & outside, self.size)
        return found, ignore

    def _union(self, numbers: tuple[str, ...], index: int) -> bytes:
        assert self._tracks is not None
        parts = [counts for number in numbers if (counts := self._tracks[number][index]) is not None]
        return rle.union(parts, self.size) if parts else empty_counts(self.size)


def masklet(value: Any) -> Any:
    """The list of masks in a record: itself, or its ``segmentations``."""
    return value.get("segmentations") if isinstance(value, dict) else value


def checked_track(value: Any, number: str, span: Span) -> Track:
    """Check one masklet completely; raises ValueError."""
    track = masklet(value)
    counts = strings(track)
    sizes = {size for entry in track if (size := _entry(entry)[1]) is not None}
    if len(sizes) > 1:
        raise ValueError("it has several sizes")
    size = next(iter(sizes), None)
    if size is not None:
        try:
            rle.check([each for each in counts if each is not None], size)
        except rle.RleError as error:
            raise ValueError(error.reason) from error
    return Track(number, span, len(counts), size)


def strings(track: Any) -> list[bytes | None]:
    """RLE strings over time, None for null; raises ValueError for what is no masklet."""
    if not isinstance(track, list):
        raise ValueError("it is not a list of one entry per frame")
    return [_entry(entry)[0] for entry in track]


def _entry(entry: Any) -> tuple[bytes | None, Size | None]:
    """RLE and size of one mask; (None, None) for null."""
    if entry is None:
        return None, None
    size, counts = (entry.get("size"), entry.get("counts")) if isinstance(entry, dict) else (None, None)
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise ValueError("an entry is neither null nor a COCO RLE")
    height, width = size
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"an entry has an impossible size: {width}x{height}")
    if isinstance(counts, list):
        return rle.from_runs(counts, (height, width)), (height, width)
    if not isinstance(counts, str):
        raise ValueError("an entry has no counts")
    return counts.encode("latin-1", "replace"), (height, width)
