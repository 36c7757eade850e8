"""Predictions as RLE text: the canonical JSON-lines file of one clip, and one JSON of everything.

Canonical (``<clip>.jsonl``): line 1 is ``{"schema": "refvps.predictions/1", "clip", "size": [h, w],
"frames": [names], "benchmark", "digest"}``, then one line per expression, ``{"expression",
"counts": [str, ...]}``, one valid compressed COCO RLE per frame of the header. Frames are joined by
name; they may be fewer than the clip's, as long as the annotated ones are there.

RLE JSON (as in MeViS): ``{clip: {expression: [RLE or null per frame]}}`` or ``{"clip/expression":
[...]}`` with RLE = ``{"size": [h, w], "counts": str}``. The list has one entry per frame of the clip
or one per annotated frame; null is an empty mask in this format, and only in this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refvps.archive import FileSet, shown
from refvps.errors import InputError
from refvps.files import MAX_JSON_BYTES, parse_json
from refvps.masks import bits, rle
from refvps.masks.mask import Mask
from refvps.predictions.frames import FrameNames, report_frames, report_strangers
from refvps.predictions.layouts import Names
from refvps.predictions.pictures import size_fault
from refvps.predictions.problems import Findings
from refvps.types import Clip

SCHEMA = "refvps.predictions/1"

BAD = b"\xff"
"""Stands for a string that was reported already; not ASCII, so that nothing read from a file equals it."""

Counts = Mapping[int, Mask]
"""Masks of checked RLE by index of the frame in the clip."""


class CountsSource:
    """Masks that are all in memory as RLE."""

    def __init__(self, expressions: Sequence[str], counts: Mapping[str, Counts], size: tuple[int, int]) -> None:
        self.expressions, self.counts, self.size = expressions, counts, size

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks of frame ``index`` by expression id."""
        found = {expression: self.counts.get(expression, {}).get(index) for expression in self.expressions}
        # Copies: a mask remembers its bits, and those of a whole clip would be a hundred times its RLE.
        return {each: mask and Mask.from_rle(mask.counts(), mask.size, mask.area()) for each, mask in found.items()}


def _checked(
    texts: Sequence[bytes], indices: Sequence[int], size: tuple[int, int], label: str, clip: Clip, findings: Findings
) -> dict[int, Mask]:
    """The valid masks by frame index; the others are reported, unless they are BAD and were before."""
    try:
        areas = rle.check(texts, size).tolist()
        found = zip(indices, texts, areas, strict=True)
        return {index: Mask.from_rle(text, size, area) for index, text, area in found}
    except rle.RleError:
        good = {}
        scored = frozenset(clip.annotated_indices())
        for index, text in zip(indices, texts, strict=True):
            findings.scored = index in scored
            try:
                if text != BAD:
                    (area,) = rle.check([text], size).tolist()
                    good[index] = Mask.from_rle(text, size, area)
            except rle.RleError as error:
                pasted = text[:2] in (b"b'", b'b"')
                reason = "the text of a Python bytes object; write counts.decode()" if pasted else error.reason
                findings.add("rle", f"{label}, frame {clip.frames[index]}: {reason}")
        findings.scored = True
        return good


def _encoded(value: Any, place: str, findings: Findings) -> bytes:
    """The bytes of one RLE string; BAD after reporting what is not even a string."""
    if isinstance(value, str) and value.isascii():
        return value.encode("ascii")
    if value is None:
        findings.add("rle", f"{place}: null; an empty mask is the RLE of all zeros")
    elif isinstance(value, list):
        findings.add("rle", f"{place}: an uncompressed RLE (a list); compress it (pycocotools.mask.frPyObjects)")
    elif isinstance(value, str):
        findings.add("rle", f"{place}: characters that do not occur in RLE")
    else:
        findings.add("rle", f"{place}: {_kind(value)} instead of a string")
    return BAD


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _listing(value: Any) -> str:
    return shown(value, 60) if isinstance(value, str | int | float) else _kind(value)


