"""The shipped schemas, and the fast check that must agree with jsonschema about every one of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import CANDIDATE, EXPRESSION, FULL, WITHDRAWAL
from trees import clip_records, expression_records

from refvps.data import manifest
from refvps.data.validator import compiled

VALID: dict[tuple[str, str], list[Any]] = {
    ("clips", ""): [FULL, *clip_records()],
    ("expressions", ""): [EXPRESSION, *expression_records()],
    ("candidates", ""): [CANDIDATE],
    ("withdrawn", ""): [WITHDRAWAL],
    ("benchmark", ""): [{"name": "x", "version": "1", "licence": "", "description": "", "rules": {"draws": 10}}],
    ("masks", "header"): [{"schema": "refvps.masks/1", "clip": "a", "size": [3, 4], "frames": ["0"]}],
    ("masks", "target"): [{"target": "1", "counts": ["ab", None]}],
    ("masks", "ignore"): [{"ignore": True, "counts": ["ab"]}],
}
FACT = {"figure": "clips", "printed": "111", "value": 111, "rule": "equal", "where": "Table A"}
VALID["versions", ""] = [
    {
        "name": "ref-vps",
        "versions": [{"version": "v1", "source": "s", "facts": [FACT, FACT | {"value": [712, 576]}], "notes": ["n"]}],
    }
]

ODD = st.sampled_from([
    0, 1, -1, 1.0, 1.5, -0.0, True, False, None, "", "1", "a\n", "a\x00", "\ud800", "x" * 1001, 10**9, 10**40, 1e300,
    270, 16385, [], {}, ["00000"], ["0", 1], {"count": 1, "digits": 1}, {"count": 0, "digits": 1}, {"count": 2.0},
    "12.5", "1/0", "1/3", "-1", "http://x", "https://a b", "frames", "2026-01-31", "2026-1-1", "f" * 64, "../x", "..",
])  # fmt: skip
JSON = st.recursive(
    ODD | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(schema)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value can be changed: itself and everything in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with ``new`` at ``path``; "drop" deletes it."""
    if not path:
        return new
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if new == "drop":
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


@pytest.mark.parametrize(("name", "part"), VALID)
@given(data=st.data())
@settings(max_examples=120)
def test_the_fast_check_and_jsonschema_agree(name: str, part: str, data: st.DataObject) -> None:
    schema = manifest.schema_of(name, part)
    fast, slow = compiled(schema), validator(schema)
    record = data.draw(st.sampled_from(VALID[name, part]))
    assert fast(record)
    assert slow.is_valid(record)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(record)))
        grown = (*path, "odd") if isinstance(changed_at(record, path), dict) and data.draw(st.booleans()) else path
        record = changed(record, grown, data.draw(JSON | st.just("drop")) if grown == path else data.draw(JSON))
    assert fast(record) == slow.is_valid(record)


def changed_at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(("name", "part"), VALID)
def test_every_field_can_break_both_checks(name: str, part: str) -> None:
    """The strategy above would prove nothing if all it makes were refused, or nothing."""
    schema = manifest.schema_of(name, part)
    fast, slow = compiled(schema), validator(schema)
    record = VALID[name, part][0]
    accepted = refused = 0
    for path in places(record):
        for new in ({"strange": 1}, "x", [], 3, None):
            broken = changed(record, path, new)
            assert fast(broken) == slow.is_valid(broken), (path, new)
            accepted += fast(broken)
            refused += not fast(broken)
    assert refused > len(places(record))
    assert accepted > 0


KEYWORDS: list[dict[str, Any]] = [
    {"type": "integer"}, {"type": "number"}, {"type": ["string", "null"]}, {"type": "boolean"}, {"type": "array"},
    {"type": "object"}, {"enum": ["a", "", True]}, {"const": True}, {"const": "1"}, {"pattern": "^a*$"},
    {"minLength": 2}, {"maxLength": 1}, {"minimum": 1}, {"maximum": 1}, {"exclusiveMinimum": 1},
    {"minItems": 1}, {"maxItems": 1},
    {"items": {"type": "string"}}, {"items": {"type": "integer", "minimum": 0}}, {"required": ["a"]},
    {"properties": {"a": {"type": "string"}}}, {"properties": {"a": {}}, "additionalProperties": False},
    {"additionalProperties": {"type": "number"}}, {"anyOf": [{"type": "string"}, {"minimum": 5}]},
    {"allOf": [{"maxLength": 3}, {"pattern": "b"}]},
    {"$ref": "#/$defs/x", "minLength": 1, "$defs": {"x": {"maxLength": 2}}},
    {"type": ["array", "object"], "minItems": 1, "additionalProperties": False, "properties": {"a": {}}},
    {}, {"title": "t", "description": "d"},
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, 2, -1, 0.5, 1.0, 2.0, 1e300, 10**40, "", "a", "aa", "a\n", "b", "ab", "abcd", "1", [], [1],
    ["a"], ["a", "b"], [True], [1.0, 2.5], {}, {"a": 1}, {"a": "x"}, {"b": 1}, {"a": 1, "b": 2}, {"a": None, "b": "c"},
]  # fmt: skip


@pytest.mark.parametrize("schema", KEYWORDS, ids=json.dumps)
def test_every_keyword_means_what_it_means_to_jsonschema(schema: dict[str, Any]) -> None:
    fast, slow = compiled(schema), validator(schema)
    assert [fast(value) for value in VALUES] == [slow.is_valid(value) for value in VALUES]


@pytest.mark.parametrize(
    "schema",
    [
        {"uniqueItems": True},
        {"type": "int"},
        {"enum": [1]},
        {"$ref": "#/$defs/none"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}},
        {"items": {"format": "date"}},
    ],
    ids=json.dumps,
)
def test_a_schema_that_the_fast_check_does_not_know_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="known|listed|nowhere"):
        compiled(schema)


def test_all_shipped_schemas_are_schemas() -> None:
    for path in (Path(manifest.__file__).parent / "schemas").glob("*.json"):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        compiled(schema)
        for part in schema.get("$defs", {}):
            compiled(manifest.schema_of(path.stem, part))
