"""``meta_expressions.json``, the list of sentences that Ref-YouTube-VOS, Ref-DAVIS and MeViS share.

``{"videos": {video: {"frames": [name], "expressions": {id: {"exp": text, "obj_id": ..., "anno_id": [...]}}}}}``.
``obj_id`` is a text in Ref-YouTube-VOS and Ref-DAVIS, a list of numbers in MeViS, and absent where the ground truth
is hidden; ``anno_id`` lists the masks of MeViS whose union is the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.errors import InputError
from refvps.files import read_json
from refvps.frames import natural_key
from refvps.types import ID

MAX_TEXT = 1000
"""Longest sentence, in characters; the longest of the real lists has 136."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One expression: its id in the file, the text as it is, and numbers of objects and masks, as texts."""

    id: str
    text: str
    objects: tuple[str, ...]
    masks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Video:
    """One video: frames in time order, sentences in numerical order of their ids ("10" after "9")."""

    name: str
    frames: tuple[str, ...]
    sentences: tuple[Sentence, ...]


def read_meta(path: Path, *, empty: bool = False) -> list[Video]:
    """Videos in the order of their names; raises InputError naming every video that cannot be used.

    ``empty``: a list without videos is one, too.
    """
    record = read_json(path)
    videos = record.get("videos") if isinstance(record, dict) else None
    if not isinstance(videos, dict) or not (videos or empty):
        raise InputError("A list of expressions cannot be used.", where=[f"{path}: no videos"], fix="get it again")
    found: list[Video] = []
    wrong: list[str] = []
    for name in sorted(videos):
        try:
            found.append(_video(name, videos[name]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            wrong.append(f"{path}: {shown(name, 60)}: {reason[:200]}")
    if wrong:
        raise InputError("A list of expressions cannot be used.", where=wrong, fix="get it again")
    return found


def _video(name: str, record: Mapping[str, Any]) -> Video:
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise ValueError("a video is named after no folder")
    frames = record["frames"]
    if not isinstance(frames, list) or not frames:
        raise ValueError("frames are not a list of names")
    if odd := [frame for frame in frames if not isinstance(frame, str) or not ID.fullmatch(frame)]:
        raise ValueError(f"a frame name is not allowed: {odd[0]!r}")
    if len({frame.lower() for frame in frames}) != len(frames):
        raise ValueError("two frames have one name")
    expressions = record["expressions"]
    if not isinstance(expressions, dict) or not expressions:
        raise ValueError("expressions are not an object of sentences")
    ids = sorted(expressions, key=natural_key)
    if odd := [key for key in ids if not ID.fullmatch(key)]:
        raise ValueError(f"an expression id is not allowed: {odd[0]!r}")
    return Video(name, tuple(frames), tuple(_sentence(key, expressions[key]) for key in ids))


def _sentence(key: str, record: Mapping[str, Any]) -> Sentence:
    text = record["exp"]
    if not isinstance(text, str) or len(text) > MAX_TEXT or any(ord(c) < 32 or c == "\x7f" for c in text):
        raise ValueError(f"expression {key}: exp is no sentence")
    return Sentence(key, text, _numbers(record, "obj_id", key), _numbers(record, "anno_id", key))


def _numbers(record: Mapping[str, Any], field: str, key: str) -> tuple[str, ...]:
    value = record.get(field, [])
    values = value if isinstance(value, list) else [value]
    texts = [str(each) if type(each) is int else each for each in values]
    if not all(isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        raise ValueError(f"expression {key}: {field} is neither a number nor a list of numbers")
    return tuple(dict.fromkeys(str(int(text)) for text in texts))
