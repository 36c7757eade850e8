"""Overlays and contact sheets: every colour means what the legend says, and nothing overlaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refvps.errors import UsageError
from refvps.report import overlay
from refvps.report.overlay import BLUE, TEXT_COLOURS, VERMILION, YELLOW, draw, draw_texts, legend, shortened
from refvps.report.sheet import Cell, SheetRow, contact_sheet, sheet, spread

GREY = np.full((60, 80, 3), 128, np.uint8)


def box(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Whether a pixel on grey is nearest to this of the three fill colours."""
    ranking = sorted((BLUE, VERMILION, YELLOW), key=lambda each: np.abs(pixel.astype(int) - each).sum())
    return ranking[0] == colour


def test_every_kind_of_pixel_has_its_colour() -> None:
    target, prediction, ignore = box(10, 50, 10, 40), box(20, 58, 20, 70), box(30, 50, 40, 60)
    image = draw(GREY, target, ignore, prediction)
    assert near(image[35, 30], BLUE)  # target and predicted
    assert near(image[25, 60], VERMILION)  # predicted only
    assert near(image[15, 15], YELLOW)  # target only
    assert np.array_equal(image[5, 5], GREY[5, 5])  # neither
    hatched = image[33:48, 43:58].astype(int)
    assert (hatched.max(axis=2) - hatched.min(axis=2)).max() == 0  # Ignore stays grey whatever was predicted there
    assert len(np.unique(hatched)) >= 2
    assert (image[10, 15:35] == 255).all()  # the outline runs inside of the target
    assert (image[9, 15:35] < 40).all()  # with a dark line outside


def test_what_is_not_known_is_not_drawn() -> None:
    assert np.array_equal(draw(GREY), GREY)
    only = draw(GREY, prediction=box(10, 50, 10, 40))
    assert near(only[30, 30], BLUE)
    assert np.array_equal(only[5, 5], GREY[5, 5])
    truth = draw(GREY, target=box(10, 50, 10, 40))
    assert np.array_equal(truth[30, 30], GREY[30, 30])
    assert (truth[10, 20] == 255).all()
    nothing = np.zeros((60, 80), bool)
    assert np.array_equal(draw(GREY, nothing, nothing, nothing), GREY)


def test_the_frame_itself_is_not_touched_and_fills_are_translucent() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    kept = frame.copy()
    image = draw(frame, box(0, 60, 0, 80), None, np.ones((60, 80), bool))
    assert np.array_equal(frame, kept)
    for channel in range(3):  # darker stays darker
        shown, below = image[5:-5, 5:-5, channel].ravel(), frame[5:-5, 5:-5, channel].ravel()
        assert np.corrcoef(shown, below)[0, 1] > 0.99


def test_texts_have_colours_of_their_own() -> None:
    masks = [box(5, 25, 5, 25), box(5, 25, 40, 60), box(35, 55, 5, 25)]
    image = draw_texts(GREY, masks)
    fills = [tuple(image[15, 15]), tuple(image[15, 50]), tuple(image[45, 15])]
    assert len({*fills, (128, 128, 128)}) == 4
    assert len(set(TEXT_COLOURS)) == len(TEXT_COLOURS)


def test_colours_differ_in_lightness_too() -> None:
    light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (BLUE, VERMILION, YELLOW))
    assert light[1] - light[0] > 10
    assert light[2] - light[1] > 60


def test_the_legend_shows_what_draw_draws() -> None:
    image = legend(16)
    assert image.dtype == np.uint8
    filled = draw(np.full((9, 9, 3), 128, np.uint8), None, None, np.ones((9, 9), bool))[4, 4]
    assert (image == filled).all(axis=2).any()


def test_text_is_cut_to_its_width() -> None:
    assert shortened("a  b\nc", 14, 500) == "a b c"
    cut = shortened("word " * 60, 14, 200)
    assert cut.endswith("…")
    assert overlay.font(14).getlength(cut) <= 200
    assert shortened("word", 14, 1) == "…"


def test_frames_are_spread_evenly() -> None:
    assert spread(60, 6) == (5, 15, 25, 35, 45, 55)
    assert spread(3, 6) == (0, 1, 2)
    assert spread(1, 6) == (0,)
    for count in range(1, 50):
        for columns in range(1, 9):
            chosen = spread(count, columns)
            assert len(set(chosen)) == len(chosen) == min(count, columns)
            assert 0 <= chosen[0] <= chosen[-1] < count


def row(size: tuple[int, int], count: int = 4, colour: int = 100, caption: str = "J 50.0") -> SheetRow:
    frame = np.full((*size, 3), colour, np.uint8)
    mask = box(size[0] // 4, size[0] // 2, size[1] // 4, size[1] // 2, size)
    return SheetRow("clip", "the thing", [Cell(frame, mask, None, ~mask, caption) for _ in range(count)])


def test_landscape_rows_fill_the_sheet_and_portraits_stand_in_pairs() -> None:
    landscape, portrait = row((90, 160)), row((160, 90))
    one = sheet([landscape]).shape[0]
    two = sheet([landscape, landscape]).shape[0]
    assert sheet([landscape]).shape[1] == 1600
    assert two > one
    pair, single = sheet([portrait, portrait]), sheet([portrait])
    assert pair.shape == single.shape
    assert not np.array_equal(pair, single)
    assert sheet([portrait] * 3).shape[0] > pair.shape[0]
    mixed = sheet([portrait, landscape, portrait])
    assert mixed.shape[0] == single.shape[0] + two - one  # the second portrait fills the gap beside the first


def test_frames_keep_their_shape() -> None:
    page = sheet([SheetRow("clip", "x", [Cell(np.full((90, 160, 3), 17, np.uint8))] * 3)])
    columns = np.flatnonzero((page == 17).all(axis=2).any(axis=0))
    rows = np.flatnonzero((page == 17).all(axis=2).any(axis=1))
    width = (columns[-1] - columns[0] + 1 - 2 * 6) / 3
    assert width / (rows[-1] - rows[0] + 1) == pytest.approx(160 / 90, rel=0.02)


@pytest.mark.parametrize(("name", "kind"), [("s.png", "PNG"), ("s.JPG", "JPEG"), ("s.jpeg", "JPEG")])
def test_it_is_written_as_the_name_says(name: str, kind: str, tmp_path: Path) -> None:
    contact_sheet([row((90, 160))], tmp_path / name, title="sample", subtitle="signature")
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        assert image.size == sheet([row((90, 160))], title="sample", subtitle="signature").shape[1::-1]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_plain_tuples_do_as_well_and_writing_is_deterministic(tmp_path: Path) -> None:
    cells = [tuple(cell) for cell in row((90, 160)).frames]
    contact_sheet([SheetRow("clip", "the thing", cells)], tmp_path / "a.png")
    contact_sheet([row((90, 160))], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.jpg"):
        contact_sheet([row((90, 160))], tmp_path / "s.gif")
    for rows in ([], [SheetRow("clip", "x", [])]):
        with pytest.raises(UsageError, match="at least one frame"):
            contact_sheet(rows, tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []
