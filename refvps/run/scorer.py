"""A scorer that is fed masks as a model makes them: validation inside a training loop, without files.

    >>> import refvps
    >>> validation = refvps.Scorer("sample")
    >>> for expression in validation.benchmark.expressions:        # doctest: +SKIP
    ...     validation.update(expression.clip, expression.id, model(expression))
    >>> validation.compute().flat()                                # doctest: +SKIP
    {'sample/J': 0.41, 'sample/TC': 0.03}

Masks become integers at once and are let go, so memory does not grow with the video. The integers are those
of ``refvps evaluate``, and so is everything computed from them, to the last byte.

On several processes every rank updates what it predicted, in any division of clips, expressions and frames,
and one merges the rest; each frame is given once, so the padding of a ``DistributedSampler`` is refused::

    states = [None] * world
    torch.distributed.all_gather_object(states, validation.state())
    whole = refvps.Scorer(benchmark)
    for state in states:
        whole.merge(refvps.Scorer.from_state(benchmark, state))
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.masks.arrays import as_array, binary, unusable
from refvps.masks.mask import Mask
from refvps.predictions.problems import Report
from refvps.run.chunks import runs
from refvps.run.count import ClipCounts, ClipTask, boundary_of, count_clip, table
from refvps.run.counts import AREAS, EDGES, MISSING, Counts
from refvps.run.counts_file import pack_counts, unpack_counts
from refvps.run.evaluate import Evaluation, without_clips
from refvps.run.results import write_result
from refvps.run.score import check_rules, score
from refvps.types import Benchmark, Clip, Expression, Method, Rules, Scores, Truth, check_id

Pair = tuple[str, str]
"""(clip id, expression id)."""

_CLEAN = Report(())
_UNSEEN = -1  # a state that no table holds: this frame was not given yet
_ONCE = (
    "give each frame once: deal the clips out without padding, as clips[rank::world] does "
    "(a DistributedSampler repeats some so that all ranks get the same number)"
)


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Reads as no prediction at all."""

    expression: str
    problems: Report = _CLEAN

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        return {self.expression: None}


@dataclass(frozen=True, slots=True)
class _Given:
    """Reads the masks of one expression from an array; ``position``: frame of the clip to row of the array."""

    expression: str
    array: NDArray[Any]
    position: Mapping[int, int]
    place: str
    problems: Report = _CLEAN
    levels: set[int] = field(default_factory=set)

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        place = f"{self.place}, frame {index}"
        return {self.expression: Mask.from_array(binary(self.array[self.position[index]], self.levels, place))}


