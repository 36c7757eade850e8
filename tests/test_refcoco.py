"""RefCOCO from its real layout in miniature: pickles of plain data only, objects by number, every fault named."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from trees import encode

from refvps.data.refcoco import load_refcoco
from refvps.data.refcoco.plain_pickle import PickleError, loads, read_pickle
from refvps.errors import InputError, UsageError

H, W = 40, 60
SQUARE = [10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]
TRIANGLE = [2, 2, 12, 2, 2, 12]


def crowd() -> np.ndarray:
    mask = np.zeros((H, W), np.bool_)
    mask[3:9, 7:50] = True
    return mask


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, background first, written without refvps."""
    flat = mask.reshape(-1, order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = [0, *changes.tolist(), flat.size]
    lengths = [b - a for a, b in zip(bounds, bounds[1:], strict=False)]
    return [0, *lengths] if flat[0] else lengths


def reference(number: int, ann: int, image: int, split: str, *texts: str) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": ann,
        "image_id": image,
        "category_id": 18,
        "split": split,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
        "sent_ids": [10 * number + k for k in range(len(texts))],
        "sentences": [
            {"tokens": text.split(), "raw": text.upper(), "sent": text, "sent_id": 10 * number + k}
            for k, text in enumerate(texts)
        ],
    }


REFS = [
    reference(3, 103, 9, "testA", "the crowd"),
    reference(1, 101, 7, "train", "left dog", "the dog on the left"),
    reference(2, 102, 7, "val", "caf\xe9 table"),
    reference(4, 104, 9, "train", "both parts"),
]


def instances() -> dict[str, Any]:
    about = {"info": {}, "licenses": [], "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}]}
    images = [
        {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "height": H, "width": W, "license": 1}
        for number in (7, 9)
    ]
    shapes: dict[int, tuple[int, Any, int]] = {
        101: (7, [SQUARE], 0),
        102: (7, {"size": [H, W], "counts": runs_of(crowd())}, 1),
        103: (9, {"size": [H, W], "counts": encode(crowd())}, 1),
        104: (9, [SQUARE, TRIANGLE], 0),
        105: (9, [[1, 1, 2]], 0),  # broken, but nobody points at it
    }
    annotations = [
        {"id": n, "image_id": i, "category_id": 18, "segmentation": s, "iscrowd": c, "bbox": [0, 0, 1, 1], "area": 4.0}
        for n, (i, s, c) in shapes.items()
    ]
    return {**about, "images": images, "annotations": annotations}


def python2(value: Any) -> bytes:
    """The value as cPickle of Python 2 wrote it (protocol 2): texts are its 8-bit strings, numbers of the memo grow."""
    if value is None or isinstance(value, bool | float):
        return pickle.dumps(value, 2)[2:-1]
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        raw = value.encode("latin-1")
        return b"U" + bytes([len(raw)]) + raw + b"q\x01" if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(value, list):
        return b"]r\x00\x01\x00\x00(" + b"".join(map(python2, value)) + b"e"
    return b"}q\x02(" + b"".join(python2(part) for pair in value.items() for part in pair) + b"u"


def write(root: Path, refs: Any = REFS, objects: dict[str, Any] | None = None, name: str = "refcoco") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / f"refs({'umd' if name == 'refcocog' else 'unc'}).p").write_bytes(b"\x80\x02" + python2(refs) + b".")
    (folder / "instances.json").write_text(json.dumps(objects or instances()))
    return root


def test_references_are_joined_with_objects(tmp_path: Path) -> None:
    root = write(tmp_path)
    train = load_refcoco(root)
    assert [each.id for each in train] == [1, 4]
    first = train[0]
    assert first.file == "COCO_train2014_000000000007.jpg"  # not the name in the list, which no file has
    assert (first.size, first.split, first.annotation, first.category) == ((H, W), "train", 101, 18)
    assert [(s.id, s.text, s.raw) for s in first.sentences] == [
        (10, "left dog", "LEFT DOG"),
        (11, "the dog on the left", "THE DOG ON THE LEFT"),
    ]
    square = np.zeros((H, W), np.bool_)
    square[5:25, 10:30] = True
    assert np.array_equal(first.mask().array(), square)
    both = coco.decode(coco.merge(coco.frPyObjects([SQUARE, TRIANGLE], H, W))).astype(bool)
    assert np.array_equal(train[1].mask().array(), both)
    assert both.sum() > square.sum()
    for split in ("val", "testA"):  # plain and compressed runs
        (other,) = load_refcoco(root / "refcoco", split=split)
        assert np.array_equal(other.mask().array(), crowd())
    assert load_refcoco(root, split="val")[0].sentences[0].text == "caf\xe9 table"
    assert [each.id for each in load_refcoco(root, split=None)[:-1]] == [1, 2, 3]


