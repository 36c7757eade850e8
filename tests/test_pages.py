"""The pages in docs/ that people copy from: every block is run, in its order, in an empty folder."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from trees import write_lines

from refvps import cli
from refvps.data import load
from refvps.video import WebmWriter

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Reader:
    """Does what a page says, block by block; ``out`` holds what each command printed."""

    def __init__(self, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.page, self.monkeypatch = ROOT / "docs" / page, monkeypatch
        self.out: dict[str, str] = {}
        self.names: dict[str, object] = {}
        self.blocks = BLOCK.findall(self.page.read_text())

    def follow(self) -> None:
        """All blocks in their order."""
        assert self.blocks
        for language, block in self.blocks:
            first, _, rest = block.partition("\n")
            if language in ("python", "toml") and re.fullmatch(r"# [\w./-]+\.(py|toml)", first):
                path = Path(first[2:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(rest)
            elif language == "python":
                text = io.StringIO()
                with redirect_stdout(text):
                    exec(compile(block, str(self.page), "exec"), self.names)
                self.out[block] = text.getvalue()
            elif language == "":
                for line in block.splitlines():
                    self.command(line)
            else:
                raise AssertionError(f"nobody runs a block of {language!r}")

    def command(self, line: str) -> None:
        """One line of a shell block."""
        words = shlex.split(line, comments=True)
        text = io.StringIO()
        if words[0] == "refvps":
            with redirect_stdout(text):
                code = cli.run(words[1:])
            assert code == 0, (line, text.getvalue())
        elif words[0] == "python":
            self.process([sys.executable, *words[1:]])
        elif words[:2] == ["pip", "install"]:
            site = Path("site").resolve()
            extra = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
            self.process([sys.executable, "-m", "pip", "install", "-q", *extra, *words[2:]])
            self.monkeypatch.syspath_prepend(site)
            invalidate_caches()
        elif words[0] == "cp":
            shutil.copy(words[1], words[2])
        else:
            raise AssertionError(f"nobody runs {line!r}")
        self.out[line] = text.getvalue()

    def process(self, command: list[str]) -> None:
        path = f"{ROOT}{':' + str(Path('site').resolve()) if Path('site').exists() else ''}"
        self.monkeypatch.setenv("PYTHONPATH", path)
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Makes a reader of a page in an empty working directory; what was imported there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFVPS_JOBS", "1")  # starting workers would cost more than they save
    known = set(sys.modules)
    yield lambda page: Reader(page, monkeypatch)
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def result(name):
    return json.loads(Path("results", f"{name}.json").read_text())


def test_add_a_method(reader):
    with WebmWriter(Path("video.webm"), (48, 64), 24.0) as writer:
        for frame in range(20):
            writer.add(np.full((48, 64, 3), 12 * frame, np.uint8))
    page = reader("add-a-method.md")
    page.follow()
    assert result("sample@1/bright")["summary"]["J"]["value"] > 0
    assert result("sample@1/brightest")["method"]["name"] == "brightest"
    assert Path("installed/candle-wax.jsonl").read_bytes() == Path("brightest/candle-wax.jsonl").read_bytes()
    assert json.loads(Path("brightest/run.json").read_text())["method"]["options"] == {"share": 0.8}
    assert re.search(r"^brightest +yes ", page.out["refvps list predictors"], re.MULTILINE)
    assert "brightest:load (brightest-method)" in page.out["refvps doctor"]
    assert Path("looked-at/frame.png").is_file()
    assert Path("looked-at/films/candle-wax/0.webm").is_file()
    assert 1 <= len(list(Path("shared").glob("*.jsonl"))) <= 3
    assert len(list(Path("masks").glob("*.png"))) == 20
    assert Path("splash.webm").is_file()
    assert "4 frames of 48x64" in next(out for line, out in page.out.items() if line.startswith("refvps bench"))
    assert "brightest on sample@1" in next(out for line, out in page.out.items() if "--sample" in line)
    assert json.loads(Path("blind/run.json").read_text())["method"]["name"] == "brightest.shuffled-text"


def test_add_a_benchmark(reader):
    page = reader("add-a-benchmark.md")
    page.follow()
    folder = next(Path("results").glob("folder@*")).name
    # 32 rows x 22 columns of target and 4 of Ignore; the guess has 28 rows of 24, of which 2 columns are on Ignore
    both, p, g, pi = 28 * 22, 28 * 24, 32 * 22, 28 * 2
    assert result(f"{folder}/guesses")["summary"]["J"]["value"] == pytest.approx(both / (p + g - both - pi))
    assert result(f"{folder}/strict")["summary"]["J"]["value"] == pytest.approx(both / (p + g - both))
    rolling = result("rolling@1/motion")
    assert rolling["summary"]["J"]["n"] == 1 and [row["frames"] for row in rolling["rows"]] == [4, 4]
    assert "rolling@1" in page.out["refvps doctor --deep"] and "intact" in page.out["refvps doctor --deep"]
    assert "from the package lamps" in page.out["refvps list benchmarks"]
    lamps = result("lamps@1/motion")
    assert lamps["summary"]["J"]["groups"] == 3 and lamps["summary"]["J"]["value"] > 0.5
    assert Path("lamp/frame.png").is_file()
    (printed,) = (out for block, out in page.out.items() if "store(bench" in block)
    assert printed.splitlines()[1] == "True"


# --- submission.md ---------------------------------------------------------------------------------


def rows(page, head):
    """Cells of the table under a heading cell, first column as code."""
    text = (ROOT / "docs" / page).read_text()
    table = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_commands_of_the_submission_page_run(reader):
    bench = load("sample")
    Path("preds").mkdir()
    for clip in bench.clips.values():
        truth = bench.truth(clip.id)
        frames = [truth.frame(index)[0] for index in range(len(clip.frames))]
        answers = {
            e.id: np.stack([np.roll(targets[e.target].array(), 3, axis=1) for targets in frames])
            for e in bench.expressions_of(clip.id)
        }
        np.savez(f"preds/{clip.id}.npz", **answers)
    shutil.make_archive("preds", "zip", "preds")
    page = reader("submission.md")
    page.follow()
    assert "can be scored (14 clips, 56 expressions" in next(iter(page.out.values()))
    report = json.loads(next(out for line, out in page.out.items() if "--json" in line))
    assert report["ok"] is True


# every form that the page lists, written here by hand, gives the same score


CLIPS = {"alpha": (24, 30), "beta.2": (19, 41)}
NAMES = [f"{frame:04d}" for frame in range(5)]
TEXTS = {"pairs": {"a0": "1", "a1": "1", "b0": "2", "b1": "2"}, "singles": {"left": "1", "right": "2"}}


def drawn(seed, side, size):
    """A noisy mask in the left (1) or right (2) half."""
    mask = np.random.default_rng(seed).random(size) < 0.4
    half = np.arange(size[1]) < size[1] // 2
    return mask & (half if side == "1" else ~half)


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    """Registered: "pairs" with two sentences for each of two targets, "singles" with one; J of each by numpy."""
    root = tmp_path_factory.mktemp("sets")
    patch = pytest.MonkeyPatch()
    patch.setenv("REFVPS_HOME", str(root / "home"))
    found = {}
    for kind, texts in TEXTS.items():
        clips, expressions, values, masks = [], [], [], {}
        for clip, size in CLIPS.items():
            clips.append({"id": clip, "size": size, "fps": 8, "frames": NAMES, "annotated": NAMES, "annotation_fps": 8,
                          "group": clip, "split": "test", "concept": "noise", "categories": []})  # fmt: skip
            truth = {t: [drawn([9, k, int(t)], t, size) for k in range(5)] for t in ("1", "2")}
            head = {"schema": "refvps.masks/1", "clip": clip, "size": size, "frames": NAMES}
            tracks = [{"target": t, "counts": [rle(mask) for mask in track]} for t, track in truth.items()]
            write_lines(root / kind / "masks" / f"{clip}.jsonl", [head, *tracks])
            for number, (name, target) in enumerate(texts.items()):
                expressions.append({"clip": clip, "id": name, "text": f"{name} of {clip}", "target": target})
                guesses = [drawn([5, k, number], target, size) for k in range(5)]
                masks |= {(clip, name, NAMES[k]): guesses[k] for k in range(5)}
                values += [(p & g).sum() / (p | g).sum() for p, g in zip(guesses, truth[target], strict=True)]
        write_lines(root / kind / "clips.jsonl", clips)
        write_lines(root / kind / "expressions.jsonl", expressions)
        assert cli.run(["download", "-q", kind, "--from", str(root / kind)]) == 0
        found[kind] = (masks, float(np.mean(values)))
    yield root / "home", found
    patch.undo()


def rle(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")


def png(path, image, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    if palette:
        picture = Image.frombytes("P", picture.size, image.astype(np.uint8).tobytes())
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(path)


def ids(root, masks, names, place):
    """Id PNGs of the expressions ``names``, each with its target's id."""
    targets = TEXTS["pairs"] | TEXTS["singles"]
    for clip, size in CLIPS.items():
        for frame in NAMES:
            image = np.zeros(size, np.uint8)
            for name in names:
                image[masks[clip, name, frame]] = int(targets[name])
            png(root / place(clip) / f"{frame}.png", image, palette=True)


