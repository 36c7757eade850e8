"""What was found, what each criterion took, and what is left: the funnel of a collection (paper, 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from refvps.data.census.funnel import Stage
from refvps.errors import UsageError
from refvps.report.figures import Drawing
from refvps.report.figures.style import FAINT, INK, SMALL, new_figure, plain_text, styled

VIDEOS, CLIPS, LOST = "#0072B2", "#D55E00", "#d8d8d8"
SHARE = 0.36
"""Width of the longest bar, as a share of the axes; the words stand beside it in columns."""

COLUMNS = (0.43, 0.515, 0.635)


def draw(stages: Sequence[Stage], title: str, column: str = "double") -> Drawing:
    """One bar for every stage, from top to bottom, with what was lost on the way to it in grey.

    Raises UsageError when there is no candidate.
    """
    if not stages or not stages[0].count:
        raise UsageError(
            "There are no candidates to draw.", where=[title], fix="add candidates.jsonl; see docs/manifest.md"
        )
    most = max(stage.count for stage in stages)
    with styled():
        figure, axes = new_figure(column, 0.45 + 0.26 * len(stages))
        for row, stage in enumerate(stages):
            axes.barh(row, stage.count, height=0.66, color=CLIPS if stage.unit == "clips" else VIDEOS)
            axes.barh(row, stage.lost, left=stage.count, height=0.66, color=LOST)
            concepts = f"{stage.concepts:,} concept{'s' if stage.concepts != 1 else ''}"
            lost = f"{stage.lost:,} gone: {stage.reason}" if stage.lost else stage.reason
            for place, text, align, colour in (
                (COLUMNS[0], f"{stage.count:,}", "right", INK),
                (COLUMNS[0] + 0.008, stage.unit, "left", INK),
                (COLUMNS[1], concepts, "left", INK),
                (COLUMNS[2], lost, "left", FAINT),
            ):
                axes.annotate(
                    text,
                    (place, row),
                    xycoords=("axes fraction", "data"),
                    ha=align,
                    va="center_baseline",
                    fontsize=SMALL,
                    color=colour,
                )
        axes.set_yticks(range(len(stages)), [stage.name for stage in stages])
        axes.set_ylim(len(stages) - 0.5, -0.5)
        axes.set_xlim(0, most / SHARE)
        axes.set_xticks([])
        for side in ("bottom", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"From search to clips: {plain_text(title)}", parse_math=False)
    return Drawing(figure, {"plot": "funnel", "benchmark": title, "stages": [asdict(stage) for stage in stages]})
