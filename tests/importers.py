"""Small copies of foreign data sets in their real layouts, one generator for each row of IMPORTERS.

To add an importer: write a module with ``def copy(root: Path) -> Copy`` that makes a copy below ``root`` without any
code of refvps, and name it in GENERATORS. ``tests/test_importers.py`` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

GENERATORS = {
    "burst": "foreign_burst",
    "vspw-stuff": "foreign_vspw",
    "ref-davis": "foreign_refdavis",
    "ref-ytvos": "foreign_ytvos",
    "mevis": "foreign_mevis",
    "davis16": "foreign_davis16",
    "ytvis": "foreign_ytvis",
}
"""Importer to the module with its generator."""


@dataclass(frozen=True)
class Copy:
    """A generated copy and what must be found in it.

    ``root``: what the loader gets. ``options``: as of ``--option``. ``first``, ``last``: (clip, expression, text) of
    the first and last expression. ``sizes``: (height, width) by clip. ``needed``: files (relative to ``root``)
    without which loading must fail, naming them. ``damaged``: content by file that must be refused, naming the file,
    when the masks are read at the latest. ``annotated``: annotated frames in all. ``source_ids``: by clip.
    """

    root: Path
    clips: int
    expressions: int
    first: tuple[str, str, str]
    last: tuple[str, str, str]
    sizes: Mapping[str, tuple[int, int]]
    annotated: int
    needed: tuple[str, ...]
    damaged: Mapping[str, bytes]
    pictures: Mapping[str, tuple[str, ...]]
    source_ids: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)


def make(name: str, root: Path) -> Copy:
    """A new copy for an importer below ``root``."""
    generate: Callable[[Path], Copy] = import_module(GENERATORS[name]).copy
    root.mkdir(parents=True, exist_ok=True)
    return generate(root)
