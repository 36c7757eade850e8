"""The nouns of the field, as frozen dataclasses, and the one protocol: the predictor.

Floor 0: imports neither numpy nor any other module of refvps but :mod:`refvps.errors`, so that
``import refvps`` stays instant and a predictor can depend on this page alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from refvps.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from refvps.masks.mask import Mask

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What clip, expression and target ids must match in full."""

CATEGORIES = (
    "temporal object changes",
    "motion patterns",
    "dynamic environmental changes",
    "interaction sequences",
    "pattern evolution",
)
"""The five categories of dynamic processes (paper, appendix A.1); a clip may have several."""

MAX_SIDE = 1 << 14
"""Longest side of a frame that is accepted, in pixels."""

PERCENT_EXEMPT = frozenset({"area_ratio"})
"""Metrics that are plain ratios and never shown as percent."""


def check_id(value: str, kind: str) -> None:
    """Raise InputError unless ``value`` is a valid id (see :data:`ID`)."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise InputError(
            f"A {kind} id is not allowed.",
            where=[repr(value)[:200]],
            fix="use 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit",
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of video at one size and rate. ``frames`` is the only frame order there is.

    ``size`` is (height, width) in pixels. ``annotated`` names the frames that carry ground truth, a
    subset of ``frames`` in the same order, listed and never inferred from a stride; its rate in time
    is ``annotation_fps`` (0 when unknown), while ``fps`` is the rate of the frames. ``group`` is the
    source video: clips cut from one compilation share it, and intervals resample groups.
    """

    id: str
    size: tuple[int, int]
    fps: float
    frames: tuple[str, ...]
    annotated: tuple[str, ...]
    annotation_fps: float
    group: str
    split: str = "test"
    source_id: str = ""

    def __post_init__(self) -> None:
        check_id(self.id, "clip")
        height, width = self.size
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise InputError("A clip has an impossible size.", where=[f"{self.id}: {height}x{width}"])
        if len(set(self.frames)) != len(self.frames):
            raise InputError("A clip lists a frame twice.", where=[self.id])
        rest = iter(self.frames)  # "in" goes on where it found the name before
        if self.annotated != self.frames and not all(name in rest for name in self.annotated):
            raise InputError(
                "The annotated frames of a clip are not a subset of its frames in their order.", where=[self.id]
            )

    def annotated_indices(self) -> tuple[int, ...]:
        """Positions of the annotated frames in ``frames``."""
        position = {name: index for index, name in enumerate(self.frames)}
        return tuple(position[name] for name in self.annotated)


@dataclass(frozen=True, slots=True)
class Expression:
    """One sentence that points at one target of one clip.

    ``concept`` is the row of the concept table ("wax melting", "hat", "sky"), ``categories`` the
    groups of concepts it belongs to (paper, A.1), ``target`` the key of its mask in the annotation.
    """

    id: str
    clip: str
    text: str
    target: str = "1"
    concept: str = ""
    categories: tuple[str, ...] = ()
    annotator: str = ""
    source_id: str = ""

    def __post_init__(self) -> None:
        check_id(self.id, "expression")
        check_id(self.target, "target")


@dataclass(frozen=True, slots=True)
class MaskTrack:
    """A masklet: one compressed COCO RLE per frame of the clip (``Clip.frames``), column-major.

    ``None`` means the frame is not annotated; an empty mask is the valid RLE of all zeros. ``size``
    is (height, width). The two are different things and never converted into each other.
    """

    size: tuple[int, int]
    counts: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Ground truth of one clip: a masklet per target and the shared Ignore region.

    Invariant, enforced by the loaders: no pixel is both target and Ignore.
    """

    clip: str
    targets: Mapping[str, MaskTrack]
    ignore: MaskTrack | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one expression: a masklet without ``None``, one mask per frame of the clip."""

    clip: str
    expression: str
    track: MaskTrack


