"""``refvps import``: whatever a method wrote becomes the canonical form, byte for byte, completely or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_docs import commands
from tiny import EXPRESSIONS, ArrayReaders, Masks, tiny_benchmark, tiny_masks

from refvps import cli
from refvps.cli.dataset import import_ as command
from refvps.data import load
from refvps.errors import InputError, UsageError
from refvps.export import export_benchmark
from refvps.files import canonical_json, read_json
from refvps.masks.mask import Mask
from refvps.predictions import importing
from refvps.predictions.export import LAYOUTS, export
from refvps.predictions.foreign.davis4 import groups_of, groups_record
from refvps.predictions.importing import import_predictions
from refvps.predictions.write import ClipWriter
from refvps.types import Benchmark

ROOT = Path(__file__).resolve().parent.parent
SINGLE = tuple(each for each in EXPRESSIONS if each.id in ("a0", "r0", "left", "right"))
"""One expression a target, which id masks can hold."""


def canonical(folder: Path, benchmark: Benchmark, masks: Masks, *, annotated: bool = False) -> Path:
    """The canonical files of arrays; ``annotated``: of the annotated frames only."""
    for clip in benchmark.clips.values():
        kept = clip.annotated_indices() if annotated else range(len(clip.frames))
        asked = [each.id for each in benchmark.expressions_of(clip.id)]
        part = replace(clip, frames=tuple(clip.frames[index] for index in kept))
        writer = ClipWriter(folder / f"{clip.id}.jsonl", part, asked, benchmark.name, benchmark.digest)
        for expression in asked:
            for place, index in enumerate(kept):
                writer.add(expression, place, Mask.from_array(masks[clip.id, expression][index]))
        writer.finish()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_comes_back_byte_for_byte(layout: str, form: str, tmp_path: Path) -> None:
    benchmark = tiny_benchmark(expressions=SINGLE if layout == "ids" else EXPRESSIONS)
    masks = tiny_masks(benchmark)
    given = tmp_path / ("given.zip" if form == "zip" else "given")
    export(given, benchmark, ArrayReaders(masks), layout)
    wanted = contents(canonical(tmp_path / "wanted", benchmark, masks, annotated=layout == "rem-burst"))
    assert set(wanted) == {"melt.jsonl", "ripple.jsonl", "flash.jsonl"}
    for asked in (layout, "auto"):
        done = import_predictions(given, benchmark, tmp_path / asked, asked)
        assert contents(tmp_path / asked) == wanted
        assert done.layout == layout
        assert (done.clips, done.expressions) == (3, len(benchmark.expressions))
        lines = [json.loads(line) for data in wanted.values() for line in data.splitlines()[1:]]
        assert done.masks == sum(len(line["counts"]) for line in lines)
    again = import_predictions(tmp_path / "auto", benchmark, tmp_path / "again", "canonical")
    assert contents(tmp_path / "again") == wanted
    assert again.layout == "canonical"


def test_the_result_does_not_depend_on_jobs_and_order(tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    export(tmp_path / "tree", benchmark, ArrayReaders(tiny_masks(benchmark)), "tree")
    seen: list[tuple[int, int]] = []
    import_predictions(tmp_path / "tree", benchmark, tmp_path / "one")
    import_predictions(
        tmp_path / "tree", benchmark, tmp_path / "two", jobs=2, progress=lambda done, total: seen.append((done, total))
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (tmp_path / "one/run.json").read_bytes() == (tmp_path / "two/run.json").read_bytes()


RUNS = {
    "ReferFormer": ("valid", "anno_0", "anno_1", "anno_2", "anno_3"),
    "SgMg": ("DVS_Annotations", "anno_0", "anno_1", "anno_2", "anno_3"),
    "MUTR": ("valid", "Davis17_annot1", "Davis17_annot1_full_video", "Davis17_annot2", "Davis17_annot2_full_video"),
    "flat": ("", "anno_0", "anno_1", "anno_2", "anno_3"),
}


def write_davis4(folder: Path, exported: Path, masks: Masks, home: str, *runs: str) -> Path:
    """What a method for Ref-DAVIS writes from the export: palette PNGs by index, also for the padding."""
    groups = read_json(exported / "groups.json")["groups"]
    asked = read_json(exported / "meta_expressions/valid/meta_expressions.json")["videos"]
    assert set(asked) == set(groups)
    for name, group in groups.items():
        assert len(asked[name]["expressions"]) == 4
        members = [*group["expressions"], *[group["expressions"][-1]] * 4]
        for run, expression in zip(runs, members, strict=False):
            for index, mask in enumerate(masks[group["clip"], expression]):
                path = folder / home / run / name / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.frombytes("P", mask.shape[::-1], mask.astype(np.uint8).tobytes())
                picture.putpalette([0, 0, 0, 128, 0, 0] + [7] * 762)
                picture.save(path)
    return folder


@pytest.mark.parametrize("who", RUNS)
def test_davis4_there_and_back(who: str, tmp_path: Path) -> None:
    """Five expressions of one clip make two pseudo-videos, the second padded; names of frames start anywhere."""
    melt = tuple(replace(EXPRESSIONS[0], id=f"m{k}", source_id="") for k in range(5))
    benchmark = tiny_benchmark(expressions=(*melt, *EXPRESSIONS[4:]))
    masks = tiny_masks(benchmark)
    export_benchmark(benchmark, tmp_path / "export", "davis4", frames="none")
    assert read_json(tmp_path / "export/groups.json") == groups_record(groups_of(benchmark))
    given = write_davis4(tmp_path / who, tmp_path / "export", masks, *RUNS[who])
    wanted = contents(canonical(tmp_path / "wanted", benchmark, masks))
    import_predictions(given, benchmark, tmp_path / "one", "davis4")
    import_predictions(given, benchmark, tmp_path / "two", groups=tmp_path / "export/groups.json")
    shutil.copy(tmp_path / "export/groups.json", given)
    shutil.make_archive(str(tmp_path / "zipped"), "zip", given)
    done = import_predictions(tmp_path / "zipped.zip", benchmark, tmp_path / "three")
    assert done.layout == "davis4"
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three") == wanted


def davis4(tmp_path: Path) -> tuple[Benchmark, Path]:
    benchmark = tiny_benchmark()
    export_benchmark(benchmark, tmp_path / "export", "davis4", frames="none")
    return benchmark, write_davis4(tmp_path / "given", tmp_path / "export", tiny_masks(benchmark), *RUNS["flat"])


def test_davis4_names_what_is_missing(tmp_path: Path) -> None:
    benchmark, given = davis4(tmp_path)
    (given / "anno_2/melt__g000/00004.png").unlink()
    (given / "anno_0/ripple__g000/00003.png").unlink()  # not annotated: the frame is left out
    done = tmp_path / "out"
    with pytest.raises(InputError, match=r"melt/a2/00004: no anno_2/melt__g000/00004\.png"):
        import_predictions(given, benchmark, done)
    shutil.copy(given / "anno_1/melt__g000/00004.png", given / "anno_2/melt__g000/00004.png")
    assert "1 frames that are not annotated" in import_predictions(given, benchmark, done).notes[0]
    assert "00003" not in (done / "ripple.jsonl").read_text().splitlines()[0]
    shutil.rmtree(given / "anno_1/flash__g000")
    with pytest.raises(InputError, match="flash/right: no anno_1/flash__g000/"):
        import_predictions(given, benchmark, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_davis4_reads_palettes_by_index_and_nothing_soft(tmp_path: Path) -> None:
    benchmark, given = davis4(tmp_path)
    path = given / "anno_0/flash__g000/00002.png"
    labels = np.zeros((29, 43), np.uint8)
    labels[3:9, 4:20], labels[10:12] = 3, 7
    picture = Image.frombytes("P", (43, 29), labels.tobytes())
    picture.putpalette([0] * 768)
    picture.save(path)
    import_predictions(given, benchmark, tmp_path / "out")
    line = (tmp_path / "out/flash.jsonl").read_text().splitlines()[1]
    assert json.loads(line)["counts"][2] == Mask.from_array(labels > 0).counts().decode()
    Image.fromarray(labels * 20).save(path)
    with pytest.raises(InputError, match=r"anno_0/flash__g000/00002\.png"):
        import_predictions(given, benchmark, tmp_path / "soft")
    Image.fromarray(np.zeros((28, 43), np.uint8)).save(path)
    with pytest.raises(InputError, match="43x28|28"):
        import_predictions(given, benchmark, tmp_path / "size")


def test_groups_must_fit_the_benchmark(tmp_path: Path) -> None:
    benchmark, given = davis4(tmp_path)
    groups = groups_record(groups_of(benchmark))
    cases = {
        "is in no group": lambda g: g["melt__g000"]["expressions"].pop(),
        "is not in the benchmark": lambda g: g["melt__g000"]["expressions"].__setitem__(0, "zz"),
        "in two groups": lambda g: g.update(more={"clip": "melt", "expressions": ["a0"]}),
        "does not name a clip": lambda g: g.update(more=7),
        "not 1 to 4": lambda g: g["melt__g000"]["expressions"].extend(["a0"]),
    }
    for phrase, change in cases.items():
        wrong = json.loads(canonical_json(groups))
        change(wrong["groups"])
        (tmp_path / "wrong.json").write_bytes(canonical_json(wrong))
        with pytest.raises(InputError, match=phrase):
            import_predictions(given, benchmark, tmp_path / "out", groups=tmp_path / "wrong.json")
    with pytest.raises(UsageError, match="Groups belong to davis4"):
        import_predictions(given, benchmark, tmp_path / "out", "tree", groups=tmp_path / "wrong.json")
    shutil.copytree(given / "anno_0", given / "other/anno_0")
    with pytest.raises(InputError, match="several folders"):
        import_predictions(given, benchmark, tmp_path / "out")


def test_frames_on_which_a_target_is_absent_become_empty(tmp_path: Path) -> None:
    """No prediction is asked for there, and the canonical form has a mask for every expression and frame."""
    benchmark = tiny_benchmark()
    absent = frozenset({("2", 1), ("2", 2)})

    class Partial:
        def __init__(self, clip: str) -> None:
            self.inner, self.absent = tiny_benchmark().truth(clip), absent if clip == "flash" else frozenset()

        def frame(self, index: int) -> object:
            return self.inner.frame(index)

    benchmark = replace(benchmark, truth=Partial)
    export(tmp_path / "tree", benchmark, ArrayReaders(tiny_masks(benchmark)), "tree")
    for index in (1, 2):
        (tmp_path / f"tree/flash/right/{index:05d}.png").unlink()
    done = import_predictions(tmp_path / "tree", benchmark, tmp_path / "out")
    assert any("2 masks are empty because their target is not annotated" in note for note in done.notes)
    right = json.loads((tmp_path / "out/flash.jsonl").read_text().splitlines()[2])
    nothing = Mask.from_array(np.zeros((29, 43), np.bool_)).counts().decode()
    assert [text == nothing for text in right["counts"]][1:3] == [True, True]


def run(*args: object) -> int:
    return cli.run([str(arg) for arg in args])


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    """``motion`` on the sample, as Ref-YouTube-VOS' server wants it."""
    assert run("predict", "-q", "-p", "centre", "-b", "sample", "--out", tmp_path / "preds") == 0
    tree = tmp_path / "tree"
    assert run("export", "predictions", "-q", "--pred", tmp_path / "preds", "-b", "sample", "--layout", "annotations",
               "--out", tree) == 0  # fmt: skip
    return tree


