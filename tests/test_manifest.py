"""The manifest: frame lists in both forms, provenance, candidates, withdrawals."""

from __future__ import annotations

import copy
import hmac
import json
import tracemalloc
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import CANDIDATE, EXPRESSION, FULL, WITHDRAWAL
from trees import clip_records, expression_records, write_lines, write_ref_vps

import refvps
from refvps.data import digest, manifest, masktracks
from refvps.data.records import (
    ClipRecord,
    Edit,
    Source,
    read_candidates,
    read_clips,
    read_expressions,
    read_withdrawn,
    uploader_hash,
    write_clips,
)
from refvps.data.records.clip import abbreviated, record_of, seconds
from refvps.data.register import register
from refvps.errors import InputError, UsageError
from refvps.files import canonical_json

# Frame lists


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2000) | st.integers(0, 10**9), st.integers(1, 9))
def test_a_numbered_row_is_the_list_it_abbreviates(count: int, digits: int, first: int, step: int) -> None:
    names = [str(first + k * step).zfill(digits) for k in range(count)]
    row = {"count": count, "digits": digits, "first": first, "step": step}
    one = manifest.FrameNames()
    assert one.read(row) == tuple(names)
    assert one.read(names) is one.read(row)
    assert manifest.FrameNames().read(abbreviated(names)) == tuple(names)


@given(
    st.lists(
        st.sampled_from(["00000", "00001", "00002", "00004", "0005", "a", "10", "²", "99999"]), min_size=1, unique=True
    )
)
def test_abbreviating_never_changes_a_list(names: list[str]) -> None:
    short = abbreviated(names)
    if short is not names:
        assert manifest.FrameNames().read(short) == tuple(names)


def test_both_forms_have_one_digest(tmp_path: Path) -> None:
    """Digests of clips and of a registered data set do not depend on the form of the lists, nor on optional fields."""
    lists = write_ref_vps(tmp_path / "lists", frames=False)
    short = write_ref_vps(tmp_path / "short", frames=False, about={"version": "2"})
    records = clip_records()
    for record in records:
        record |= {key: abbreviated(record[key]) for key in ("frames", "annotated")}
        record |= {key: FULL[key] for key in ("source", "edit", "scale", "query", "quality", "added_in", "changed_in")}
        record["frame_count"] = 7
        assert isinstance(record["frames"], dict)
        assert isinstance(record["annotated"], dict)
    write_lines(short / "clips.jsonl", records)
    expressions = [each | {"slot": 1, "added_in": "v1"} for each in expression_records()]
    write_lines(short / "expressions.jsonl", expressions)
    register(lists)
    register(short)
    one, two = refvps.load("ref-vps@local"), refvps.load("ref-vps@2")
    assert one.clips == two.clips
    assert (one.digest, one.clip_digests) == (two.digest, two.clip_digests)


def test_the_sample_says_where_it_is_from_and_keeps_its_digest() -> None:
    assert refvps.load("sample").digest == "7b18b8e17b9b03e81e4c3e30beb79b0ca17f2467b65904c2392a17b0402a3552"
    folder = refvps.home.annotations() / "sample"
    assert {record.source.licence for record in read_clips(folder / "clips.jsonl")} == {"Apache-2.0"}
    said = list(read_expressions(folder / "expressions.jsonl"))
    assert [(each.expression.annotator, each.slot) for each in said[:4]] == [("a1", 1), ("a1", 2), ("a2", 1), ("a2", 2)]


def test_rows_of_names_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20_000
    monkeypatch.setattr(manifest, "MAX_FRAME_NAMES", count)
    long = FULL | {"annotated": ["77"], "frame_count": count}
    rows = [long | {"id": f"c{k}", "frames": {"count": count, "digits": 1, "first": k}} for k in range(40)]
    data = b"".join(canonical_json(row) + b"\n" for row in rows)
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 20,000 frames"):
        manifest.parse_manifest(data, b"")
    assert tracemalloc.get_traced_memory()[1] < 200 * count
    tracemalloc.stop()


# Reading


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_bytes(b"".join(canonical_json(record) + b"\n" for record in records))
    return path


