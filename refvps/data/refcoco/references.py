"""The lists ``refs(...).p`` joined with COCO's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.data.refcoco.instances import Instance, Picture, Segmentation, mask_of, read_instances, reason, whole
from refvps.data.refcoco.plain_pickle import read_pickle
from refvps.errors import InputError, UsageError
from refvps.masks.mask import Mask

DATASETS: dict[str, tuple[str, ...]] = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
}
"""Ways to split each data set, the usual one first: the word in the name of its list, ``refs(unc).p``."""

MAX_TEXT = 1000

LAYOUT = "<data set>/refs(<split by>).p\n<data set>/instances.json"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: its number, the cleaned text, and the text as it was written."""

    id: int
    text: str
    raw: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of a picture and the sentences that point at it.

    ``file`` is the picture of COCO train2014 (the list itself names files that do not exist), ``size`` its (height,
    width), ``segmentation`` the object as COCO has it.
    """

    id: int
    split: str
    file: str
    size: tuple[int, int]
    sentences: tuple[Sentence, ...]
    annotation: int
    category: int
    segmentation: Segmentation

    def mask(self) -> Mask:
        """The object, made anew with every call: an epoch holds no masks."""
        return mask_of(self.segmentation, self.size)


def load_refcoco(
    root: Path | str, dataset: str = "refcoco", *, split: str | None = "train", split_by: str = ""
) -> tuple[Reference, ...]:
    """References of RefCOCO, RefCOCO+ (``refcoco+``) or RefCOCOg below ``root``, in the order of their numbers.

    ``root`` holds ``<data set>/refs(<split_by>).p`` and ``<data set>/instances.json``, or is that folder itself.
    ``split``: train, val, test, testA, testB, or None for all; ``split_by``: see :data:`DATASETS`. Masks are made
    on demand. Raises UsageError for a name that is none, InputError for what is missing or cannot be used.
    """
    if dataset not in DATASETS:
        raise UsageError("There is no such data set.", where=[shown(dataset)], fix="one of " + ", ".join(DATASETS))
    split_by = split_by or DATASETS[dataset][0]
    if split_by not in DATASETS[dataset]:
        raise UsageError(
            f"{dataset} is not split that way.", where=[shown(split_by)], fix="one of " + ", ".join(DATASETS[dataset])
        )
    folder = Path(root) / dataset
    folder = folder if folder.is_dir() else Path(root)
    pickled, instances = folder / f"refs({split_by}).p", folder / "instances.json"
    if missing := [f"{path}: not there" for path in (pickled, instances) if not path.is_file()]:
        raise InputError(f"Files of {dataset} are missing.", where=missing, fix=f"the layout is\n{LAYOUT}")
    records = _records(read_pickle(pickled), pickled)
    splits = sorted({record.split for record in records})
    if split is not None and split not in splits:
        raise UsageError(f"{dataset} has no such split.", where=[shown(split)], fix="one of " + ", ".join(splits))
    chosen = [record for record in records if split in (None, record.split)]
    pictures, objects = read_instances(instances, {record.annotation for record in chosen})
    return _joined(chosen, pictures, objects, pickled)


@dataclass(frozen=True, slots=True)
class _Record:
    id: int
    annotation: int
    image: int
    split: str
    sentences: tuple[Sentence, ...]


def _records(content: Any, path: Path) -> list[_Record]:
    """The list of references, checked; raises InputError naming every one that cannot be used."""
    if not isinstance(content, list) or not content:
        raise InputError("A list of references cannot be used.", where=[f"{path}: no list"], fix="get it again")
    found: dict[int, _Record] = {}
    wrong: list[str] = []
    for place, record in enumerate(content):
        try:
            made = _record(record)
            if made.id in found:
                raise ValueError(f"the number {made.id} is there twice")
            found[made.id] = made
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wrong.append(f"{path}: reference {place}: {reason(error)}")
    if wrong:
        raise InputError("A list of references cannot be used.", where=wrong, fix="get it again")
    return [found[number] for number in sorted(found)]


def _record(record: Any) -> _Record:
    split = record["split"]
    if not isinstance(split, str) or not split.isalnum() or len(split) > 20:
        raise ValueError(f"split is no name: {split!r}"[:120])
    sentences = record["sentences"]
    if not isinstance(sentences, list) or not sentences:
        raise ValueError("no sentence")
    return _Record(
        whole(record, "ref_id"),
        whole(record, "ann_id"),
        whole(record, "image_id"),
        split,
        tuple(_sentence(sentence) for sentence in sentences),
    )


def _sentence(record: Mapping[str, Any]) -> Sentence:
    text, raw = record["sent"], record["raw"]
    for value in (text, raw):
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise ValueError("a sentence is no text")
    return Sentence(whole(record, "sent_id"), text, raw)


def _joined(
    records: Sequence[_Record], pictures: Mapping[int, Picture], objects: Mapping[int, Instance], path: Path
) -> tuple[Reference, ...]:
    found: list[Reference] = []
    wrong: list[str] = []
    for record in records:
        instance = objects.get(record.annotation)
        if instance is None:
            wrong.append(f"{path}: reference {record.id}: instances.json has no object {record.annotation}")
        elif instance.image != record.image:
            wrong.append(
                f"{path}: reference {record.id}: its object is in picture {instance.image}, not {record.image}"
            )
        else:
            picture = pictures[record.image]
            found.append(
                Reference(
                    record.id,
                    record.split,
                    picture.file,
                    picture.size,
                    record.sentences,
                    record.annotation,
                    instance.category,
                    instance.segmentation,
                )
            )
    if wrong:
        raise InputError("References and objects do not match.", where=wrong, fix="get both files of one data set")
    return tuple(found)
