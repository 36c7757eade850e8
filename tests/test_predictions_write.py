"""The canonical form, run files and exports: exact bytes, all or nothing."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from broken_good import Good
from PIL import Image
from pycocotools import mask as coco
from tiny import ArrayReader, ArrayReaders, tiny_benchmark, tiny_masks

from refvps.errors import UsageError
from refvps.masks.mask import Mask
from refvps.predictions.export import davis_palette, export, write_files
from refvps.predictions.submission import open_submission
from refvps.predictions.write import ClipWriter, run_path
from refvps.types import Clip

BENCHMARK = tiny_benchmark()
MASKS = tiny_masks(BENCHMARK)


def test_the_canonical_bytes_are_frozen(tmp_path: Path) -> None:
    clip = Clip("c", (2, 3), 24.0, ("00000", "00001"), ("00001",), 12.0, "g")
    writer = ClipWriter(tmp_path / "c.jsonl", clip, ["e"], "bench", "00ff")
    writer.add("e", 1, Mask.from_array(np.array([[1, 0, 0], [1, 1, 0]], bool)))
    writer.add("e", 0, Mask.from_array(np.zeros((2, 3), bool)))
    assert writer.finish().read_bytes() == (
        b'{"benchmark":"bench","clip":"c","digest":"00ff","frames":["00000","00001"],'
        b'"schema":"refvps.predictions/1","size":[2,3]}\n'
        b'{"counts":["6","021O1"],"expression":"e"}\n'
    )
    decoded = coco.decode({"size": [2, 3], "counts": b"021O1"})
    assert decoded.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_the_order_of_masks_does_not_matter(tmp_path: Path) -> None:
    clip = BENCHMARK.clips["melt"]
    ids = [each.id for each in BENCHMARK.expressions_of("melt")]
    order = [(expression, index) for expression in ids for index in range(len(clip.frames))]
    found = set()
    for seed in range(3):
        writer = ClipWriter(tmp_path / f"{seed}.jsonl", clip, ids, "tiny")
        for at in np.random.default_rng(seed).permutation(len(order)):
            expression, index = order[at]
            writer.add(expression, index, Mask.from_array(MASKS["melt", expression][index]))
        found.add(writer.finish().read_bytes())
    assert len(found) == 1


def test_a_clip_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    clip = BENCHMARK.clips["flash"]
    writer = ClipWriter(tmp_path / "flash.jsonl", clip, ["left", "right"])
    mask = Mask.from_array(MASKS["flash", "left"][1])
    for index in range(6):
        writer.add("left", index, mask)
    for index in range(5):
        writer.add("right", index, mask)
    with pytest.raises(UsageError, match="flash/right, frame 00005"):
        writer.finish()
    with pytest.raises(UsageError, match="twice"):
        writer.add("left", 0, mask)
    with pytest.raises(UsageError, match="does not have"):
        writer.add("left", 6, mask)
    with pytest.raises(UsageError, match="does not have"):
        writer.add("middle", 0, mask)
    with pytest.raises(UsageError, match="wrong size"):
        writer.add("right", 5, Mask.from_array(np.zeros((43, 29), bool)))
    assert list(tmp_path.iterdir()) == []
    writer.add("right", 5, mask)
    writer.finish()
    assert [each.name for each in tmp_path.iterdir()] == ["flash.jsonl"]


def record(name: object = "mine") -> dict[str, object]:
    return {"schema": "refvps.run/1", "method": {"name": name}, "key": f"key of {name}", "timings": {"seconds": 3.5}}


def write_run(folder: Path, content: object, shard: tuple[int, int] | None = None) -> None:
    run_path(folder, shard).write_text(json.dumps(content))


def test_run_files_of_shards(tmp_path: Path) -> None:
    Good(BENCHMARK, MASKS).canonical(tmp_path)
    for shard in ((1, 2), (2, 2)):
        write_run(tmp_path, record(), shard)
    submission = open_submission(tmp_path, BENCHMARK)
    assert submission.problems.problems == ()
    assert (submission.name, submission.run) == ("mine", record())
    write_run(tmp_path, record("other"), (2, 2))
    assert open_submission(tmp_path, BENCHMARK).problems.codes == ("header",)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"{", b'{"schema":"refvps.run/1"}', b'{"schema":"refvps.run/1","method":[],"key":1}']
)
def test_run_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    path = run_path(tmp_path)
    path.write_bytes(content)
    Good(BENCHMARK, MASKS).canonical(tmp_path)
    submission = open_submission(tmp_path, BENCHMARK)
    assert submission.problems.ok == (content != b"{")
    assert submission.name is None


def test_a_hostile_method_name_is_not_used(tmp_path: Path) -> None:
    Good(BENCHMARK, MASKS).canonical(tmp_path)
    for name in ("../../etc", "", 3, ["x"], {"a": 1}, "x" * 500):
        write_run(tmp_path, record(name))
        assert open_submission(tmp_path, BENCHMARK).name is None


def test_other_tools_read_the_exports(tmp_path: Path) -> None:
    readers = ArrayReaders(MASKS)
    assert export(tmp_path / "tree", BENCHMARK, readers, "annotations") == sum(len(array) for array in MASKS.values())
    assert export(tmp_path / "json", BENCHMARK, readers, "json") == 1
    assert export(tmp_path / "npz", BENCHMARK, readers, "npz") == 3
    export(tmp_path / "anno", BENCHMARK, readers, "anno-ids")
    lists = json.loads((tmp_path / "json/predictions.json").read_bytes())
    for (clip, expression), array in MASKS.items():
        arrays = np.load(tmp_path / f"npz/{clip}.npz", allow_pickle=False)
        assert np.array_equal(arrays[expression], array)
        for index, name in enumerate(BENCHMARK.clips[clip].frames):
            with Image.open(tmp_path / f"tree/Annotations/{clip}/{expression}/{name}.png") as picture:
                assert np.array_equal(np.array(picture) > 0, array[index])
            assert np.array_equal(coco.decode(lists[clip][expression][index]) > 0, array[index])
        arrays.close()
    with Image.open(tmp_path / "anno/anno_0/flash/00002.png") as picture:
        assert picture.mode == "P"
        ids = np.array(picture)
        assert picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
    assert np.array_equal(ids == 2, MASKS["flash", "right"][2])
    assert np.array_equal(ids == 1, MASKS["flash", "left"][2])


def test_the_palette_is_that_of_davis() -> None:
    palette = davis_palette()
    expected = {
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        21: (128, 64, 128),
        255: (224, 224, 192),
    }
    assert len(palette) == 768
    for index, colour in expected.items():
        assert tuple(palette[3 * index : 3 * index + 3]) == colour


def test_zips_have_the_right_root_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        export(tmp_path / name, BENCHMARK, ArrayReaders(MASKS), "tree")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as file:
        assert {name.split("/")[0] for name in file.namelist()} == set(BENCHMARK.clips)
        assert file.testzip() is None


def test_an_export_is_whole_or_absent(tmp_path: Path) -> None:
    def items() -> object:
        yield "a/b.png", b"x"
        raise KeyboardInterrupt

    for name in ("folder", "file.zip"):
        with pytest.raises(KeyboardInterrupt):
            write_files(tmp_path / name, items())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    write_files(tmp_path / "folder", [("a/b.png", b"x")])
    with pytest.raises(UsageError, match="exists"):
        write_files(tmp_path / "folder", [("c.png", b"x")])
    with pytest.raises(UsageError, match="no such layout"):
        export(tmp_path / "x", BENCHMARK, ArrayReaders(MASKS), "mp4")


def test_id_masks_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several expressions"):
        export(tmp_path / "ids", BENCHMARK, ArrayReaders(MASKS), "ids")
    overlapping = dict(MASKS)
    overlapping["flash", "right"] = MASKS["flash", "left"]
    with pytest.raises(UsageError, match="overlap"):
        export(tmp_path / "ids", BENCHMARK, ArrayReaders(overlapping), "anno-ids")


def test_frames_without_a_mask_are_not_written(tmp_path: Path) -> None:
    class Sparse(ArrayReader):
        def frame(self, index: int) -> dict[str, Mask | None]:  # type: ignore[override]
            return {name: mask if index % 4 == 0 else None for name, mask in super().frame(index).items()}

    def readers(clip: str) -> Sparse | ArrayReader:
        return Sparse(MASKS, clip) if clip == "ripple" else ArrayReader(MASKS, clip)

    export(tmp_path / "tree", BENCHMARK, readers, "tree")
    assert len(list((tmp_path / "tree/ripple/r0").iterdir())) == 4
    export(tmp_path / "json", BENCHMARK, readers, "json")
    assert len(json.loads((tmp_path / "json/predictions.json").read_bytes())["ripple"]["r0"]) == 4
    for out in ("tree", "json"):
        assert open_submission(tmp_path / out, BENCHMARK).problems.problems == ()
    with pytest.raises(UsageError, match="missing"):
        export(tmp_path / "npz", BENCHMARK, readers, "npz")


def test_a_large_clip_stays_small_in_memory(tmp_path: Path) -> None:
    """408 frames with four expressions: strings only, and quick to write and read."""
    frames = tuple(f"{index:05d}" for index in range(408))
    clip = Clip("long", (288, 512), 24.0, frames, frames, 24.0, "g")
    mask = np.zeros(clip.size, bool)
    mask[50:200, 100:300] = True
    one = Mask.from_array(mask)
    writer = ClipWriter(tmp_path / "long.jsonl", clip, list("abcd"))
    for expression in "abcd":
        for index in range(408):
            writer.add(expression, index, one)
    size = writer.finish().stat().st_size
    assert size < 408 * 4 * (len(one.counts()) + 10) + 20_000
    assert io.BytesIO((tmp_path / "long.jsonl").read_bytes()).readline().count(b'"') > 800
