"""Ref-YouTube-VOS as training clips, in its own layout; one sample per expression."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from refvps.errors import DataMissingError, InputError
from refvps.files import read_json
from refvps.types import MAX_SIDE
from rem.train.sampling import frame_indices

LAYOUT = """train/JPEGImages/<video>/<frame>.jpg
train/Annotations/<video>/<frame>.png      palette PNG, the value is the object's number
train/meta.json                            the objects of each video
meta_expressions/train/meta_expressions.json"""


@dataclass(frozen=True, slots=True)
class Referral:
    """One expression: its video, frames, the number of its object, and the text in lower case, blanks collapsed."""

    video: str
    frames: tuple[str, ...]
    target: int
    text: str


class RefYtb:
    """Samples of ``frames`` frames drawn from all of a video, without augmentation.

    Raises DataMissingError for a folder that is not Ref-YouTube-VOS, InputError naming every expression without its
    object, and every video without its frames or masks.
    """

    def __init__(self, root: Path, frames: int) -> None:
        self.root, self.frames = Path(root), frames
        self.referrals = _referrals(self.root)

    def __len__(self) -> int:
        return len(self.referrals)

    def draw(self, index: int, seed: int) -> Mapping[str, Any]:
        """Frames uint8 [T, H, W, 3] in order, masks bool [T, H, W], text; the object may be in none of them."""
        each = self.referrals[index]
        chosen = frame_indices(len(each.frames), self.frames, random.Random(seed))
        decoded = {at: self._frame(each, each.frames[at]) for at in sorted(set(chosen))}
        if len({frame.shape for frame, _ in decoded.values()}) > 1:
            raise InputError(
                "Frames of a video differ in size.", where=[str(self.root / "train/JPEGImages" / each.video)]
            )
        if not any(mask.any() for _, mask in decoded.values()):
            self._check_target(each)
        frames = np.stack([decoded[at][0] for at in chosen])
        masks = np.stack([decoded[at][1] for at in chosen])
        return {"frames": frames, "masks": masks, "text": each.text}

    def _frame(self, each: Referral, name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        picture = self.root / "train/JPEGImages" / each.video / f"{name}.jpg"
        labels = self.root / "train/Annotations" / each.video / f"{name}.png"
        frame, found = read_picture(picture), read_labels(labels)
        if frame.shape[:2] != found.shape:
            size = f"{found.shape[1]}x{found.shape[0]}, its frame {frame.shape[1]}x{frame.shape[0]}"
            raise InputError("A mask does not have the size of its frame.", where=[f"{labels}: {size}"])
        return frame, found == each.target

    def _check_target(self, each: Referral) -> None:
        """Raise InputError when no mask of the video holds the object at all."""
        folder = self.root / "train/Annotations" / each.video
        if not any((read_labels(folder / f"{name}.png") == each.target).any() for name in each.frames):
            raise InputError(
                "The object of an expression is in no mask of its video.",
                where=[f"{folder}: object {each.target}, {each.text!r}"[:300]],
                fix="get the masks of Ref-YouTube-VOS again",
            )


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 RGB [H, W, 3]; raises InputError for what is missing, damaged or too large."""
    return _opened(path, lambda image: np.asarray(image.convert("RGB")))


def read_labels(path: Path) -> NDArray[np.uint8]:
    """The values of a palette or grey PNG, uint8 [H, W]; raises InputError for anything else."""

    def values(image: Image.Image) -> NDArray[np.uint8]:
        if image.mode not in ("P", "L"):
            raise ValueError(f"mode {image.mode} has no labels; palette or 8-bit grey is needed")
        return np.asarray(image)

    return _opened(path, values)


def _opened(path: Path, read: Any) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.size[0]}x{image.size[1]} is too large")
            found: NDArray[np.uint8] = read(image)
            return found
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(
            "A training picture cannot be read.", where=[f"{path}: {error}"[:300]], fix="get this file again"
        ) from error


def _referrals(root: Path) -> tuple[Referral, ...]:
    """Every expression, checked against the objects of its video and the folders on disk."""
    places = {name: root / name for name in ("train/meta.json", "meta_expressions/train/meta_expressions.json")}
    places |= {name: root / name for name in ("train/JPEGImages", "train/Annotations")}
    if lacking := [f"{path}: not there" for path in places.values() if not path.exists()]:
        raise DataMissingError("This is not a Ref-YouTube-VOS folder.", where=lacking, fix=f"the layout is\n{LAYOUT}")
    objects = _videos(places["train/meta.json"])
    listed = _videos(places["meta_expressions/train/meta_expressions.json"])
    found: list[Referral] = []
    wrong: list[str] = []
    for video, record in listed.items():
        try:
            frames = _frames(video, record)
            present = {int(number) for number in objects[video]["objects"]} if video in objects else set()
            _check_files(root, video, frames)
            for key, expression in record["expressions"].items():
                target, text = int(expression["obj_id"]), expression["exp"]
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"expression {key} has no text")
                if target not in present or not 0 < target < 255:
                    raise ValueError(f"expression {key}: meta.json has no object {target}")
                found.append(Referral(video, frames, target, " ".join(text.lower().split())))
        except KeyError as error:
            wrong.append(f"{video[:100]}: no {error}")
        except (ValueError, TypeError, AttributeError) as error:
            wrong.append(f"{video[:100]}: {error}"[:300])
    if wrong or not found:
        raise InputError(
            "Ref-YouTube-VOS cannot be used for training.",
            where=wrong or [f"{root}: no expressions"],
            fix="get the lists, frames and masks of its train split again",
        )
    return tuple(found)


def _videos(path: Path) -> dict[str, Any]:
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(each, dict) for each in videos.values()):
        raise InputError("A list of videos cannot be used.", where=[f"{path}: no videos"], fix="get the file again")
    return videos


def _frames(video: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    frames = tuple(record["frames"])
    for name in (video, *frames):
        if not isinstance(name, str) or not name or set(name) & set("/\\:\0") or name in (".", ".."):
            raise ValueError(f"{name!r} is no safe file name")
    if not frames:
        raise ValueError("no frames")
    return frames


def _check_files(root: Path, video: str, frames: tuple[str, ...]) -> None:
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / "train" / kind / video
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if gone := [name for name in frames if f"{name}.{suffix}" not in there]:
            raise ValueError(f"{kind} lacks {len(gone)} of {len(frames)} frames, the first {gone[0]}.{suffix}")