def test_all_three_data_sets_have_their_own_lists(tmp_path: Path) -> None:
    for name in ("refcoco", "refcoco+", "refcocog"):
        write(tmp_path, name=name)
        assert len(load_refcoco(tmp_path, name)) == 2
    with pytest.raises(UsageError, match="no such data set"):
        load_refcoco(tmp_path, "refclef")
    with pytest.raises(UsageError, match="not split that way"):
        load_refcoco(tmp_path, "refcoco+", split_by="google")
    with pytest.raises(UsageError, match="testA, train, val"):
        load_refcoco(tmp_path, split="testB")
    with pytest.raises(InputError, match=r"refs\(google\)\.p: not there"):
        load_refcoco(tmp_path, split_by="google")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner, max_size=5)
        | st.frozensets(st.integers() | st.text(), max_size=5)
        | st.sets(st.integers(), max_size=5)
    ),
    max_leaves=20,
)


@given(PLAIN, st.integers(4, 5))
def test_what_python_pickles_comes_back(value: Any, protocol: int) -> None:
    assert loads(pickle.dumps(value, protocol)) == value


OLD = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(OLD, st.integers(0, 3))
def test_what_older_protocols_write_comes_back(value: Any, protocol: int) -> None:
    assert loads(pickle.dumps(value, protocol)) == value


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=300), max_size=4))
def test_texts_of_python_2_are_latin_1(texts: list[str]) -> None:
    data = b"\x80\x02" + python2(texts) + b"."
    assert loads(data) == pickle.loads(data, encoding="latin1") == texts
    quoted = "(l" + "".join("S" + repr(text.encode("latin-1"))[1:] + "\na" for text in texts)
    assert loads(quoted.encode() + b".") == texts


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


