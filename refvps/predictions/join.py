"""Turning what speaks for a clip into one entry, with everything missing, surplus or doubled reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from refvps.archive import shown
from refvps.predictions.arrays import ArrayArchive, ArrayFiles
from refvps.predictions.canonical import CanonicalFile, InlineCounts, read_entries
from refvps.predictions.frames import report_frames, report_strangers
from refvps.predictions.layouts import Claim, ClipNames, chosen_names, pixel_value
from refvps.predictions.pictures import IdPictures, IdRun, Pictures
from refvps.predictions.problems import Findings
from refvps.types import Benchmark, Clip, Expression

T = TypeVar("T")

Entry = CanonicalFile | InlineCounts | Pictures | IdPictures | ArrayArchive | ArrayFiles
"""Where the masks of one clip are; every kind can be pickled and opened."""

_NAMES = {
    "canonical": "RLE lines",
    "npz": "an .npz",
    "tree": "PNGs per expression",
    "rem-burst": "PNGs per expression in pred/",
    "rem-vspw": "pred/ in each expression",
    "arrays": "arrays per expression",
    "ids": "PNGs per frame",
    "anno": "anno_k PNGs per target",
    "anno-ids": "anno_k PNGs per frame",
    "json": "RLE JSON",
}


class Joiner:
    """Joins claims with one benchmark and collects what is wrong."""

    def __init__(self, benchmark: Benchmark, single: bool, findings: Findings) -> None:
        self.benchmark, self.single, self.findings = benchmark, single, findings

    def entry(self, clip: Clip, names: ClipNames, claims: Sequence[Claim]) -> Entry | None:
        """The one entry of a clip; None, reported, when there is none or more than one."""
        best = [claim for claim in claims if claim.exact] or list(claims)
        for claim in claims:
            if claim not in best:
                self.findings.add("surplus-file", f"{shown(claim.where)} ({_NAMES[claim.form]})")
        if not best:
            self.findings.add("missing-clip", clip.id)
            return None
        if len(best) > 1:
            forms = " and ".join(f"{shown(claim.where, 60)} ({_NAMES[claim.form]})" for claim in best[:3])
            self.findings.add("duplicate", f"{clip.id}: {forms}")
            return None
        claim = best[0]
        for code, name in claim.wrong:
            self.findings.add(code, name)
        if claim.form == "canonical":
            return CanonicalFile(
                claim.where,
                _ids(names),
                names.by_name,
                self.benchmark.name,
                self.benchmark.digest,
                names.frames.absent,
            )
        if claim.form == "npz":
            return ArrayArchive(claim.where, _named(names))
        if claim.form == "json":
            return self._inline(clip, names, claim)
        if claim.form == "arrays":
            return self._arrays(clip, names, claim)
        if claim.form in ("tree", "rem-burst", "rem-vspw"):
            return self._tree(clip, names, claim)
        if claim.form == "ids":
            return self._ids(clip, names, claim)
        return self._runs(clip, names, claim)

    def _chosen(self, clip: Clip, names: ClipNames, claim: Claim, given: Mapping[str, T]) -> dict[str, T]:
        """What is given by name, by expression id in manifest order."""
        found: dict[str, T] = {}
        strangers = []
        for name, value in given.items():
            expression = names.by_name.get(name)
            if expression is None:
                strangers.append(name)
            elif expression in found:
                self.findings.add("duplicate", f"{shown(claim.where)}: {clip.id}/{expression} has two names")
            else:
                found[expression] = value
        missing = [each for each in _ids(names) if each not in found]
        report_strangers(strangers, missing, claim.where, self.findings)
        self.findings.extend("missing-expression", [f"{clip.id}/{each}" for each in missing])
        return {each: found[each] for each in _ids(names) if each in found}

    def _inline(self, clip: Clip, names: ClipNames, claim: Claim) -> Entry:
        counts = {}
        own = replace(names, by_name=chosen_names(claim.lists, _named(names)))
        for expression, value in self._chosen(clip, own, claim, claim.lists).items():
            texts = read_entries(value, clip, f"{shown(claim.where, 60)}: {clip.id}/{expression}", self.findings)
            if texts is not None:
                counts[expression] = texts
        return InlineCounts(_ids(names), counts, f"{shown(claim.where, 60)}: {clip.id}")

    def _arrays(self, clip: Clip, names: ClipNames, claim: Claim) -> Entry:
        files: dict[str, str] = {}
        for (stem, *_), found in claim.parts.items():
            if stem in files:
                self.findings.add("duplicate", f"{shown(found[''])} and {shown(files[stem])}")
            files[stem] = found[""]
        return ArrayFiles(_ids(names), self._chosen(clip, names, claim, files))

    def _tree(self, clip: Clip, names: ClipNames, claim: Claim) -> Entry:
        given = {name: files for (name,), files in claim.parts.items()}
        chosen = self._chosen(clip, names, claim, given)
        files = {each: self._indexed(clip, names, [each], chosen.get(each)) for each in _ids(names)}
        return Pictures(files)

    def _indexed(
        self, clip: Clip, names: ClipNames, expressions: Sequence[str], files: Mapping[str, str] | None
    ) -> dict[int, str]:
        """Files by frame index. ``files`` None: the expressions were reported as missing."""
        if files is None:
            return {}
        report_frames(names.frames, files, clip.id, expressions, self.findings)
        index = names.frames.index
        return {index[stem]: name for stem, name in files.items() if stem in index}

    def _ids(self, clip: Clip, names: ClipNames, claim: Claim) -> Entry | None:
        files = claim.parts[()]
        if len(names.expressions) == 1:
            only = names.expressions[0]
            return IdPictures((self._only(only, self._indexed(clip, names, [only.id], files)),))
        if len(names.targets) < len(names.expressions):
            self._unfit(clip, "several expressions point at one target, so one id mask per frame cannot answer them")
            return None
        values = self._values(clip, names.expressions)
        if values is None:
            return None
        return IdPictures((IdRun(self._indexed(clip, names, list(values.values()), files), values),))

    def _only(self, expression: Expression, files: Mapping[int, str]) -> IdRun:
        """Pictures of the only target of a clip: binary, unless the benchmark has ids for their pixels to mean."""
        value = 0 if self.single else pixel_value(expression.target)
        return IdRun(files, {value: expression.id} if value else {}, expression.id)

    def _values(self, clip: Clip, expressions: Sequence[Expression]) -> dict[int, str] | None:
        """Pixel value to expression id, one expression per target."""
        numbers = [pixel_value(each.target) for each in expressions]
        if not all(numbers) or len(set(numbers)) < len(numbers):
            self._unfit(clip, "its target ids are not numbers from 1 to 255")
            return None
        return {number: each.id for number, each in zip(numbers, expressions, strict=True)}

    def _unfit(self, clip: Clip, reason: str) -> None:
        self.findings.add(
            "layout",
            f"{clip.id}: {reason}",
            what="A layout that cannot hold the predictions of a clip.",
            fix="use <clip>/<expression>/<frame>.png, <clip>.jsonl, or anno_k/<clip>/<target>/<frame>.png",
        )

    def _runs(self, clip: Clip, names: ClipNames, claim: Claim) -> Entry | None:
        """``anno_k``: run k answers the k-th expression, in manifest order, of every target."""
        nth: dict[str, int] = {}
        run_of: dict[tuple[int, str], str] = {}
        for each in names.expressions:
            run = nth[each.target] = nth.get(each.target, -1) + 1
            run_of[run, each.target] = each.id
        if claim.form == "anno":
            given: dict[str, Mapping[str, str]] = {}
            for (anno, target), files in claim.parts.items():
                given[run_of.get((_run(anno), target), f"{anno}/{target}")] = files
            exact = replace(names, by_name={each: each for each in _ids(names)})
            chosen = self._chosen(clip, exact, claim, given)
            return Pictures({each: self._indexed(clip, names, [each], chosen.get(each)) for each in _ids(names)})
        runs = []
        files_of = {_run(anno): files for (anno,), files in claim.parts.items()}
        for run in sorted({run for run, _ in run_of}):
            members = [each for each in names.expressions if run_of.get((run, each.target)) == each.id]
            pictures = files_of.pop(run, None)
            if pictures is None:
                self.findings.extend("missing-expression", [f"{clip.id}/{each.id} (anno_{run})" for each in members])
            indexed = self._indexed(clip, names, [each.id for each in members], pictures)
            if len(names.targets) == 1:
                runs.append(self._only(members[0], indexed))
                continue
            values = self._values(clip, members)
            if values is None:
                return None
            runs.append(IdRun(indexed, values))
        for run in sorted(files_of):
            self.findings.add("surplus-expression", f"anno_{run}: {clip.id}")
        return IdPictures(tuple(runs))


def _ids(names: ClipNames) -> tuple[str, ...]:
    return tuple(each.id for each in names.expressions)


def _named(names: ClipNames) -> tuple[tuple[str, str], ...]:
    return tuple((each.id, each.source_id) for each in names.expressions)


def _run(anno: str) -> int:
    return int(anno.rpartition("_")[2])
