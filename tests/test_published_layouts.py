"""Questions out, answers in: whatever the benchmark, a program that answers gets its own masks back."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakerepos import MUTR_NAMES, questioned
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from refvps.errors import InputError, UsageError
from refvps.export import export_benchmark
from refvps.masks.mask import Mask
from refvps.predictions.importing import import_predictions
from refvps.types import Benchmark, Method

Arrays = dict[tuple[str, str], np.ndarray]
Texts = dict[str, dict[str, str]]

SHAPES = st.dictionaries(
    st.sampled_from(["wax", "a__w000", "b__g001", "c.d-e", "1"]),
    st.tuples(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.sampled_from([1, 2, 36, 37, 75]),
        st.sampled_from([1, 3, 4, 5]),
    ),
    min_size=1,
    max_size=2,
)


def drawn(benchmark: Benchmark, seed: int) -> Arrays:
    """Random masks, bool [T, H, W], some empty, by (clip, normalised sentence): all a program gets to know."""
    random = np.random.default_rng(seed)
    found = {}
    for each in benchmark.expressions:
        clip = benchmark.clips[each.clip]
        found[clip.id, spoken(each.text)] = random.random((len(clip.frames), *clip.size)) < random.choice([0, 0.4])
    return found


def spoken(text: str) -> str:
    return " ".join(text.lower().split())


def write(path: Path, mask: np.ndarray, *, palette: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if palette:
        picture = Image.frombytes("P", mask.shape[::-1], mask.astype(np.uint8).tobytes())
        picture.putpalette([0, 0, 0, 128, 0, 0] + [9] * 762)
    else:
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
    picture.save(path)


def base(video: str) -> str:
    return video.rpartition("__")[0]


def meta(questions: Path) -> dict:
    return json.loads((questions / "meta_expressions/valid/meta_expressions.json").read_text())["videos"]


def davis(names: tuple[str, ...], *, objects: bool = False, by_name: bool = False) -> Callable[..., None]:
    """A program for Ref-DAVIS: four annotators, one object, in the order of the file."""

    def program(questions: Path, out: Path, masks: Arrays, places: dict[str, dict[str, int]]) -> None:
        for video, asked in meta(questions).items():
            expressions = list(asked["expressions"].values())
            assert len(expressions) % 4 == 0 and len(expressions) // 4 == 1
            for run, each in zip(names, expressions, strict=True):
                own = f"{video}/1" if objects else video
                for index, frame in enumerate(asked["frames"]):
                    mask = masks[base(video), each["exp"]][places[base(video)][frame]]
                    write(out / run / own / f"{frame if by_name else format(index, '05d')}.png", mask, palette=True)

    return program


def ytvos(home: str) -> Callable[..., None]:
    """A program for Ref-YouTube-VOS: one folder an expression, files called after frames."""

    def program(questions: Path, out: Path, masks: Arrays, places: dict[str, dict[str, int]]) -> None:
        assert json.loads((questions / "meta_expressions/test/meta_expressions.json").read_text()) == {"videos": {}}
        for video, asked in meta(questions).items():
            clip = video if video in places else base(video)
            for key, each in asked["expressions"].items():
                for frame in asked["frames"]:
                    mask = masks[clip, each["exp"]][places[clip][frame]]
                    write(out / home / video / key / f"{frame}.png", mask, palette=False)

    return program


def uninext(questions: Path, out: Path, masks: Arrays, places: dict[str, dict[str, int]]) -> None:
    for video in json.loads((questions / "ref-youtube-vos/valid.json").read_text())["videos"]:
        clip = video["video"] if video["video"] in places else base(video["video"])
        assert video["length"] == len(video["file_names"])
        for file in video["file_names"]:
            folder, _, name = file.partition("/")
            frame = name.removesuffix(".jpg")
            mask = masks[clip, video["expressions"][0]][places[clip][frame]]
            assert mask.shape == (video["height"], video["width"])
            write(out / "Annotations" / folder / video["exp_id"] / f"{frame}.png", mask, palette=False)


ANNO = ("anno_0", "anno_1", "anno_2", "anno_3")
UNINEXT_DAVIS = tuple(f"rvos-refdavis-val-{k}" for k in range(4))
PROGRAMS: dict[str, tuple[str, int | None, Callable[..., None], str]] = {
    "ReferFormer": ("davis4", None, davis(ANNO), "davis4"),
    "SgMg": ("davis4-480p", None, davis(ANNO), "davis4"),
    "MUTR": ("davis4", None, davis(MUTR_NAMES), "davis4"),
    "REM": ("davis4", None, davis(ANNO, objects=True), "davis4"),
    "UNINEXT on Ref-DAVIS": ("davis4", None, davis(UNINEXT_DAVIS, by_name=True), "davis4"),
    "whole clips": ("ytvos", None, ytvos("valid"), "ytvos"),
    "windows": ("ytvos", 36, ytvos("valid"), "ytvos"),
    "windows of one": ("ytvos", 1, ytvos("Annotations"), "annotations"),
    "UNINEXT": ("uninext", None, uninext, "annotations"),
    "UNINEXT in windows": ("uninext", 20, uninext, "annotations"),
}


def imported(folder: Path, benchmark: Benchmark) -> Arrays:
    found = {}
    for path in folder.glob("*.jsonl"):
        head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
        texts = {each.id: spoken(each.text) for each in benchmark.expressions_of(head["clip"])}
        assert head["frames"] == list(benchmark.clips[head["clip"]].frames)
        for line in lines:
            masks = [Mask.from_rle(counts.encode(), tuple(head["size"])).array() for counts in line["counts"]]
            found[head["clip"], texts[line["expression"]]] = np.stack(masks)
    return found


def same(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("who", PROGRAMS)
@settings(max_examples=5)
@given(shapes=SHAPES, seed=st.integers(0, 1000))
def test_answers_come_back(who: str, shapes: dict, seed: int) -> None:
    layout, window, program, form = PROGRAMS[who]
    benchmark = questioned(shapes)
    masks = drawn(benchmark, seed)
    places = {clip.id: {name: k for k, name in enumerate(clip.frames)} for clip in benchmark.clips.values()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_benchmark(benchmark, folder / "questions", layout, frames="none", window=window)
        program(folder / "questions", folder / "out", masks, places)
        groups = folder / "questions/groups.json" if layout.startswith("davis4") else None
        done = import_predictions(folder / "out", benchmark, folder / "preds", form, groups=groups)
        assert same(imported(folder / "preds", benchmark), masks)
        assert any("windows were joined" in note for note in done.notes) == (window is not None)


@pytest.mark.parametrize("layout", ["rem-burst", "rem-vspw"])
@settings(max_examples=5)
@given(shapes=SHAPES, seed=st.integers(0, 1000))
def test_rems_trees_come_back(layout: str, shapes: dict, seed: int) -> None:
    """BURST's has the annotated frames, VSPW's all."""
    benchmark = questioned(shapes)
    masks = drawn(benchmark, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in benchmark.expressions:
            clip = benchmark.clips[each.clip]
            home = folder / "out" / clip.id
            home = home / "pred" / each.id if layout == "rem-burst" else home / each.id / "pred"
            for index, frame in enumerate(clip.frames):
                if layout == "rem-vspw" or frame in clip.annotated:
                    write(home / f"{frame}.png", masks[clip.id, spoken(each.text)][index], palette=True)
        import_predictions(folder / "out", benchmark, folder / "preds", layout)
        for clip in benchmark.clips.values():
            head, *lines = [json.loads(x) for x in (folder / f"preds/{clip.id}.jsonl").read_text().splitlines()]
            kept = [clip.frames.index(frame) for frame in head["frames"]]
            assert kept == list(clip.annotated_indices() if layout == "rem-burst" else range(len(clip.frames)))
            for each, line in zip(benchmark.expressions_of(clip.id), lines, strict=True):
                wanted = masks[clip.id, spoken(each.text)][kept]
                assert line["counts"] == [Mask.from_array(mask).counts().decode() for mask in wanted]


def windows(tmp_path: Path, shapes: dict) -> tuple[Benchmark, Path, Arrays]:
    benchmark = questioned(shapes)
    masks = drawn(benchmark, 3)
    places = {clip.id: {name: k for k, name in enumerate(clip.frames)} for clip in benchmark.clips.values()}
    export_benchmark(benchmark, tmp_path / "questions", "ytvos", window=3)
    ytvos("valid")(tmp_path / "questions", tmp_path / "out", masks, places)
    return benchmark, tmp_path / "out", masks


def test_windows_are_cut_where_they_should_be(tmp_path: Path) -> None:
    benchmark, out, masks = windows(tmp_path, {"a": ((5, 6), 7, 2), "b": ((4, 3), 3, 1)})
    asked = meta(tmp_path / "questions")
    lengths = {video: len(entry["frames"]) for video, entry in asked.items()}
    assert lengths == {"a__w000": 3, "a__w001": 3, "a__w002": 1, "b__w000": 3}
    parts = [frame for k in range(3) for frame in asked[f"a__w00{k}"]["frames"]]
    assert parts == list(benchmark.clips["a"].frames)
    for video, entry in asked.items():
        folder = tmp_path / "questions/valid/JPEGImages" / video
        assert sorted(path.stem for path in folder.iterdir()) == sorted(entry["frames"])
    seen = np.array(Image.open(tmp_path / "questions/valid/JPEGImages/a__w002/f06.jpg")).astype(int)
    assert np.abs(seen - benchmark.frames("a")[6].astype(int)).mean() < 30
    shutil.make_archive(str(tmp_path / "packed"), "zip", out)
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert any("__w002" in name for name in archive.namelist())
    maker = Method("mine", version="2", options={"window": "3"})
    import_predictions(tmp_path / "packed.zip", benchmark, tmp_path / "preds", jobs=2, method=maker, details={"x": 1})
    assert same(imported(tmp_path / "preds", benchmark), masks)
    record = json.loads((tmp_path / "preds/run.json").read_text())
    assert record["method"]["version"] == "2" and record["ran"] == {"x": 1}


def test_gaps_and_overlaps_of_windows_are_named(tmp_path: Path) -> None:
    benchmark, out, _ = windows(tmp_path, {"a": ((5, 6), 7, 2)})
    gap = out / "valid/a__w001/e1/f04.png"
    content = gap.read_bytes()
    gap.unlink()
    with pytest.raises(InputError, match="a/e1/f04"):
        import_predictions(out, benchmark, tmp_path / "preds")
    gap.write_bytes(content[:-9])
    with pytest.raises(InputError, match=r"a/e1/f04|a__w001/e1/f04"):
        import_predictions(out, benchmark, tmp_path / "preds")
    gap.write_bytes(content)
    shutil.copy(gap, out / "valid/a__w002/e1/f04.png")
    with pytest.raises(InputError, match="Two windows have the same frame"):
        import_predictions(out, benchmark, tmp_path / "preds")
    assert not (tmp_path / "preds").exists()


def test_only_some_layouts_have_windows(tmp_path: Path) -> None:
    benchmark = questioned({"a": ((5, 6), 7, 2)})
    with pytest.raises(UsageError, match="one of ytvos, uninext"):
        export_benchmark(benchmark, tmp_path / "x", "davis4", window=3)
    with pytest.raises(UsageError, match="at least one frame"):
        export_benchmark(benchmark, tmp_path / "x", "ytvos", window=0)
    twins = questioned({"a": ((5, 6), 7, 2), "a__w001": ((5, 6), 2, 1)})
    with pytest.raises(UsageError, match="called like a clip"):
        export_benchmark(twins, tmp_path / "x", "ytvos", window=3)
    assert not (tmp_path / "x").exists()


def test_rems_other_objects_are_strangers(tmp_path: Path) -> None:
    """Here every pseudo-video has one object."""
    benchmark = questioned({"a": ((5, 6), 2, 1)})
    for index in range(2):
        write(tmp_path / f"out/anno_0/a__g000/1/{index:05d}.png", np.eye(5, 6, dtype=bool), palette=True)
        write(tmp_path / f"out/anno_0/a__g000/2/{index:05d}.png", np.ones((5, 6), bool), palette=True)
    done = import_predictions(tmp_path / "out", benchmark, tmp_path / "preds", "davis4")
    assert any("00000.png" in note for note in done.notes)
    (masks,) = imported(tmp_path / "preds", benchmark).values()
    assert np.array_equal(masks[0], np.eye(5, 6, dtype=bool))
