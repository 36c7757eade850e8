"""Between the runner and a predictor: pixels without a name go in, and every mask that comes out is checked."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, RefvpsError
from refvps.masks.mask import Mask
from refvps.types import MaskChunk, Predictor

_FIX = "yield MaskChunk(text, start, masks) with bool masks [t, H, W] that cover every (text, frame) exactly once"


class Pixels(Sequence[NDArray[np.uint8]]):
    """The frames a predictor sees: read-only uint8 RGB arrays [H, W, 3], without names or paths.

    Decodes on indexing, slices lazily. Raises InputError, naming clip and frame, for a frame that is not
    uint8 RGB of ``size`` (height, width).
    """

    __slots__ = ("_frames", "_indices", "_place", "_size")

    def __init__(
        self, frames: Sequence[NDArray[np.uint8]], size: tuple[int, int], place: str, indices: range | None = None
    ) -> None:
        self._frames = frames
        self._size = size
        self._place = place
        self._indices = range(len(frames)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> Pixels: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | Pixels:
        if isinstance(index, slice):
            return Pixels(self._frames, self._size, self._place, self._indices[index])
        position = self._indices[index]
        frame = self._frames[position]
        if frame.dtype != np.uint8 or frame.shape != (*self._size, 3):
            raise InputError(
                "A frame does not fit its clip.",
                where=[
                    f"{self._place}, frame {position}: {frame.dtype} {frame.shape}, "
                    f"the clip says uint8 {(*self._size, 3)}"
                ],
                fix="get the frames again, or correct the size in the manifest",
            )
        view = frame.view()
        view.flags.writeable = False
        return view


def checked_masks(
    predictor: Predictor,
    frames: Sequence[NDArray[np.uint8]],
    texts: Sequence[str],
    *,
    size: tuple[int, int],
    fps: float,
    seed: int,
    place: str,
) -> Iterator[tuple[int, int, Mask]]:
    """Run a predictor on one clip: (text index, frame index, mask) as the chunks come, each as RLE.

    ``size`` is (height, width); ``place`` names the clip in errors and never reaches the predictor. A
    wrong chunk, an exception in the predictor and a (text, frame) without a mask are InputErrors.
    """
    covered = np.zeros((len(texts), len(frames)), np.bool_)
    where = f"{predictor.method.name}, {place}"
    chunks = chunks_of(predictor, Pixels(frames, size, place), texts, fps, seed, where)
    for chunk in chunks:
        text, start, masks = _checked(chunk, covered, texts, size, where)
        covered[text, start : start + len(masks)] = True
        for offset, mask in enumerate(masks):
            yield text, start + offset, Mask.from_rle(Mask.from_array(mask).counts(), size)
        del chunk, masks
    if not covered.all():
        raise InputError(
            "A predictor left frames without a mask.",
            where=[
                f"{where}, text {text} ({texts[text]!r}), frames {runs(np.flatnonzero(~row))}"
                for text, row in enumerate(covered)
                if not row.all()
            ],
            fix=_FIX,
        )


def chunks_of(
    predictor: Predictor, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], fps: float, seed: int, where: str
) -> Iterator[Any]:
    """What a predictor yields, unchecked; an exception in it is an InputError at ``where``."""
    try:
        yield from predictor.predict(frames, tuple(texts), fps=fps, seed=seed)
    except RefvpsError:
        raise
    except (Exception, SystemExit) as error:  # one that exits must not end the run as if it were done
        raise InputError(
            "A predictor failed.",
            where=[f"{where}: {type(error).__name__}: {error}"[:1000]],
            fix="correct the predictor",
        ) from error


def _checked(
    chunk: Any, covered: NDArray[np.bool_], texts: Sequence[str], size: tuple[int, int], where: str
) -> tuple[int, int, NDArray[np.bool_]]:
    """Text index, start and masks of a chunk; InputError for whatever is wrong with it."""

    def wrong(reason: str, place: str = where) -> InputError:
        return InputError("A predictor gave masks that cannot be used.", where=[f"{place}: {reason}"], fix=_FIX)

    if not isinstance(chunk, MaskChunk):
        raise wrong(f"a {type(chunk).__name__} instead of a MaskChunk")
    try:
        text, start = operator.index(chunk.text), operator.index(chunk.start)
    except TypeError:
        raise wrong(f"text {chunk.text!r} and start {chunk.start!r} must be whole numbers") from None
    if not 0 <= text < len(texts):
        raise wrong(f"text {text}, there are {len(texts)}")
    place = f"{where}, text {text} ({texts[text]!r})"
    masks = chunk.masks
    if not isinstance(masks, np.ndarray):
        raise wrong(f"masks are a {type(masks).__name__}, not a numpy array", place)
    if masks.ndim != 3:
        raise wrong(f"masks have shape {masks.shape}, not [t, H, W]", place)
    stop = start + len(masks)
    place = f"{place}, frames {start}-{stop - 1}"
    if masks.dtype != np.bool_:
        raise wrong(f"dtype {masks.dtype}, not bool", place)
    if masks.shape[1:] != size:
        turned = ", which is transposed" if masks.shape[1:] == size[::-1] else ""
        raise wrong(f"masks are {masks.shape[1]}x{masks.shape[2]}{turned}; frames are {size[0]}x{size[1]} (HxW)", place)
    if len(masks) == 0:
        raise wrong("a chunk without frames", place)
    if start < 0 or stop > covered.shape[1]:
        raise wrong(f"the clip has frames 0-{covered.shape[1] - 1}", place)
    if covered[text, start:stop].any():
        twice = start + np.flatnonzero(covered[text, start:stop])
        raise wrong(f"frames {runs(twice)} were given before", place)
    return text, start, masks


def runs(indices: NDArray[np.int64] | NDArray[np.intp]) -> str:
    """Frame numbers as ranges: 0-3, 7, 9-11."""
    pieces = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    shown = [f"{piece[0]}" if len(piece) == 1 else f"{piece[0]}-{piece[-1]}" for piece in pieces[:8]]
    return ", ".join(shown) + (f" and {len(pieces) - 8} more ranges" if len(pieces) > 8 else "")