class Truth(Protocol):
    """Ground truth of one clip, read frame by frame in a worker process; must be picklable.

    A truth may have ``absent``, a set of (target, frame index) of annotated frames on which a target is not
    annotated, known without decoding; no prediction is asked for there.
    """

    def frame(self, index: int) -> tuple[Mapping[str, Mask | None], Mask | None]:
        """Targets by key (None: not annotated) and the Ignore mask of frame ``index`` of the clip."""


Average = Literal["frame>expression>clip", "frame>clip>concept", "frame>object", "frame>expression"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Every choice that moves a number; together they are the signature of a result.

    ``average``: order of the means, innermost first. ``ignore``: pixels in Ignore are dropped from
    both masks (the paper), or count as background, or as target. ``missing``: a frame without a
    prediction is an error, or scores zero. ``temporal``: mean absolute change over T-1 pairs.
    ``bound_th``: tolerance of F as a fraction of the image diagonal. ``draws``, ``seed`` and
    ``confidence`` belong to the interval, which resamples groups of clips.
    """

    metrics: tuple[str, ...] = ("J", "TC")
    average: Average = "frame>expression>clip"
    ignore: Literal["drop", "background", "target"] = "drop"
    missing: Literal["error", "zero"] = "error"
    bound_th: float = 0.008
    draws: int = 10_000
    seed: int = 0
    confidence: float = 0.95


def _no_frames(clip: str) -> Sequence[NDArray[np.uint8]]:
    from refvps.errors import DataMissingError

    raise DataMissingError("This benchmark has no frames on this machine.", where=[clip])


@dataclass(frozen=True)
class Benchmark:
    """Clips, expressions and ground truth under one name and version.

    ``truth(clip id)`` returns the clip's ground truth, ``frames(clip id)`` its frames as a lazy
    sequence of uint8 RGB arrays [H, W, 3]. ``digest`` is the SHA-256 of the content (clips,
    expressions, target and Ignore masks), ``clip_digests`` the same per clip.
    """

    name: str
    version: str
    digest: str
    clips: Mapping[str, Clip]
    expressions: tuple[Expression, ...]
    truth: Callable[[str], Truth]
    frames: Callable[[str], Sequence[NDArray[np.uint8]]] = _no_frames
    clip_digests: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = Rules()
    licence: str = ""
    notes: tuple[str, ...] = ()

    def expressions_of(self, clip: str) -> tuple[Expression, ...]:
        """The expressions of one clip, in manifest order."""
        return self._by_clip.get(clip, ())

    @cached_property
    def _by_clip(self) -> dict[str, tuple[Expression, ...]]:
        found: dict[str, list[Expression]] = {}
        for expression in self.expressions:
            found.setdefault(expression.clip, []).append(expression)
        return {clip: tuple(listed) for clip, listed in found.items()}


@dataclass(frozen=True, slots=True)
class Method:
    """Who made the predictions, as far as it is known. Declared by the predictor, never guessed."""

    name: str
    version: str = ""
    weights_sha256: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    url: str = ""
    training_data: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class MaskChunk:
    """Masks for a run of consecutive frames and one text.

    ``text``: index into the texts given to the predictor. ``start``: index of the first frame.
    ``masks``: bool [t, H, W] at the size of the frames.
    """

    text: int
    start: int
    masks: NDArray[np.bool_]


@runtime_checkable
class Predictor(Protocol):
    """Pixels and sentences in, masks out; never an id, a path or ground truth.

    Registered by an entry point of the group ``refvps.predictors`` whose value is a callable
    ``load(**options) -> Predictor``.
    """

    method: Method

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """Yield masks that cover every (text, frame) exactly once, in chunks, in any order.

        ``frames``: lazy sequence of uint8 RGB [H, W, 3], all of one size; slicing gives a lazy
        sequence, indexing decodes. ``fps``: frames per second. ``seed``: for the method's own random
        numbers; the same arguments must give the same masks.
        """


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval. Fractions, not percent.

    ``n`` units (clips, pairs of clip and concept, or objects, by the averaging rule) were averaged, from ``groups``
    source videos. ``value`` is None when nothing is defined; the bounds are None for one group.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int


@dataclass(frozen=True, slots=True)
class Row:
    """Scores of one (clip, expression): metric name to value, None where undefined."""

    clip: str
    expression: str
    target: str
    concept: str
    group: str
    frames: int
    missing: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, repr=False)
class Scores:
    """What an evaluation yields; every number in it follows from the counts and the rules.

    ``summary`` holds the metrics that were asked for, ``diagnostics`` all others the counts allow.
    """

    signature: str
    benchmark: Mapping[str, Any]
    method: Method
    summary: Mapping[str, Estimate]
    diagnostics: Mapping[str, Estimate]
    by_concept: Mapping[str, Mapping[str, Estimate]]
    by_category: Mapping[str, Mapping[str, Estimate]]
    rows: tuple[Row, ...]
    counts_sha256: str
    incomplete: bool = False
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line, in percent; all rows would fill a screen."""
        shown = ", ".join(" ".join(cells[:3]).rstrip() for cells in self._cells())
        mark = " (INCOMPLETE)" if self.incomplete else ""
        return f"<Scores of {self.method.name} on {self.benchmark['name']}@{self.benchmark['version']}{mark}: {shown}>"

    def _cells(self) -> list[tuple[str, ...]]:
        """Metric, value, interval, units and source videos of the summary, as people read them."""
        rows: list[tuple[str, ...]] = []
        for metric, estimate in self.summary.items():
            scale = 1 if metric in PERCENT_EXEMPT else 100
            value, low, high = (
                "-" if number is None else f"{scale * number:.2f}"
                for number in (estimate.value, estimate.low, estimate.high)
            )
            bounds = "" if estimate.low is None else f"[{low}, {high}]"
            ratio = " (ratio)" if metric in PERCENT_EXEMPT else ""
            rows.append((metric, value + ratio, bounds, str(estimate.n), str(estimate.groups)))
        return rows

    def to_pandas(self) -> pd.DataFrame:
        """One row per (clip, expression, target): clip, expression, target, concept, group, frames, missing, and
        one column per metric, a fraction or NaN where undefined."""
        import pandas as pd

        about = ("clip", "expression", "target", "concept", "group", "frames", "missing")
        table: dict[str, Any] = {name: [getattr(row, name) for row in self.rows] for name in about}
        for metric in self.rows[0].values if self.rows else self.summary:
            table[metric] = pd.Series([row.values[metric] for row in self.rows], dtype="float64")
        return pd.DataFrame(table)

    def flat(self, *, concepts: bool = False) -> dict[str, float]:
        """The summary for a logger: ``{"sample/J": 0.41, "sample/TC": 0.03}``, fractions.

        ``concepts`` adds ``"sample/concept/wax melting/J"`` and so on. What is undefined is left out, so that
        no logger meets a None; characters that some loggers refuse become ``_`` ("J&F" is "J_F").
        """
        name = self.benchmark["name"]
        found: dict[str, float] = {}
        tables = [(name, self.summary)]
        if concepts:
            tables += [(f"{name}/concept/{key or 'none'}", values) for key, values in self.by_concept.items()]
        for place, values in tables:
            for metric, estimate in values.items():
                key = re.sub(r"[^\w./ :-]", "_", f"{place}/{metric}")
                while key in found:  # two names that differ in such a character only
                    key += "_"
                if estimate.value is not None:
                    found[key] = estimate.value
        return found

    def _repr_html_(self) -> str:
        """The summary as a table in a notebook, in percent."""
        from html import escape

        confidence = (re.search(r"\|ci:([^,|]*)", self.signature) or ("", ""))[1]
        title = f"{self.method.name} on {self.benchmark['name']}@{self.benchmark['version']}"
        title += " (INCOMPLETE)" if self.incomplete else ""
        cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._cells())
        heads = "".join(f"<th>{escape(h)}</th>" for h in (title, "percent", f"{confidence} interval", "n", "videos"))
        return (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"
            + "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
            + f"<p><small><code>{escape(self.signature)}</code></small></p>"
        )