def canonical(root, masks):
    for clip, size in CLIPS.items():
        bench = load("pairs")
        head = {"schema": "refvps.predictions/1", "clip": clip, "size": size, "frames": NAMES,
                "benchmark": bench.name, "digest": bench.digest}  # fmt: skip
        lines = [{"expression": e, "counts": [rle(masks[clip, e, f]) for f in NAMES]} for e in TEXTS["pairs"]]
        write_lines(root / f"{clip}.jsonl", [head, *lines])


def tree(pattern):
    """A writer of one binary PNG per expression and frame."""

    def write(root, masks):
        for (clip, expression, frame), mask in masks.items():
            png(root / pattern.format(clip=clip, expression=expression, frame=frame), mask)

    return write


def runs(root, masks, per_target=False):
    for k in range(2):
        names = [f"a{k}", f"b{k}"]
        if not per_target:
            ids(root, masks, names, lambda clip, k=k: f"anno_{k}/{clip}")
            continue
        for clip in CLIPS:
            for frame in NAMES:
                for name in names:
                    png(root / f"anno_{k}/{clip}/{TEXTS['pairs'][name]}/{frame}.png", masks[clip, name, frame])


def one_json(root, masks):
    found = {
        clip: {e: [{"size": list(size), "counts": rle(masks[clip, e, f])} for f in NAMES] for e in TEXTS["pairs"]}
        for clip, size in CLIPS.items()
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "answer.json").write_text(json.dumps(found))