def test_the_command(sampled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = tmp_path / "again"
    assert run("import", "--layout", "annotations", sampled, "--out", out, "-b", "sample", "--method", "mine") == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(out)
    assert "annotations: 14 clips" in shown.err
    assert contents(out) == contents(tmp_path / "preds")
    record = read_json(out / "run.json")
    assert record["method"] == {"name": "mine"}
    assert record["imported"] == {"layout": "annotations", "from": "tree"}
    assert record["benchmark"]["digest"] == load("sample").digest
    assert run("evaluate", "-q", "--pred", out, "-b", "sample", "--out", tmp_path / "results") == 0
    assert list((tmp_path / "results").glob("sample@*/mine.json"))
    assert run("predict", "-q", "-p", "centre", "-b", "sample", "--out", out) == 2  # another run's folder
    assert run("import", sampled, "--out", out, "-b", "sample") == 2  # nothing is overwritten
    assert "The output exists" in capsys.readouterr().err
    assert run("import", "--json", tmp_path / "preds", "--out", tmp_path / "third", "-b", "sample") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["layout"], told["clips"], told["notes"]) == ("canonical", 14, [])
    assert read_json(tmp_path / "third/run.json")["method"]["name"] == "centre"  # as it was declared


def test_all_or_nothing(sampled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = next(sampled.rglob("*.png"))
    one.unlink()
    out = tmp_path / "again"
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run("import", sampled, "--out", out, "-b", "sample") == 4
    told = capsys.readouterr().err
    assert f"{one.parent.parent.name}/{one.parent.name}" in told
    assert "write a mask for every annotated frame" in told
    assert "--missing" not in told  # an option of evaluate, which import does not have
    one.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("import", sampled, "--out", out, "-b", "sample") == 4
    assert one.name in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # not even a temporary folder


def test_another_layout_than_asked_for(sampled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("ids", "ytvos", "canonical", "davis4"):
        assert run("import", "--layout", asked, sampled, "--out", tmp_path / "x", "-b", "sample") == 4
        assert f"not in the layout {asked}" in capsys.readouterr().err
    assert run("import", "--layout", "tree", sampled, "--out", tmp_path / "x", "-b", "sample") == 0
    (sampled / "Annotations").rename(sampled / "valid")
    assert run("import", "--layout", "ytvos", sampled, "--out", tmp_path / "y", "-b", "sample") == 0
    assert run("import", "--layout", "ytvos", sampled / "valid", "--out", tmp_path / "z", "-b", "sample") == 0
    assert contents(tmp_path / "x") == contents(tmp_path / "y") == contents(tmp_path / "z")
    assert run("import", "--layout", "ytvos", tmp_path / "nowhere", "--out", tmp_path / "q", "-b", "sample") == 4
    assert run("import", "--layout", "xyz", sampled, "--out", tmp_path / "q", "-b", "sample") == 2
    assert run("import", sampled, "--out", tmp_path / "q", "-b", "sample", "--method", "a/b") == 4


def test_layouts_are_listed_once() -> None:
    assert tuple(importing.LAYOUTS) == command.LAYOUTS
    page = (ROOT / "docs/import.md").read_text()
    assert all(f"| `{name}` |" in page for name in importing.LAYOUTS)
    assert LAYOUTS.keys() <= importing.LAYOUTS.keys()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for args in commands(ROOT / "docs/import.md"):
        if "davis4" in args and args[0] == "import":
            sample = load("sample")
            arrays: Masks = {}
            for each in sample.expressions:
                clip = sample.clips[each.clip]
                arrays[each.clip, each.id] = np.zeros((len(clip.frames), *clip.size), np.bool_)
            write_davis4(tmp_path / "referformer", tmp_path / "questions", arrays, *RUNS["ReferFormer"])
        if "ytvis" in args and args[0] == "import":
            Path("results.json").write_text("[]")
        assert cli.run(args) == 0, args
        ran += 1
    assert ran >= 6
