"""``refvps evaluate --protocol``: results, comparisons, counts, messages and exit codes."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from dataclasses import fields, is_dataclass

import click
import numpy as np
import pytest
from PIL import Image
from protocol_data import SIZE, data_set, drawn, save, write, write_folders

from refvps import cli
from refvps.cli import evaluate as command
from refvps.errors import InputError, UsageError
from refvps.run.compare import compare
from refvps.run.protocols import PROTOCOLS, TOOLS, choose
from refvps.run.results import read_result
from refvps.run.signature import parse


@pytest.fixture
def data(tmp_path, monkeypatch):
    """gt/ and preds/ in the current folder, which every protocol for ids can score."""
    monkeypatch.chdir(tmp_path)
    truth, guess = data_set("plain")
    write(tmp_path / "gt", truth)
    write(tmp_path / "preds", guess)
    return tmp_path


def evaluate(*options, pred="preds", gt="gt"):
    return cli.run(["evaluate", "--gt", gt, "--pred", pred, "--draws", "200", *options])


def only_result(folder, name):
    (path,) = folder.glob(f"results/*/{name}.json")
    return path


# The table of rules


def test_every_protocol_is_data():
    assert (*PROTOCOLS, "ref-davis") == command.PROTOCOLS  # the last belongs to one benchmark
    assert set(TOOLS) == set(PROTOCOLS) - {"refvps"}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.source and protocol.tool
        assert is_dataclass(protocol) and all(
            isinstance(getattr(protocol, f.name), str | int | float | tuple | None) for f in fields(protocol)
        )
        with pytest.raises(AttributeError):
            protocol.skip_ends = True
    signed = [tuple(PROTOCOLS[name].fields("ids").items()) for name in TOOLS]
    assert len(set(signed)) == len(signed)
    with pytest.raises(UsageError, match="no such protocol"):
        choose("refvps")
    with pytest.raises(TypeError):
        PROTOCOLS["sav"] = PROTOCOLS["refvps"]


# Results


@pytest.mark.parametrize("name", TOOLS)
def test_a_result_names_its_protocol_everywhere(name, data, capsys):
    assert evaluate("--protocol", name) == 0
    shown = capsys.readouterr().out
    result = read_result(only_result(data, f"preds.{name}"))
    assert result.protocol == name
    said = parse(result.signature)
    assert said["protocol"] == name and said["refvps"] == "J&F+J+F"
    assert said["ends"] == ("skip" if PROTOCOLS[name].skip_ends else "keep")
    assert result.counts().protocol == {key: said[key] for key in PROTOCOLS[name].fields("ids")}
    block = result.data["protocol"]
    assert PROTOCOLS[name].tool in shown and result.signature in shown
    for number in block["scores"].values():
        assert f"{number:.{PROTOCOLS[name].digits}f}" in shown
    for one in block["objects"]:
        assert f"{one['clip']}/{one['object']}" in shown
    assert {row.clip for row in result.rows} == {one["clip"] for one in block["sequences"]} == {"bike", "camel", "judo"}
    key = block["columns"][0]
    assert key.startswith("J&F") and sorted(block["columns"]) == sorted(block["scores"])
    assert block["scores"][key] / block["scale"] == pytest.approx(result.data["summary"]["J&F"]["value"], abs=1e-14)
    assert result.data["summary"]["J"]["groups"] == 3 and result.data["summary"]["J"]["low"] is not None


def test_json_is_the_file_and_the_same_again_is_no_change(data, capsys):
    assert evaluate("--protocol", "vos-benchmark", "--json") == 0
    path = only_result(data, "preds.vos-benchmark")
    text = path.read_text()
    assert capsys.readouterr().out == text
    assert evaluate("--protocol", "vos-benchmark", "-q", "--out", "new") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[2].split() == ["J&F", "J", "F"]
    assert evaluate("--protocol", "vos-benchmark", "-q") == 0  # read back from the file: the same table
    assert capsys.readouterr().out == shown
    assert path.read_text() == text
    save(data / "preds/judo/00003.png", np.zeros(SIZE))
    assert evaluate("--protocol", "vos-benchmark") == 2
    assert "Another result is already there" in capsys.readouterr().err
    assert evaluate("--protocol", "vos-benchmark", "--force") == 0
    assert path.read_text() != text


def test_protocol_refvps_is_the_default(data, capsys):
    assert evaluate("--ignore-value", "none", "--metrics", "J,F") == 0
    path = only_result(data, "preds")
    first = json.loads(path.read_text())
    assert "protocol" not in first and "protocol" not in first["signature"]
    assert (
        evaluate("--ignore-value", "none", "--metrics", "J,F", "--protocol", "refvps") == 0
    )  # a no-op, or it would be refused
    assert json.loads(path.read_text()) == first
    assert evaluate("--protocol", "sav") == 0  # and results by other protocols lie beside it
    assert json.loads(path.read_text()) == first
    assert read_result(path).protocol == ""


def test_a_result_that_hides_its_protocol_is_refused(data):
    assert evaluate("--protocol", "davis17-unsupervised") == 0
    path = only_result(data, "preds.davis17-unsupervised")
    good = json.loads(path.read_text())
    for change in (
        lambda r: r.pop("protocol"),
        lambda r: r.update(signature=r["signature"].replace("protocol:davis17-unsupervised|", "")),
        lambda r: r["protocol"].update(name="sav"),
        lambda r: r["protocol"].update(more=1),
        lambda r: r["protocol"]["scores"].update({"J-Mean": "high"}),
        lambda r: r["protocol"]["scores"].pop("J-Mean"),
        lambda r: r["protocol"]["objects"][0]["scores"].update(more=1),
        lambda r: r["protocol"]["rules"].update(ends="skip"),
    ):
        bad = json.loads(json.dumps(good))
        change(bad)
        path.write_text(json.dumps(bad))
        with pytest.raises(InputError):
            read_result(path)
    path.write_text(json.dumps(good))
    read_result(path)


# Comparisons


def test_only_results_of_one_protocol_on_one_ground_truth_are_compared(data, capsys):
    truth, _ = data_set("plain")
    write(data / "better", truth)
    for pred in ("preds", "better"):
        for name in ("vos-benchmark", "davis17-semisupervised"):
            assert evaluate("--protocol", name, "-q", pred=pred) == 0
        assert evaluate("-q", "--ignore-value", "none", pred=pred) == 0
    mine, better = (only_result(data, f"{pred}.vos-benchmark") for pred in ("preds", "better"))
    assert cli.run(["compare", str(mine), str(better)]) == 0
    assert "protocol:vos-benchmark" in capsys.readouterr().out
    found = compare([read_result(mine), read_result(better)])
    (_, j, _) = found.differences["better"]
    assert j.metric == "J" and j.second == 1.0
    assert j.first == pytest.approx(json.loads(mine.read_text())["protocol"]["scores"]["J"] / 100, abs=1e-14)
    for other in ("better.davis17-semisupervised", "better"):
        assert cli.run(["compare", str(mine), str(only_result(data, other))]) == 2
        assert "never compared" in capsys.readouterr().err
        assert cli.run(["compare", str(only_result(data, other)), str(mine)]) == 2
    assert evaluate("--protocol", "vos-benchmark", "--keep-ends", "--method", "ends") == 0
    assert cli.run(["compare", str(mine), str(only_result(data, "ends.vos-benchmark"))]) == 2
    assert "ends: skip | keep" in capsys.readouterr().err
    shutil.copytree(data / "gt", data / "gt2")
    save(data / "gt2/judo/00003.png", np.ones(SIZE))
    assert evaluate("--protocol", "vos-benchmark", "--method", "elsewhere", gt="gt2") == 0
    assert cli.run(["compare", str(mine), str(only_result(data, "elsewhere.vos-benchmark"))]) == 2
    assert "data: " in capsys.readouterr().err


# Counts


@pytest.mark.parametrize("name", TOOLS)
def test_counts_are_scored_again_by_their_protocol_only(name, data, capsys):
    assert evaluate("--protocol", name) == 0
    path = only_result(data, f"preds.{name}")
    counts = path.with_name(f"preds.{name}.counts.npz")
    first = json.loads(path.read_text())
    again = ["evaluate", "--from-counts", str(counts), "--draws", "200", "--out", "again"]
    assert cli.run([*again, "--protocol", name]) == 0
    second = json.loads((data / "again" / path.parent.name / path.name).read_text())
    assert [second[key] for key in ("protocol", "summary", "rows", "signature", "notes", "counts")] == [
        first[key] for key in ("protocol", "summary", "rows", "signature", "notes", "counts")
    ]
    capsys.readouterr()
    assert cli.run(again) == 2
    assert f"--protocol {name}" in capsys.readouterr().err
    other = next(each for each in TOOLS if each != name)
    assert cli.run([*again, "--protocol", other]) == 2
    assert "not made by this protocol" in capsys.readouterr().err
    assert cli.run([*again, "--protocol", name, "--gt", "gt"]) == 2


def test_forged_counts_are_refused(data, capsys):
    """A protocol that does not exist, one that does not fit the pairs, and ordinary counts given as a protocol's."""
    assert evaluate("--protocol", "vos-benchmark") == 0
    path = only_result(data, "preds.vos-benchmark").with_name("preds.vos-benchmark.counts.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    names = json.loads(arrays["names"].tobytes())
    hungarian = PROTOCOLS["davis17-unsupervised"].fields("ids")
    for protocol, claimed in (
        ({**names["protocol"], "ends": "some"}, "vos-benchmark"),
        ({**names["protocol"], "videos": "9 of 3"}, "vos-benchmark"),
        ({"protocol": "vos-benchmark"}, "vos-benchmark"),
        (hungarian, "davis17-unsupervised"),
        (["vos-benchmark"], "vos-benchmark"),
    ):
        forged = json.dumps({**names, "protocol": protocol}).encode()
        np.savez(data / "forged.counts.npz", **{**arrays, "names": np.frombuffer(forged, np.uint8)})
        assert cli.run(["evaluate", "--from-counts", "forged.counts.npz", "--protocol", claimed]) == 4, protocol
    assert evaluate("-q", "--ignore-value", "none", "--metrics", "J,F") == 0
    plain = only_result(data, "preds").with_name("preds.counts.npz")
    assert cli.run(["evaluate", "--from-counts", str(plain), "--protocol", "sav"]) == 2


# Usage


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "sav", "-b", "sample"], "fixes these rules itself"),
        (["--protocol", "sav", "--missing", "zero"], "fixes these rules itself"),
        (["--protocol", "sav", "--metrics", "J"], "fixes these rules itself"),
        (["--protocol", "sav", "--ignore-value", "255"], "fixes these rules itself"),
        (["--protocol", "sav", "--average", "frame>object"], "fixes these rules itself"),
        (["--protocol", "sav", "--without", "judo"], "fixes these rules itself"),
        (["--protocol", "davis17-unsupervised", "--keep-ends"], "knows nothing like --keep-ends"),
        (["--protocol", "davis17-unsupervised", "--shared-videos"], "knows nothing like --shared-videos"),
        (["--keep-ends"], "belong to the protocol of another tool"),
        (["--protocol", "refvps", "--shared-videos"], "belong to the protocol of another tool"),
        (["--protocol", "davis"], "is not one of"),
        (["--protocol", "sav", "--method", "a/b"], "can be a file name"),
    ],
)
def test_wrong_usage_exits_2(options, message, data, capsys):
    assert evaluate(*options) == 2
    assert message in capsys.readouterr().err
    assert not (data / "results").exists()


