"""Published protocols as data: what each tool scores, and what it leaves out.

Sources, read and run: davis2017-evaluation (github.com/davisvideochallenge/davis2017-evaluation: davis2017/davis.py,
results.py, evaluation.py, utils.py; not on PyPI), vos-benchmark 0.1.0 (PyPI; benchmark.py, evaluator.py) and
sav_dataset of github.com/facebookresearch/sam2 (sav_evaluator.py, utils/sav_benchmark.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from refvps.errors import InputError, UsageError
from refvps.metrics.region import IgnoreRule

Layout = Literal["ids", "objects"]
"""``<video>/<frame>.png`` with an id per object, or ``<video>/<object>/<frame>.png``, one binary mask each."""

VOID = 255
"""The label that davis2017-evaluation takes for void, and the others for an object like any other."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One tool's rules.

    ``objects``: which objects exist: 1 to the highest label of the first frame, void aside ("first-frame"); every
    label that the ground truth shows on a scored frame ("seen"); or what the benchmark lists ("listed").
    ``void``: pixels of label 255 are dropped from both masks, count as background, or are an object.
    ``skip_ends``: the first and the last frame (names sorted as text) are not scored; ``ends_optional``: the tool
    can be told to score them. ``before_first_sight``: frames before the object is seen in the ground truth or
    predicted are counted (an empty pair scores 1), or omitted. ``matching``: object k is compared with prediction
    k, or predictions are assigned to objects so that the mean of J and F is highest. ``max_proposals``: the highest
    id a prediction may use, None for no limit. ``unknown_ids``: prediction ids without an object are an error, or
    cost nothing. ``shared_optional``: the tool can be told to score only the videos found in both folders.
    ``scores``: the numbers it prints, times ``scale``, with ``digits``. ``unlike``: what is not reproduced.
    """

    name: str
    tool: str
    source: str
    layouts: tuple[Layout, ...]
    objects: Literal["first-frame", "seen", "listed"]
    void: Literal["drop", "background", "object"]
    skip_ends: bool
    ends_optional: bool
    before_first_sight: Literal["count", "omit"]
    matching: Literal["id", "hungarian"]
    max_proposals: int | None
    unknown_ids: Literal["error", "free"]
    shared_optional: bool
    scores: tuple[str, ...]
    scale: int
    digits: int
    average: Literal["frame>object", "frame>expression>clip"] = "frame>object"
    bound_th: float = 0.008
    unlike: str = ""

    @property
    def ignore(self) -> IgnoreRule:
        """The Ignore rule of the counts: where 255 is an object there is nothing to ignore."""
        return "drop" if self.void == "drop" else "background"

    def fields(self, layout: Layout, videos: str = "all") -> dict[str, str]:
        """The rules as fields of a signature. ``videos``: "all", or how many of them, as in "12 of 30"."""
        return {
            "protocol": self.name,
            "layout": layout,
            "videos": videos,
            "obj": self.objects,
            "void": self.void,
            "ends": "skip" if self.skip_ends else "keep",
            "before": self.before_first_sight,
            "match": "id" if self.matching == "id" else f"hungarian(J&F)<={self.max_proposals}",
        }


_DAVIS_SCORES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
_DAVIS_UNLIKE = (
    "davis2017-evaluation keeps the borders of decay in uint8, which wraps: for sequences of more than 255 scored "
    "frames its J-Decay and F-Decay are wrong or NaN; here the borders are int64"
)

_ALL = (
    Protocol(
        name="refvps",
        tool="refvps",
        source="docs/submission.md; the paper, 5.1 and B.4",
        layouts=("ids", "objects"),
        objects="listed",
        void="drop",
        skip_ends=False,
        ends_optional=False,
        before_first_sight="count",
        matching="id",
        max_proposals=None,
        unknown_ids="error",
        shared_optional=False,
        scores=("J", "F", "J&F", "TC"),
        scale=100,
        digits=2,
        average="frame>expression>clip",
    ),
    Protocol(
        name="davis17-unsupervised",
        tool="davis2017-evaluation, task unsupervised",
        source="davis2017/evaluation.py: _evaluate_unsupervised, evaluate; davis.py: get_all_masks; "
        "utils.py: db_statistics",
        layouts=("ids",),
        objects="first-frame",
        void="drop",
        skip_ends=False,
        ends_optional=False,
        before_first_sight="count",
        matching="hungarian",
        max_proposals=20,
        unknown_ids="free",
        shared_optional=False,
        scores=_DAVIS_SCORES,
        scale=1,
        digits=3,
        unlike=_DAVIS_UNLIKE,
    ),
    Protocol(
        name="davis17-semisupervised",
        tool="davis2017-evaluation, task semi-supervised",
        source="davis2017/evaluation.py: _evaluate_semisupervised, evaluate (void=None); davis.py: get_all_masks; "
        "utils.py: db_statistics",
        layouts=("ids",),
        objects="first-frame",
        void="background",
        skip_ends=True,
        ends_optional=False,
        before_first_sight="count",
        matching="id",
        max_proposals=None,
        unknown_ids="error",
        shared_optional=False,
        scores=_DAVIS_SCORES,
        scale=1,
        digits=3,
        unlike=_DAVIS_UNLIKE,
    ),
    Protocol(
        name="vos-benchmark",
        tool="vos-benchmark 0.1.0",
        source="vos_benchmark/benchmark.py: VideoEvaluator, benchmark; evaluator.py: Evaluator",
        layouts=("ids",),
        objects="seen",
        void="object",
        skip_ends=True,
        ends_optional=True,
        before_first_sight="omit",
        matching="id",
        max_proposals=None,
        unknown_ids="free",
        shared_optional=True,
        scores=("J&F", "J", "F"),
        scale=100,
        digits=1,
    ),
    Protocol(
        name="sav",
        tool="sav_dataset of SAM 2",
        source="sav_dataset/utils/sav_benchmark.py: VideoEvaluator, Evaluator, benchmark",
        layouts=("objects", "ids"),
        objects="seen",
        void="object",
        skip_ends=True,
        ends_optional=True,
        before_first_sight="omit",
        matching="id",
        max_proposals=None,
        unknown_ids="free",
        shared_optional=True,
        scores=("J&F", "J", "F"),
        scale=100,
        digits=1,
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})
"""All protocols by name. ``refvps`` is the ordinary ``refvps evaluate`` and is not run by this package."""

TOOLS = tuple(name for name in PROTOCOLS if name != "refvps")
"""Names of the protocols of other tools."""


def choose(name: str, *, keep_ends: bool = False, shared: bool = False) -> Protocol:
    """The protocol of a tool, as its options change it; UsageError for what the tool cannot do."""
    if name not in TOOLS:
        raise UsageError("There is no such protocol.", where=[repr(name)[:100]], fix="one of " + ", ".join(TOOLS))
    protocol = PROTOCOLS[name]
    for asked, possible, option in (
        (keep_ends, protocol.ends_optional, "--keep-ends"),
        (shared, protocol.shared_optional, "--shared-videos"),
    ):
        if asked and not possible:
            able = [p.name for p in _ALL if (p.ends_optional if option == "--keep-ends" else p.shared_optional)]
            raise UsageError(
                f"{protocol.tool} knows nothing like {option}.",
                where=[f"--protocol {name}"],
                fix=f"drop it, or use --protocol {' or '.join(able)}",
            )
    return replace(protocol, skip_ends=False) if keep_ends else protocol


def declared(fields: Mapping[str, str]) -> tuple[Protocol, Layout]:
    """The protocol and layout that counts from anyone declare; InputError unless their fields are possible."""
    found = PROTOCOLS.get(fields.get("protocol", ""))
    if found is not None and found.name in TOOLS:
        variants = [found, replace(found, skip_ends=False)] if found.ends_optional else [found]
        for protocol in variants:
            for layout in protocol.layouts:
                if dict(fields) == protocol.fields(layout, _videos(fields.get("videos", ""), protocol)):
                    return protocol, layout
    raise InputError(
        "These counts name a protocol that does not exist.",
        where=[", ".join(f"{key}={value}" for key, value in fields.items())[:200]],
        fix="take them from their author again, or evaluate the masks again",
    )


def _videos(text: str, protocol: Protocol) -> str:
    """``text`` where it can be the field ``videos``, else "all"."""
    some, _, rest = text.partition(" of ")
    if protocol.shared_optional and all(
        part.isdecimal() and part.isascii() and len(part) < 10 for part in (some, rest)
    ):
        return text if 0 < int(some) < int(rest) else "all"
    return "all"