def arrays(root, masks):
    (root / "alpha").mkdir(parents=True)
    stacks = {(c, e): np.stack([masks[c, e, f] for f in NAMES]) for c in CLIPS for e in TEXTS["pairs"]}
    for e in TEXTS["pairs"]:
        np.save(root / "alpha" / f"{e}.npy", stacks["alpha", e])
    np.savez(root / "beta.2.npz", **{e: stacks["beta.2", e].astype(np.uint8) for e in TEXTS["pairs"]})


FORMS = {
    "`<clip>.jsonl`": canonical,
    "`<clip>/<expression>/<frame>.png`": tree("{clip}/{expression}/{frame}.png"),
    "`Annotations/<clip>/<expression>/<frame>.png`": tree("Annotations/{clip}/{expression}/{frame}.png"),
    "`<clip>/pred/<expression>/<frame>.png`": tree("{clip}/pred/{expression}/{frame}.png"),
    "`<clip>/<expression>/pred/<frame>.png`": tree("{clip}/{expression}/pred/{frame}.png"),
    "`<clip>/<frame>.png`": lambda root, masks: ids(root, masks, TEXTS["singles"], lambda clip: clip),
    "`anno_0..anno_3/<clip>/<frame>.png`": runs,
    "`anno_k/<clip>/<target>/<frame>.png`": lambda root, masks: runs(root, masks, per_target=True),
    "one `.json`": one_json,
    "`<clip>.npz`, `<clip>/<expression>.npy`": arrays,
}
"""A writer for every row of the page's first table."""


