"""Chunk plans of the released inference, noise, memory; frames and masks on their way in and out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

torch = pytest.importorskip("torch")

from refvps.errors import InputError, UsageError  # noqa: E402
from rem.chunks import Chunk, ladder, plan_chunks  # noqa: E402
from rem.frames import frame_pixels  # noqa: E402
from rem.inference.memory import advice, affordable_chunk, explained  # noqa: E402
from rem.inference.noise import check_policy, chunk_noise, frame_noise  # noqa: E402
from rem.inference.settings import Settings  # noqa: E402
from rem.masks import mask_pixels, masks_from_pixels  # noqa: E402


def spans(length: int, size: int, stride: int = 1) -> list[tuple[int, int, int]]:
    """First and last frame and number of kept ones, as the goldens are written."""
    return [(chunk.start, chunk.stop - 1, chunk.keep) for chunk in plan_chunks(length, size, stride=stride)]


# --- plans (rem.md 7.7) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [
        (80, 72, [(0, 71, 72), (72, 79, 8)]),
        (73, 72, [(0, 71, 72), (72, 72, 1)]),
        (144, 72, [(0, 71, 72), (72, 143, 72)]),
        (100, 64, [(0, 63, 64), (64, 99, 36)]),
        (70, 32, [(0, 31, 32), (32, 63, 32), (64, 69, 6)]),
        (1, 72, [(0, 0, 1)]),
    ],
)
def test_modelscope_goes_on_and_ends_short(length: int, size: int, expected: list[Any]) -> None:
    assert spans(length, size) == expected


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [
        (80, 73, [(0, 72, 73), (7, 79, 7)]),
        (70, 73, [(0, 60, 61), (9, 69, 9)]),
        (73, 73, [(0, 72, 73)]),
        (146, 73, [(0, 72, 73), (73, 145, 73)]),
        (60, 65, [(0, 48, 49), (11, 59, 11)]),  # BURST's list has no 61
        (100, 105, [(0, 72, 73), (27, 99, 27)]),  # VSPW's has no 97
        (9, 73, [(0, 8, 9)]),
        (8, 73, [(0, 4, 5), (3, 7, 3)]),  # the released code fails below 9
        (3, 73, [(0, 0, 1), (1, 1, 1), (2, 2, 1)]),
        (20, 13, [(0, 12, 13), (7, 19, 7)]),
    ],
)
def test_wan_runs_the_tail_again(length: int, size: int, expected: list[Any]) -> None:
    assert spans(length, size, 4) == expected


@given(st.integers(1, 300), st.integers(1, 120), st.sampled_from([1, 4]))
def test_every_frame_is_kept_once_in_order(length: int, size: int, stride: int) -> None:
    size = stride * (size // stride) + 1 if stride > 1 else size
    chunks = plan_chunks(length, size, stride=stride)
    kept = [frame for chunk in chunks for frame in range(chunk.first_kept, chunk.stop)]
    assert kept == list(range(length))
    for chunk in chunks:
        assert 0 <= chunk.start <= chunk.first_kept < chunk.stop <= length
        assert chunk.stop - chunk.start <= size
        assert (chunk.stop - chunk.start - 1) % stride == 0


def test_impossible_chunks() -> None:
    with pytest.raises(UsageError, match=r"4k \+ 1[\s\S]*chunk=69 or chunk=73"):
        ladder(72, 4)
    for length, size in ((0, 72), (5, 0)):
        with pytest.raises(UsageError, match="at least one frame"):
            plan_chunks(length, size)


# --- noise (7.2) ---------------------------------------------------------------------------------------


def test_the_noise_of_a_frame_follows_from_seed_and_index() -> None:
    whole = frame_noise(7, 0, (4, 6, 5, 3))
    assert torch.equal(whole[:, :, 2:5], frame_noise(7, 2, (4, 3, 5, 3)))
    assert not torch.equal(whole, frame_noise(8, 0, (4, 6, 5, 3)))
    many = frame_noise(1, 0, (4, 64, 16, 16))
    assert abs(float(many.mean())) < 0.01 and abs(float(many.std()) - 1) < 0.01
    flat = many[0].transpose(0, 1).flatten(1)
    assert float((torch.corrcoef(flat) - torch.eye(64)).abs().max()) < 0.2  # frames are independent


def test_the_four_policies() -> None:
    latents = torch.zeros(1, 4, 3, 2, 2)
    assert chunk_noise("none", latents, 0, 0) is None
    assert torch.equal(chunk_noise("seeded", latents, 5, 9), frame_noise(9, 5, (4, 3, 2, 2)))
    torch.manual_seed(0)
    official = chunk_noise("official", latents, 0, 0)
    assert not torch.equal(official, chunk_noise("official", latents, 0, 0))
    torch.manual_seed(0)
    assert torch.equal(official[0].transpose(0, 1), torch.randn(3, 4, 2, 2))  # frame by frame, as released
    given_ = torch.randn(1, 4, 8, 2, 2)
    assert torch.equal(chunk_noise(given_, latents, 4, 0), given_[:, :, 4:7])
    with pytest.raises(UsageError, match="shape of the latents"):
        chunk_noise(given_, latents, 6, 0)
    with pytest.raises(UsageError, match="official, seeded, none"):
        check_policy("random", True)
    for policy in ("seeded", given_):
        with pytest.raises(UsageError, match="clean latents"):
            check_policy(policy, False)
    check_policy("official", False)


# --- memory --------------------------------------------------------------------------------------------

MODELSCOPE: Any = SimpleNamespace(chunk_frames=72, frame_stride=1, dtype=torch.float16, device="cuda")
WAN: Any = SimpleNamespace(chunk_frames=73, frame_stride=4, dtype=torch.bfloat16, device="cuda")


def test_the_chunk_that_fits() -> None:
    settings = Settings()
    assert affordable_chunk(MODELSCOPE, settings, 80 << 30) == 72
    fits = [affordable_chunk(MODELSCOPE, settings, gib << 30) for gib in (8, 9, 10)]
    assert fits == sorted(fits) and fits[-1] <= 72
    # 16 frames decoded together take 16/72 of the 27 GiB measured for 72, whatever the chunk
    with pytest.raises(UsageError, match="Not even one frame"):
        affordable_chunk(MODELSCOPE, settings, 100 << 20)
    assert affordable_chunk(MODELSCOPE, Settings(batch=4), 10 << 30) < affordable_chunk(MODELSCOPE, settings, 10 << 30)
    assert affordable_chunk(WAN, Settings(decode_batch=1), 4 << 30) in ladder(73, 4)


@pytest.mark.parametrize(
    ("stage", "options", "chunk", "stride", "words"),
    [
        ("decode", {}, 72, 1, "decode_batch=8 .*same masks"),
        ("decode", {"decode_batch": 1, "batch": 4}, 72, 1, "batch=2 .*same masks"),
        ("denoise", {"batch": 2}, 72, 1, "batch=1 .*same masks"),
        ("denoise", {}, 72, 1, "chunk=36.*another protocol"),
        ("denoise", {}, 73, 4, "chunk=37.*another protocol"),
        ("encode", {}, 1, 1, "dtype=bf16, a smaller size"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(
    stage: Any, options: Any, chunk: int, stride: int, words: str
) -> None:
    settings = Settings(**options)
    on_cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:128] . DefaultCPUAllocator: can't allocate memory: you tried")
    for error in (torch.OutOfMemoryError("CUDA out of memory"), on_cpu, MemoryError()):
        with pytest.raises(UsageError, match=rf"(?s){stage}: {chunk} frames of 512x512.*{words}"):
            with explained(stage, settings, chunk, stride):
                raise error
    assert advice(stage, settings, chunk, stride)
    with pytest.raises(RuntimeError, match="something else"):
        with explained(stage, settings, chunk, stride):
            raise RuntimeError("something else")


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"decode_batch": 1.5}, {"chunk": True}, {"post": "int8"}, {"attention": "best"}]
)
def test_settings_that_make_no_sense(options: Any) -> None:
    with pytest.raises(UsageError):
        Settings(**options)


# --- frames in -----------------------------------------------------------------------------------------


def test_frames_are_resized_by_pillow_and_end_in_minus_1_to_1() -> None:
    frames = [np.random.default_rng(k).integers(0, 256, (37, 53, 3), dtype=np.uint8) for k in range(2)]
    found = frame_pixels(frames, (16, 24)).numpy()
    assert found.shape == (3, 2, 16, 24) and found.dtype == np.float32
    small = np.asarray(Image.fromarray(frames[1]).resize((24, 16), Image.Resampling.BILINEAR))
    expected = (small.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    assert np.array_equal(found[:, 1], expected.transpose(2, 0, 1))
    ends = frame_pixels([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)], (8, 8))
    assert ends.unique().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.full((8, 8, 3), np.nan, np.float32), "frame 1: float32.*not finite"),
        (np.zeros((8, 8), np.uint8), r"frame 1: uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"frame 1: uint8 \[8, 8, 4\]"),
        (np.zeros((0, 8, 3), np.uint8), "frame 1: uint8"),
        (np.zeros((9, 8, 3), np.uint8), "frame 1: 9x8, frames before: 8x8"),
    ],
)
def test_a_frame_that_is_no_picture_is_named(frame: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        frame_pixels([np.zeros((8, 8, 3), np.uint8), frame], (8, 8))


def test_no_frames() -> None:
    with pytest.raises(InputError, match="no frames"):
        frame_pixels([], (8, 8))


# --- masks out (7.3, 7.6) ------------------------------------------------------------------------------


def bilinear(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing of [h, w] without antialiasing, corners not aligned, from its definition."""
    axes = []
    for old, new in zip(pixels.shape, size, strict=True):
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        axes.append((low, np.minimum(low + 1, old - 1), place - low))
    (y0, y1, fy), (x0, x1, fx) = axes
    top = pixels[y0][:, x0] * (1 - fx) + pixels[y0][:, x1] * fx
    bottom = pixels[y1][:, x0] * (1 - fx) + pixels[y1][:, x1] * fx
    return top * (1 - fy)[:, None] + bottom * fy[:, None]


