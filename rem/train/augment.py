"""Pseudo-videos from one picture: a stand-in for motion, with the kinds and ranges of ReferFormer's augmenter.

Written here on OpenCV from the ranges in rem.md 3.1; imgaug's exact numbers are not reproduced, its choice was seeded
from the clock. Perspective, shift and rotation are one warp with one interpolation. The picture is never flipped:
"left" and "right" in the sentence stay true.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BRIGHTNESS = 40
HUE_SATURATION = 5
PERSPECTIVE = 0.08
SHIFT = 0.1
ROTATION = 20.0
BLUR_CHANCE = 0.25
BLUR_SIDES = (9, 11)


def pseudo_video(image: Picture, mask: Mask, frames: int, seed: int) -> tuple[Picture, NDArray[np.bool_]]:
    """Frames uint8 [T, H, W, 3] and masks bool [T, H, W] of a picture [H, W, 3] and its mask [H, W].

    One frame is the picture itself, every other an independent change of it; then they are shuffled.
    """
    generator = np.random.default_rng(seed)
    made = [(image, mask), *(altered(image, mask, generator) for _ in range(frames - 1))]
    order = generator.permutation(frames)
    return np.stack([made[k][0] for k in order]), np.stack([made[k][1] for k in order])


def altered(image: Picture, mask: Mask, generator: np.random.Generator) -> tuple[Picture, Mask]:
    """The picture in other light, from another place and perhaps blurred; the mask moves along and stays binary."""
    both, first = generator.random() < 0.5, generator.random() < 0.5  # one change or two; if one, which
    found = image
    if both or first:
        found = brighter(found, int(generator.integers(-BRIGHTNESS, BRIGHTNESS + 1)))
    if both or not first:
        found = recoloured(found, int(generator.integers(-HUE_SATURATION, HUE_SATURATION + 1)))
    matrix = motion(image.shape[:2], generator)
    size = (image.shape[1], image.shape[0])
    found = _bytes(cv2.warpPerspective(found, matrix, size, flags=cv2.INTER_LINEAR))
    moved = cv2.warpPerspective(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    if generator.random() < BLUR_CHANCE:
        found = blurred(found, int(generator.choice(BLUR_SIDES)), float(generator.uniform(0, 180)))
    return found, moved


def brighter(image: Picture, amount: int) -> Picture:
    """``amount`` added to every value, cut off at 0 and 255."""
    return np.clip(image.astype(np.int16) + amount, 0, 255).astype(np.uint8)


def recoloured(image: Picture, amount: int) -> Picture:
    """Hue turned by ``amount``/255 of a half circle, and ``amount`` added to the saturation of 0 to 255."""
    found = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    found[..., 0] = (found[..., 0] + round(amount * 90 / 255)) % 180
    found[..., 1] = np.clip(found[..., 1] + amount, 0, 255)
    return _bytes(cv2.cvtColor(found.astype(np.uint8), cv2.COLOR_HSV2RGB))


def motion(size: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """A homography [3, 3]: corners pulled in by |N(0, 0.08)| of the sides, then turned about the centre and shifted."""
    height, width = size
    pulled = np.minimum(np.abs(generator.normal(0, PERSPECTIVE, (4, 2))), 0.45)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    inner = np.where(corners == 0, pulled, 1 - pulled) * (width, height)
    view = cv2.getPerspectiveTransform(inner.astype(np.float32), (corners * (width, height)).astype(np.float32))
    turned = np.eye(3)
    turned[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), float(generator.uniform(-ROTATION, ROTATION)), 1.0)
    turned[:2, 2] += generator.uniform(-SHIFT, SHIFT, 2) * (width, height)
    found: NDArray[np.float64] = turned @ view
    return found


def blurred(image: Picture, side: int, angle: float) -> Picture:
    """The mean along a line of ``side`` pixels at ``angle`` degrees."""
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1
    turn = cv2.getRotationMatrix2D((side // 2, side // 2), angle, 1.0)
    turned = cv2.warpAffine(kernel, turn, (side, side))
    return _bytes(cv2.filter2D(image, -1, turned / turned.sum()))


def _bytes(image: NDArray[Any]) -> Picture:
    """What OpenCV made of a picture of bytes, under its type."""
    return np.asarray(image, np.uint8)