class Scorer:
    """Scores masks given one (clip, expression) at a time.

    ``benchmark``: a benchmark or its name. ``rules``: the benchmark's own unless given. ``method``: the name
    that results carry; what :meth:`write` makes of it is the file of ``refvps evaluate --method NAME``.
    """

    def __init__(self, benchmark: Benchmark | str, rules: Rules | None = None, method: str = "validation") -> None:
        if isinstance(benchmark, str):
            from refvps.data import load

            benchmark = load(benchmark)
        self.benchmark = benchmark
        self.rules = rules or benchmark.rules
        self.method = method
        check_rules(self.rules)
        check_id(method, "method")
        self._boundary = boundary_of(self.rules)
        self._pairs: dict[Pair, Expression] = {(each.clip, each.id): each for each in benchmark.expressions}
        self._by_clip: dict[str, list[str]] = {}
        for clip, expression in self._pairs:
            self._by_clip.setdefault(clip, []).append(expression)
        self._rows: dict[Pair, NDArray[np.int64]] = {}
        self._truth: tuple[str, Truth] | None = None

    def __repr__(self) -> str:
        given = sum(int((rows[:, 1] != _UNSEEN).sum()) for rows in self._rows.values())
        wanted = sum(len(self.benchmark.clips[clip].annotated) for clip, _ in self._pairs)
        name = f"{self.benchmark.name}@{self.benchmark.version}"
        return f"<Scorer of {self.method!r} on {name}: {given:,} of {wanted:,} masks>"

    # --- what a loop calls -------------------------------------------------------------------------

    def update(self, clip: str, expression: str, masks: Any, *, frames: Iterable[str | int] | None = None) -> None:
        """Count the masks of one expression, all at once or in chunks.

        ``masks``: [T, H, W] (or [T, 1, H, W]) at the size of the clip's frames, of bool or integers of {0, 1}
        or {0, 255}; anything with ``__array__`` or ``__dlpack__`` in the memory of the CPU. ``frames``: the
        names, or positions from 0, of the T frames, in any order; without it, the masks are those of all
        frames of the clip. Masks of frames without ground truth are not looked at.

        Raises UsageError for an id or frame that does not exist or was given before, InputError for masks
        that cannot be used; nothing was counted then.
        """
        pair, place = (clip, expression), f"{clip}/{expression}"
        entry = self._clip(clip, expression)
        array = as_array(masks, place)
        indices = _indices(entry, frames, place)
        array = _fitted(array, entry, indices, place, explicit=frames is not None)
        position = {index: k for k, index in enumerate(indices)}
        at = [k for k, index in enumerate(entry.annotated_indices()) if index in position]
        values = self._count(entry, expression, at, _Given(expression, array, position, place))
        rows = self._rows.get(pair, self._blank(entry))
        twice = rows[at, 1] != _UNSEEN
        if twice.any():
            same = np.array_equal(rows[at][twice], values[twice])
            raise _given_twice([f"{place}, frames {runs(values[twice, 0])}"], same)
        rows[at] = values
        self._rows[pair] = rows

    def merge(self, other: Scorer) -> Scorer:
        """Take over what ``other`` counted, and return this scorer; ``other`` stays as it is.

        Raises UsageError, with nothing taken over, for a scorer of another benchmark, method or rules, and for
        frames that both were given.
        """
        kinds = {
            "benchmark": self._content() != other._content(),
            "rules": self.rules != other.rules,
            "method": self.method != other.method,
        }
        if any(kinds.values()):
            raise UsageError(
                "These scorers do not belong together.",
                where=[f"another {kind}" for kind, differs in kinds.items() if differs],
                fix="make all of them with the same benchmark, rules and method",
            )
        places, same = [], True
        for pair, theirs in other._rows.items():
            ours = self._rows.get(pair)
            if ours is None:
                continue
            twice = (ours[:, 1] != _UNSEEN) & (theirs[:, 1] != _UNSEEN)
            if twice.any():
                places.append(f"{pair[0]}/{pair[1]}, frames {runs(ours[twice, 0])}")
                same = same and np.array_equal(ours[twice], theirs[twice])
        if places:
            raise _given_twice(places, same)
        for pair, theirs in other._rows.items():
            ours = self._rows.setdefault(pair, theirs.copy())
            seen = theirs[:, 1] != _UNSEEN
            ours[seen] = theirs[seen]
        return self

    def compute(self, *, partial: bool = False) -> Scores:
        """The scores of what was given, equal to those of ``refvps evaluate`` on the same masks.

        A frame without a mask is an InputError, or scores zero under ``Rules(missing="zero")``. ``partial``:
        score only the clips that were given, as a benchmark of their own: exactly ``refvps evaluate
        --without`` the others, which digest, signature and notes of the result say.
        """
        return self.result(partial=partial).scores

    def result(self, *, partial: bool = False) -> Evaluation:
        """Scores with the counts they come from; see :meth:`compute`."""
        chosen = self._chosen(partial)
        clips = {}
        lacking: list[str] = []
        for clip in chosen:
            blocks = []
            for expression in self._by_clip[clip]:
                rows = self._filled(clip, expression)
                if (gone := rows[:, 1] == MISSING).any():
                    lacking.append(f"{clip}/{expression}, frames {runs(rows[gone, 0])}")
                blocks.append(rows)
            clips[clip] = ClipCounts(clip, np.stack(blocks), _CLEAN)
        if lacking and self.rules.missing == "error":
            hint = "" if partial else " score only the clips that were given with compute(partial=True),"
            raise InputError(
                "Expressions have frames without a mask.",
                where=lacking,
                fix=f'give them to update(),{hint} or count them as zero with Rules(missing="zero")',
            )
        counts = table(self.benchmark, clips, self._boundary, method={"name": self.method})
        if partial:
            counts = without_clips(counts, self._by_clip.keys() - set(chosen))
        scores = score(counts, self.rules, method=Method(self.method))
        return Evaluation(scores, counts, self.rules, _CLEAN, {"predictions": "refvps.Scorer", "layout": "arrays"})

    def write(self, out: Path | str, *, partial: bool = False, force: bool = False) -> Path:
        """Write the result below ``out`` as ``refvps evaluate`` does, with its counts; returns its path."""
        done = self.result(partial=partial)
        path, _ = write_result(done.scores, done.counts, done.rules, Path(out), inputs=done.inputs, force=force)
        return path

    def reset(self) -> None:
        """Forget everything that was given, for the next round."""
        self._rows.clear()

    # --- between processes -------------------------------------------------------------------------

    def state(self) -> bytes:
        """What was counted so far, small enough to send or store: the bytes of a partial ``.counts.npz``."""
        counts = self._counts(self._rows)
        seen = counts.columns["state"] != _UNSEEN
        return pack_counts(replace(counts, columns={name: column[seen] for name, column in counts.columns.items()}))

    @classmethod
    def from_state(cls, benchmark: Benchmark | str, state: bytes, rules: Rules | None = None) -> Scorer:
        """A scorer that counted what :meth:`state` says; ``state`` may come from anyone and is checked.

        Raises InputError when it is broken or belongs to another benchmark, Ignore rule or tolerance of F.
        """
        if not isinstance(state, bytes | bytearray | memoryview):
            raise UsageError("A state is bytes.", where=[type(state).__name__], fix="give what scorer.state() returned")
        found = unpack_counts(bytes(state), "state")
        scorer = cls(benchmark, rules, str(found.method.get("name", "")))
        scorer._take(found)
        return scorer

    # --- inside ------------------------------------------------------------------------------------

    def _take(self, found: Counts) -> None:
        if found.names() != self._counts({}).names():
            raise InputError(
                "A state belongs to another benchmark or to other rules.",
                where=[f"{found.benchmark['name']}@{found.benchmark['version']}, boundary {found.boundary}"],
                fix="make the scorer with the benchmark and the rules of the one whose state this is",
            )
        columns = found.columns
        values = np.stack([columns[name] for name in ("frame", "state", *AREAS, *(EDGES if self._boundary else ()))], 1)
        for which in np.unique(columns["expression"]).tolist():
            each = found.expressions[which]
            clip = self.benchmark.clips[each.clip]
            chosen = columns["expression"] == which
            position = {index: k for k, index in enumerate(clip.annotated_indices())}
            at = [position.get(frame, -1) for frame in columns["frame"][chosen].tolist()]
            targets = {found.targets[k] for k in np.unique(columns["target"][chosen]).tolist()}
            if -1 in at or targets != {(each.clip, each.target)} or (columns["state"][chosen] == MISSING).any():
                raise InputError("A state holds rows that no scorer makes.", where=[f"{each.clip}/{each.id}"])
            rows = self._rows[each.clip, each.id] = self._blank(clip)
            rows[at] = values[chosen]

    def _content(self) -> tuple[Any, ...]:
        bench = self.benchmark
        return bench.name, bench.version, bench.digest, bench.expressions, dict(bench.clips)

    def _clip(self, clip: str, expression: str) -> Clip:
        """The clip of a pair; UsageError, with the nearest id, when there is none."""
        import difflib

        texts = isinstance(clip, str) and isinstance(expression, str)
        if texts and (clip, expression) in self._pairs:
            return self.benchmark.clips[clip]
        known, what, wrong = list(self._by_clip), "clip", clip
        if isinstance(clip, str) and clip in self._by_clip:
            what, wrong, known = "expression", expression, self._by_clip[clip]
        near = difflib.get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"ids are texts: {', '.join(map(repr, known[:4]))}, ..."
        raise UsageError(
            f"There is no such {what} in the benchmark.",
            where=[f"{self.benchmark.name}: {wrong!r}"[:300] + (f" in {clip}" if what == "expression" else "")],
            fix=hint,
        )

    def _blank(self, clip: Clip) -> NDArray[np.int64]:
        """Rows [annotated frames, columns] of frames that were not given."""
        rows = np.zeros((len(clip.annotated), 2 + len(AREAS) + (len(EDGES) if self._boundary else 0)), np.int64)
        rows[:, 0] = clip.annotated_indices()
        rows[:, 1] = _UNSEEN
        return rows

    def _count(self, clip: Clip, expression: str, at: Sequence[int], reader: _Given | _Nothing) -> NDArray[np.int64]:
        """Counts [frames, columns] of the annotated frames at the positions ``at``."""
        if self._truth is None or self._truth[0] != clip.id:  # chunks of a clip parse its ground truth once
            self._truth = clip.id, self.benchmark.truth(clip.id)
        part = replace(clip, annotated=tuple(clip.annotated[k] for k in at))
        pair = expression, self._pairs[clip.id, expression].target
        task = ClipTask(part, (pair,), self._truth[1], reader, self._boundary)
        values: NDArray[np.int64] = count_clip(task).values[0]
        return values

    def _filled(self, clip: str, expression: str) -> NDArray[np.int64]:
        """Rows of a pair, with what was not given as missing, or not annotated."""
        entry = self.benchmark.clips[clip]
        rows = self._rows[clip, expression].copy() if (clip, expression) in self._rows else self._blank(entry)
        at = np.flatnonzero(rows[:, 1] == _UNSEEN).tolist()
        if at:
            rows[at] = self._count(entry, expression, at, _Nothing(expression))
        return rows

    def _chosen(self, partial: bool) -> list[str]:
        """The clips to score, in benchmark order."""
        asked = set(self._by_clip)
        if partial:
            asked = {pair[0] for pair, rows in self._rows.items() if (rows[:, 1] != _UNSEEN).any()}
            if not asked:
                raise UsageError("The scorer was given nothing yet.", fix="update() it first")
        return [clip for clip in self.benchmark.clips if clip in asked]

    def _counts(self, rows: Mapping[Pair, NDArray[np.int64]]) -> Counts:
        """Rows as a table, with state -1 for frames of their clips that were not given."""
        clips: dict[str, ClipCounts] = {}
        for clip in dict.fromkeys(pair[0] for pair in rows):
            blank = self._blank(self.benchmark.clips[clip])
            blocks = [rows.get((clip, expression), blank) for expression in self._by_clip[clip]]
            clips[clip] = ClipCounts(clip, np.stack(blocks), _CLEAN)
        return table(self.benchmark, clips, self._boundary, method={"name": self.method})


