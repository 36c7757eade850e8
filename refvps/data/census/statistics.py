"""The table of a benchmark (paper, Table A): how many clips, frames and concepts, how long, how large, by whom.

Everything is counted from the lists; only :func:`areas` decodes masks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refvps import home
from refvps.data.census.versions import Value
from refvps.data.index import Progress, parallel
from refvps.data.manifest import CLIPS, EXPRESSIONS, read_manifest
from refvps.data.records.clip import ClipRecord, ExpressionRecord, read_clips, read_expressions
from refvps.data.records.lists import CANDIDATES, WITHDRAWN, Candidate, read_candidates, read_withdrawn
from refvps.data.records.withdrawal import gone_among
from refvps.errors import DataMissingError, InputError
from refvps.types import Benchmark, Clip, Expression, Truth

Range = tuple[float, float]
"""Least and greatest."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of a benchmark. Lengths are in seconds, frames over frame rate, for clips whose rate is known.

    ``smallest`` and ``largest`` are (longer side, shorter side) of the clips with the fewest and the most pixels,
    in pixels. Tables map a name to a number of clips, but ``sources`` to clips by what is known of their source.
    """

    clips: int
    frames: int
    annotated: int
    groups: int
    expressions: int
    targets: int
    concepts: int
    annotators: int
    lengths: tuple[float, ...]
    fps: tuple[float, ...]
    annotation_fps: tuple[float, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    frames_per_clip: Range
    expressions_per_clip: Range
    annotators_per_clip: Range
    expressions_per_annotator: Range
    words_per_expression: float
    categories: Mapping[str, int]
    splits: Mapping[str, int]
    quality: Mapping[str, int]
    sources: Mapping[str, int]

    @property
    def average_seconds(self) -> float | None:
        """Mean length of a clip."""
        return math.fsum(self.lengths) / len(self.lengths) if self.lengths else None

    def figures(self) -> dict[str, Value]:
        """The figures that a publication prints, by name."""
        near = sum(2.5 <= length <= 5 for length in self.lengths)
        return {
            "clips": self.clips,
            "frames": self.frames,
            "annotated_frames": self.annotated,
            "concepts": self.concepts or None,
            "groups": self.groups,
            "expressions": self.expressions,
            "average_seconds": self.average_seconds,
            "shortest_seconds": min(self.lengths, default=None),
            "longest_seconds": max(self.lengths, default=None),
            "share_2.5_to_5_seconds": near / len(self.lengths) if self.lengths else None,
            "fps": _single(self.fps),
            "annotation_fps": _single(self.annotation_fps),
            "smallest": self.smallest,
            "largest": self.largest,
            "expressions_per_clip": _single(self.expressions_per_clip),
            "annotators_per_clip": _single(self.annotators_per_clip),
            "expressions_per_annotator": _single(self.expressions_per_annotator),
            "categories": len(self.categories) or None,
            "splits": len(self.splits),
        }


@dataclass(frozen=True, slots=True)
class Areas:
    """Shares of pixels, fractions. ``ignore``: of all annotated pixels; ``target``: mean over targets and annotated
    frames; ``empty``: annotated (target, frame) pairs without a pixel; ``by_clip``: mean target share of a clip, least
    and greatest; ``ignored_frames``: annotated frames with an Ignore region."""

    ignore: float
    ignored_frames: float
    target: float
    empty: float
    by_clip: Range


def statistics(
    benchmark: Benchmark,
    clips: Iterable[ClipRecord] = (),
) -> Statistics:
    """Count a benchmark; ``clips``: its records, where it has any, for quality flags and sources."""
    records = tuple(clips)
    said: dict[str, list[Expression]] = {key: [] for key in benchmark.clips}
    for expression in benchmark.expressions:
        said[expression.clip].append(expression)
    own = benchmark.clips.values()
    by_size = sorted(own, key=lambda clip: (clip.size[0] * clip.size[1], clip.size))
    each = [_by_annotator(expressions) for expressions in said.values()]
    texts = [expression.text for expression in benchmark.expressions if expression.text]
    return Statistics(
        clips=len(said),
        frames=sum(len(clip.frames) for clip in own),
        annotated=sum(len(clip.annotated) for clip in own),
        groups=len({clip.group for clip in own}),
        expressions=len(benchmark.expressions),
        targets=len({(expression.clip, expression.target) for expression in benchmark.expressions}),
        concepts=len({expression.concept for expression in benchmark.expressions} - {""}),
        annotators=len({expression.annotator for expression in benchmark.expressions} - {""}),
        lengths=tuple(len(clip.frames) / clip.fps for clip in own if clip.fps),
        fps=tuple(sorted({clip.fps for clip in own})),
        annotation_fps=tuple(sorted({clip.annotation_fps for clip in own})),
        smallest=_sides(by_size[0]),
        largest=_sides(by_size[-1]),
        frames_per_clip=_range(len(clip.frames) for clip in own),
        expressions_per_clip=_range(map(len, said.values())),
        annotators_per_clip=_range(map(len, each)),
        expressions_per_annotator=_range(count for counts in each for count in counts.values()),
        words_per_expression=sum(len(text.split()) for text in texts) / max(1, len(texts)),
        categories=_table(category for found in said.values() for category in {c for e in found for c in e.categories}),
        splits=_table(clip.split for clip in own),
        quality=_table(flag for record in records for flag in set(record.quality)),
        sources=_sources(records),
    )


def areas(benchmark: Benchmark, *, jobs: int = 1, progress: Progress | None = None) -> Areas:
    """Decode every mask of a benchmark, on ``jobs`` processes; ``progress`` counts clips."""
    targets: dict[str, list[str]] = {key: [] for key in benchmark.clips}
    for expression in benchmark.expressions:
        if expression.target not in targets[expression.clip]:
            targets[expression.clip].append(expression.target)
    tasks = [(clip, tuple(targets[key]), benchmark.truth(key)) for key, clip in benchmark.clips.items()]
    found = list(parallel(_clip_areas, tasks, jobs=jobs, chunk=1, progress=progress))
    pixels, ignored = (sum(part) for part in zip(*((each[0], each[1]) for each in found), strict=True))
    frames, with_ignore = (sum(part) for part in zip(*((each[2], each[3]) for each in found), strict=True))
    shares = [share for each in found for share in each[4]]
    by_clip = [math.fsum(each[4]) / len(each[4]) for each in found if each[4]]
    return Areas(
        ignore=ignored / pixels,
        ignored_frames=with_ignore / frames,
        target=math.fsum(shares) / max(1, len(shares)),
        empty=sum(share == 0 for share in shares) / max(1, len(shares)),
        by_clip=_range(by_clip),
    )


def plain(statistics: Statistics, areas: Areas | None = None) -> dict[str, Any]:
    """Statistics as plain JSON, with average length and without the list of lengths."""
    found = asdict(statistics) | {"average_seconds": statistics.average_seconds}
    found["shortest_seconds"], found["longest_seconds"] = _range(found.pop("lengths"))
    return found | ({} if areas is None else {"areas": asdict(areas)})


def listed(folder: Path) -> Benchmark:
    """The clips and expressions of a folder with manifests alone, as a benchmark that has no masks."""
    clips, expressions = read_manifest(folder)
    path = folder / WITHDRAWN
    gone = gone_among(clips, read_withdrawn(path) if path.is_file() else ())
    clips = {key: clip for key, clip in clips.items() if key not in gone}
    if not clips:
        raise InputError("Every clip of this data set is withdrawn.", where=[str(folder)])
    return Benchmark(
        name=folder.resolve().name,
        version="local",
        digest="",
        clips=clips,
        expressions=tuple(expression for expression in expressions if expression.clip in clips),
        truth=_no_truth,
        notes=(f"Clips withdrawn: {len(gone)}.",) if gone else (),
    )


def _no_truth(clip: str) -> Truth:
    raise DataMissingError("Only the lists of this data set were read.", where=[clip], fix="register it to count masks")


def manifest_folder(benchmark: Benchmark) -> Path | None:
    """The folder with the manifests of a benchmark, where it has one on this machine."""
    if benchmark.name == "sample":
        return home.annotations() / "sample"
    folder = home.home() / "benchmarks" / benchmark.name / benchmark.version
    return folder if (folder / CLIPS).is_file() else None


def clip_records(folder: Path | None) -> tuple[ClipRecord, ...]:
    """The clips of a checked manifest folder with all they say; nothing without a folder."""
    return tuple(read_clips(folder / CLIPS, checked=True)) if folder is not None else ()


def expression_records(folder: Path | None) -> tuple[ExpressionRecord, ...]:
    """The expressions of a checked manifest folder with all they say; nothing without a folder."""
    return tuple(read_expressions(folder / EXPRESSIONS, checked=True)) if folder is not None else ()


def candidates(folder: Path | None) -> tuple[Candidate, ...]:
    """The candidates of a manifest folder; nothing where it has no list of them."""
    if folder is None or not (folder / CANDIDATES).is_file():
        return ()
    return read_candidates(folder / CANDIDATES)


def _clip_areas(task: tuple[Clip, tuple[str, ...], Truth]) -> tuple[int, int, int, int, list[float]]:
    """Pixels, Ignore pixels, frames, frames with Ignore, and the share of each (target, frame) of a clip."""
    clip, targets, truth = task
    size = clip.size[0] * clip.size[1]
    ignored = with_ignore = 0
    shares: list[float] = []
    for index in clip.annotated_indices():
        masks, ignore = truth.frame(index)
        area = 0 if ignore is None else ignore.area()
        ignored += area
        with_ignore += area > 0
        shares += [mask.area() / size for target in targets if (mask := masks.get(target)) is not None]
    return size * len(clip.annotated), ignored, len(clip.annotated), with_ignore, shares


def _by_annotator(expressions: Sequence[Expression]) -> Counter[str]:
    """How many expressions of a clip each named annotator wrote."""
    return Counter(expression.annotator for expression in expressions if expression.annotator)


def _single(values: Sequence[float]) -> Value:
    """The one value that all clips share, least and greatest where they differ, None where it is 0 for unknown."""
    if values[0] == values[-1]:
        return values[0] or None
    return values[0], values[-1]


def _sides(clip: Clip) -> tuple[int, int]:
    return max(clip.size), min(clip.size)


def _range(values: Iterable[float]) -> Range:
    found = list(values)
    return min(found, default=0), max(found, default=0)


def _table(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _sources(records: Sequence[ClipRecord]) -> dict[str, int]:
    """Clips by redistribution and licence, and how many lack either."""
    found = Counter[str]()
    for record in records:
        found[f"redistribution: {record.source.redistribution or 'not known'}"] += 1
        found[f"licence: {record.source.licence or 'not known'}"] += 1
    return dict(sorted(found.items()))
