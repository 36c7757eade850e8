"""Comparing a figure with its reference picture in tests/reference, which somebody looked at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REFERENCE = Path(__file__).parent / "reference"
DPI = 80
TILE = 8
TOLERANCE = 0.05
"""Largest root mean square difference within a tile, of 1. A longer interval or one other letter gives 0.08."""

FREETYPE = "2.14.3"
"""The references were drawn with matplotlib's own FreeType of this version; another one shapes letters otherwise."""


def needs_this_freetype():
    """Skip where pictures cannot be compared; constraints.txt pins a matplotlib where they can."""
    from matplotlib import ft2font

    if ft2font.__freetype_version__ != FREETYPE:
        pytest.skip(f"letters of FreeType {ft2font.__freetype_version__} differ from those of the references")


def read(data):
    """A PNG as float [H, W, 3] in 0..1."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def difference(one, two):
    """The largest root mean square difference of a tile; 1 where the sizes differ."""
    if one.shape != two.shape:
        return 1.0
    gap = one - two
    gap = np.pad(gap, [(0, -gap.shape[0] % TILE), (0, -gap.shape[1] % TILE), (0, 0)])
    tiles = gap.reshape(gap.shape[0] // TILE, TILE, gap.shape[1] // TILE, TILE, 3)
    return float(np.sqrt((tiles**2).mean(axis=(1, 3, 4)).max()))