def test_a_record_says_everything_and_survives_a_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path / "clips.jsonl", FULL)
    (record,) = read_clips(path)
    assert record.clip.frames[-1] == "00130"
    assert record.clip.annotated[-1] == "00128"
    assert record.source == Source(**FULL["source"])
    assert record.edit == Edit(Fraction(2469, 200), Fraction(1001, 24), (0, 12, 1024, 576), 90, 95, "refvps 0.1.0")
    assert (record.scale, record.query, record.quality) == (
        "table",
        "a wax candle melting",
        ("watermark", "overlay-text"),
    )
    assert (record.added_in, record.changed_in, record.withdrawn_in) == ("v1", "v2", "v3")
    for compact in (False, True):
        write_clips(tmp_path / "again.jsonl", [record], compact=compact)
        assert list(read_clips(tmp_path / "again.jsonl")) == [record]
        assert isinstance(json.loads((tmp_path / "again.jsonl").read_text())["frames"], dict if compact else list)
    line = record_of(record, compact=True)
    assert line.keys() == FULL.keys()
    assert {**line, "edit": 0} == {**FULL, "annotated": {"count": 33, "digits": 5, "step": 4}, "edit": 0}


@pytest.mark.parametrize(
    ("written", "exact"),
    [(0.1, "1/10"), ("0.1", "1/10"), (12, "12"), ("1001/30000", "1001/30000"), (1e-7, "1/10000000")],
)
def test_seconds_are_exact(written: Any, exact: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clips.jsonl", FULL | {"edit": {"start": written}})
    (record,) = read_clips(path)
    assert record.edit.start == Fraction(exact)


@given(
    st.from_regex(r"[0-9]{1,9}([.][0-9]{1,12}|/[1-9][0-9]{0,9})?", fullmatch=True)
    | st.floats(0, 1e6)
    | st.integers(0, 10**6)
)
def test_seconds_are_read_as_fractions_reads_them(value: str | float) -> None:
    assert seconds(value) == Fraction(str(value))


Change = Callable[[dict[str, Any]], Any]
BAD: dict[str, tuple[Change, str]] = {
    "frame_count": (lambda r: r.update(frame_count=130), "frame_count is 130, but the list has 131 frames"),
    "no count": (lambda r: r.update(frames={"digits": 5}), "'count' is a required property"),
    "count 0": (lambda r: r["frames"].update(count=0), "frames.count: 0 is less than the minimum"),
    "huge count": (lambda r: r["frames"].update(count=10**7), "greater than the maximum"),
    "stride 0": (lambda r: r["annotated"].update(step=0), "annotated.step: 0 is less"),
    "unknown part": (lambda r: r["frames"].update(every=2), "'every' was unexpected"),
    "annotated beyond the end": (lambda r: r["annotated"].update(count=34), "not a subset"),
    "person in source": (lambda r: r["source"].update(uploader="anna"), "'uploader' was unexpected"),
    "title in source": (lambda r: r["source"].update(title="my cat"), "'title' was unexpected"),
    "bare hash": (lambda r: r["source"].update(uploader_hash="anna"), "source.uploader_hash: 'anna' does not match"),
    "script for an address": (lambda r: r["source"].update(url="javascript:alert(1)"), "source.url"),
    "file outside": (lambda r: r["source"].update(file="../x.mp4"), "source.file"),
    "file is a folder": (lambda r: r["source"].update(file=".."), "source.file"),
    "redistribution": (lambda r: r["source"].update(redistribution="yes"), "is not one of"),
    "no such day": (lambda r: r["source"].update(retrieved_at="2026-02-30"), "day is out of range"),
    "no such hour": (lambda r: r["source"].update(retrieved_at="2026-01-31T25:00:00Z"), "hour must be in"),
    "negative start": (lambda r: r["edit"].update(start=-1), "edit.start: -1 is less"),
    "start as words": (lambda r: r["edit"].update(start="12 s"), "edit.start: '12 s' does not match"),
    "one by zero": (lambda r: r["edit"].update(start="1/0"), "edit.start"),
    "ends before it starts": (lambda r: r["edit"].update(start=50), "not after its start"),
    "rotation": (lambda r: r["edit"].update(rotation=45), "a rotation by 45 degrees"),
    "three sides": (lambda r: r["edit"].update(crop=[0, 0, 5]), "edit.crop"),
    "empty crop": (lambda r: r["edit"].update(crop=[0, 0, 0, 5]), "a crop without a pixel"),
    "quality as text": (lambda r: r.update(quality="watermark"), "is not of type 'array'"),
    "version": (lambda r: r.update(added_in="v 1"), "added_in"),
}  # fmt: skip


def collect(records: Iterable[ClipRecord], into: list[str]) -> None:
    for record in records:
        into.append(record.clip.id)


@pytest.mark.parametrize("name", BAD)
def test_bad_records_are_refused_by_place_and_the_rest_is_read(name: str, tmp_path: Path) -> None:
    change, message = BAD[name]
    bad = copy.deepcopy(FULL)
    change(bad)
    path = write(tmp_path / "clips.jsonl", FULL | {"id": "a"}, bad, FULL | {"id": "b"})
    found = []
    with pytest.raises(InputError) as caught:
        collect(read_clips(path), found)
    assert found == ["a", "b"]
    assert caught.value.where[0].startswith(f"{path}:2: ")
    assert message in str(caught.value)
    root = write_ref_vps(tmp_path / "set", frames=False)
    records = clip_records()
    for key in ("source", "edit", "frame_count", "frames", "annotated", "quality", "added_in"):
        if bad.get(key) != FULL[key]:
            records[0][key] = bad.get(key)
    write_lines(root / "clips.jsonl", records)
    with pytest.raises(InputError, match=r"clips\.jsonl:1"):
        register(root)


def test_ids_are_unique_ignoring_case_and_every_bad_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "clips.jsonl", FULL, FULL | {"id": "WAX-01"}, FULL | {"id": "wax-01"}, FULL | {"id": "c"})
    with pytest.raises(InputError) as caught:
        list(read_clips(path))
    assert [place.rsplit(":", 2)[1] for place in caught.value.where] == ["2", "3"]
    path.write_bytes(b"{}\n[]\n" + canonical_json(FULL) + b"\n{}")
    with pytest.raises(InputError) as caught:
        list(read_clips(path))
    assert [place.split(".jsonl:")[1][0] for place in caught.value.where] == ["1", "2", "4"]
    for content in (b"{", b"\xff", b'{"id": 1, "id": 2}', b"\n\n"):
        path.write_bytes(content)
        with pytest.raises(InputError):
            list(read_clips(path))
        with pytest.raises(InputError):
            list(read_expressions(path))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_clips(tmp_path / "nowhere.jsonl"))