@dataclass(frozen=True, slots=True)
class CanonicalFile:
    """One canonical file. ``by_name``: expression ids by the names that may stand in the file; ``absent``: see
    :class:`~refvps.predictions.frames.FrameNames`."""

    file: str
    expressions: tuple[str, ...]
    by_name: Mapping[str, str]
    benchmark: str
    digest: str
    absent: Mapping[str, frozenset[str]]

    def names(self) -> set[str]:
        """The file this needs."""
        return {self.file}

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> CountsSource:
        """Read and check the whole file; only its RLE strings are kept."""
        found: dict[str, Counts] = {}
        try:
            self._read(files, clip, findings, found)
        except _UnusableError:
            pass
        return CountsSource(self.expressions, found, clip.size)

    def _read(self, files: FileSet, clip: Clip, findings: Findings, found: dict[str, Counts]) -> None:
        records = self._records(files, findings)
        frames = self._header(next(records, None), clip, findings)
        names = FrameNames(clip, self.absent)
        kept = [(position, names.index[name]) for position, name in enumerate(frames) if name in names.index]
        positions, indices = [each for each, _ in kept], [each for _, each in kept]
        seen: set[str] = set()
        strangers: list[str] = []
        bad = False
        for number, record in records:
            place = f"{shown(self.file)}:{number}"
            name = record.get("expression") if isinstance(record, dict) else None
            if not isinstance(name, str) or not isinstance(record.get("counts"), list):
                findings.add("json", f"{place}: not an object with an 'expression' and a list 'counts'")
                bad = True
                continue
            expression = self.by_name.get(name)
            if expression is None:
                strangers.append(name)
                continue
            if expression in seen:
                findings.add("duplicate", f"{place}: expression {shown(name, 60)} again")
                found.pop(expression, None)
                continue
            seen.add(expression)
            found[expression] = self._counts(record["counts"], frames, positions, indices, clip, name, findings)
        missing = [each for each in self.expressions if each not in seen]
        report_strangers(strangers, missing, self.file, findings)
        if not bad:
            findings.extend("missing-expression", [f"{clip.id}/{each}" for each in missing])
        report_frames(names, frames, clip.id, [each for each in self.expressions if each in seen], findings)

    def _records(self, files: FileSet, findings: Findings) -> Iterator[tuple[int, Any]]:
        try:
            data = files.read(self.file, MAX_JSON_BYTES)
        except InputError as error:
            findings.add("unreadable", error.where[0] if error.where else shown(self.file))
            raise _UnusableError from error
        start, number = 0, 0
        while start < len(data):
            stop = data.find(b"\n", start)
            whole, stop = stop >= 0, stop if stop >= 0 else len(data)
            number += 1
            try:
                yield number, parse_json(data[start:stop], f"{shown(self.file)}:{number}")
            except InputError as error:
                code = "json" if whole else "truncated"
                findings.add(code, error.where[0])
                raise _UnusableError from error
            start = stop + 1

    def _header(self, first: tuple[int, Any] | None, clip: Clip, findings: Findings) -> list[str]:
        place = shown(self.file)
        if first is None:
            findings.add("truncated", f"{place}: the file is empty (0 bytes)")
            raise _UnusableError
        header = first[1]
        wrong: list[str] = []
        if not isinstance(header, dict) or header.get("schema") != SCHEMA:
            schema = header.get("schema") if isinstance(header, dict) else None
            wrong.append(f"the schema is {_listing(schema)}, not {SCHEMA}")
            findings.add("header", f"{place}: {wrong[0]}")
            raise _UnusableError
        if header.get("clip") not in (clip.id, clip.source_id or clip.id):
            wrong.append(f"the clip is {_listing(header.get('clip'))}, not {clip.id}")
        size = _size(header.get("size"))
        if size is None:
            wrong.append("the size is not [height, width]")
        elif size != clip.size:
            wrong.append(size_fault(size, clip.size))
        frames = header.get("frames")
        if not isinstance(frames, list) or not all(isinstance(name, str) for name in frames):
            wrong.append("the frames are not a list of names")
        elif len(set(frames)) != len(frames):
            wrong.append("a frame is listed twice")
        if header.get("benchmark") not in (None, "", self.benchmark):
            wrong.append(f"it was made for {_listing(header.get('benchmark'))}, not {self.benchmark}")
        for reason in wrong:
            findings.add("header", f"{place}: {reason}")
        if wrong:
            raise _UnusableError
        if self.digest and header.get("digest") not in (None, "", self.digest):
            findings.add("digest", f"{place}: made for {_listing(header.get('digest'))[:12]}, not {self.digest[:12]}")
        return list(frames or [])

    def _counts(
        self,
        counts: list[Any],
        frames: Sequence[str],
        positions: Sequence[int],
        indices: Sequence[int],
        clip: Clip,
        name: str,
        findings: Findings,
    ) -> Counts:
        label = f"{shown(self.file)}: {name}"
        if len(counts) != len(frames):
            findings.add("rle", f"{label}: {len(counts):,} strings for {len(frames):,} frames")
            return {}
        chosen = [counts[at] for at in positions]
        if all(isinstance(text, str) and text.isascii() for text in chosen):
            texts = [text.encode("ascii") for text in chosen]
        else:
            scored = frozenset(clip.annotated_indices())
            texts = []
            for text, index in zip(chosen, indices, strict=True):
                findings.scored = index in scored
                texts.append(_encoded(text, f"{label}, frame {clip.frames[index]}", findings))
            findings.scored = True
        return _checked(texts, indices, clip.size, label, clip, findings)