ATTACKS: dict[str, bytes] = {
    "GLOBAL": b"cos\nsystem\n(S'true'\ntR.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "REDUCE": b"N(N)R.",
    "BUILD": b"}}b.",
    "OBJ": b"(No.",
    "NEWOBJ": b"\x80\x02))\x81.",
    "EXT1": b"\x80\x02\x82\x01.",
    "PERSID": b"Pname\n.",
    "BINPERSID": b"NQ.",
    "BYTEARRAY8": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_instruction_that_could_run_something_is_refused(name: str) -> None:
    with pytest.raises(PickleError, match=rf"{name} is not needed|byte"):
        loads(ATTACKS[name])
    with pytest.raises(PickleError, match="refused"):
        loads(ATTACKS[name])


def test_a_pickle_that_runs_a_command_does_not(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for protocol in range(6):
        data = pickle.dumps([Evil(trace)], protocol)
        path = tmp_path / "refs(unc).p"
        path.write_bytes(data)
        with pytest.raises(InputError, match="was not opened"):
            read_pickle(path)
        assert not trace.exists()
    pickle.loads(data)
    assert trace.exists()  # so the attack was one


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut off"),
        (b"]", "cut off"),
        (b".", "expected 1"),
        (b"(.", "missing"),
        (b"]]a]a", "cut off"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\xff.", "no instruction"),
        (b"X\xff\xff\xff\x7fabc.", "cut off"),
        (b"\x8b\xff\xff\xff\x7f.", "too long"),
        (b"I" + b"9" * 5000 + b"\n.", "too long"),
        (b"q\x00.", "cut off"),
        (b"h\x07.", "put aside"),
        (b"}NNse.", "cut off"),
        (b"}(Nu.", "shorter|longer|argument"),
        (b"}]Ns.", "a list as a key"),
        (b"})\x85Ns.", "a tuple as a key"),
        (b"Na.", "list|cut off"),
        (b"S'open\n.", "quotes"),
        (b"Fx\n.", "could not convert"),
        (b"N0.", "expected 1"),
        (b"NN.", "too many"),
    ],
)
def test_damaged_pickles_say_where(data: bytes, reason: str) -> None:
    with pytest.raises(PickleError, match=reason):
        loads(data)


def test_attacks_on_memory_are_small(tmp_path: Path) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert loads(b"\x80\x02]r\xff\xff\xff\x7f.") == []  # Python's own reserves 16 GB for a memo this large
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000 + b"."
    assert isinstance(loads(deep), tuple)
    with pytest.raises(PickleError, match="as a key"):
        loads(b"\x80\x02}" + deep[2:-1] + b"Ns.")
    doubled = b"](" + b"2" * 100_000 + b"1."
    with pytest.raises(PickleError):
        loads(doubled)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@given(st.binary(max_size=60))
def test_noise_is_refused_or_plain(data: bytes) -> None:
    try:
        loads(data)
    except PickleError:
        pass


def broken(change: Any) -> dict[str, Any]:
    content = instances()
    change(content)
    return content


def _set(number: int, **fields: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][number].update(fields)

    return change


CASES: dict[str, tuple[Any, str]] = {
    "corner far outside": (_set(0, segmentation=[[0, 0, 1e9, 0, 0, 5]]), "not in the picture"),
    "corner that is no number": (_set(0, segmentation=[[0, 0, None, 0, 0, 5]]), "not in the picture"),
    "a box instead of a polygon": (_set(0, segmentation=[[1, 1, 5, 5]]), "three corners"),
    "empty segmentation": (_set(0, segmentation=[]), "neither polygons"),
    "runs that do not add up": (_set(3, segmentation={"size": [H, W], "counts": [1, 2]}), "do not add up"),
    "another size": (_set(3, segmentation={"size": [W, H], "counts": [1]}), "another size"),
    "broken RLE": (_set(3, segmentation={"size": [H, W], "counts": "~"}), "RLE cannot be used"),
    "no picture": (_set(0, image_id=99), "no picture 99"),
    "other picture": (_set(0, image_id=9), "is in picture 9, not 7"),
    "object twice": (_set(1, id=101), "there twice"),
    "no object": (_set(0, id=555), "no object 101"),
    "file outside": (lambda c: c["images"][0].update(file_name="../x.jpg"), "no safe file name"),
    "impossible size": (lambda c: c["images"][0].update(height=10**9), "impossible size"),
    "picture twice": (lambda c: c["images"][1].update(id=7), "there twice"),
    "no pictures": (lambda c: c.pop("images"), "no 'images'"),
}


@pytest.mark.parametrize("name", CASES)
def test_faults_of_objects_are_named(name: str, tmp_path: Path) -> None:
    change, phrase = CASES[name]
    with pytest.raises(InputError, match=phrase) as caught:
        load_refcoco(write(tmp_path, objects=broken(change)))
    assert caught.value.exit_code == 4
    assert caught.value.where
    assert caught.value.fix


REFERENCES: dict[str, tuple[Any, str]] = {
    "no list": ({"a": 1}, "no list"),
    "no split": ([{k: v for k, v in REFS[1].items() if k != "split"}], "reference 0: no 'split'"),
    "split with a path": ([{**REFS[1], "split": "../x"}], "split is no name"),
    "number twice": ([REFS[1], REFS[1]], "there twice"),
    "no sentence": ([{**REFS[1], "sentences": []}], "no sentence"),
    "sentence without text": ([{**REFS[1], "sentences": [{"sent": 3, "raw": "", "sent_id": 1}]}], "no text"),
    "number that is none": ([{**REFS[1], "ann_id": "101"}], "ann_id is no number"),
    "not a record": ([7], "reference 0"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_faults_of_references_are_named(name: str, tmp_path: Path) -> None:
    refs, phrase = REFERENCES[name]
    with pytest.raises(InputError, match=phrase):
        load_refcoco(write(tmp_path, refs))


def test_missing_files_are_named_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"instances\.json: not there") as caught:
        load_refcoco(tmp_path)
    assert len(caught.value.where) == 2
    assert "refs(<split by>).p" in caught.value.fix