def test_a_protocol_needs_folders(data, capsys):
    assert cli.run(["evaluate", "--protocol", "sav", "--pred", "preds"]) == 2
    assert "needs ground truth in a folder" in capsys.readouterr().err
    assert cli.run(["evaluate", "--protocol", "sav", "--gt", "gt"]) == 2


def test_without_scipy_only_matching_fails_and_says_how_to_get_it(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert evaluate("--protocol", "davis17-unsupervised") == 3
    assert 'pip install "refvps[protocols]"' in capsys.readouterr().err
    assert evaluate("--protocol", "davis17-semisupervised") == 0


# Input


def replaced(path, array):
    """Put another picture where a mask was."""
    Image.fromarray(array).save(path)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


MASK = "preds/judo/00003.png"


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


BAD = {
    "gt wrong size": (lambda d: save(d / "gt/judo/00003.png", np.zeros((40, 55))), "it is 55x40, the frame is 56x40"),
    "pred wrong size": (lambda d: save(d / MASK, np.zeros((41, 56))), "56x41 but the clip is 56x40"),
    "gt rgb": (lambda d: replaced(d / "gt/judo/00003.png", noise(*SIZE, 3)), "RGB colours"),
    "pred rgb": (lambda d: replaced(d / MASK, noise(*SIZE, 3)), "error [rgb]"),
    "pred rgba": (lambda d: replaced(d / MASK, noise(*SIZE, 4)), "error [rgba]"),
    "pred 16 bit": (lambda d: replaced(d / MASK, noise(*SIZE).astype(np.uint16)), "error [16-bit]"),
    "pred soft": (lambda d: replaced(d / MASK, noise(*SIZE)), "soft masks, not objects"),
    "gt soft": (lambda d: replaced(d / "gt/judo/00003.png", noise(*SIZE)), "soft masks, not objects"),
    "pred empty file": (lambda d: cut(d / MASK, 0), "error [truncated]"),
    "pred cut off": (lambda d: cut(d / MASK, -20), "error [truncated]"),
    "gt cut off": (lambda d: cut(d / "gt/judo/00000.png", 20), "judo/00000.png: the file is cut off"),
    "pred jpeg": (lambda d: (d / MASK).write_bytes(b"\xff\xd8\xff\xe0" + bytes(99)), "error [jpeg]"),
    "pred missing frame": (lambda d: (d / MASK).unlink(), "judo/00003.png"),
    "pred other names": (lambda d: (d / MASK).rename(d / "preds/judo/3.png"), "error [missing-frame]"),
    "pred missing video": (lambda d: shutil.rmtree(d / "preds/judo"), "error [missing-clip]"),
    "gt stray file": (lambda d: (d / "gt/judo/readme.txt").write_text("x"), "readme.txt: not a PNG file"),
    "gt mixed": (lambda d: save(d / "gt/deep/000/00000.png", np.ones(SIZE)), "holds frames, deep holds folders"),
    "gt mixed in a video": (lambda d: save(d / "gt/judo/0/0.png", np.ones(SIZE)), "judo: both frames and folders"),
    "gt too deep": (lambda d: save(d / "gt/a/b/c/00000.png", np.ones(SIZE)), "too deep"),
    "gt link": (lambda d: (d / "gt/judo/9.png").symlink_to(d / "gt/judo/00000.png"), "links, which are not followed"),
    "pred link": (lambda d: (d / "preds/x").symlink_to(d / "gt"), "links, which are not followed"),
    "gt gone": (lambda d: shutil.rmtree(d / "gt"), "The ground truth cannot be opened"),
    "pred gone": (lambda d: shutil.rmtree(d / "preds"), "Predictions cannot be opened"),
    "gt nothing": (lambda d: emptied(d / "gt"), "There is no ground truth here"),
    "pred nothing": (lambda d: emptied(d / "preds"), "There are no predictions here"),
    "pred no video": (lambda d: (emptied(d / "preds"), write(d / "preds", {"x": [np.ones(SIZE)]})), "preds holds x"),
    "gt huge": (lambda d: (d / "gt/judo/00000.png").write_bytes(huge()), "claims 20000x20000 pixels"),
    "gt two frames": (lambda d: [path.unlink() for path in sorted((d / "gt/judo").iterdir())[2:]], "judo: 2 frames"),
}


def huge():
    """A PNG that claims 20000x20000 pixels in a few bytes."""
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_4_names_the_place_and_writes_nothing(case, data, capsys):
    change, message = BAD[case]
    change(data)
    assert evaluate("--protocol", "davis17-semisupervised", "--seed", "1") == 4
    error = capsys.readouterr().err
    assert message in error
    assert "Fix: " in error
    assert not (data / "results").exists()


def test_what_tools_pass_over_is_noted(data, capsys):
    (data / "preds/results.csv").write_text("from vos-benchmark\n")
    (data / "preds/judo/.DS_Store").write_text("x")
    (data / "gt/list.txt").write_text("judo\n")
    save(data / "preds/judo/00099.png", np.ones(SIZE))
    save(data / "preds/judo/more/00000.png", np.ones(SIZE))
    (data / "preds/judo/00000.png").unlink()  # the first frame, which is never looked at
    assert evaluate("--protocol", "davis17-semisupervised") == 0
    notes = capsys.readouterr().err
    assert "surplus-file" in notes and "results.csv" in notes
    assert "surplus-frame" in notes and "judo/00099.png" in notes
    assert "judo/more" in notes
    write(data / "preds", {"extra": [np.ones(SIZE)]})
    assert evaluate("--protocol", "davis17-semisupervised", "--force") == 0
    assert "surplus-clip" in capsys.readouterr().err
    assert evaluate("--protocol", "vos-benchmark") == 4
    assert evaluate("--protocol", "vos-benchmark", "--shared-videos") == 0


@pytest.mark.parametrize("inside", ["", "preds/"], ids=["direct", "one folder deep"])
def test_a_zip_scores_as_its_folder(inside, data):
    assert evaluate("--protocol", "davis17-unsupervised") == 0
    folder = json.loads(only_result(data, "preds.davis17-unsupervised").read_text())
    for side in ("gt", "preds"):
        with zipfile.ZipFile(data / f"{side}.zip", "w") as archive:
            for path in sorted((data / side).rglob("*.png"), reverse=True):
                prefix = inside if side == "preds" else ""
                archive.write(path, f"{prefix}{path.relative_to(data / side)}")
    assert evaluate("--protocol", "davis17-unsupervised", "--out", "zipped", pred="preds.zip", gt="gt.zip") == 0
    (zipped,) = data.glob("zipped/*/preds.davis17-unsupervised.json")
    again = json.loads(zipped.read_text())
    for key in ("protocol", "rows", "signature", "counts", "notes"):
        assert again[key] == folder[key]


def test_an_unsafe_zip_is_refused(data, capsys):
    with zipfile.ZipFile(data / "preds.zip", "w") as archive:
        archive.writestr("../judo/00000.png", b"x")
    assert evaluate("--protocol", "sav", pred="preds.zip") == 4
    assert "Fix: " in capsys.readouterr().err


def test_a_list_of_sequences(data, capsys):
    shutil.rmtree(data / "preds/camel")
    assert evaluate("--protocol", "davis17-semisupervised") == 4
    (data / "val.txt").write_text("judo\n\n  bike \n")
    assert evaluate("--protocol", "davis17-semisupervised", "--sequences", "val.txt") == 0
    block = json.loads(only_result(data, "preds.davis17-semisupervised").read_text())["protocol"]
    assert [one["clip"] for one in block["sequences"]] == ["judo", "bike"]
    assert block["rules"]["videos"] == "all"
    for content, message in ((b"judo\nkarate\n", "karate"), (b"\n", "is empty"), (b"\xff\xfe", "is not text")):
        (data / "val.txt").write_bytes(content)
        capsys.readouterr()
        assert evaluate("--protocol", "davis17-semisupervised", "--sequences", "val.txt") == 4
        assert message in capsys.readouterr().err
    assert evaluate("--protocol", "sav", "--sequences", "nowhere.txt") == 4


def test_annotations_may_lie_below_the_data_set(data):
    (data / "set/JPEGImages").mkdir(parents=True)
    save(data / "set/JPEGImages/judo/00000.jpg.png", np.ones(SIZE))
    shutil.copytree(data / "gt", data / "set/Annotations")
    assert evaluate("--protocol", "vos-benchmark") == evaluate("--protocol", "vos-benchmark", gt="set") == 0
    assert len(list(data.glob("results/*/preds.vos-benchmark.json"))) == 1


def test_names_that_are_no_ids_are_mapped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truth, guess = drawn(90, [(1, (1, 0, 99))])
    write_folders(tmp_path / "gt", {"a clip (1)": {"ö b": [g == 1 for g in truth]}})
    write_folders(tmp_path / "preds", {"a clip (1)": {"ö b": [p == 1 for p in guess]}})
    assert evaluate("--protocol", "sav") == 0
    (one,) = json.loads(only_result(tmp_path, "preds.sav").read_text())["protocol"]["objects"]
    assert one["clip"].startswith("a_clip_1_-") and one["object"].startswith("b-")


def test_the_options_are_in_the_help():
    shown = cli.cli.get_command(click.Context(cli.cli), "evaluate").get_help(click.Context(cli.cli))
    for name in (*PROTOCOLS, "--sequences", "--shared-videos", "--keep-ends"):
        assert name in shown
