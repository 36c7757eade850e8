"""Every check: its id, how bad it is, from which threshold on, and what to do.

Severity: E blocks a release, W needs a fix or a person's word that it is right, I is only told. The thresholds of W
and I are proposals, to be set anew when real clips are at hand; none is on the overlap of consecutive masks as such,
which is low for correct masks of fast objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from refvps.errors import UsageError

Severity = Literal["E", "W", "I"]
Places = Mapping[str, Sequence[str]]
"""Places by key of :data:`CHECKS`."""

MIN_SECONDS, MAX_SECONDS = 1.0, 20.0
MIN_VISIBLE, MIN_VISIBLE_SHARE = 12, 0.25
MIN_AREA, MAX_AREA = 0.0002, 0.95
IOU_MADS, IOU_BELOW = 4.0, 0.6
JUMP_OCTAVES, JUMP_Z = 1.0, 5.0
SPIKE_OCTAVES, SPIKE_WINDOW = 0.5, 5
FLICKER = 2
SPECK, COUNT_TIMES = 16, 3
HOLE = 8
STUCK, STUCK_DIFFERENCE = 3, 2.0
LINE, LINE_SHARE = 20, 0.5
IGNORE_SHARE, IGNORE_MEAN = 0.5, 0.3
IGNORE_FAR = 0.05
IGNORE_FRAME = 0.5
IGNORE_TOGGLES = 3.0
MIN_WORDS, MAX_WORDS = 3, 25
JACCARD = 0.8


@dataclass(frozen=True, slots=True)
class Check:
    """``id`` as in reports; several checks may share one. ``threshold``: as words; ``fix``: what to do."""

    id: str
    severity: Severity
    what: str
    threshold: str
    fix: str


_DRAW = "look at these frames, and draw the mask again where it is wrong"

CHECKS: dict[str, Check] = {
    "F1": Check("F1", "E", "Frames that are not those of the list", "exact", "extract the frames again"),
    "F1.odd": Check(
        "F1", "W", "Frames with an odd width or height", "even", "crop by a pixel: encoders need even sides"
    ),
    "F2": Check("F2", "E", "Clips that are not at 24 fps", "24", "extract the frames again: refvps extract"),
    "F2.long": Check(
        "F2", "W", "Clips of an unusual length", f"{MIN_SECONDS:g} to {MAX_SECONDS:g} s", "cut them, or keep them"
    ),
    "F3": Check("F3", "E", "Mask files that cannot be used", "exact", "import the masks again"),
    "F4": Check("F4", "E", "Annotated frames, clips or targets without a mask", "none", "import the masks of all"),
    "F4.stray": Check("F4", "W", "Masks of clips that are not listed", "none", "list the clips, or remove the masks"),
    "F5": Check("F5", "E", "Masks that another reader writes otherwise", "same RLE", "import the masks again"),
    "M1": Check("M1", "E", "Targets that are never visible", "0 frames", "draw them, or drop the clip"),
    "M1.few": Check(
        "M1",
        "W",
        "Targets that are hardly visible",
        f"under {MIN_VISIBLE} frames or {MIN_VISIBLE_SHARE:.0%}",
        "too rapid an event: cut the clip closer, or drop it",
    ),
    "M2": Check("M2", "W", "Masks of an unlikely area", f"under {MIN_AREA:.2%} or over {MAX_AREA:.0%}", _DRAW),
    "M4": Check(
        "M4",
        "W",
        "Masks unlike the one before, moved or not",
        f"IoU under {IOU_BELOW:g} and {IOU_MADS:g} robust deviations below the median of the clip",
        _DRAW,
    ),
    "M5": Check("M5", "W", "Jumps of area", f"over {JUMP_OCTAVES:g} octave and {JUMP_Z:g} robust deviations", _DRAW),
    "M6": Check(
        "M6",
        "W",
        "Masks much larger or smaller than those around",
        f"{SPIKE_OCTAVES:g} octave off the median of {SPIKE_WINDOW}",
        _DRAW,
    ),
    "M7": Check("M7", "W", "Targets that flicker", f"visible or gone for {FLICKER} frames or fewer", _DRAW),
    "M8": Check("M8", "W", "Specks", f"under {SPECK} px", "erase them, unless they are sparks or drops"),
    "M8.many": Check("M8", "I", "Masks in many pieces", f"{COUNT_TIMES} times the median of the clip", _DRAW),
    "M9": Check("M9", "I", "Holes", f"up to {HOLE} px", "fill them, unless they are real"),
    "M14": Check(
        "M14",
        "W",
        "Masks that stand still while the picture moves",
        f"{STUCK} frames, mean difference over {STUCK_DIFFERENCE:g} grey levels",
        "the tracker is stuck: propagate again",
    ),
    "M15": Check(
        "M15",
        "W",
        "Masks that end on a straight line",
        f"{LINE} px and {LINE_SHARE:.0%} of the mask",
        "a crop or paste may have gone wrong",
    ),
    "G1": Check("G1", "E", "Pixels that are both target and Ignore", "0 px", "take them out of one of the two"),
    "G2": Check(
        "G2", "W", "Frames with more Ignore than target", f"over {IGNORE_SHARE:g}", "paint Ignore more narrowly"
    ),
    "G2.mean": Check(
        "G2",
        "W",
        "Clips with much Ignore",
        f"mean over {IGNORE_MEAN:g} where the target is seen",
        "paint Ignore more narrowly",
    ),
    "G3": Check(
        "G3", "W", "Ignore where the target is empty", "none", "there a prediction must be empty outside Ignore"
    ),
    "G4": Check(
        "G4", "W", "Ignore far from the target", f"over {IGNORE_FAR:.0%} of the diagonal", "check that it is meant"
    ),
    "G5": Check(
        "G5", "E", "Ignore that covers the frame", f"over {IGNORE_FRAME:.0%}", "such a frame scores nothing: drop it"
    ),
    "G6": Check(
        "G6", "W", "Ignore that comes and goes", f"{IGNORE_TOGGLES:g} times a second", "copy Ignore over the range"
    ),
    "X1": Check(
        "X1", "E", "Clips without two expressions by each of two annotators", "2 + 2", "write four expressions"
    ),
    "X2": Check(
        "X2",
        "E",
        "Expressions that are no tidy sentences",
        f"{MIN_WORDS} to {MAX_WORDS} words, NFC, no address or handle",
        "write them again",
    ),
    "X3": Check("X3", "E", "Clips with the same expression twice", "equal", "write another expression"),
    "X3.near": Check(
        "X3", "W", "Clips with two nearly equal expressions", f"{JACCARD:g} of the words", "write another"
    ),
    "X4": Check("X4", "W", "One expression for clips of different concepts", "equal", "say what is different"),
    "P1": Check("P1", "E", "Clips that may not be published", "exact", "record source and licence, or refvps purge"),
    "P1.licence": Check("P1", "W", "Clips whose licence is not known", "exact", "look it up and record the evidence"),
    "P3": Check(
        "P3", "W", "Masks that are not those of the last import", "same hash", "import them: refvps annotate import"
    ),
    "L1": Check("L1", "E", "Lists that contradict themselves", "exact", "correct the lists of clips and expressions"),
    "L2": Check("L2", "I", "Lists that could say more", "-", "complete the lists"),
}
"""By key, in the order of reports. F: files; M: masks; G: Ignore; X: expressions; P: provenance; L: lists."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check that found something: all places, and whether a person accepted it."""

    check: Check
    where: tuple[str, ...]
    accepted: bool = False

    @property
    def blocks(self) -> bool:
        """True for an error that nobody accepted."""
        return self.check.severity == "E" and not self.accepted


def results(found: Iterable[Places], select: Sequence[str] = (), accept: Sequence[str] = ()) -> tuple[Result, ...]:
    """Results of all ``found``, in the order of :data:`CHECKS`; ``select``: only these ids, or first letters of ids."""
    places: dict[str, list[str]] = {key: [] for key in CHECKS}
    for each in found:
        for key, where in each.items():
            places[key] += where
    return tuple(
        Result(CHECKS[key], tuple(where), CHECKS[key].id in accept)
        for key, where in places.items()
        if where and wanted(CHECKS[key].id, select)
    )


def wanted(name: str, select: Sequence[str]) -> bool:
    """True when a check with this id is selected."""
    return not select or any(name == each or (len(each) == 1 and name.startswith(each)) for each in select)


def check_names(names: Sequence[str], what: str, *, letters: bool = True) -> None:
    """Raise UsageError for a name that is neither an id nor, with ``letters``, the first letter of one."""
    known = {check.id for check in CHECKS.values()}
    known |= {name[0] for name in known} if letters else set()
    if strange := [name for name in names if name not in known]:
        raise UsageError(f"{what} names no check.", where=strange, fix="one of " + ", ".join(sorted(known)))
