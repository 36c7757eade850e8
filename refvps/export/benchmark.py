"""A benchmark written in another layout: every layout is one row of a table and one generator of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from refvps.errors import UsageError
from refvps.export import questions, rle_layouts, tree_layouts
from refvps.export.content import ClipContent, Items, contents
from refvps.predictions.export import write_files
from refvps.types import Benchmark

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``write`` yields (name, content) for a benchmark. ``masks``: it holds ground truth, as far as it is asked for.

    ``back``: what reads it again, as words for people. ``windows``: it can cut clips into pseudo-videos.
    """

    name: str
    summary: str
    write: Callable[[Benchmark, Iterator[ClipContent]], Items]
    masks: bool
    back: str
    windows: bool = False


_ALL = (
    Layout(
        "ref-vps",
        "clips.jsonl, expressions.jsonl, masks/<clip>.jsonl, frames/: refvps' own form, complete",
        rle_layouts.ref_vps,
        True,
        "refvps download NAME --from",
    ),
    Layout(
        "davis",
        "Annotations/<clip>/<frame>.png with one number per target and 255 as Ignore (DAVIS, VOST)",
        tree_layouts.davis,
        True,
        "refvps download ref-vps --from, refvps evaluate --gt",
    ),
    Layout(
        "ignore-folder",
        "the same without 255, and Ignore/<clip>/<frame>.png beside it",
        tree_layouts.ignore_folder,
        True,
        "refvps download ref-vps --from",
    ),
    Layout(
        "expression-folders",
        "Annotations/<clip>/<expression>/<frame>.png, one target a file, 255 as Ignore",
        tree_layouts.expression_folders,
        True,
        "refvps download ref-vps --from, refvps evaluate --gt",
    ),
    Layout(
        "mevis",
        "meta_expressions.json, mask_dict.json (COCO RLE) and ignore_dict.json, as MeViS has them",
        rle_layouts.mevis,
        True,
        "refvps download ref-vps --from, refvps download mevis --from",
    ),
    Layout(
        "ytvis",
        "instances.json in the style of YouTube-VIS and SA-Co, Ignore as a category __ignore__",
        rle_layouts.ytvis,
        True,
        "refvps download ytvis --from",
    ),
    Layout(
        "sav",
        "Annotations_6fps/<clip>/<target>/<frame>.png, binary, and Ignore_6fps, as SA-V has them",
        tree_layouts.sav,
        True,
        "refvps evaluate --protocol sav --gt DIR/Annotations_6fps",
    ),
    Layout(
        "ytvos",
        "meta_expressions/valid and valid/JPEGImages: the questions, for methods that read Ref-YouTube-VOS",
        questions.ytvos,
        False,
        "refvps download ref-ytvos --option split=valid --from",
        windows=True,
    ),
    Layout(
        "uninext",
        "ref-youtube-vos/valid.json, one entry for each video and expression, and the frames, as UNINEXT reads them",
        questions.uninext,
        False,
        "refvps import --layout annotations, for the predictions",
        windows=True,
    ),
    Layout(
        "davis4",
        "pseudo-videos <clip>__g000 with four expressions each, for methods that read Ref-DAVIS",
        questions.davis4,
        False,
        "refvps import --layout davis4, for the predictions",
    ),
    Layout(
        "davis4-480p",
        "the same with frames in valid/JPEGImages/480p, where SgMg looks for them",
        questions.davis4_480p,
        False,
        "refvps import --layout davis4, for the predictions",
    ),
)

LAYOUTS = {layout.name: layout for layout in _ALL}
"""Layouts of ``refvps export benchmark``, by name."""


def export_benchmark(
    benchmark: Benchmark,
    out: Path,
    layout: str,
    *,
    frames: Literal["none", "copy", "link"] = "copy",
    masks: bool = True,
    window: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a benchmark to ``out``, a new folder or a file ending in .zip; returns the number of files.

    ``frames``: left out, copied, or hard-linked where the file system can. ``masks=False`` leaves the ground truth
    out of layouts that hold it. ``window``: the most frames of a video, for ``ytvos`` and ``uninext``; clips become
    pseudo-videos ``<clip>__w000``, which ``refvps import`` joins again. The result appears whole or not at all. Raises
    UsageError when ``out`` exists or the layout cannot hold the benchmark, and as the benchmark does for what is not on
    this machine.
    """
    if layout not in LAYOUTS:
        from difflib import get_close_matches

        near = get_close_matches(layout, LAYOUTS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            "There is no such layout.", where=[repr(layout)[:80]], fix=f"{hint}one of {', '.join(LAYOUTS)}"
        )
    row = LAYOUTS[layout]
    clips = contents(benchmark, frames=frames != "none", masks=masks and row.masks, progress=progress)
    if window is not None:
        if not row.windows:
            able = ", ".join(each.name for each in _ALL if each.windows)
            raise UsageError("This layout has no windows.", where=[f"--layout {layout}"], fix=f"one of {able}")
        clips = questions.windowed(clips, window, benchmark.clips)
    return write_files(out, row.write(benchmark, clips), link=frames == "link")
