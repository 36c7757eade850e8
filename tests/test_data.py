"""Manifests, mask files, ids, digests, registration and the registry of benchmarks."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st
from trees import SIZES, clip_records, encode, expression_records, read_lines, write_ref_vps

from refvps import data
from refvps.data import digest, ids, manifest, masktracks, register
from refvps.data.importers import IMPORTERS
from refvps.data.local import load_local
from refvps.data.truth import RleTruth, annotation
from refvps.errors import InputError, UsageError
from refvps.frames import natural_key
from refvps.types import ID, Benchmark

ROOT = Path(__file__).resolve().parent.parent


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parse(clips: list[dict[str, Any]], expressions: list[dict[str, Any]]) -> manifest.Manifest:
    return manifest.parse_manifest(lines(clips), lines(expressions))


# Ids


NAMES = st.text(max_size=8) | st.text(alphabet="aAbB. ", max_size=3) | st.just("x" * 200)


@given(st.lists(NAMES, unique=True, max_size=8), st.randoms())
def test_mapped_ids_are_valid_unique_and_independent_of_order(names: list[str], random: Any) -> None:
    mapped = ids.map_ids(names)
    assert mapped.keys() == set(names)
    assert all(ID.fullmatch(value) for value in mapped.values())
    assert len({value.casefold() for value in mapped.values()}) == len(names)
    random.shuffle(names)
    assert ids.map_ids(names) == mapped


def test_valid_names_keep_theirs_and_clashes_are_told_apart() -> None:
    assert ids.map_ids(["bike", "a b"]) == {"bike": "bike", "a b": f"a_b-{digest.sha256(b'a b')[:8]}"}
    pair = ids.map_ids(["Bike", "bike"])
    assert len({value.lower() for value in pair.values()}) == 2
    taken = f"a_b-{digest.sha256(b'a b')[:8]}"
    both = ids.map_ids(["a b", taken])
    assert both[taken] == taken != both["a b"]


def test_natural_order() -> None:
    assert sorted(["f10", "f9", "f09", "f", "10", "9"], key=natural_key) == ["9", "10", "f", "f09", "f9", "f10"]


# Manifests


def test_manifest_round_trip(tmp_path: Path) -> None:
    clips, expressions = parse(clip_records(), expression_records())
    assert expressions[0].concept == "wax"
    assert expressions[0].categories == ("motion patterns",)
    manifest.write_manifest(tmp_path, clips.values(), expressions)
    assert manifest.read_manifest(tmp_path) == (clips, expressions)
    assert manifest.read_manifest(tmp_path, checked=True) == (clips, expressions)


def test_an_expression_may_have_its_own_concept() -> None:
    expressions = expression_records()
    expressions[0] |= {"concept": "", "categories": []}
    _, found = parse(clip_records(), expressions)
    assert (found[0].concept, found[0].categories, found[1].concept) == ("", (), "wax")


Edit = Callable[[list[dict[str, Any]], list[dict[str, Any]]], Any]

BROKEN: dict[str, tuple[Edit, str]] = {
    "clip id": (lambda c, e: c[0].update(id="a/b"), "does not match"),
    "clip id with a newline": (lambda c, e: c[0].update(id="ab\n"), "clip id"),
    "clip id twice": (lambda c, e: c[1].update(id="WAX-01"), "upper and lower case"),
    "size": (lambda c, e: c[0].update(size=[0, 5]), "size.0: 0 is less"),
    "three sizes": (lambda c, e: c[0].update(size=[5, 5, 3]), "too long"),
    "huge size": (lambda c, e: c[0].update(size=[5, 1 << 40]), "greater than"),
    "size as text": (lambda c, e: c[0].update(size=["5", "5"]), "not of type 'integer'"),
    "no frames": (lambda c, e: c[0].update(frames=[]), "frames: [] should be non-empty"),
    "a frame twice": (lambda c, e: c[0]["frames"].append("00000"), "lists a frame twice"),
    "annotated but not a frame": (lambda c, e: c[0]["annotated"].append("zz"), "not a subset"),
    "annotated in another order": (lambda c, e: c[0]["annotated"].reverse(), "not a subset"),
    "frame name with a path": (lambda c, e: c[0]["frames"].append("../x"), "a frame name is not allowed"),
    "frame names by case": (lambda c, e: c[0]["frames"].extend(["x", "X"]), "upper and lower case"),
    "negative rate": (lambda c, e: c[0].update(fps=-1), "fps: -1 is less"),
    "infinite rate": (lambda c, e: c[0].update(fps=10**39), "fps"),
    "missing field": (lambda c, e: c[0].pop("group"), "'group' is a required property"),
    "unknown field": (lambda c, e: c[0].update(framess=[]), "framess"),
    "control characters": (lambda c, e: e[0].update(text="a\x1b[31m"), "text"),
    "half a character": (lambda c, e: e[0].update(text="\ud800"), "surrogate"),
    "no text": (lambda c, e: e[0].update(text=" "), "text"),
    "unknown clip": (lambda c, e: e[0].update(clip="nope"), "no clip 'nope'"),
    "expression id twice": (lambda c, e: e[1].update(id=e[0]["id"]), "has an expression 0 already"),
    "target id": (lambda c, e: e[0].update(target=""), "target"),
    "a clip without expressions": (lambda c, e: [e.pop(0) for _ in range(2)], "the clip wax-01 has no expression"),
    "no clips": (lambda c, e: (c.clear(), e.clear()), "no clip"),
    "not an object": (lambda c, e: c.append([]), "not a JSON object"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_manifests_are_refused_by_place(name: str) -> None:
    edit, message = BROKEN[name]
    clips, expressions = clip_records(), expression_records()
    parse(clips, expressions)
    edit(clips, expressions)
    with pytest.raises(InputError) as caught:
        parse(clips, expressions)
    assert message in str(caught.value)
    assert ".jsonl" in caught.value.where[0]


def test_every_bad_record_is_named() -> None:
    clips = clip_records()
    for clip in clips:
        clip["fps"] = "fast"
    with pytest.raises(InputError) as caught:
        parse(clips, expression_records())
    assert [place.split(":")[1] for place in caught.value.where] == ["1", "2", "3"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "wax-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_hostile_manifests_never_crash(data: st.DataObject) -> None:
    clips, expressions = clip_records(), expression_records()
    for _ in range(data.draw(st.integers(1, 3))):
        record = data.draw(st.sampled_from([*clips, *expressions]))
        record[data.draw(st.sampled_from([*record, "odd"]))] = data.draw(JSON)
    texts = [json.dumps(record).encode() for record in clips], [json.dumps(record).encode() for record in expressions]
    try:
        found, listed = manifest.parse_manifest(b"\n".join(texts[0]), b"\n".join(texts[1]))
    except InputError:
        return
    assert {expression.clip for expression in listed} == found.keys()
    for clip in found.values():
        digest.clip_digest(clip, listed, masktracks.make_annotation(clip, {}, None))


@given(st.binary(max_size=200))
def test_garbage_is_an_input_error(garbage: bytes) -> None:
    clip = parse(clip_records(), expression_records())[0]["wax-01"]
    with pytest.raises(InputError):
        manifest.parse_manifest(garbage, b"")
    with pytest.raises(InputError):
        masktracks.parse_masks(garbage, "masks/x.jsonl", clip)


# Mask files


def mask_file(tmp_path: Path) -> tuple[Any, Path]:
    root = write_ref_vps(tmp_path / "set", "rle", frames=False)
    clips, _ = manifest.read_manifest(root)
    return clips["smoke.2"], root / "masks" / "smoke.2.jsonl"


def test_mask_file_round_trip(tmp_path: Path) -> None:
    clip, path = mask_file(tmp_path)
    found = masktracks.parse_masks(path.read_bytes(), "x", clip)
    assert [counts is None for counts in found.targets["1"].counts] == [False, True, True, False, True, True, False]
    assert found.ignore is not None
    for name, index in zip(clip.annotated, clip.annotated_indices(), strict=True):
        masks, ignore = RleTruth(found).frame(index)
        image = trees.truth(1, int(name), clip.size)
        np.testing.assert_array_equal(masks["1"].array(), image == 1)  # type: ignore[union-attr]
        assert (ignore is None) == (not (image == 255).any())
        if ignore is not None:
            np.testing.assert_array_equal(ignore.array(), image == 255)
    assert RleTruth(found).frame(1) == ({"1": None}, None)
    masktracks.write_masks(tmp_path / "again.jsonl", clip, found)
    again = (tmp_path / "again.jsonl").read_bytes()
    assert masktracks.parse_masks(again, "x", clip) == masktracks.parse_masks(again, "x", clip, checked=True) == found
    assert annotation(RleTruth(found), clip, ["1"]) == found


BROKEN_MASKS: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "schema": (lambda r: r[0].update(schema="refvps.masks/2"), "schema"),
    "clip": (lambda r: r[0].update(clip="wax-01"), "clip is 'wax-01', in the list of clips 'smoke.2'"),
    "turned": (lambda r: r[0]["size"].reverse(), "size is [36, 52]"),
    "frames": (lambda r: r[0]["frames"].__setitem__(1, "00004"), "frames is '00004', in the list of clips '00003'"),
    "too few frames": (lambda r: r[0]["frames"].pop(), "2 names"),
    "too few masks": (lambda r: r[1]["counts"].pop(), "2 masks for 3 annotated frames"),
    "empty string": (lambda r: r[1]["counts"].__setitem__(0, ""), "counts.0"),
    "garbage": (lambda r: r[1]["counts"].__setitem__(1, "~~"), "frame 00003"),
    "not latin": (lambda r: r[1]["counts"].__setitem__(1, "\u20ac"), "frame 00003"),
    "too short": (lambda r: r[1]["counts"].__setitem__(1, encode(np.zeros((9, 9), bool))), "frame 00003"),
    "a number": (lambda r: r[1]["counts"].__setitem__(1, 7), "7 is not of type"),
    "second target": (lambda r: r.append(r[1]), "a second line for target 1"),
    "second Ignore": (lambda r: r.append(r[2]), "a second Ignore line"),
    "no target": (lambda r: r.pop(1), "no target"),
    "no mask at all": (lambda r: r[1]["counts"].__setitem__(1, None), "no target has a mask there"),
    "overlap": (lambda r: r[2].update(counts=r[1]["counts"]), "smoke.2/00003: target 1"),
}


@pytest.mark.parametrize("name", BROKEN_MASKS)
def test_broken_mask_files_are_refused(name: str, tmp_path: Path) -> None:
    clip, path = mask_file(tmp_path)
    records = read_lines(path)
    edit, message = BROKEN_MASKS[name]
    edit(records)
    with pytest.raises(InputError) as caught:
        masktracks.parse_masks(lines(records), "masks/smoke.2.jsonl", clip)
    assert message in str(caught.value)


def test_an_overlap_names_three_frames_and_counts_the_rest(tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path, "rle", frames=False)
    clip = manifest.read_manifest(root)[0]["wax-01"]
    records = read_lines(root / "masks" / "wax-01.jsonl")
    records[2]["counts"] = records[1]["counts"]
    with pytest.raises(InputError) as caught:
        masktracks.parse_masks(lines(records), "x", clip)
    assert caught.value.where[0].startswith("wax-01/00001: target 1, ")
    assert len(caught.value.where) == 6
    assert "and 3 more" in str(caught.value)


def test_one_content_has_one_form(tmp_path: Path) -> None:
    clip, path = mask_file(tmp_path)
    records = read_lines(path)
    plain = masktracks.parse_masks(lines(records), "x", clip)
    empty = encode(np.zeros(clip.size, bool))
    assert records[2]["counts"][0] == empty
    records[2]["counts"][0] = None
    assert masktracks.parse_masks(lines(records), "x", clip) == plain
    records[2]["counts"] = [None, empty, None]
    nothing = masktracks.parse_masks(lines(records), "x", clip)
    assert nothing.ignore is None
    assert masktracks.parse_masks(lines(records[:2]), "x", clip) == nothing
    records[1]["counts"][0] += "0"  # a last run of length zero: valid, but not what an encoder writes
    assert masktracks.parse_masks(lines(records), "x", clip) == nothing


# Digests


def loaded(root: Path) -> Benchmark:
    register.register(root)
    return load_local()


def test_the_digest_depends_on_content_only(tmp_path: Path) -> None:
    clips, expressions = parse(clip_records(), expression_records())
    clip = clips["smoke.2"]
    mine = tuple(e for e in expressions if e.clip == clip.id)
    content = mask_file(tmp_path)[1].read_bytes()
    truth = masktracks.parse_masks(content, "x", clip)
    base = digest.clip_digest(clip, mine, truth)
    assert digest.clip_digest(replace(clip, source_id="x"), mine[::-1], truth) == base
    assert digest.clip_digest(replace(clip, fps=24), mine, truth) == base
    assert digest.clip_digest(clip, [replace(e, source_id="y") for e in mine], truth) == base
    others = [
        digest.clip_digest(replace(clip, **{name: value}), mine, truth)
        for name, value in {
            "id": "z", "size": (36, 52), "fps": 25.0, "annotation_fps": 6.0, "group": "g", "split": "train",
        }.items()
    ]  # fmt: skip
    others += [
        digest.clip_digest(clip, [replace(mine[0], **{name: value}), mine[1]], truth)
        for name, value in {
            "id": "z", "text": "t", "target": "2", "concept": "c", "categories": ("k",), "annotator": "n",
        }.items()
    ]  # fmt: skip
    others.append(digest.clip_digest(clip, mine, replace(truth, ignore=None)))
    others.append(digest.clip_digest(clip, mine, replace(truth, targets={"2": truth.targets["1"]})))
    assert len({base, *others}) == len(others) + 1
    pairs = {"b": "1", "a": "2"}
    assert digest.benchmark_digest(pairs) == digest.benchmark_digest(dict(sorted(pairs.items())))
    assert digest.benchmark_digest(pairs) != digest.benchmark_digest({"b": "2", "a": "1"})


def test_png_and_rle_masks_have_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for form in ("png", "rle", dict(zip(SIZES, ("png", "rle", "png"), strict=True))):
        monkeypatch.setenv("REFVPS_HOME", str(tmp_path / f"home-{len(found)}"))
        found.append(loaded(write_ref_vps(tmp_path / f"set-{len(found)}", form, frames=False)))
    assert len({benchmark.digest for benchmark in found}) == 1
    assert found[0].clip_digests == found[1].clip_digests == found[2].clip_digests
    for clip in found[0].clips.values():
        assert annotation(found[0].truth(clip.id), clip, ["1"]) == annotation(found[1].truth(clip.id), clip, ["1"])
    assert len(pickle.dumps(found[1].truth("wax-01"))) < 4000


# Registry


def test_names_import_nothing_heavy() -> None:
    code = "import sys; from refvps import data; data.names(); print(any(m in sys.modules for m in ('numpy', 'PIL')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_names_say_what_is_here(tmp_path: Path) -> None:
    rows = {row.name: row.available for row in data.names()}
    assert rows == {"ref-vps": False, "sample": True, **dict.fromkeys(IMPORTERS, False), "folder": True}
    assert {"burst", "vspw-stuff", "ref-davis", "ref-ytvos", "mevis", "davis16"} <= set(rows)
    register.register(write_ref_vps(tmp_path, frames=False))
    assert {row.name: row.available for row in data.names()}["ref-vps"]


def test_unknown_names_and_options_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean sample"):
        data.load("smaple")
    with pytest.raises(UsageError, match=r"known: ref-vps, sample, burst, .*folder"):
        data.load("zzzzzz")
    with pytest.raises(UsageError, match="gt: missing"):
        data.load("folder")
    with pytest.raises(UsageError, match="colour: it has no such option"):
        data.load("folder", gt=tmp_path, colour="red")
    with pytest.raises(UsageError, match="version: it has no such option"):
        data.load("sample@2")


def test_benchmarks_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = data.load("sample")
    dist = SimpleNamespace(name="their-package")

    def point(name: str, found: Any) -> Any:
        def load() -> Any:
            if isinstance(found, Exception):
                raise found
            return found

        return SimpleNamespace(name=name, value="x:y", dist=dist, load=load)

    points = [
        point("theirs", lambda: sample),
        point("wrong", lambda: 3),
        point("gone", ImportError("no module")),
        point("sample", lambda: 3),
        point("twice", lambda: sample),
        point("twice", lambda: sample),
    ]
    monkeypatch.setattr(data, "entry_points", lambda group: points if group == "refvps.benchmarks" else [])
    assert data.load("theirs") is sample
    assert data.load("sample") is sample
    assert [row.name for row in data.names()][len(data.ENTRIES) :] == ["gone", "theirs", "twice", "wrong"]
    for name, message in {"wrong": "does not return", "gone": "no module", "twice": "Several"}.items():
        with pytest.raises(UsageError, match=message):
            data.load(name)


def test_png_and_rle_of_a_registered_set_are_the_same_masks(tmp_path: Path) -> None:
    from refvps.data import local, register
    from refvps.masks import rle

    register.register(trees.write_ref_vps(tmp_path / "set", "png"))
    benchmark = local.load_local()
    for clip in benchmark.clips.values():
        for index in clip.annotated_indices():
            (target,), ignore = (lambda frame: (frame[0].values(), frame[1]))(benchmark.truth(clip.id).frame(index))
            assert target is not None
            assert ignore is not None
            for mask in (target, ignore):
                assert rle.from_bits(mask.bits(), clip.size) == mask.counts()
