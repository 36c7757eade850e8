"""One video: decode both sides, decide which objects exist, count every pair. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from refvps.archive import FileSet, shown
from refvps.data.digest import clip_digest
from refvps.data.ids import map_ids
from refvps.data.masktracks import empty_counts, make_annotation
from refvps.data.truth import MAX_MASK_BYTES, RleTruth
from refvps.errors import InputError
from refvps.masks import bits, png, rle
from refvps.masks.mask import Mask
from refvps.predictions import pictures
from refvps.predictions.problems import Findings, Report
from refvps.run.count import Boundary, ClipTask, count_clip
from refvps.run.protocols.layout import Track, Video
from refvps.run.protocols.rules import VOID, Layout, Protocol
from refvps.types import MAX_SIDE, Clip

MAX_LABELS = 100
"""Most labels of one image; more come from soft or resized masks."""

_BINARY = "; for masks of 0 and 255 use --protocol vos-benchmark"

Ids = dict[int, bytes]
"""COCO RLE of each label other than 0 in one image."""


@dataclass(frozen=True)
class VideoTask:
    """One video to count; picklable. ``clip`` is its id, the name made valid."""

    clip: str
    video: Video
    truth: FileSet
    predictions: FileSet
    protocol: Protocol
    layout: Layout
    fps: float = 0.0


@dataclass(frozen=True)
class VideoCounts:
    """Counts of one video: ``values`` int64 [pairs, annotated frames of ``clip``, 11], in the order of ``pairs``.

    ``pairs``: (prediction, object). ``remarks``: places worth a note, by kind. ``wrong``: faults of the ground
    truth, ``report``: of the predictions; the counts mean something only when there is neither.
    """

    clip: Clip
    objects: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 11), dtype=np.int64))
    digest: str = ""
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    report: Report = field(default_factory=Report)


@dataclass(frozen=True, slots=True)
class RleReader:
    """Predictions held as one COCO RLE per frame of the clip."""

    tracks: Mapping[str, Sequence[bytes]]
    size: tuple[int, int]
    problems: Report = field(default_factory=Report)

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks of a frame by prediction."""
        return {name: Mask.from_rle(track[index], self.size) for name, track in self.tracks.items()}


@dataclass(frozen=True)
class _Decoded:
    """Labels of one track: of the ground truth per frame, of the predictions per scored frame."""

    track: Track
    truth: tuple[Ids, ...]
    guess: tuple[Ids, ...]

    def labels(self) -> set[int]:
        """Labels the ground truth shows on scored frames."""
        return {label for k in self.track.scored for label in self.truth[k]}


def count_video(task: VideoTask) -> VideoCounts:
    """Decode and count one video; faults are in the result, not raised."""
    wrong: list[str] = []
    findings = Findings()
    frames = sorted({f"{name}.png" for track in task.video.tracks for name in track.frames})
    names = tuple(name.removesuffix(".png") for name in frames)
    source = "" if task.clip == task.video.name else task.video.name
    size = _first_size(task, wrong)
    clip = Clip(task.clip, size, task.fps, names, names, task.fps, group=task.clip, source_id=source)
    decoded = [_decode(task, track, size, findings, wrong) for track in task.video.tracks]
    if wrong or findings.report().errors:
        return VideoCounts(clip, wrong=tuple(wrong), report=findings.report())
    position = {name: k for k, name in enumerate(names)}
    shown_on = {track.frames[k] for track in task.video.tracks for k in track.scored}
    scored = replace(clip, annotated=tuple(name for name in names if name in shown_on))
    counted = (_by_folder if task.layout == "objects" else _by_id)(task, decoded, findings)
    nothing = empty_counts(size)
    targets: dict[str, list[bytes | None]] = {name: [None] * len(names) for name in counted.objects}
    guesses: dict[str, list[bytes]] = {name: [nothing] * len(names) for name in counted.predictions}
    everything: dict[str, list[bytes | None]] = {}
    ignored: list[bytes | None] = [None] * len(names)
    for one in decoded:
        at = [position[name] for name in one.track.frames]
        for name, label in _named(one, counted):
            track = everything.setdefault(name, [None] * len(names))
            for k, ids in zip(at, one.truth, strict=True):
                track[k] = ids.get(label, nothing)
        for k, frame in enumerate(one.track.scored):
            for name, label in counted.labels[one.track.object].items():
                if name in targets:
                    targets[name][at[frame]] = one.truth[frame].get(label, nothing)
                if name in guesses:
                    guesses[name][at[frame]] = one.guess[k].get(label, nothing)
            if task.protocol.void != "object":
                ignored[at[frame]] = one.truth[frame].get(VOID, nothing)
    digest = clip_digest(clip, (), make_annotation(clip, everything, None))
    if findings.report().errors or not counted.objects:
        return VideoCounts(clip, digest=digest, remarks=counted.remarks, report=findings.report())
    annotation = make_annotation(scored, targets, ignored if task.protocol.void != "object" else None)
    how = Boundary(task.protocol.bound_th, task.protocol.ignore)
    work = ClipTask(scored, counted.pairs, RleTruth(annotation), RleReader(guesses, size), how)
    return VideoCounts(
        scored,
        counted.objects,
        counted.predictions,
        counted.pairs,
        count_clip(work).values,
        digest,
        counted.remarks,
        report=findings.report(),
    )


@dataclass(frozen=True)
class _Chosen:
    """Objects, predictions and pairs of a video; ``labels``: by track, the label of each of them."""

    objects: tuple[str, ...]
    predictions: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    labels: Mapping[str, Mapping[str, int]]
    remarks: Mapping[str, tuple[str, ...]]