def test_one_endless_line_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refvps.data.records.clip.MAX_LINE_BYTES", 1000)
    (tmp_path / "clips.jsonl").write_bytes(b" " * 5000)
    with pytest.raises(InputError, match="too long"):
        list(read_clips(tmp_path / "clips.jsonl"))


def test_reading_is_lazy_and_flat(tmp_path: Path) -> None:
    """The first record comes before a broken last line is seen; ten times the clips take the memory of their ids."""
    path = write(tmp_path / "clips.jsonl", FULL)
    with open(path, "ab") as stream:
        stream.write(b"{broken")
    reader = read_clips(path)
    assert next(reader).clip.id == "wax-01"
    with pytest.raises(InputError):
        next(reader)

    def peak(count: int) -> int:
        names = [f"{k:05d}" for k in range(131)]
        write(path, *(FULL | {"id": f"c{k}", "frames": names, "group": f"v{k}"} for k in range(count)))
        tracemalloc.start()
        assert sum(record.clip.group != "v3" for record in read_clips(path)) == count - 1
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(1500) - peak(150) < 350 * 1350  # the ids


def test_expressions_know_their_slot(tmp_path: Path) -> None:
    path = write(
        tmp_path / "expressions.jsonl", EXPRESSION, {k: EXPRESSION[k] for k in ("clip", "id", "text", "target")}
    )
    one, two = read_expressions(path)
    assert (one.expression.annotator, one.slot, one.added_in, one.changed_in) == ("a1", 1, "v1", "v2")
    assert (two.expression.concept, two.slot) == ("", 0)
    for slot in (0, -1, "1", 1.5):
        with pytest.raises(InputError, match="slot"):
            list(read_expressions(write(path, EXPRESSION | {"slot": slot})))


