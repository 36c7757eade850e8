"""Which of the four layouts a folder has, and where its parts are.

``davis``
    ``Annotations/<clip>/<frame>.png``, one label per object, 255 Ignore.
``ignore-folder``
    The same without 255, and ``Ignore/<clip>/<frame>.png`` beside it, where anything but 0 is Ignore.
``coco-rle``
    ``mask_dict.json``, COCO RLE by mask number as MeViS has it, and a track of Ignore per clip: the mask that
    ``ignore_anno_id`` of the video names, or ``"<clip>/ignore"``, or ``ignore_dict.json``.
``expression-folders``
    ``Annotations/<clip>/<expression>/<frame>.png`` (or without ``Annotations``), one object a file, Ignore as 255 or
    in ``Ignore/<clip>/[<expression>/]<frame>.png``.

All may have ``JPEGImages/<clip>/<frame>.jpg``, and need their sentences: ``meta_expressions.json``, or
``clips.jsonl`` and ``expressions.jsonl`` of Ref-VPS. ``aliases.json`` says which foreign id is which of ours. The
parts may lie one folder deeper (``test/``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refvps.archive import shown
from refvps.data.importers.tree import Video, find_videos
from refvps.data.manifest import CLIPS, EXPRESSIONS
from refvps.data.records.lists import WITHDRAWN
from refvps.errors import InputError, UsageError
from refvps.zips import is_junk

LAYOUTS = ("davis", "ignore-folder", "coco-rle", "expression-folders")
META = "meta_expressions.json"
MASKS = "mask_dict.json"
IGNORED = "ignore_dict.json"
ALIASES = "aliases.json"
_IGNORE = re.compile(r"(annotations[_-]?)?(ignore|void)([_-]?(masks|annotations|regions))?s?", re.IGNORECASE)
_RESOLUTION = re.compile(r"[0-9]{3,4}p|full-resolution", re.IGNORECASE)
_PICTURES = ("JPEGImages", "frames")


@dataclass(frozen=True, slots=True)
class Found:
    """A layout and its parts, None for those that are not there; ``videos`` and ``ignore`` are mask files."""

    layout: str
    base: Path
    videos: tuple[Video, ...] = ()
    ignore: tuple[Video, ...] | None = None
    rle: Path | None = None
    rle_ignore: Path | None = None
    meta: Path | None = None
    manifest: Path | None = None
    pictures: Path | None = None
    aliases: Path | None = None
    withdrawn: Path | None = None
    notes: tuple[str, ...] = ()


def find(root: Path, layout: str = "auto") -> Found:
    """Say what a folder is; ``layout`` decides where it could be several.

    Raises UsageError for an unknown layout and where the user must decide, InputError for a folder that is none.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise UsageError("There is no such layout.", where=[shown(layout)], fix=f"auto, {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise UsageError("There is no such folder.", where=[shown(root)], fix="give the path of a folder or .zip")
    base = _base(root)
    tree, rle = _tree(base), base / MASKS
    if tree and rle.is_file() and layout == "auto":
        raise UsageError(
            "The masks are here twice, as pictures and as RLE.",
            where=[shown(tree), shown(rle)],
            fix="say which to read: --option layout=coco-rle, or the layout of the pictures",
        )
    if rle.is_file() and layout in ("auto", "coco-rle"):
        found = Found("coco-rle", base, rle=rle, rle_ignore=_file(base / IGNORED))
    elif tree and layout != "coco-rle":
        found = _pictured(base, tree, layout)
    else:
        raise _none(base, layout)
    manifest = next(
        (each for each in (base, root) if (each / CLIPS).is_file() and (each / EXPRESSIONS).is_file()), None
    )
    return replace(
        found,
        meta=_meta(root, base),
        manifest=manifest,
        pictures=_pictures(root, base),
        aliases=_file(base / ALIASES) or _file(root / ALIASES),
        withdrawn=withdrawn_file(root),
    )


def is_registered_form(names: Sequence[str]) -> bool:
    """True for the file names of a folder or zip in the form of Ref-VPS, at most one folder too deep."""
    tops = {name[: -len(CLIPS)] for name in names if f"/{name}".endswith(f"/{CLIPS}") and name.count("/") <= 1}
    return any(name.startswith(f"{top}masks/") for top in tops for name in names)


def is_foreign(names: Sequence[str]) -> bool:
    """True for the file names of a folder or zip that holds one of the four layouts."""
    parts = {part for name in names for part in name.split("/")[:-1]}
    files = {name.rpartition("/")[2] for name in names}
    return "Annotations" in parts or not files.isdisjoint((MASKS, META))


def withdrawn_file(root: Path) -> Path | None:
    """The list of withdrawn clips of a folder in one of the four layouts."""
    return _file(_base(root) / WITHDRAWN) or _file(root / WITHDRAWN)


def _base(root: Path) -> Path:
    """The folder of the parts: the root, or the only folder in it that has masks."""
    if _has_masks(root):
        return root
    inside = [path for path in _folders(root) if _has_masks(path)]
    if len(inside) > 1:
        raise UsageError(
            "There are several sets of masks in this folder.",
            where=map(shown, inside),
            fix="give the one that is Ref-VPS with --from",
        )
    return inside[0] if inside else root


def _has_masks(folder: Path) -> bool:
    return (folder / MASKS).is_file() or (folder / "Annotations").is_dir()


def _tree(base: Path) -> Path | None:
    """The folder of the clips' mask files."""
    tree = base / "Annotations"
    if tree.is_dir():
        inside = _folders(tree)
        return inside[0] if len(inside) == 1 and _RESOLUTION.fullmatch(inside[0].name) else tree
    beside = [path for path in _folders(base) if path.name not in _PICTURES and not _IGNORE.fullmatch(path.name)]
    bare = any(file.suffix.lower() == ".png" for path in beside for inner in _folders(path) for file in inner.iterdir())
    return base if bare else None


def _pictured(base: Path, tree: Path, layout: str) -> Found:
    """One of the three layouts of pictures, told apart by their depth and by a folder of Ignore."""
    if tree == base:
        skipped = {path.name for path in _folders(base) if path.name in _PICTURES or _IGNORE.fullmatch(path.name)}
        files = tuple(path.name for path in base.iterdir() if path.is_file())
    else:
        skipped, files = set(), ()
    videos, notes = find_videos(tree, skipped | set(files))
    siblings = [path for path in _folders(base) if _IGNORE.fullmatch(path.name)]
    if len(siblings) > 1:
        raise UsageError("Several folders could hold Ignore.", where=map(shown, siblings), fix="keep one of them")
    deep = all("" not in video.parts for video in videos)
    kind = "expression-folders" if deep else "ignore-folder" if siblings else "davis"
    if layout not in ("auto", kind):
        raise InputError(
            f"This is not the layout {layout}.",
            where=[f"{shown(tree)}: it looks like {kind}"],
            fix="drop --option layout, or give another folder",
        )
    ignore = None
    if siblings:
        inside = _folders(siblings[0])
        deeper = len(inside) == 1 and _RESOLUTION.fullmatch(inside[0].name)
        ignored, more = find_videos(inside[0] if deeper else siblings[0])
        ignore, notes = tuple(ignored), [*notes, *more]
    return Found(kind, base, tuple(videos), ignore, notes=tuple(notes))


def _meta(root: Path, base: Path) -> Path | None:
    """The list of sentences; beside the masks, or as Ref-YouTube-VOS keeps it."""
    for path in (base / META, root / META, root / "meta_expressions" / base.name / META):
        if path.is_file():
            return path
    several = sorted({*root.glob(f"meta_expressions/*/{META}"), *base.glob(f"meta_expressions/*/{META}")})
    if len(several) > 1:
        raise UsageError(
            "There are several lists of expressions.", where=map(shown, several), fix="keep the one of Ref-VPS"
        )
    return several[0] if several else None


def _pictures(root: Path, base: Path) -> Path | None:
    for folder in (base / name for name in _PICTURES):
        if folder.is_dir():
            inside = _folders(folder)
            return inside[0] if len(inside) == 1 and _RESOLUTION.fullmatch(inside[0].name) else folder
    return None if root == base else _pictures(root, root)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_junk(path.name))


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _none(base: Path, layout: str) -> InputError:
    what = "Ref-VPS in any layout that refvps knows" if layout == "auto" else f"the layout {layout}"
    return InputError(
        f"This folder does not hold {what}.",
        where=[f"{shown(base)}: no Annotations/, no {MASKS}, no masks/ with {CLIPS}"],
        fix="see docs/download.md for the forms; masks are PNG files or COCO RLE",
    )
