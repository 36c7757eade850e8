"""Ref-VPS in four plausible layouts of other people: one digest, and every missing piece is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from layouts import WRITERS
from PIL import Image
from test_store import digested, tiny
from tiny import CLIPS, EXPRESSIONS, tiny_benchmark
from trees import read_image, write_labels, write_lines

from refvps.data.digest import benchmark_digest
from refvps.data.importers.install import Request, install
from refvps.data.importers.ref_vps.asked import read_aliases
from refvps.data.importers.ref_vps.layout import LAYOUTS, find
from refvps.data.importers.ref_vps.load import OPTIONS, load_ref_vps
from refvps.data.local import load_local
from refvps.errors import DataMissingError, InputError, RefvpsError, UsageError
from refvps.home import home
from refvps.types import Benchmark


def plain() -> Benchmark:
    """What a layout alone can say of the tiny benchmark: no concepts, no rate of annotation but the full one."""
    clips = tuple(replace(clip, annotation_fps=24.0 if clip.annotated == clip.frames else 0.0) for clip in CLIPS)
    return digested(tiny_benchmark(clips, tuple(replace(each, concept="") for each in EXPRESSIONS)))


EVERY: dict[str, Callable[[Benchmark, Path], Path]] = {
    **WRITERS,
    "coco-rle, ignore by key": lambda b, root: layouts.write_coco_rle(b, root, "key"),
    "coco-rle, ignore in a file": lambda b, root: layouts.write_coco_rle(b, root, "file"),
    "expression-folders, ignore in a folder": lambda b, root: layouts.write_expression_folders(b, root, "folder"),
    "expression-folders with objects": lambda b, root: layouts.write_expression_folders(b, root, objects=True),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_layout_has_one_digest(name: str, tmp_path: Path) -> None:
    root = EVERY[name](plain(), tmp_path / "set")
    assert find(root).layout == name.partition(",")[0].partition(" ")[0]
    loaded = load_ref_vps(root)
    assert dict(loaded.clip_digests) == dict(plain().clip_digests)
    assert loaded.digest == plain().digest
    lists = layouts.write_lists(tiny(), tmp_path / "lists")
    listed = load_ref_vps(root, lists=str(lists))
    assert listed.digest == tiny().digest
    assert {each.concept for each in listed.expressions} == {"wax melting", "ripples", "lightning"}
    assert len(loaded.frames("ripple")) == 13
    assert abs(int(loaded.frames("ripple")[7].mean()) - 70) < 3


def test_the_sample_has_one_digest_in_all_of_them(tmp_path: Path) -> None:
    """Fourteen clips with 255 as Ignore; without their frames the lists must come along."""
    from refvps import data

    sample = data.load("sample")
    few = ("candle-wax", "storm-flash", "pond-ball")
    digests = {key: sample.clip_digests[key] for key in few}
    sample = replace(
        sample,
        clips={key: sample.clips[key] for key in few},
        expressions=tuple(each for each in sample.expressions if each.clip in few),
        digest=benchmark_digest(digests),
        clip_digests=digests,
    )
    lists = layouts.write_lists(sample, tmp_path / "lists")
    for name, write in WRITERS.items():
        root = write(sample, tmp_path / name, frames=False)  # type: ignore[call-arg]
        loaded = load_ref_vps(root, lists=str(lists))
        assert loaded.digest == sample.digest, name
        with pytest.raises(DataMissingError):
            loaded.frames("candle-wax")


@pytest.mark.parametrize("name", WRITERS)
def test_installed_it_is_the_same_also_from_a_zip(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = WRITERS[name](plain(), tmp_path / "outer" / "set")
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", root.parent))
    folder = install(archive, Request("ref-vps", {}, temporary=True), jobs=2)
    assert folder == home() / "benchmarks" / "ref-vps" / "local"
    benchmark = load_local()
    assert benchmark.digest == plain().digest
    assert len(benchmark.frames("melt")) == 12
    assert not list((home() / "work").glob("*"))
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert install(root, Request("ref-vps", {"layout": "auto"})) == folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == content
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "other"))
    install(root, Request("ref-vps", {}))
    with pytest.raises(DataMissingError):
        load_local().frames("melt")


def test_the_same_masks_under_other_ids_are_another_benchmark_until_aliases_say_so(tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path)
    kept = (root / "aliases.json").read_text()
    (root / "aliases.json").unlink()
    assert set(load_ref_vps(root).clips) == {"video_melt", "video_ripple", "video_flash"}
    (tmp_path / "table.json").write_text(kept)
    assert load_ref_vps(root, aliases=str(tmp_path / "table.json")).digest == plain().digest


def test_the_table_in_the_docs_is_one() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "download.md").read_text()
    table = page.partition("```json\n")[2].partition("```")[0]
    path = home() / "aliases.json"
    path.write_text(table)
    aliases = read_aliases(path)
    assert aliases.clips == {"video_017": "wax-01"}
    assert [aliases.expression("wax-01", key) for key in "0123"] == ["a1-1", "a1-2", "a2-1", "a2-2"]
    assert aliases.expression("other", "0") == "0"
    for layout in LAYOUTS:
        assert f"| `{layout}` |" in page
    for option in OPTIONS:
        assert f"`{option}`" in page


def test_targets_have_aliases_too(tmp_path: Path) -> None:
    root = layouts.write_expression_folders(plain(), tmp_path, objects=True)
    (root / "aliases.json").write_text(json.dumps({"targets": {"*": {"1": "left"}, "flash": {"2": "right"}}}))
    loaded = load_ref_vps(root)
    assert [each.target for each in loaded.expressions_of("flash")] == ["left", "right"]
    assert sorted(loaded.truth("melt").frame(3)[0]) == ["left"]


def test_where_target_and_ignore_meet_ignore_wins(tmp_path: Path) -> None:
    root = layouts.write_ignore_folder(plain(), tmp_path)
    path = root / "test" / "Ignore" / "001" / "3.png"
    void = read_image(path)
    target = read_image(root / "test" / "Annotations" / "001" / "3.png") == 1
    void[:30] = 255
    write_labels(path, void, "L")
    shared = int((target & (void > 0)).sum())
    assert shared > 50
    loaded = load_ref_vps(root)
    assert f"Pixels that were target and Ignore, and are Ignore now: {shared:,}." in loaded.notes
    masks, ignore = loaded.truth("melt").frame(2)
    np.testing.assert_array_equal(masks["1"].array(), target & (void == 0))  # type: ignore[union-attr]
    np.testing.assert_array_equal(ignore.array(), void > 0)  # type: ignore[union-attr]


def test_withdrawn_clips_are_skipped_under_either_id(tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path)
    shutil.rmtree(root / "Annotations" / "480p" / "video_flash")
    line = {"clip": "flash", "date": "2026-02-01", "reason": "uploader"}
    write_lines(root / "withdrawn.jsonl", [line])
    assert set(load_ref_vps(root).clips) == {"melt", "ripple"}
    install(root, Request("ref-vps", {}))
    assert set(load_local().clips) == {"melt", "ripple"}
    (root / "withdrawn.jsonl").unlink()
    shutil.rmtree(home() / "benchmarks" / "ref-vps" / "local")
    layouts.write_davis(plain(), tmp_path / "again")
    with pytest.raises(InputError, match="never used again"):
        install(tmp_path / "again", Request("ref-vps", {}))


def test_frames_are_counted_from_zero_or_one(tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path, frames=False)
    meta = json.loads((root / "meta_expressions.json").read_text())
    for video in meta["videos"].values():
        video["frames"] = video["frames"][2:]
    (root / "meta_expressions.json").write_text(json.dumps(meta))
    tree = root / "Annotations" / "480p"
    for clip in tree.iterdir():
        (clip / "00000.png").unlink()
        (clip / "00001.png").unlink(missing_ok=True)
    with pytest.raises(UsageError, match="counted from 0 or from 1"):
        load_ref_vps(root)
    assert load_ref_vps(root, first_frame="0").clips["melt"].frames[0] == "00002"
    assert load_ref_vps(root, first_frame="1").clips["melt"].frames[0] == "00001"


def _edit(place: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        value = json.loads((root / place).read_text())
        (root / place).write_text(json.dumps(change(value) or value))

    return apply


def _texts(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (path,) = root.rglob("meta_expressions.json")
        _edit(str(path.relative_to(root)), lambda meta: change(meta["videos"]))(root)

    return apply


def _drop(place: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        shutil.rmtree(root / place) if (root / place).is_dir() else (root / place).unlink()

    return apply


def _draw(place: str, value: int, size: tuple[int, int] = (37, 53)) -> Callable[[Path], None]:
    return lambda root: write_labels(root / place, np.full(size, value, np.uint8), "L") and None


def _sentence(video: str, key: str, **fields: Any) -> Callable[[Path], None]:
    """Change fields of a sentence; None removes one."""

    def change(videos: Any) -> None:
        record = videos[video]["expressions"][key]
        videos[video]["expressions"][key] = {k: v for k, v in (record | fields).items() if v is not None}

    return _texts(change)


def _alias(part: str, **fields: Any) -> Callable[[Path], None]:
    return _edit("aliases.json", lambda table: table[part].update(fields))


def _rle(**fields: Any) -> Callable[[Path], None]:
    return _edit("mask_dict.json", lambda tracks: tracks["0"][3].update(fields))


def _copy(place: str, to: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (shutil.copytree if (root / place).is_dir() else shutil.copy)(root / place, root / to)

    return apply


def _move(place: str, to: str) -> Callable[[Path], None]:
    return lambda root: (root / place).rename(root / to) and None


DAVIS = "Annotations/480p/video_melt"
BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no sentences": ("davis", _drop("meta_expressions.json"), "no meta_expressions.json"),
    "no masks of a clip": ("davis", _drop(DAVIS), "video_melt: no masks"),
    "no sentences of a clip": ("davis", _texts(lambda v: v.pop("video_melt") and None), "video_melt: no sentences"),
    "no masks at all": ("davis", _drop("Annotations"), "no Annotations/, no mask_dict.json"),
    "no frames of a clip": ("davis", _drop("JPEGImages/480p/video_melt"), "video_melt: no frames"),
    "one frame away": ("davis", _drop("JPEGImages/480p/video_melt/00003.jpg"), "a mask of the frame 00003"),
    "another object": ("davis", _sentence("video_flash", "1", obj_id="7"), "7 is not drawn"),
    "no object named": ("davis", _sentence("video_flash", "1", obj_id=None), "which of the objects 1, 2"),
    "no text": ("davis", _sentence("video_flash", "1", exp=" "), "flash/right: no text"),
    "an alias of nobody": ("davis", _alias("clips", other="x"), "an alias names other"),
    "two aliases of one": ("davis", _alias("clips", video_flash="MELT"), "are both"),
    "a bad alias": ("davis", _alias("clips", video_flash="../x"), "is no id"),
    "a strange alias file": ("davis", _edit("aliases.json", lambda a: [1]), "nothing else"),
    "two expressions of one id": ("davis", _alias("expressions", melt={"1": "0"}), "are both 0"),
    "a broken mask": ("davis", lambda root: (root / DAVIS / "00001.png").write_bytes(b"no"), "00001.png"),
    "sizes differ": ("davis", _draw(f"{DAVIS}/00001.png", 1, (37, 52)), "52x37, not 53x37"),
    "strange frame names": ("davis", _move(f"{DAVIS}/00001.png", f"{DAVIS}/one.png"), "no common form"),
    "one frame twice": ("davis", _copy(f"{DAVIS}/00001.png", f"{DAVIS}/1.png"), "are one frame"),
    "no Ignore of a clip": ("ignore-folder", _drop("test/Ignore/002"), "002: no folder of Ignore"),
    "Ignore of no clip": ("ignore-folder", _drop("test/Annotations/002"), "Ignore of 002: no masks"),
    "Ignore of no frame": ("ignore-folder", _drop("test/Annotations/001/4.png"), "a frame without a mask"),
    "Ignore of another size": ("ignore-folder", _draw("test/Ignore/001/4.png", 255, (9, 9)), "not the size"),
    "two folders of Ignore": ("ignore-folder", _copy("test/Ignore", "test/void"), "keep one"),
    "Ignore twice": ("ignore-folder", _draw("test/Annotations/001/4.png", 255), "marked twice"),
    "a mask is missing": ("coco-rle", _edit("mask_dict.json", lambda m: m.pop("0") and None), "melt: no mask 0"),
    "no mask_dict": ("coco-rle", _drop("mask_dict.json"), "no Annotations/, no mask_dict.json"),
    "too few masks": ("coco-rle", _edit("mask_dict.json", lambda m: m["0"].pop() and None), "11 masks for 12 frames"),
    "an RLE of another size": ("coco-rle", _rle(size=[9, 9]), "frame frame_0004"),
    "a damaged RLE": ("coco-rle", _rle(counts="0"), "frame frame_0004"),
    "runs instead of RLE": ("coco-rle", _rle(counts=[3, 4]), "no compressed RLE"),
    "Ignore of nobody": ("coco-rle", _edit("mask_dict.json", lambda m: m.update({"other/ignore": []})), "of no clip"),
    "no list of masks": ("coco-rle", _sentence("melt", "0", anno_id=None), "none named"),
    "a folder is missing": ("expression-folders", _drop("flash/right"), "flash/right: no folder of masks"),
    "a folder too many": ("expression-folders", _copy("flash/right", "flash/up"), "flash/up: no such"),
    "a frame is missing": ("expression-folders", _drop("melt/a1/00003.png"), "melt/a1: no mask of frame 00003"),
    "two objects in one": ("expression-folders", _draw("melt/a1/00003.png", 9), "labels 1, 9 in one expression"),
    "two Ignores": ("expression-folders", _draw("melt/a1/00003.png", 0), "another Ignore than elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_every_missing_piece_is_named_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    layout, change, message = BROKEN[name]
    root = WRITERS[layout](plain(), tmp_path)
    change(root)
    with pytest.raises(RefvpsError) as caught:
        install(root, Request("ref-vps", {}))
    assert message in str(caught.value)
    assert caught.value.exit_code == (2 if isinstance(caught.value, UsageError) else 4)
    assert caught.value.fix
    assert not [
        path for path in home().rglob("*") if path.is_file() and path.name != ".lock" and "index" not in path.parts
    ]


def test_what_could_be_two_things_is_asked(tmp_path: Path) -> None:
    both = layouts.write_davis(plain(), tmp_path / "both")
    layouts.write_coco_rle(plain(), tmp_path / "coco", frames=False)
    shutil.copy(tmp_path / "coco" / "mask_dict.json", both)
    with pytest.raises(UsageError, match="layout=coco-rle"):
        load_ref_vps(both)
    assert load_ref_vps(both, layout="davis").digest == plain().digest
    with pytest.raises(InputError, match="looks like davis"):
        load_ref_vps(both, layout="ignore-folder")
    with pytest.raises(UsageError, match="no such layout"):
        load_ref_vps(both, layout="other")
    two = layouts.write_ignore_folder(plain(), tmp_path / "two")
    shutil.copytree(two / "test", two / "valid")
    with pytest.raises(UsageError, match="several sets"):
        load_ref_vps(two)


def test_null_for_most_frames_is_asked(tmp_path: Path) -> None:
    root = layouts.write_coco_rle(plain(), tmp_path, frames=False)
    meta, tracks = (json.loads((root / name).read_text()) for name in ("meta_expressions.json", "mask_dict.json"))
    for key, clip in plain().clips.items():
        video = meta["videos"][key]
        numbers = {str(n) for each in video["expressions"].values() for n in each["anno_id"]}
        wide = 4 * len(clip.annotated)
        for number in numbers | {str(video["ignore_anno_id"])}:
            tracks[number] = [tracks[number][k // 4] if k % 4 == 0 else None for k in range(wide)]
        video["frames"] = [f"{k:05d}" for k in range(wide)]
    (root / "meta_expressions.json").write_text(json.dumps(meta))
    (root / "mask_dict.json").write_text(json.dumps(tracks))
    with pytest.raises(UsageError, match="null=unannotated"):
        load_ref_vps(root)
    some = load_ref_vps(root, null="unannotated")
    assert some.clips["melt"].annotated == tuple(f"{k:05d}" for k in range(0, 48, 4))
    assert len(some.clips["melt"].frames) == 48
    every = load_ref_vps(root, null="empty")
    assert every.clips["melt"].annotated == every.clips["melt"].frames
    assert every.truth("melt").frame(5)[0]["1"].area() == 0  # type: ignore[union-attr]
    assert some.truth("melt").frame(8)[0]["1"].counts() == plain().truth("melt").frame(2)[0]["1"].counts()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no meaning of null"):
        load_ref_vps(root, null="maybe")


def test_255_alone_is_asked_and_binary_masks_work(tmp_path: Path) -> None:
    one = digested(tiny_benchmark(CLIPS[:1], tuple(replace(each, concept="") for each in EXPRESSIONS[:4])))
    root = layouts.write_expression_folders(one, tmp_path, "folder")
    assert load_ref_vps(root).digest == one.digest
    shutil.rmtree(root / "Ignore")
    with pytest.raises(UsageError, match="ignore-value=none"):
        load_ref_vps(root)
    loaded = load_ref_vps(root, ignore_value="none")
    assert loaded.truth("melt").frame(3)[1] is None
    assert loaded.truth("melt").frame(3)[0]["1"].area() > 0  # type: ignore[union-attr]


def test_lists_and_masks_must_be_of_the_same_clips_and_frames(tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path / "set")
    lists = layouts.write_lists(tiny_benchmark(CLIPS[:2], EXPRESSIONS[:5]), tmp_path / "few")
    with pytest.raises(InputError, match="video_flash: the list of clips has no flash"):
        load_ref_vps(root, lists=str(lists))
    wider = replace(CLIPS[1], annotated=CLIPS[1].frames)
    lists = layouts.write_lists(tiny_benchmark((CLIPS[0], wider, CLIPS[2])), tmp_path / "wider")
    with pytest.raises(InputError, match="ripple/00001: no mask"):
        load_ref_vps(root, lists=str(lists))
    smaller = replace(CLIPS[0], size=(37, 54))
    lists = layouts.write_lists(tiny_benchmark((smaller, *CLIPS[1:])), tmp_path / "smaller")
    with pytest.raises(InputError, match="masks of 53x37, listed with 54x37"):
        load_ref_vps(root, lists=str(lists))
    renamed = (*EXPRESSIONS[:3], replace(EXPRESSIONS[3], id="a9"), *EXPRESSIONS[4:])
    lists = layouts.write_lists(tiny_benchmark(CLIPS, renamed), tmp_path / "renamed")
    with pytest.raises(InputError, match="melt/a3: not in expressions.jsonl"):
        load_ref_vps(root, lists=str(lists))


def test_lists_alone_are_enough_for_pictures(tmp_path: Path) -> None:
    root = layouts.write_expression_folders(tiny(), tmp_path)
    (root / "meta_expressions.json").unlink()
    layouts.write_lists(tiny(), root)
    (root / "JPEGImages").rename(tmp_path / "frames")
    assert load_ref_vps(root).digest == tiny().digest


@pytest.mark.parametrize("option", [
    {"fps": "fast"}, {"annotation_fps": "-1"}, {"first_frame": "2"}, {"ignore_value": "7"}, {"fps": "nan"},
])  # fmt: skip
def test_options_that_mean_nothing_are_refused(option: dict[str, str], tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path)
    with pytest.raises(UsageError):
        load_ref_vps(root, **option)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such option"):
        install(root, Request("ref-vps", {"colour": "red"}))


def test_pictures_of_another_size_are_refused_when_they_are_kept(tmp_path: Path) -> None:
    root = layouts.write_davis(plain(), tmp_path)
    for path in (root / "JPEGImages/480p/video_melt").iterdir():
        Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(InputError, match="do not have its size"):
        install(root, Request("ref-vps", {}, frames="copy"))


def test_mutated_files_never_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    outcomes = {"refused": 0, "loaded": 0}
    roots = {name: write(plain(), tmp_path / name, frames=False) for name, write in WRITERS.items()}  # type: ignore[call-arg]
    for number in range(120):
        root = roots[list(roots)[number % 4]]
        files = sorted(path for path in root.rglob("*") if path.is_file())
        texts = [path for path in files if path.suffix == ".json"]
        chosen = texts if number % 3 else files
        path = chosen[rng.integers(len(chosen))]
        kept = path.read_bytes()
        content = bytearray(kept)
        place = int(rng.integers(len(content)))
        if number % 2:
            content[place] = rng.integers(256)
        else:
            del content[place : place + int(rng.integers(1, 30))]
        path.write_bytes(bytes(content))
        try:
            load_ref_vps(root)
            outcomes["loaded"] += 1
        except RefvpsError:
            outcomes["refused"] += 1
        path.write_bytes(kept)
    assert outcomes["refused"] > 60