def test_optional_fields_enter_no_digest() -> None:
    bare = {key: FULL[key] for key in ("id", "size", "fps", "frames", "annotated", "annotation_fps", "group", "split")}
    names = manifest.FrameNames()
    digests = set()
    for record in (FULL, bare):
        clip = manifest.clip_from(record, names)
        digests.add(digest.clip_digest(clip, (), masktracks.make_annotation(clip, {}, None)))
    assert len(digests) == 1


def test_an_uploader_is_a_keyed_hash() -> None:
    key = bytes(range(32))
    found = uploader_hash(key, "@Anna_1 ")
    assert found == hmac.digest(key, b"anna_1", "sha256").hex()
    assert found == uploader_hash(key, "anna_1") != uploader_hash(key[::-1], "anna_1")
    assert uploader_hash(key, "ＡＮＮＡ_1") == found
    for bad in (b"", b"secret"):
        with pytest.raises(UsageError, match="too short"):
            uploader_hash(bad, "anna")
    with pytest.raises(UsageError, match="no handle"):
        uploader_hash(key, " @ ")


# Candidates and withdrawals


BAD_CANDIDATES: dict[str, tuple[dict[str, Any], str]] = {
    "no reason": ({"kept": False, "criterion": None, "clips": None}, "say by which criterion"),
    "compilation not kept": ({"kept": False, "clips": None}, "say by which criterion"),
    "not kept, but clips": ({"kept": False, "criterion": "static"}, "not kept, but became clips"),
    "kept, but nothing": ({"clips": []}, "name the clips it became"),
    "kept in spite": ({"criterion": "static", "clips": ["a"]}, "in spite of the criterion static"),
    "one clip is no compilation": ({"clips": ["a"]}, "belongs to a video that became several clips"),
    "several clips are one": ({"criterion": None}, "belongs to a video that became several clips"),
    "a clip twice": ({"clips": ["a", "A", "b"]}, "listed twice"),
    "criterion": ({"criterion": "boring"}, "is not one of"),
    "kept as text": ({"kept": "yes"}, "is not of type 'boolean'"),
    "no concept": ({"concept": ""}, "concept"),
    "person": ({"uploader": "anna"}, "'uploader' was unexpected"),
}


@pytest.mark.parametrize("name", BAD_CANDIDATES)
def test_candidates_that_contradict_themselves_are_refused(name: str, tmp_path: Path) -> None:
    changes, message = BAD_CANDIDATES[name]
    record = {key: value for key, value in (CANDIDATE | changes).items() if value is not None}
    path = write(tmp_path / "candidates.jsonl", CANDIDATE | {"id": "k0", "clips": ["x", "y"]}, record)
    with pytest.raises(InputError) as caught:
        read_candidates(path)
    assert message in str(caught.value)
    assert caught.value.where[0].startswith(f"{path}:2")


def test_candidates_share_neither_ids_nor_clips(tmp_path: Path) -> None:
    path = tmp_path / "candidates.jsonl"
    (one,) = read_candidates(write(path, CANDIDATE))
    assert (one.kept, one.clips, one.criterion, one.video_id) == (True, ("a", "b"), "compilation", "17")
    with pytest.raises(InputError, match="the clip B is listed twice"):
        read_candidates(write(path, CANDIDATE, CANDIDATE | {"id": "k2", "clips": ["c", "B"]}))
    with pytest.raises(InputError, match="the id K1 is taken"):
        read_candidates(write(path, CANDIDATE, CANDIDATE | {"id": "K1", "clips": ["c", "d"]}))


def test_withdrawals_name_a_reason_and_never_a_person(tmp_path: Path) -> None:
    path = tmp_path / "withdrawn.jsonl"
    first, second = read_withdrawn(
        write(path, WITHDRAWAL, WITHDRAWAL | {"clip": "b"}, WITHDRAWAL | {"clip": "B", "reason": "other"})
    )
    assert (first.clip, first.date, first.reason, first.withdrawn_in) == ("wax-01", "2026-01-31", "uploader", "v2")
    assert second.reason == "uploader"
    bad = [
        ({"reason": "Anna asked"}, "is not one of"),
        ({"person": "Anna"}, "'person' was unexpected"),
        ({"date": "2026-13-01"}, "2026-13-01 is no day"),
        ({"date": "yesterday"}, "date"),
        ({"clip": "../x"}, "clip"),
    ]
    for changes, message in bad:
        with pytest.raises(InputError, match=message):
            read_withdrawn(write(path, WITHDRAWAL | changes))
