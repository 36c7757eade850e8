"""``refvps annotate import``: what tools wrote becomes the masks of one clip, exactly, or nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import masklets as made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masklets import SIZE, disks, names
from tiny import tiny_benchmark

from refvps import cli
from refvps.annotate.clip import Request
from refvps.annotate.grid import parse_frame_map
from refvps.annotate.importing import import_clip
from refvps.annotate.provenance import read_provenance
from refvps.annotate.sources.read import LAYOUTS
from refvps.cli.dataset import annotate as command
from refvps.data.masktracks import mask_lines, parse_masks
from refvps.data.records.clip import read_clips
from refvps.data.truth import annotation
from refvps.errors import CheckError, InputError, UsageError
from refvps.export import export_benchmark
from refvps.files import sha256
from refvps.masks import rle

Array = Any


def run(*args: object) -> int:
    return cli.run(["annotate", "import", *map(str, args)])


def arrays(folder: Path, clip: str) -> dict[str, Array]:
    """Target and Ignore arrays [T, H, W] of the annotated frames in a data set."""
    record = next(each for each in read_clips(folder / "clips.jsonl") if each.clip.id == clip)
    read = parse_masks((folder / f"masks/{clip}.jsonl").read_bytes(), clip, record.clip)
    tracks = dict(read.targets) | ({} if read.ignore is None else {"ignore": read.ignore})
    at = record.clip.annotated_indices()
    return {key: np.array([rle.decode(track.counts[k], record.clip.size) for k in at]) for key, track in tracks.items()}


ROUND: dict[str, tuple[str, str, Callable[[Path], list[object]]]] = {
    "davis": ("melt", "davis", lambda out: [out, "--separate"]),
    "ignore-folder": ("melt", "davis", lambda out: [out, "--ignore", out / "Ignore"]),
    "expression-folders": ("melt", "davis", lambda out: [out, "--target", "a2"]),
    "mevis": ("flash", "coco-rle", lambda out: [out / "mask_dict.json", "--separate"]),
    "ytvis": ("ripple", "coco-rle", lambda out: [out]),
    "sav": ("ripple", "sa-v", lambda out: [out, "--ignore", out / "Ignore_6fps"]),
}


@pytest.mark.parametrize("layout", ROUND)
def test_what_refvps_exports_comes_back_byte_for_byte(layout: str, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    clip, asked, options = ROUND[layout]
    if layout == "ytvis":  # has no place for frames that are not annotated
        record = replace(benchmark.clips[clip], annotated=benchmark.clips[clip].frames, annotation_fps=24.0)
        benchmark = tiny_benchmark((record,), tuple(e for e in benchmark.expressions if e.clip == clip))
    if layout == "mevis":
        benchmark = tiny_benchmark((benchmark.clips[clip],), benchmark.expressions_of(clip))
    lists = tmp_path / "lists"
    export_benchmark(benchmark, lists, "ref-vps", frames="none")
    export_benchmark(benchmark, tmp_path / "given", layout, frames="none")
    out = tmp_path / "set"
    args = options(tmp_path / "given")
    assert run(*args, "--layout", asked, "--clip", clip, "--manifest", lists / "clips.jsonl", "--out", out, "-q",
               "--accept", "M1,G5") == 0  # fmt: skip
    written = (out / f"masks/{clip}.jsonl").read_bytes()
    wanted = mask_lines(benchmark.clips[clip], annotation(benchmark.truth(clip), benchmark.clips[clip]))
    if layout == "mevis":  # counts masks from 0
        written = written.replace(b'"target":"0"', b'"target":"x"').replace(b'"target":"1"', b'"target":"2"')
        written = written.replace(b'"target":"x"', b'"target":"1"')
    assert written == wanted
    assert read_provenance(out)[0].masks_sha256 == sha256((out / f"masks/{clip}.jsonl").read_bytes())


def checkerboard() -> Array:
    return np.indices(SIZE).sum(axis=0) % 2 == 0


def one_pixel() -> Array:
    mask = np.zeros(SIZE, np.bool_)
    mask[SIZE[0] - 1, SIZE[1] - 1] = True
    return mask


def border() -> Array:
    mask = np.zeros(SIZE, np.bool_)
    mask[[0, -1]] = mask[:, [0, -1]] = True
    return mask


ODD = {
    "empty": np.zeros(SIZE, np.bool_),
    "full": np.ones(SIZE, np.bool_),
    "pixel": one_pixel(),
    "board": checkerboard(),
    "border": border(),
}
WRITERS: dict[str, tuple[str, Callable[[Path, list[Array]], Path]]] = {
    "labels": ("davis", lambda root, track: made.labels(root, {3: track}, names(len(track)))),
    "grey labels": ("davis", lambda root, track: made.labels(root, {3: track}, names(len(track)), "L")),
    "folders": ("davis", lambda root, track: made.object_folders(root, {"001": track}, names(len(track)))),
    "sa-v folders": ("sa-v", lambda root, track: made.object_folders(root, {"000": track}, names(len(track)), 255)),
    "masks": ("coco-rle", lambda root, track: made.write_json(root / "m.json", {"0": made.entries(track)})),
    "plain": ("coco-rle", lambda root, track: made.write_json(root / "m.json", {"0": [*map(made.plain, track)]})),
    "videos": ("coco-rle", lambda root, track: made.write_json(
        root / "m.json", made.ytvis({5: track}, names(len(track)), "disk"))),
}  # fmt: skip


@given(chosen=st.lists(st.sampled_from(sorted(ODD)), min_size=2, max_size=4), writer=st.sampled_from(sorted(WRITERS)))
def test_extreme_masks_survive_every_reader(chosen: list[str], writer: str, tmp_path_factory: Any) -> None:
    layout, write = WRITERS[writer]
    track = [ODD[name] for name in chosen]
    if not any(mask.any() for mask in track):
        return
    folder = tmp_path_factory.mktemp("odd")
    source = write(folder / "given", track)
    outcome = import_clip(Request(source, layout, "disk", folder / "set"))
    assert np.array_equal(arrays(folder / "set", "disk")["1"], np.array(track))
    assert outcome.counts["empty"] == chosen.count("empty")


def test_sa_v_counts_every_fourth_frame(tmp_path: Path) -> None:
    late = [mask & (k > 2) for k, mask in enumerate(disks(6))]
    source = made.write_json(tmp_path / "sav_1_manual.json", made.sav({0: disks(6), 3: late}))
    outcome = import_clip(Request(source, "sa-v", "sav_1", tmp_path / "set", objects=("3",)))
    assert len(outcome.clip.frames) == 23
    assert outcome.clip.annotated == ("00000", "00004", "00008", "00012", "00016", "00020")
    assert (outcome.clip.fps, outcome.clip.annotation_fps) == (24.0, 6.0)
    assert np.array_equal(arrays(tmp_path / "set", "sav_1")["1"], np.array(late))
    listed = made.manifest(tmp_path / "short", "sav_1", names(7))
    with pytest.raises(InputError, match="does not have the length") as caught:
        import_clip(Request(source, "sa-v", "sav_1", tmp_path / "x", manifest=listed))
    assert "--frame-map step=1" in caught.value.fix
    request = Request(source, "sa-v", "sav_1", tmp_path / "x", manifest=listed, frame_map=parse_frame_map("step=1"))
    with pytest.raises(InputError, match="sav_1/00006"):
        import_clip(request)
    listed = made.manifest(tmp_path / "six", "sav_1", names(6), fps=6.0, annotation_fps=6.0)
    import_clip(replace(request, manifest=listed))
    assert np.array_equal(arrays(tmp_path / "x", "sav_1")["1"], np.array(disks(6)))  # the union


def test_the_real_files_of_sa_v(tmp_path: Path, fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five manual masklets of 121 frames, 125 of 605 masks empty, against a count by pycocotools."""
    from pycocotools import mask as coco

    for kind, number in (("manual", 5), ("auto", 9)):
        path = fixtures / f"sav/sav_000001_{kind}.json"
        content = json.loads(path.read_text())
        assert run(path, "--layout", "sa-v", "--clip", kind, "--out", tmp_path / "set", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        areas = np.array([[coco.area(each) for each in row] for row in content["masklet"]])
        assert [row["pixels"] for row in told["objects"]] == areas.sum(axis=0).tolist()
        assert [row["empty"] for row in told["objects"]] == (areas == 0).sum(axis=0).tolist()
        assert len(told["objects"]) == number
        if kind == "manual":
            assert sum(row["empty"] for row in told["objects"]) == 125
        wanted = [coco.decode(coco.merge(row)).astype(bool) for row in content["masklet"]]
        assert np.array_equal(arrays(tmp_path / "set", kind)["1"], np.array(wanted))
        assert (told["counts"]["frames"], told["counts"]["annotated"], told["size"]) == (483, 121, [848, 480])
    assert run(fixtures / "sav", "--layout", "sa-v", "--clip", "both", "--out", tmp_path / "set") == 4
    assert "not clear which JSON file" in capsys.readouterr().err


def test_the_real_masks_of_pumavos(tmp_path: Path, fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chair = fixtures / "pumavos/chair"
    out = tmp_path / "set"
    assert run(chair / "Annotations", "--layout", "davis", "--clip", "chair", "--frames", chair / "JPEGImages", "--out",
               out, "--fps", 24, "--by", "a1", "--tool", "XMem2") == 0  # fmt: skip
    assert "60 annotated" in capsys.readouterr().out
    from PIL import Image

    wanted = [np.array(Image.open(path)) == 1 for path in sorted((chair / "Annotations").glob("*.png"))]
    assert np.array_equal(arrays(out, "chair")["1"], np.array(wanted))
    assert run(chair, "--layout", "davis", "--clip", "again", "--out", out, "-q") == 0  # finds Annotations
    listed = made.manifest(tmp_path / "m", "chair", names(60), size=[480, 720])
    capsys.readouterr()
    assert run(chair / "Annotations", "--layout", "davis", "--clip", "chair", "--manifest", listed) == 4
    assert "--frame-map number" in capsys.readouterr().err
    assert run(chair / "Annotations", "--layout", "davis", "--clip", "chair", "--manifest", listed, "--frame-map",
               "number") == 0  # fmt: skip
    assert np.array_equal(arrays(tmp_path / "m", "chair")["1"], np.array(wanted))
    assert run(chair / "incorrect", "--layout", "davis", "--clip", "rgba", "--out", out) == 4
    assert "alpha" in capsys.readouterr().err
    caps = fixtures / "pumavos/caps"
    assert run(caps / "Annotations", "--layout", "davis", "--clip", "caps", "--frames", caps / "JPEGImages", "--out",
               out, "--target", 2) == 0  # fmt: skip
    assert arrays(out, "caps")["1"].any(axis=(1, 2)).tolist() == [False, False, True, True, True]
    assert "853x480" not in capsys.readouterr().err
    assert run(fixtures / "cutie/masks", "--layout", "davis", "--clip", "judo", "--out", out) == 4
    assert "00005.png: 853x480, not 854x480" in capsys.readouterr().err


def basic(tmp_path: Path, **more: Any) -> Request:
    source = made.labels(tmp_path / "given", {1: disks(14)}, names(14))
    return Request(source, "davis", "disk", tmp_path / "set", **more)


def layer(tmp_path: Path, regions: list[Array], value: int = 255) -> Path:
    return made.labels(tmp_path / "ignore", {value: regions}, names(len(regions)), "L")


def test_ignore_wins_and_is_counted(tmp_path: Path) -> None:
    region = np.zeros(SIZE, np.bool_)
    region[18:26, 20:30] = True
    ignore = layer(tmp_path, [region] * 14)
    outcome = import_clip(basic(tmp_path, ignore=ignore))
    shared = sum(int((mask & region).sum()) for mask in disks(14))
    assert shared > 100
    assert outcome.counts["overlap_pixels"] == shared
    assert any(f"{shared:,} pixels were both" in note for note in outcome.notes)
    found = arrays(tmp_path / "set", "disk")
    assert np.array_equal(found["1"], np.array([mask & ~region for mask in disks(14)]))
    assert found["ignore"].all(axis=0).tolist() == region.tolist()
    assert read_provenance(tmp_path / "set")[0].ignore["files"] == 14
    with pytest.raises(InputError, match="both target and Ignore") as caught:
        import_clip(basic(tmp_path, ignore=ignore, overlap="refuse", force=True))
    assert len(caught.value.where) == 14
    assert "disk/00002" in str(caught.value)
    assert "and 11 more" in str(caught.value)


def test_ignore_comes_from_json_and_from_255_as_well(tmp_path: Path) -> None:
    strip = np.zeros(SIZE, np.bool_)
    strip[-4:] = True
    corner = np.zeros(SIZE, np.bool_)
    corner[:3, :3] = True
    track = [strip if k % 2 else np.zeros(SIZE, np.bool_) for k in range(14)]
    for content in (made.entries(track), {"disk": made.entries(track)}):
        given = made.write_json(tmp_path / "ignore.json", content)
        source = made.labels(tmp_path / "given", {1: disks(14), 255: [corner] * 14}, names(14))
        import_clip(Request(source, "davis", "disk", tmp_path / "set", ignore=given, force=True))
        found = arrays(tmp_path / "set", "disk")["ignore"]
        assert np.array_equal(found, np.array([each | corner for each in track]))
        assert not (arrays(tmp_path / "set", "disk")["1"] & found).any()


def test_255_alone_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = made.labels(tmp_path / "given", {255: disks(14)}, names(14), "L")
    args = [given, "--layout", "davis", "--clip", "disk", "--out", tmp_path / "set"]
    assert run(*args) == 2
    assert "--ignore-value none" in capsys.readouterr().err
    assert run(*args, "--ignore-value", "255") == 4  # then there is no object
    assert "no object" in capsys.readouterr().err
    assert run(*args, "--ignore-value", "none") == 0
    assert np.array_equal(arrays(tmp_path / "set", "disk")["1"], np.array(disks(14)))
    assert run(*args, "--ignore-value", "7") == 2
    assert run(given, "--layout", "sa-v", "--clip", "disk", "--out", tmp_path / "set", "--force") == 4
    assert "--layout davis" in capsys.readouterr().err


def test_objects_are_chosen_united_or_kept_apart(tmp_path: Path) -> None:
    left = [mask & (np.arange(SIZE[1]) < 25) for mask in disks(14)]
    source = made.object_folders(tmp_path / "disk", {"001": disks(14), "002": left}, names(14))
    for objects, separate, wanted in (
        ((), False, {"1": disks(14)}),
        (("2",), False, {"1": left}),
        (("002", "1"), False, {"1": disks(14)}),
        ((), True, {"001": disks(14), "002": left}),
    ):
        outcome = import_clip(
            Request(source, "davis", "disk", tmp_path / "set", objects=objects, separate=separate, force=True)
        )
        found = arrays(tmp_path / "set", "disk")
        assert {key: track.tolist() for key, track in found.items()} == {
            key: np.array(track).tolist() for key, track in wanted.items()
        }
        assert [row.chosen for row in outcome.objects] == [
            not objects or o in objects or o[-1] in objects for o in ("001", "002")
        ]
    with pytest.raises(InputError, match="does not have these objects") as caught:
        import_clip(Request(source, "davis", "disk", tmp_path / "x", objects=("9",)))
    assert "001, 002" in caught.value.fix
    (source / "002/00003.png").unlink()
    outcome = import_clip(Request(source, "davis", "disk", tmp_path / "y"))
    assert any("on 1 frames part of the target has no mask" in note for note in outcome.notes)
    with pytest.raises(InputError, match="no mask on frames where others have one"):
        import_clip(Request(source, "davis", "disk", tmp_path / "z", objects=("2",)))


def test_frames_are_joined_by_name_number_step_or_table(tmp_path: Path) -> None:
    listed = made.manifest(tmp_path / "m", "disk", names(60), names(60)[::4], annotation_fps=6.0)

    def imported(pattern: str, using: str, count: int = 15) -> Array:
        source = made.labels(tmp_path / pattern.format(0), {1: disks(count)}, names(count, pattern))
        out = tmp_path / f"out{pattern.format(0)}"
        import_clip(
            Request(source, "davis", "disk", out, manifest=listed, frame_map=parse_frame_map(using), force=True)
        )
        return arrays(out, "disk")["1"]

    every = np.array(disks(60))[::4]
    assert np.array_equal(imported("f{:d}", "step=4"), np.array(disks(15)))
    assert np.array_equal(imported("frame_{:03d}", "number", 60), every)
    source = made.labels(tmp_path / "one", {1: disks(60)}, [f"img{k + 1}" for k in range(60)])
    with pytest.raises(InputError, match="No mask belongs") as caught:
        import_clip(Request(source, "davis", "disk", tmp_path / "out1", manifest=listed))
    assert caught.value.fix == "--frame-map number-1"
    outcome = import_clip(
        Request(source, "davis", "disk", tmp_path / "out1", manifest=listed, frame_map=parse_frame_map("number-1"))
    )
    assert outcome.counts["dropped"] == 45
    assert np.array_equal(arrays(tmp_path / "out1", "disk")["1"], every)
    table = made.write_json(tmp_path / "map.json", {f"img{k + 1}": name for k, name in enumerate(names(60))})
    request = Request(
        source, "davis", "disk", tmp_path / "out2", manifest=listed, frame_map=parse_frame_map(str(table))
    )
    import_clip(request)
    assert np.array_equal(arrays(tmp_path / "out2", "disk")["1"], every)
    with pytest.raises(InputError, match="Annotated frames have no mask") as missing:
        import_clip(replace(request, out=tmp_path / "out3", frame_map=parse_frame_map("step=3")))
    assert missing.value.where[:2] == ("disk/00004", "disk/00008")
    for wrong in ("steps=4", "number+", "step=0", "first"):
        with pytest.raises(UsageError, match="no such way"):
            parse_frame_map(wrong)


def test_nothing_is_overwritten_and_history_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = made.labels(tmp_path / "given", {1: disks(14)}, names(14))
    args = [
        given,
        "--layout",
        "davis",
        "--clip",
        "disk",
        "--out",
        tmp_path / "set",
        "--by",
        "a1",
        "--tool",
        "sam2.1 large",
    ]
    assert run(*args) == 0
    first = (tmp_path / "set/masks/disk.jsonl").read_bytes()
    made.labels(given, {1: disks(14, seed=5)}, names(14))
    assert run(*args) == 2
    assert "has masks already" in capsys.readouterr().err
    assert (tmp_path / "set/masks/disk.jsonl").read_bytes() == first
    assert run(*args, "--force") == 0
    second = (tmp_path / "set/masks/disk.jsonl").read_bytes()
    history = read_provenance(tmp_path / "set")
    assert [each.masks_sha256 for each in history] == [sha256(first), sha256(second)]
    assert {(each.by, each.tool, each.clip, each.layout) for each in history} == {
        ("a1", "sam2.1 large", "disk", "davis")
    }
    assert history[0].source["sha256"] != history[1].source["sha256"]
    assert history[0].source["name"] == "given"
    assert history[0].targets == {"1": ("1",)}
    assert len((tmp_path / "set/clips.jsonl").read_text().splitlines()) == 1
    assert run(*args[:-4], "--by", "Jane Doe!", "--force") == 4
    assert "pseudonym" in capsys.readouterr().err
    (tmp_path / "set/withdrawn.jsonl").write_text('{"clip":"disk","date":"2026-01-01","reason":"error"}\n')
    assert run(*args, "--force") == 2
    assert "withdrawn" in capsys.readouterr().err


def test_errors_block_unless_they_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = np.zeros(SIZE, np.bool_)
    half[: SIZE[0] // 2 + 3] = True
    args = [basic(tmp_path).source, "--ignore", layer(tmp_path, [half] * 14), "--layout", "davis", "--clip", "disk",
            "--out", tmp_path / "set"]  # fmt: skip
    assert run(*args) == 7
    shown = capsys.readouterr().err
    assert "G5 Ignore that covers the frame: disk/00000" in shown
    assert "--accept G5" in shown
    assert not (tmp_path / "set").exists()
    assert run(*args, "--accept", "G") == 2
    assert run(*args, "--accept", "G5") == 0
    assert read_provenance(tmp_path / "set")[0].accepted == ("G5",)
    assert "accepted" in capsys.readouterr().out
    nothing = made.labels(tmp_path / "none", {1: [mask & False for mask in disks(3)]}, names(3))
    with pytest.raises(InputError, match="no object"):
        import_clip(Request(nothing, "davis", "none", tmp_path / "set"))
    empty = made.write_json(tmp_path / "e.json", {"0": [made.rle(mask & False) for mask in disks(3)]})
    with pytest.raises(CheckError, match="M1 Targets that are never visible: none: target 1"):
        import_clip(Request(empty, "coco-rle", "none", tmp_path / "set"))


def test_frames_must_be_those_of_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = made.manifest(tmp_path / "set", "disk", names(14))
    given = basic(tmp_path).source
    for index in range(13):
        made.picture(tmp_path / f"frames/disk/{index:05d}.png", np.full((*SIZE, 3), index, np.uint8), "RGB")
    args = [given, "--layout", "davis", "--clip", "disk", "--manifest", listed]
    assert run(*args, "--frames", tmp_path / "frames") == 7
    assert "F1 Frames that are not those of the list: disk/00013: no picture" in capsys.readouterr().err
    assert run(*args, "--size", "40x57") == 4
    assert "which size" in capsys.readouterr().err
    assert run(*args, "--size", "40") == 2
    assert run(*args) == 0
    assert (tmp_path / "set/masks/disk.jsonl").is_file()  # the folder of the manifest
    assert run(given, "--layout", "davis", "--clip", "other", "--manifest", listed) == 4
    assert "does not list" in capsys.readouterr().err
    assert run(given, "--layout", "davis", "--clip", "disk") == 2
    assert run(tmp_path / "nowhere", "--layout", "davis", "--clip", "x", "--out", tmp_path / "set") == 2


def test_ignore_in_ytvis_is_a_category_or_a_crowd(tmp_path: Path) -> None:
    strip = np.zeros(SIZE, np.bool_)
    strip[-3:] = True
    side = np.zeros(SIZE, np.bool_)
    side[:, -2:] = True
    content = made.ytvis({3: disks(14), 4: [strip] * 14, 5: [side] * 14}, names(14), "disk")
    content["annotations"][1]["category_id"] = 1
    content["annotations"][2]["iscrowd"] = 1
    import_clip(Request(made.write_json(tmp_path / "x.json", content), "coco-rle", "disk", tmp_path / "set"))
    found = arrays(tmp_path / "set", "disk")
    assert np.array_equal(found["ignore"], np.array([strip | side] * 14))
    assert np.array_equal(found["1"], np.array(disks(14)))


def test_layouts_are_listed_once() -> None:
    assert command.LAYOUTS == tuple(LAYOUTS)


def test_a_write_that_fails_leaves_no_masks_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refvps.annotate import importing

    real = importing.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.parent.name == "masks":
            raise OSError(28, "No space left on device")
        real(path, data)

    request = basic(tmp_path)
    monkeypatch.setattr(importing, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        import_clip(request)
    assert not (tmp_path / "set/masks/disk.jsonl").exists()
    monkeypatch.setattr(importing, "write_atomic", real)
    outcome = import_clip(request)
    assert outcome.path is not None
    history = read_provenance(tmp_path / "set")
    assert [each.masks_sha256 for each in history] == [sha256(outcome.path.read_bytes())] * 2
    assert len((tmp_path / "set/clips.jsonl").read_text().splitlines()) == 1
