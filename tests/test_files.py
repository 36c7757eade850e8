"""JSON from strangers: refused whole, by name, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvps.errors import InputError
from refvps.files import canonical_json, parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1e999", "too large"),
        ('{"a": [-1e400]}', "too large"),
        ("9" * 400 + ".0", "too large"),
        ("9" * 41, "41 digits"),
        ('{"a": -' + "9" * 4000 + "}", "digits"),
        ("9" * 100_000, "digits"),
        (r'"\ud800"', "lone surrogate"),
        (r'{"\uDFFF": 1}', "lone surrogate"),
        (r'[["x", {"a": "b\uD83d"}]]', "lone surrogate"),
        (r'"\ude00\ud83d"', "lone surrogate"),
        ("NaN", "NaN"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_absurd_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match="not valid JSON") as caught:
        parse_json(text.encode(), "file.json")
    (place,) = caught.value.where
    assert place.startswith("file.json: ")
    assert reason in place
    assert len(place) < 300
    place.encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\\ud800"', r"\ud800"),
        ("1e308", 1e308),
        (str(2**128 - 1), 2**128 - 1),
        ("-0.5", -0.5),
    ],
)
def test_unusual_json_is_read(text: str, value: Any) -> None:
    assert parse_json(text.encode(), "x") == value


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**128), 2**128)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(value=JSON, ascii_only=st.booleans())
def test_sound_json_is_read_as_it_is(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode(), "x") == value
    assert parse_json(canonical_json(value), "x") == value
