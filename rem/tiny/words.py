"""The language of the training clips, and a tokenizer in which its sentences are short.

A real CLIPTokenizer over bytes: every word of training is one token, common letter pairs are merged, and
any other text still encodes, letter by letter. Words that only test sentences use (names of processes) are
deliberately not in the list: the model has never seen them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rem.tiny.canvas import PALETTE

SHAPES = ("disc", "square", "triangle", "bar", "ring", "cross", "star", "blob")
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom")
MOTIONS = ("left", "right", "up", "down", "still")
NOUNS = ("thing", "object", "shape", "one", "part")

PHRASES = ("the a on at of near moving that is to not still standing up down above below side").split()

PAIRS = "th he in er an re on at en nd ti es or te of ed is it al ar st nt to se ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur".split()  # noqa: E501
"""Frequent letter pairs of English, so that unknown words do not use up the 77 places."""


def vocabulary() -> tuple[str, ...]:
    """Every word a training sentence may contain, invented words excepted; sorted."""
    listed = {*PALETTE, *SHAPES, *TEXTURES, *SIZES, *PLACES, *MOTIONS, *NOUNS, *PHRASES}
    return tuple(sorted(word for entry in listed for word in entry.split()))


def invented(rng: np.random.Generator) -> str:
    """A word without meaning, so that unknown words are part of the training: "morvel", "tasu"."""
    letters = [rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou")) for _ in range(int(rng.integers(2, 4)))]
    return "".join(letters) + str(rng.choice(["", "l", "n", "r", "st", "ing"]))


def merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order of rank, under which each of ``words`` becomes one token."""
    ranks: dict[tuple[str, str], int] = {}

    def add(pair: tuple[str, str]) -> None:
        ranks.setdefault(pair, len(ranks))

    for pair in PAIRS:
        add((pair[0], pair[1]))
    for pair in PAIRS:
        add((pair[0], f"{pair[1]}</w>"))
    for word in words:
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            known = [pair for pair in itertools.pairwise(symbols) if pair in ranks]
            pair = min(known, key=ranks.__getitem__) if known else (symbols[0], symbols[1])
            add(pair)
            symbols = _merged(symbols, pair)
    return list(ranks)


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for symbol in symbols:
        if found and (found[-1], symbol) == pair:
            found[-1] += symbol
        else:
            found.append(symbol)
    return found


def write_tokenizer(folder: Path) -> Any:
    """The tokenizer of the training language, a CLIPTokenizer of at most 77 tokens, written into ``folder``."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pairs = merges(vocabulary())
    symbols = sorted(ByteLevel.alphabet())
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(pair) for pair in pairs)]
    entries = [*dict.fromkeys(entries), "<|startoftext|>", "<|endoftext|>"]
    table = json.dumps({entry: number for number, entry in enumerate(entries)}, ensure_ascii=False)
    (folder / "vocab.json").write_text(table, encoding="utf-8")
    listed = "".join(f"{a} {b}\n" for a, b in pairs)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{listed}", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = "!"
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)