class _UnusableError(Exception):
    """The rest of a file cannot be used; the reason was reported."""


def _size(value: Any) -> tuple[int, int] | None:
    """A size from JSON; whole floats are accepted, as SA-V writes them."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and each == each // 1 for each in value):
        return None
    return int(value[0]), int(value[1])


@dataclass(frozen=True, slots=True)
class InlineCounts:
    """RLE strings from an RLE JSON, by expression and position; None is an empty mask."""

    expressions: tuple[str, ...]
    counts: Mapping[str, tuple[bytes | None, ...]]
    label: str

    def names(self) -> set[str]:
        """No file is needed any more."""
        return set()

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> CountsSource:
        """Check every string."""
        nothing = rle.from_bits(bits.empty(clip.size), clip.size)
        found: dict[str, Counts] = {}
        for expression, texts in self.counts.items():
            whole = len(texts) == len(clip.frames)
            indices = range(len(clip.frames)) if whole else clip.annotated_indices()
            plain = [nothing if text is None else text for text in texts]
            found[expression] = _checked(plain, indices, clip.size, f"{self.label}: {expression}", clip, findings)
        return CountsSource(self.expressions, found, clip.size)


def rle_json_claims(content: Any, names: Names) -> list[tuple[str, dict[str, Any]]] | None:
    """(clip id, lists by expression's name) for every name of a clip, if ``content`` is an RLE JSON, else None.

    What the benchmark does not have stands under the clip id ''.
    """
    if not isinstance(content, dict):
        return None
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict) and any(isinstance(each, list) for each in value.values()):
            found[key] = value
        elif isinstance(value, list):
            head, _, name = key.rpartition("/")
            found.setdefault(head, {})[name] = value
    if not any(name in names.by_name for name in found):
        return None
    strangers = {name: lists for name, lists in found.items() if name not in names.by_name}
    claims = [(names.by_name[name], lists) for name, lists in found.items() if name in names.by_name]
    return [*claims, ("", strangers)] if strangers else claims


def read_entries(value: Any, clip: Clip, label: str, findings: Findings) -> tuple[bytes | None, ...] | None:
    """The strings of one list of an RLE JSON, their sizes checked; None if the list itself is unusable."""
    if not isinstance(value, list):
        findings.add("json", f"{label}: {_kind(value)} instead of a list")
        return None
    if len(value) not in (len(clip.frames), len(clip.annotated)):
        wanted = f"{len(clip.frames):,} frames ({len(clip.annotated):,} annotated)"
        findings.add("rle", f"{label}: {len(value):,} entries for {wanted}")
        return None
    texts: list[bytes | None] = []
    scored = frozenset(clip.annotated_indices() if len(value) == len(clip.frames) else range(len(value)))
    for position, each in enumerate(value):
        findings.scored = position in scored
        place = f"{label}[{position}]"
        if each is None:
            texts.append(None)
        elif not isinstance(each, dict) or "counts" not in each:
            findings.add("rle", f"{place}: not an object with 'size' and 'counts'")
            texts.append(BAD)
        elif (size := _size(each.get("size"))) is None:
            findings.add("rle", f"{place}: the size is not [height, width]")
            texts.append(BAD)
        elif size != clip.size:
            findings.add("size", f"{place}: {size_fault(size, clip.size)}")
            texts.append(BAD)
        else:
            texts.append(_encoded(each["counts"], place, findings))
    findings.scored = True
    return tuple(texts)