def _indices(clip: Clip, frames: Iterable[str | int] | None, place: str) -> list[int]:
    """Positions of the frames that masks are given for; UsageError for one that is not there, or there twice."""
    if frames is None:
        return list(range(len(clip.frames)))
    if isinstance(frames, str | bytes):
        raise UsageError("frames= is a list of names or positions.", where=[f"{place}: {frames!r}"[:300]])
    position = {name: index for index, name in enumerate(clip.frames)}
    found: dict[int, None] = {}
    wrong = []
    for each in frames:
        index = _index(each, position)
        if index is None:
            wrong.append(f"{place}: no frame {each!r}"[:300])
        elif index in found:
            wrong.append(f"{place}: frame {index} stands twice")
        else:
            found[index] = None
    if wrong:
        last = len(clip.frames) - 1
        raise UsageError(
            "Frames that the clip does not have, or named twice.",
            where=wrong,
            fix=f"give names ({clip.frames[0]!r} to {clip.frames[last]!r}) or positions (0 to {last}), each once",
        )
    return list(found)


def _index(given: Any, position: Mapping[str, int]) -> int | None:
    if isinstance(given, str):
        return position.get(given)
    try:
        index = -1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        return None
    return index if 0 <= index < len(position) else None


def _fitted(array: NDArray[Any], clip: Clip, indices: Sequence[int], place: str, *, explicit: bool) -> NDArray[Any]:
    """The array as [T, H, W]; InputError, with what to do, when it is not one mask per frame."""
    if array.ndim == 4 and array.shape[1] == 1:  # of four axes, only this can be channels
        array = array[:, 0]
    height, width = clip.size
    shape = (len(indices), height, width)
    if array.shape == shape:
        return array
    fix = f"give masks [T, H, W] = {list(shape)}, at the size of the frames; nothing is resized here"
    if array.ndim == 2:
        fix = "one mask is masks[None], with frames=[...] saying which frame it is"
    elif array.ndim == 4:
        fix = "give the masks of one expression at a time, [T, H, W]"
    elif array.shape == (len(indices), width, height):
        fix = "swap the last two axes: height comes before width"
    elif array.ndim == 3 and array.shape[1:] == clip.size and not explicit:
        fix = f"the clip has {len(clip.frames)} frames; say which ones these are with frames=[...]"
        if len(array) == len(clip.annotated):
            fix += ", here frames=benchmark.clips[clip].annotated"
    raise unusable(place, f"their shape is {list(array.shape)}, not {list(shape)}", fix)


def _given_twice(places: Sequence[str], same: bool) -> UsageError:
    what = "the same masks again, as from a sampler's padding" if same else "with other masks than before"
    return UsageError(f"Frames were given twice ({what}).", where=places, fix=_ONCE)
