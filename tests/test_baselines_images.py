"""Frames prepared without torchvision: equal to the processors of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tinyvision import CLIP, IMAGENET

from baselines import images

SIZES = [(37, 53), (64, 36), (1, 7), (200, 90), (352, 352)]


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", [(48, 48), (30, 71)])
def test_pixels_equal_the_stock_processor_bit_for_bit(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    from transformers import ViTImageProcessorPil

    frames = [noise(size), noise(size, 1)]
    stock = ViTImageProcessorPil(size={"height": wanted[0], "width": wanted[1]}, **IMAGENET)
    expected = stock(images=frames, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    found = images.pixels(frames, wanted, *images.IMAGENET)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_within_a_level_of_torchvisions_filter(size: tuple[int, int]) -> None:
    """torchvision resizes uint8 with torch's antialiased bilinear filter: SAM 2 and 3 were given that."""
    frame = noise(size)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(frame).permute(2, 0, 1)[None], (64, 64), mode="bilinear", antialias=True
    )
    ours = (images.pixels([frame], (64, 64), *images.HALF) * 0.5 + 0.5) * 255
    assert (ours - theirs.float()).abs().max() < 1.001


def test_red_stays_red() -> None:
    red = np.zeros((5, 9, 3), np.uint8)
    red[..., 0] = 255
    found = images.pixels([red], (4, 4), *images.HALF)
    assert (found[0, 0] == 1).all()
    assert (found[0, 1:] == -1).all()


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(800, 1333), (64, 96), (10, 10)]))
def test_the_edges_are_those_of_detr(height: int, width: int, edges: tuple[int, int]) -> None:
    from transformers.image_transforms import get_size_with_aspect_ratio

    assert images.within_edges((height, width), *edges) == get_size_with_aspect_ratio((height, width), *edges)


@pytest.mark.parametrize("size", [(37, 53), (64, 36), (300, 40)])
def test_a_detectors_frame_equals_the_stock_processor(size: tuple[int, int]) -> None:
    from transformers import GroundingDinoImageProcessorPil

    frame = noise(size)
    stock = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}, **IMAGENET)
    expected = stock(images=[frame], return_tensors="pt", input_data_format="channels_last")
    found = images.pixels([frame], images.within_edges(size, 64, 96), *images.IMAGENET)
    assert torch.equal(found, expected["pixel_values"])
    assert (expected["pixel_mask"] == 1).all()


@pytest.mark.parametrize("size", [(37, 53), (64, 36), (300, 200), (64, 64), (7, 3)])
def test_the_padded_square_equals_owlv2s(size: tuple[int, int]) -> None:
    pytest.importorskip("scipy")
    from transformers import Owlv2ImageProcessorPil

    frame = noise(size)
    stock = Owlv2ImageProcessorPil(size={"height": 64, "width": 64}, **CLIP)
    expected = stock(images=[frame], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    found = images.padded_square(frame, 64, CLIP["image_mean"], CLIP["image_std"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