def _named(one: _Decoded, chosen: _Chosen) -> list[tuple[str, int]]:
    """Everything the ground truth shows in a track, for the digest: (name, label)."""
    if one.track.object:
        return list(chosen.labels[one.track.object].items())
    return [(str(label), label) for label in sorted({label for ids in one.truth for label in ids})]


def _by_folder(task: VideoTask, decoded: Sequence[_Decoded], findings: Findings) -> _Chosen:
    """One object per folder, compared with the folder of the same name."""
    ids = map_ids([one.track.object for one in decoded])
    names = tuple(ids[one.track.object] for one in decoded)
    return _Chosen(
        names,
        names,
        tuple((name, name) for name in names),
        {one.track.object: {ids[one.track.object]: 1} for one in decoded},
        {"unseen": tuple(_place(task, ids[one.track.object]) for one in decoded if not one.labels())},
    )


def _by_id(task: VideoTask, decoded: Sequence[_Decoded], findings: Findings) -> _Chosen:
    """Objects and predictions by label, as the protocol says."""
    (one,) = decoded
    protocol = task.protocol
    drawn = sorted({label for ids in one.truth for label in ids})
    used = sorted({label for ids in one.guess for label in ids})
    void = VOID in drawn
    if protocol.objects == "first-frame":
        objects = list(range(1, 1 + max((label for label in one.truth[0] if label != VOID), default=0)))
    else:
        objects = sorted(one.labels())
    late = [
        label for label in drawn if label not in objects and not (label == VOID and protocol.objects == "first-frame")
    ]
    unknown = [label for label in used if label not in objects]
    predictions = list(objects)
    pairs = [(k, k) for k in objects]
    highest = used[-1] if used else 0
    if protocol.matching == "hungarian":
        predictions = list(range(1, 1 + max(highest, len(objects))))
        pairs = [(p, g) for p in predictions for g in objects]
        if protocol.max_proposals is not None and highest > protocol.max_proposals:
            findings.add(
                "unknown-id",
                _place(task, highest),
                what=f"Ids higher than {protocol.max_proposals}, the most proposals that {protocol.tool} allows.",
                fix=f"keep the {protocol.max_proposals} best and number them from 1"
                + (_BINARY if highest == VOID else ""),
            )
            pairs = []
    elif protocol.unknown_ids == "error" and unknown:
        findings.add(
            "unknown-id",
            f"{_place(task, unknown[-1])}: the first frame of the ground truth has objects up to {len(objects)}",
            what="Ids higher than the objects in the first frame of the ground truth.",
            fix="write 0 for background and each object's own id, nothing else" + (_BINARY if VOID in used else ""),
        )
    names = {label: str(label) for label in (*objects, *predictions)}
    return _Chosen(
        tuple(map(str, objects)),
        tuple(map(str, predictions)),
        tuple((str(p), str(g)) for p, g in pairs),
        {"": {name: label for label, name in names.items()}},
        {
            "late": tuple(_place(task, label) for label in late),
            "unseen": tuple(_place(task, label) for label in objects if label not in one.labels()),
            "void": (task.clip,) if void else (),
            "unknown": tuple(_place(task, label) for label in unknown) if protocol.matching == "id" else (),
        },
    )


def _place(task: VideoTask, name: object) -> str:
    return f"{shown(task.video.name)}/{name}"


def _decode(task: VideoTask, track: Track, size: tuple[int, int], findings: Findings, wrong: list[str]) -> _Decoded:
    binary = bool(track.object)
    truth: list[Ids] = []
    for name in track.truth if not wrong else ():
        try:
            truth.append(_ids(png.read_labels(task.truth.read(name, MAX_MASK_BYTES), size), size, binary))
        except (png.PngError, InputError, ValueError) as error:
            wrong.append(f"{shown(name)}: {_reason(error)}")
    guess: list[Ids] = []
    for name in track.predictions if not wrong else ():
        labels = pictures.read_labels(task.predictions, name, size, findings)
        if labels is None:
            continue
        try:
            guess.append(_ids(labels, size, binary))
        except ValueError as error:
            findings.add("non-binary" if binary else "soft", f"{shown(name)}: {error}")
    return _Decoded(track, tuple(truth), tuple(guess))


def _ids(labels: NDArray[np.uint8], size: tuple[int, int], binary: bool) -> Ids:
    """COCO RLE per label; ValueError for labels that cannot be objects."""
    values = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)).tolist()
    if binary:
        if len(values) > 2:
            raise ValueError(f"{len(values)} different values, where a file holds one object")
        return {1: rle.from_bits(bits.pack_nonzero(labels), size)} if values[-1] else {}
    drawn = [value for value in values if value]
    if len(drawn) > MAX_LABELS:
        raise ValueError(f"{len(drawn)} different values; these are soft masks, not objects")
    return {value: rle.from_bits(bits.pack(labels == value), size) for value in drawn}


def _first_size(task: VideoTask, wrong: list[str]) -> tuple[int, int]:
    """Size of the first image of the ground truth; every other image must have it."""
    name = task.video.tracks[0].truth[0]
    try:
        head = png.header(task.truth.read(name, MAX_MASK_BYTES))
    except (png.PngError, InputError) as error:
        wrong.append(f"{shown(name)}: {_reason(error)}")
        return (1, 1)
    if max(head.height, head.width) > MAX_SIDE:
        wrong.append(f"{shown(name)}: it claims {head.width}x{head.height} pixels; at most {MAX_SIDE} a side are read")
        return (1, 1)
    return (head.height, head.width)


def _reason(error: Exception) -> str:
    return error.where[0] if isinstance(error, InputError) and error.where else str(error)
