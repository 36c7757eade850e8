"""All that is proposed for one video, from two passes over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from refvps.curate.cards import Card, cards
from refvps.curate.engine import Cuts, version
from refvps.curate.padding import SAMPLES, Padding, at_rest, padding
from refvps.curate.pictures import pictures, spread
from refvps.curate.probe import Progress
from refvps.curate.shots import Boundary, Shot, boundaries, shots
from refvps.curate.stillness import Motion, frozen_runs, motion
from refvps.curate.survey import Survey, survey
from refvps.curate.thresholds import DEFAULTS, Thresholds
from refvps.files import sha256_file
from refvps.source.video import open_video

Engine = Literal["built-in", "pyscenedetect"]


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """Everything found in one video.

    ``clips``: shots that are long enough and no card, in the order of time; ``motions`` and ``paddings``: one for
    each of them (``paddings`` is empty unless asked for). ``frozen``: frozen runs anywhere.
    """

    path: Path
    sha256: str
    thresholds: Thresholds
    engine: str
    survey: Survey
    boundaries: tuple[Boundary, ...]
    shots: tuple[Shot, ...]
    cards: tuple[Card, ...]
    clips: tuple[Shot, ...]
    frozen: tuple[Shot, ...]
    motions: tuple[Motion, ...]
    paddings: tuple[Padding, ...]


def review(
    path: Path,
    *,
    thresholds: Thresholds = DEFAULTS,
    engine: Engine = "built-in",
    known_cards: Sequence[int] = (),
    prints: bool = False,
    crops: bool = True,
    progress: Progress | None = None,
) -> Review:
    """Look at a video; nothing is changed or written.

    ``known_cards``: fingerprints (dHash64) of end cards. ``prints``: fingerprint every frame.
    ``crops``: look for padding, which takes a second pass.
    Raises UsageError and InputError as :func:`~refvps.source.video.open_video` does, also for damage on the way.
    """
    video = open_video(path)
    cuts = Cuts(video) if engine == "pyscenedetect" else None
    found = survey(video, thresholds, prints=prints or bool(known_cards), watcher=cuts, progress=progress)
    borders = boundaries(found, thresholds, None if cuts is None else cuts.frames())
    ends = cards(found, borders, thresholds, known_cards)
    clips = _clips(found, shots(found, borders), ends, thresholds)
    return Review(
        path=path,
        sha256=sha256_file(path),
        thresholds=thresholds,
        engine=version() if cuts is not None else "built-in",
        survey=found,
        boundaries=borders,
        shots=shots(found, borders),
        cards=ends,
        clips=clips,
        frozen=frozen_runs(found, thresholds),
        motions=tuple(motion(found, clip, thresholds) for clip in clips),
        paddings=_paddings(found, clips, thresholds) if crops else (),
    )


def _clips(found: Survey, parts: Sequence[Shot], ends: Sequence[Card], thresholds: Thresholds) -> tuple[Shot, ...]:
    """Shots without cards; one that is the whole video may be short."""
    low = max((card.part.stop for card in ends if card.place == "start"), default=0)
    high = min((card.part.first for card in ends if card.place == "end"), default=len(found))
    clips = []
    for part in parts:
        first, stop = max(part.first, low), min(part.stop, high)
        if stop > first:
            clip = Shot(first, stop, found.at(first), found.at(stop))
            if clip.seconds >= thresholds.clip_seconds or stop - first == len(found):
                clips.append(clip)
    return tuple(clips)


def _paddings(found: Survey, clips: Sequence[Shot], thresholds: Thresholds) -> tuple[Padding, ...]:
    chosen = [spread(clip, SAMPLES) for clip in clips]
    height, width = found.video.size
    results = []
    stream = pictures(found.video, [frame for frames in chosen for frame in frames])
    for frames in chosen:
        rest = at_rest(picture for _, picture in islice(stream, len(frames)))
        results.append(Padding("none", (0, 0, width, height), ()) if rest is None else padding(rest, thresholds))
    return tuple(results)