def test_masks_are_resized_averaged_and_compared_in_this_order() -> None:
    pixels = torch.rand(2, 3, 11, 6, 7, generator=torch.Generator().manual_seed(0))
    found = masks_from_pixels(pixels, (13, 20))
    assert found.shape == (2, 11, 13, 20) and found.dtype == torch.bool
    for clip, frame in ((0, 0), (1, 10)):
        channels = [bilinear(channel.double().numpy(), (13, 20)) for channel in pixels[clip, :, frame]]
        assert np.array_equal(found[clip, frame].numpy(), np.mean(channels, axis=0) > 0.5)
    early = masks_from_pixels((pixels > 0.5).float(), (13, 20))
    assert not torch.equal(found, early)
    each = masks_from_pixels((pixels.mean(1, keepdim=True) > 0.5).float().expand(-1, 3, -1, -1, -1), (13, 20))
    assert not torch.equal(found, each)


def test_exactly_one_half_is_background_and_bfloat16_rounds_to_it() -> None:
    values = torch.tensor([0.4999, 0.5, 0.5 + 2**-20, 0.501, 0.52]).view(1, 1, 1, 1, 5).expand(1, 3, 1, 1, 5)
    assert masks_from_pixels(values, (1, 5)).flatten().tolist() == [False, False, True, True, True]
    rounded = masks_from_pixels(values, (1, 5), dtype=torch.bfloat16)
    assert rounded.flatten().tolist() == [False, False, False, False, True]


def test_masks_go_in_by_the_pixel_under_the_centre() -> None:
    masks = torch.rand(2, 3, 37, 53, generator=torch.Generator().manual_seed(1)) > 0.5
    found = mask_pixels(masks, (16, 24))
    assert found.shape == (2, 3, 3, 16, 24) and found.dtype == torch.float32
    assert set(found.unique().tolist()) == {0.0, 1.0}
    picture = Image.fromarray(masks[1, 2].numpy().astype(np.uint8)).resize((24, 16), Image.Resampling.NEAREST)
    for channel in range(3):
        assert np.array_equal(found[1, channel, 2].numpy(), np.asarray(picture))


def test_a_chunk_is_a_value() -> None:
    assert Chunk(7, 80, 7) == plan_chunks(80, 73, stride=4)[1]