def test_every_form_on_the_page_has_a_writer_here():
    assert {row[0] for row in rows("submission.md", "form")} == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_score(two_sets, form, tmp_path, monkeypatch, capsys):
    home, found = two_sets
    monkeypatch.setenv("REFVPS_HOME", str(home))
    kind = "singles" if form == "`<clip>/<frame>.png`" else "pairs"
    masks, wanted = found[kind]
    FORMS[form](tmp_path / "deep" / "preds", masks)
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "deep" / "preds")
    for pred in (tmp_path / "deep" / "preds", tmp_path / "zipped.zip", tmp_path / "deep"):
        out = ["--out", str(tmp_path / f"results-{pred.name}"), "--method", "x", "--json", "-q"]
        code = cli.run(["evaluate", "--pred", str(pred), "-b", kind, *out])
        said = capsys.readouterr()
        assert code == 0, said.err
        assert json.loads(said.out)["summary"]["J"]["value"] == pytest.approx(wanted, rel=1e-12)


PNGS = {
    "mode 1": lambda mask, path: Image.fromarray(mask).save(path),
    "L with values {0, 1} or {0, 255}": lambda mask, path: Image.fromarray(mask.astype(np.uint8) * 255).save(path),
    "P": lambda mask, path: png(path, mask.astype(np.uint8) * 2, palette=True),
    "RGB, RGBA, 16 bit, soft, JPEG, wrong size": None,
}
"""A writer for every row of the page's second table."""

REFUSED = {
    "RGB": lambda mask, path: Image.fromarray(mask).convert("RGB").save(path),
    "RGBA": lambda mask, path: Image.fromarray(mask).convert("RGBA").save(path),
    "16 bit": lambda mask, path: Image.fromarray(mask.astype(np.uint16) * 65535).save(path),
    "soft": lambda mask, path: Image.fromarray((mask * np.arange(mask.shape[1]) * 6).astype(np.uint8)).save(path),
    "JPEG": lambda mask, path: Image.fromarray(mask.astype(np.uint8) * 255).save(path, "JPEG"),
    "wrong size": lambda mask, path: Image.fromarray(mask[:-1]).save(path),
}


def test_the_png_table_is_true(two_sets, tmp_path, monkeypatch):
    home, found = two_sets
    monkeypatch.setenv("REFVPS_HOME", str(home))
    monkeypatch.setenv("REFVPS_JOBS", "1")
    masks, _ = found["pairs"]
    table = rows("submission.md", "PNG")
    assert [row[0] for row in table] == list(PNGS)
    assert table[-1][0] == ", ".join(REFUSED) and "exit code 4" in table[-1][1]
    tree("{clip}/{expression}/{frame}.png")(tmp_path / "preds", masks)
    odd = tmp_path / "preds/alpha/a0/0002.png"

    def code():
        return cli.run(["validate", "-q", "--pred", str(tmp_path / "preds"), "-b", "pairs"])

    for name, write in (PNGS | REFUSED).items():
        if write is not None:
            write(masks["alpha", "a0", "0002"], odd)
            assert code() == (4 if name in REFUSED else 0), name


def test_settings_on_the_page_come_from_the_environment(two_sets, tmp_path, monkeypatch):
    home, found = two_sets
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/submission.md").read_text()
    assert "`REFVPS_EVALUATE_OUT=scores`" in text and "`REFVPS_HOME`" in text and "`REFVPS_SEED`" in text
    monkeypatch.setenv("REFVPS_HOME", str(home))
    monkeypatch.setenv("REFVPS_EVALUATE_OUT", "scores")
    monkeypatch.setenv("REFVPS_SEED", "5")
    one_json(tmp_path / "preds", found["pairs"][0])
    assert cli.run(["evaluate", "-q", "--pred", "preds", "-b", "pairs"]) == 0
    (path,) = Path("scores").rglob("preds.json")
    assert ",seed5," in json.loads(path.read_text())["signature"]
