"""RefCOCO, RefCOCO+ and RefCOCOg as training clips: one frame, or a pseudo-video. One sample per sentence.

Two forms are read: ReferFormer's conversion ``<set>/instances_<set>_train.json``, one "image" a sentence in the order
of its number, which the released code reads; or the lists as published, ``<set>/refs(unc).p`` and
``<set>/instances.json``, in the order of references and their sentences. The two orders need not agree, and a draw of
positions belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.data.refcoco import Segmentation, load_refcoco, mask_of
from refvps.data.refcoco.instances import read_instances
from refvps.errors import DataMissingError, InputError
from refvps.files import read_json
from rem.train.augment import pseudo_video
from rem.train.refytb import read_picture


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, the picture of train2014 it is about with (height, width), and its object."""

    file: str
    size: tuple[int, int]
    text: str
    segmentation: Segmentation


class RefCoco:
    """Samples of the training split of one set, as clips of ``frames`` frames (1: the picture itself).

    ``root`` holds the lists, ``coco`` the folder ``train2014``. Raises DataMissingError for folders that hold
    neither, InputError for lists that cannot be used.
    """

    def __init__(self, root: Path, coco: Path, name: str, frames: int) -> None:
        self.pictures, self.frames = Path(coco) / "train2014", frames
        converted = Path(root) / name / f"instances_{name}_train.json"
        published = Path(root) / name / "instances.json"
        lacking = [f"{self.pictures}: not there"] if not self.pictures.is_dir() else []
        if not (converted.is_file() or published.is_file()):
            lacking += [f"{converted}: not there", f"{published}: not there"]
        if lacking:
            raise DataMissingError(
                f"The training data of {name} is not here.",
                where=lacking,
                fix="coco=DIR holds train2014/, refcoco=DIR holds <set>/instances_<set>_train.json, or "
                "<set>/refs(unc).p and <set>/instances.json",
            )
        self.sentences = _converted(converted) if converted.is_file() else _published(Path(root), name)

    def __len__(self) -> int:
        return len(self.sentences)

    def draw(self, index: int, seed: int) -> Mapping[str, Any]:
        """Frames uint8 [T, H, W, 3], masks bool [T, H, W], and the sentence as it stands in the list."""
        each = self.sentences[index]
        image = read_picture(self.pictures / each.file)
        if image.shape[:2] != each.size:
            size = f"{image.shape[1]}x{image.shape[0]}, in the list {each.size[1]}x{each.size[0]}"
            raise InputError(
                "A picture does not have the size in the list.", where=[f"{self.pictures / each.file}: {size}"]
            )
        mask = mask_of(each.segmentation, each.size).array()
        if self.frames == 1:
            return {"frames": image[None], "masks": mask[None], "text": each.text}
        frames, masks = pseudo_video(image, mask, self.frames, seed)
        return {"frames": frames, "masks": masks, "text": each.text}


def _published(root: Path, name: str) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(each.file, each.size, sentence.text, each.segmentation)
        for each in load_refcoco(root, name)
        for sentence in each.sentences
    )


def _converted(path: Path) -> tuple[Sentence, ...]:
    """Sentences of ReferFormer's file by number; exactly one object belongs to each."""
    pictures, instances = read_instances(path, range(1 << 62))
    captions = _captions(path)
    objects: dict[int, Segmentation] = {}
    wrong = []
    for number, instance in instances.items():
        if instance.image in objects:
            wrong.append(f"{path}: sentence {instance.image} has two objects, the second {number}")
        objects[instance.image] = instance.segmentation
    wrong += [f"{path}: sentence {number} has no object" for number in pictures if number not in objects]
    if wrong or not pictures:
        raise InputError(
            "Sentences and objects do not match.",
            where=wrong or [f"{path}: no sentences"],
            fix="convert RefCOCO again with ReferFormer's tool",
        )
    return tuple(
        Sentence(pictures[number].file, pictures[number].size, captions[number], objects[number])
        for number in sorted(pictures)
    )


def _captions(path: Path) -> dict[int, str]:
    """The sentence of each "image"; :func:`read_instances` has checked the numbers."""
    found = {int(record["id"]): record.get("caption") for record in read_json(path)["images"]}
    if wrong := [f"{path}: sentence {key} has no caption" for key, text in found.items() if not isinstance(text, str)]:
        raise InputError("A list of sentences cannot be used.", where=wrong, fix="convert RefCOCO again")
    return found
