"""The arithmetic of every metric in plain Python, each step as a line that can be typed into a calculator.

Nothing here calls :mod:`refvps.metrics`: the two must agree to the last digit, and the tests hold them to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Edges = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """Pixel counts of one frame of one (expression, target): |P∩G|, |P|, |G|, |P∩I|, |I|.

    ``position`` counts from 0 over the frames of the clip. ``edges`` are the four integers of F: boundary pixels of
    P and of G, those of P near G's, those of G near P's.
    """

    position: int
    both: int
    prediction: int
    target: int
    prediction_ignore: int
    ignore: int
    missing: bool = False
    edges: Edges | None = None


@dataclass(frozen=True, slots=True)
class Worked:
    """A number with the lines that lead to it; ``value`` is None where it is undefined."""

    name: str
    value: float | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The numerator and the denominator of J as integers, as a formula and with numbers in it."""

    top: int
    union: int
    formula: str
    numbers: str


def pair(frame: Frame, rule: str) -> Pair:
    """What J divides under an Ignore rule: "drop", "background" or "target"."""
    both, p, g, pi, i = frame.both, frame.prediction, frame.target, frame.prediction_ignore, frame.ignore
    if rule == "drop":
        return Pair(
            both, p + g - both - pi, "|P∩G| / (|P| + |G| - |P∩G| - |P∩I|)", f"{both} / ({p} + {g} - {both} - {pi})"
        )
    if rule == "background":
        return Pair(both, p + g - both, "|P∩G| / (|P| + |G| - |P∩G|)", f"{both} / ({p} + {g} - {both})")
    return Pair(
        both + pi,
        p + g + i - both - pi,
        "(|P∩G| + |P∩I|) / (|P| + |G| + |I| - |P∩G| - |P∩I|)",
        f"({both} + {pi}) / ({p} + {g} + {i} - {both} - {pi})",
    )


RULES = {
    "drop": "Ignore pixels are taken out of both masks",
    "background": "Ignore pixels count as not target",
    "target": "Ignore pixels count as target",
}
"""The Ignore rules in words."""


def jaccard(frame: Frame, rule: str) -> Worked:
    """J of one frame, written out."""
    if frame.missing:
        return Worked("J", 0.0, ("J = 0: there is no prediction for this frame, and --missing zero scores it 0",))
    used = pair(frame, rule)
    head = (f"J = {used.formula}", f"  = {used.numbers}")
    if used.union == 0:
        return Worked("J", 1.0, (*head, "  = 0 / 0: nothing is left to find and nothing is claimed, which scores 1"))
    value = used.top / used.union
    return Worked("J", value, (*head, f"  = {used.top} / {used.union}", f"  = {value!r}"))


def contour(frame: Frame) -> Worked:
    """F of one frame from its four boundary integers, written out."""
    if frame.missing:
        return Worked("F", 0.0, ("F = 0: there is no prediction for this frame, and --missing zero scores it 0",))
    if frame.edges is None:
        return Worked("F", None, ("F was not counted",))
    n_p, n_g, m_p, m_g = frame.edges
    if n_p == 0 and n_g == 0:
        return Worked("F", 1.0, ("F = 1: neither mask has a boundary",))
    if n_p == 0 or n_g == 0:
        return Worked("F", 0.0, ("F = 0: only one of the masks has a boundary",))
    precision, recall = m_p / n_p, m_g / n_g
    lines = (f"precision = {m_p} / {n_p} = {precision!r}", f"recall = {m_g} / {n_g} = {recall!r}")
    if precision + recall == 0:
        return Worked("F", 0.0, (*lines, "F = 0: no boundary pixel is near the other's"))
    value = 2 * precision * recall / (precision + recall)
    return Worked(
        "F", value, (*lines, f"F = 2 * {precision!r} * {recall!r} / ({precision!r} + {recall!r})", f"  = {value!r}")
    )


def average(values: Sequence[float]) -> float | None:
    """The exactly rounded mean, None for no values."""
    return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True, slots=True)
class Track:
    """All scored and missing frames of one (clip, expression, target) in time order, with J and F of each."""

    frames: tuple[Frame, ...]
    rule: str
    j: tuple[float, ...]
    f: tuple[float, ...] | None

    @property
    def missing(self) -> int:
        """How many frames have no prediction."""
        return sum(frame.missing for frame in self.frames)

    def changes(self) -> list[float]:
        """|J(t+1) - J(t)| over consecutive frames."""
        return [abs(b - a) for a, b in zip(self.j, self.j[1:], strict=False)]


def track(frames: Sequence[Frame], rule: str) -> Track:
    """J and, where boundaries were counted, F of every frame."""
    j = tuple(value for frame in frames if (value := jaccard(frame, rule).value) is not None)
    counted = all(frame.edges is not None for frame in frames)
    f = tuple(value for frame in frames if (value := contour(frame).value) is not None) if counted else None
    return Track(tuple(frames), rule, j, f)


def _mean_of(name: str, what: str, values: Sequence[float]) -> Worked:
    value = average(values)
    if value is None:
        return Worked(name, None, (f"{name} is undefined: there is no frame {what}".rstrip(),))
    count = len(values)
    return Worked(
        name,
        value,
        (f"{name} = sum over {count} frames{what and ' ' + what} = {math.fsum(values)!r} / {count} = {value!r}",),
    )


def _j(t: Track) -> Worked:
    return _mean_of("J", "", t.j)


def _f(t: Track) -> Worked:
    return Worked("F", None, ("F was not counted",)) if t.f is None else _mean_of("F", "", t.f)


