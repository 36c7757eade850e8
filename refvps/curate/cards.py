"""Title and end cards, logos, black and frozen ends: what is no part of the scene at either end of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refvps.curate.shots import Boundary, Shot, shots
from refvps.curate.stillness import frozen_runs
from refvps.curate.survey import Survey
from refvps.curate.thresholds import Thresholds
from refvps.source.fingerprint import hamming

End = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Card:
    """A part at one end that may not belong to the scene, and why."""

    place: End
    part: Shot
    reasons: tuple[str, ...]


def cards(
    found: Survey, borders: Sequence[Boundary], thresholds: Thresholds, known: Sequence[int] = ()
) -> tuple[Card, ...]:
    """At most one card at the start and one at the end; ``known``: fingerprints of end cards.

    A card begins (or ends) at a cut or dissolve near that end of the video and is still, dark or known; where
    there is none, a black or frozen end counts. Something is always left.
    """
    parts = shots(found, borders)
    result = []
    for place in ("start", "end"):
        card = _known(found, place, thresholds, known) or _shot(found, parts, place, thresholds)
        card = card or _uniform(found, borders, place, thresholds)
        if card is not None and card.part.stop - card.part.first < len(found):
            result.append(card)
    if len(result) == 2 and result[0].part.stop >= result[1].part.first:
        result = result[1:]
    return tuple(result)


def _shot(found: Survey, parts: Sequence[Shot], place: End, thresholds: Thresholds) -> Card | None:
    """As many shots from that end as make up a card within the seconds looked at."""
    ordered = list(parts) if place == "start" else list(parts[::-1])
    best = None
    for count in range(1, len(ordered)):
        taken = ordered[:count]
        first, stop = min(each.first for each in taken), max(each.stop for each in taken)
        if found.at(stop) - found.at(first) > Fraction(thresholds.card_seconds):
            break
        rest = np.ones(len(found), np.bool_)
        rest[first:stop] = False
        reasons = _reasons(found, slice(first, stop), rest, thresholds)
        if reasons:
            best = Card(place, _part(found, place, first, stop, ordered[count]), reasons)
    return best


def _part(found: Survey, place: End, first: int, stop: int, neighbour: Shot) -> Shot:
    """A card with the blend between it and its neighbour."""
    if place == "start":
        stop = neighbour.first
    else:
        first = neighbour.stop
    return Shot(first, stop, found.at(first), found.at(stop))


def _reasons(found: Survey, part: slice, rest: NDArray[np.bool_], thresholds: Thresholds) -> tuple[str, ...]:
    lasting = found.lasting[part]
    total = lasting.sum() or 1.0
    quiet = found.moving[part] < thresholds.moving_share
    quiet[0] = True  # what changes there belongs to the border
    dark = float(np.median(found.dark[part]))
    other = float(np.median(found.dark[rest])) if rest.any() else 0.0
    found_ = []
    share = float(lasting[quiet].sum() / total)
    if share >= thresholds.card_still and _quiet(found, rest, thresholds) <= share / 2:
        found_.append(f"still for {share:.0%} of its time")
    if dark >= thresholds.card_dark and other <= dark / 2:
        found_.append(f"{dark:.0%} of it is dark, {other:.0%} of the rest")
    if float(np.median(found.contrast[part])) < thresholds.black_level / 4:
        found_.append("one colour")
    return tuple(found_)


def _quiet(found: Survey, where: NDArray[np.bool_], thresholds: Thresholds) -> float:
    """Share of the time of some frames in which nothing moves; 1 for none."""
    lasting = found.lasting[where]
    total = float(lasting.sum())
    return float(lasting[found.moving[where] < thresholds.moving_share].sum()) / total if total > 0 else 1.0


def _uniform(found: Survey, borders: Sequence[Boundary], place: End, thresholds: Thresholds) -> Card | None:
    """A black or frozen end without a cut before it."""
    black = (found.light < thresholds.black_level) & (found.contrast < thresholds.black_level / 2)
    if not black.all():
        run = _length(black if place == "start" else black[::-1])
        if run > 1:
            return Card(place, _at_end(found, place, run), ("black",))
    for frozen in frozen_runs(found, thresholds):
        rest = np.ones(len(found), np.bool_)
        rest[frozen.first : frozen.stop] = False
        if _quiet(found, rest, thresholds) > thresholds.card_still / 2:
            continue  # where little moves anyway, a pause is no card
        reaches = frozen.first == 0 if place == "start" else frozen.stop == len(found)
        inner = frozen.stop if place == "start" else frozen.first
        shot = any(abs(inner - edge) <= 1 for each in borders for edge in (each.frame, each.stop))
        if reaches and not shot:  # a whole shot at rest is no card unless it is short
            return Card(place, frozen, ("frozen",))
    return None


def _known(found: Survey, place: End, thresholds: Thresholds, known: Sequence[int]) -> Card | None:
    """From the first to the last frame near that end that looks like a known card."""
    near = [
        frame
        for frame, seen in enumerate(found.prints)
        if any(hamming(seen, each) <= thresholds.duplicate_bits for each in known)
        and _near(found, place, frame, thresholds)
    ]
    if not near:
        return None
    count = near[-1] + 1 if place == "start" else len(found) - near[0]
    return Card(place, _at_end(found, place, count), ("looks like a known card",))


def _near(found: Survey, place: End, frame: int, thresholds: Thresholds) -> bool:
    limit = Fraction(thresholds.card_seconds)
    return found.at(frame) - found.at(0) < limit if place == "start" else found.end - found.at(frame) <= limit


def _at_end(found: Survey, place: End, count: int) -> Shot:
    first, stop = (0, count) if place == "start" else (len(found) - count, len(found))
    return Shot(first, stop, found.at(first), found.at(stop))


def _length(marked: NDArray[np.bool_]) -> int:
    """How many are True from the beginning on."""
    return int(np.argmin(marked)) if not marked.all() else len(marked)