def _j_and_f(t: Track) -> Worked:
    j, f = _j(t).value, _f(t).value
    if j is None or f is None:
        return Worked("J&F", None, ("J&F is undefined without J and F",))
    return Worked("J&F", (j + f) / 2, (f"J&F = (J + F) / 2 = ({j!r} + {f!r}) / 2 = {(j + f) / 2!r}",))


def _tc(t: Track) -> Worked:
    changes = t.changes()
    value = average(changes)
    if value is None:
        return Worked("TC", None, ("TC is undefined: it needs two frames",))
    count = len(changes)
    line = f"TC = sum of |J(t+1) - J(t)| over {count} pairs / {count} = {math.fsum(changes)!r} / {count} = {value!r}"
    return Worked("TC", value, (line,))


def _tc_over_t(t: Track) -> Worked:
    steady, count = _tc(t).value, len(t.j)
    if steady is None:
        return Worked("TC_over_T", None, ("TC_over_T is undefined: it needs two frames",))
    value = steady * (count - 1) / count
    return Worked(
        "TC_over_T", value, (f"TC_over_T = TC * (T - 1) / T = {steady!r} * {count - 1} / {count} = {value!r}",)
    )


def _tc_signed(t: Track) -> Worked:
    if len(t.j) < 2:
        return Worked("TC_signed", None, ("TC_signed is undefined: it needs two frames",))
    first, last, count = t.j[0], t.j[-1], len(t.j)
    value = (last - first) / count
    line = f"TC_signed = (J(last) - J(first)) / T = ({last!r} - {first!r}) / {count} = {value!r}"
    return Worked("TC_signed", value, (line,))


def _tc_visible(t: Track) -> Worked:
    shown = [frame.target > 0 for frame in t.frames]
    kept = [change for k, change in enumerate(t.changes()) if shown[k] and shown[k + 1]]
    value = average(kept)
    if value is None:
        return Worked("TC_visible", None, ("TC_visible is undefined: no two neighbours both show the target",))
    count = len(kept)
    line = f"TC_visible = sum over {count} pairs that show the target = {math.fsum(kept)!r} / {count} = {value!r}"
    return Worked("TC_visible", value, (line,))


def _recall(t: Track) -> Worked:
    if not t.j:
        return Worked("J_recall", None, ("J_recall is undefined: there is no frame",))
    good = sum(value > 0.5 for value in t.j)
    value = good / len(t.j)
    return Worked("J_recall", value, (f"J_recall = frames with J > 0.5 / frames = {good} / {len(t.j)} = {value!r}",))


def _decay(t: Track) -> Worked:
    if not t.j:
        return Worked("J_decay", None, ("J_decay is undefined: there is no frame",))
    b = [(k * (len(t.j) - 1) + 2) // 4 for k in range(5)]
    first, last = average(t.j[b[0] : b[1] + 1]), average(t.j[b[3] : b[4] + 1])
    assert first is not None and last is not None  # there is a frame, so both quarters hold one
    line = (
        f"J_decay = mean of frames {b[0]} to {b[1]} - mean of frames {b[3]} to {b[4]} (counting scored frames from 0)"
        f" = {first!r} - {last!r} = {first - last!r}"
    )
    return Worked("J_decay", first - last, (line,))


def _ignore_as(name: str, rule: str) -> Callable[[Track], Worked]:
    return lambda t: _mean_of(name, f"with the rule ign:{rule}", track(t.frames, rule).j)


def _area_ratio(t: Track) -> Worked:
    predicted = sum(frame.prediction - frame.prediction_ignore for frame in t.frames)
    true = sum(frame.target for frame in t.frames)
    if not true:
        return Worked("area_ratio", None, ("area_ratio is undefined: the target is never visible",))
    line = f"area_ratio = sum of |P| - |P∩I| / sum of |G| = {predicted} / {true} = {predicted / true!r}"
    return Worked("area_ratio", predicted / true, (line,))


def _empty(t: Track) -> Worked:
    given = [frame for frame in t.frames if not frame.missing]
    if not given:
        return Worked("empty", None, ("empty is undefined: no frame has a prediction",))
    none = sum(frame.prediction == 0 for frame in given)
    value = none / len(given)
    return Worked("empty", value, (f"empty = frames with |P| = 0 / frames = {none} / {len(given)} = {value!r}",))


_WORK: dict[str, Callable[[Track], Worked]] = {
    "J": _j,
    "F": _f,
    "J&F": _j_and_f,
    "TC": _tc,
    "J_recall": _recall,
    "J_decay": _decay,
    "J_last25": lambda t: _mean_of("J_last25", f"from {int(0.75 * len(t.j))} on", t.j[int(0.75 * len(t.j)) :]),
    "J_visible": lambda t: _mean_of(
        "J_visible", "with |G| > 0", [v for v, frame in zip(t.j, t.frames, strict=True) if frame.target > 0]
    ),
    "TC_over_T": _tc_over_t,
    "TC_signed": _tc_signed,
    "TC_visible": _tc_visible,
    "empty": _empty,
    "area_ratio": _area_ratio,
    "J_ignore_target": _ignore_as("J_ignore_target", "target"),
    "J_ignore_background": _ignore_as("J_ignore_background", "background"),
}

_NEEDS_ALL = frozenset({"TC", "TC_over_T", "TC_signed", "TC_visible", "J_decay"})
"""Metrics that say nothing about a track with a missing frame."""


def metric(name: str, over: Track) -> Worked:
    """A metric of one track, written out; None as value where it is undefined."""
    if name in _NEEDS_ALL and over.missing:
        return Worked(name, None, (f"{name} is undefined: {over.missing} frames have no prediction",))
    return _WORK[name](over)
