"""One submission: predictions on disk, joined with a benchmark by name, ready to be read clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.archive import FileSet, open_files, shown
from refvps.errors import InputError
from refvps.files import MAX_JSON_BYTES, parse_json
from refvps.masks.mask import Mask
from refvps.predictions.canonical import rle_json_claims
from refvps.predictions.frames import MAX_GUESSES, near
from refvps.predictions.join import Entry, Joiner
from refvps.predictions.layouts import (
    Claim,
    Folder,
    Layout,
    Names,
    benchmark_names,
    deepest_name,
    find_root,
    folders,
    present_names,
    sort_out,
)
from refvps.predictions.problems import Findings, Report
from refvps.predictions.write import RUN_SCHEMA
from refvps.types import ID, Benchmark, Clip

MAX_RUN_BYTES = 1 << 24


class ClipReader:
    """Reads the predictions of one clip, one frame at a time; picklable, opens its files on first use.

    A mask that cannot be used never raises: it reads as None and stands in :attr:`problems`, as a note on a
    frame that is not annotated.
    """

    def __init__(self, clip: Clip, expressions: tuple[str, ...], files: FileSet, entry: Entry | None) -> None:
        self.clip, self.expressions, self.files, self.entry = clip, expressions, files, entry
        self._findings = Findings()
        self._scored = frozenset(clip.annotated_indices())
        self._source: Any = None

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.clip, self.expressions, self.files, self.entry)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        """Masks of frame ``index`` of the clip by expression id, in manifest order; None: no usable mask."""
        if self.entry is None:
            return dict.fromkeys(self.expressions)
        if self._source is None:
            self._source = self.entry.open(self.files, self.clip, self._findings)
        self._findings.scored = index in self._scored
        found = self._source.frame(index)
        self._findings.scored = True
        return {expression: found.get(expression) for expression in self.expressions}

    @property
    def problems(self) -> Report:
        """Everything wrong with what was read so far."""
        return self._findings.report()


@dataclass(frozen=True)
class Submission:
    """Predictions of one method for one benchmark.

    ``layout``: canonical, npz, tree, rem-burst, rem-vspw, arrays, ids, anno, anno-ids, json, mixed, or none.
    ``prefix``: folder that holds the clips. ``entries``: clips with something to read. ``problems``: what names alone
    show; masks, and the inside of canonical files and .npz, are looked at by the readers. ``run``: content of
    run.json; ``name``: the method's name in it.
    """

    files: FileSet
    layout: str
    prefix: str
    clips: Mapping[str, Clip]
    expressions: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, Entry]
    problems: Report
    name: str | None = None
    run: Mapping[str, Any] | None = None

    def reader(self, clip: str) -> ClipReader:
        """A reader for one clip, small enough to be sent to a worker process."""
        entry = self.entries.get(clip)
        files = self.files.only(entry.names() if entry is not None else ())
        return ClipReader(self.clips[clip], self.expressions[clip], files, entry)


def open_submission(path: Path | FileSet, benchmark: Benchmark) -> Submission:
    """Recognise the layout of the predictions at ``path`` and join them with ``benchmark`` by name.

    Nothing that is wrong with the predictions raises, it is listed in ``problems``; raises InputError
    when there is nothing to list: no such path, an unsafe or damaged archive, links.
    """
    files = path if isinstance(path, FileSet) else open_files(path)
    findings = Findings()
    found = folders(files.names)
    names = benchmark_names(benchmark, present_names(found, deepest_name(benchmark)))
    root, rivals = find_root(found, names)
    if root is None:
        root = _json_root(found)
    layout = sort_out(found, root, rivals, names)
    by_clip: dict[str, list[str]] = {clip: [] for clip in benchmark.clips}
    for expression in benchmark.expressions:
        by_clip[expression.clip].append(expression.id)
    run = _run(files, layout, findings)
    _read_json(files, layout, names, findings)
    entries: dict[str, Entry] = {}
    forms: set[str] = set()
    if layout.misnamed_runs:
        findings.extend(
            "layout",
            list(layout.misnamed_runs),
            what="Runs whose folder has no proper number.",
            fix="name the folders anno_0, anno_1, ... without leading zeros, one for each run",
        )
    if _report_root(layout, files, benchmark, findings):
        joiner = Joiner(benchmark, names.single, findings)
        for clip in benchmark.clips.values():
            if not by_clip[clip.id]:
                continue
            claims = layout.claims.get(clip.id, [])
            entry = joiner.entry(clip, names.clips[clip.id], claims)
            if entry is not None:
                entries[clip.id] = entry
                forms |= {claim.form for claim in claims if claim.exact} or {claim.form for claim in claims}
        _report_rest(layout, benchmark, findings)
    if files.junk:
        findings.extend("junk", [], files.junk)
    method = run.get("method") if run is not None else None
    name = method.get("name") if isinstance(method, dict) else None
    return Submission(
        files=files,
        layout="none" if not forms else forms.pop() if len(forms) == 1 else "mixed",
        prefix="/".join(root),
        clips=benchmark.clips,
        expressions={clip: tuple(ids) for clip, ids in by_clip.items()},
        entries=entries,
        problems=findings.report(),
        name=name if isinstance(name, str) and ID.fullmatch(name) else None,
        run=run,
    )


def _json_root(found: list[Folder]) -> tuple[str, ...]:
    holding = [folder.parts for folder in found if any(suffix == ".json" for _, suffix, _ in folder.files)]
    return min(holding, key=lambda parts: (len(parts), parts), default=())


def _read_json(files: FileSet, layout: Layout, names: Names, findings: Findings) -> None:
    """Give the lists of RLE JSON files to their clips; other JSON files are surplus."""
    for file in layout.json_files:
        try:
            found = rle_json_claims(parse_json(files.read(file, MAX_JSON_BYTES), shown(file)), names)
        except InputError as error:
            if layout.claims:
                findings.add("surplus-file", error.where[0])
            else:
                findings.add("json", error.where[0])
            continue
        if found is None:
            layout.surplus_files.append(file)
            continue
        for clip, lists in found:
            if clip:
                layout.claims.setdefault(clip, []).append(Claim("json", file, lists=lists, exact=1))
            else:
                layout.surplus_clips.update(dict.fromkeys(lists))


def _run(files: FileSet, layout: Layout, findings: Findings) -> Mapping[str, Any] | None:
    """The first run file, ``run.json`` before others; those of shards must come from one run."""
    first: Mapping[str, Any] | None = None
    for file in sorted(layout.run_files, key=lambda name: (not name.endswith("run.json"), name)):
        try:
            record = parse_json(files.read(file, MAX_RUN_BYTES), shown(file))
        except InputError as error:
            findings.add("json", error.where[0])
            continue
        if isinstance(record, dict) and record.get("schema") == RUN_SCHEMA:
            first = first or record
            if record.get("key") != first.get("key"):
                findings.add("header", f"{shown(file)}: it belongs to another run than the other run files")
        else:
            layout.surplus_files.append(file)
    return first


def _report_root(layout: Layout, files: FileSet, benchmark: Benchmark, findings: Findings) -> bool:
    """Report where the clips lie; False when it makes no sense to go on."""
    root = "/".join(layout.root)
    if not layout.claims:
        if findings.report().ok:
            zips = [name for name in files.names if name.lower().endswith(".zip")]
            clips = ", ".join(list(benchmark.clips)[:3])
            places = [f"found: {shown(name)}" for name in files.names[:2]] or ["found: no files at all"]
            findings.extend(
                "layout",
                [*places, f"looked for clips named {clips}{', ...' if len(benchmark.clips) > 3 else ''}"],
                1,
                fix=f"give the zip itself ({shown(zips[0])})" if zips else "",
            )
        return False
    siblings = [other for other in layout.rivals if len(other) == len(layout.root)]
    if siblings:
        places = [f"{'/'.join(other) or '.'}" for other in sorted([layout.root, *siblings])]
        findings.extend("nesting", places, what="Predictions lie in several folders.", fix="give one of these folders")
        return False
    if len(layout.root) > 1:
        findings.add(
            "nesting",
            f"the clips lie in {shown(root)}/",
            fix=f"give {shown(root)}, or zip from inside it (cd {shown(root)} && zip -r ../preds.zip .)",
        )
        return False
    if layout.root:
        findings.add(
            "nesting",
            f"the clips lie in {shown(root)}/",
            severity="note",
            what="The predictions lie one folder deeper than needed; accepted.",
            fix=f"give {shown(root)} itself to be rid of this note",
        )
    return True


def _report_rest(layout: Layout, benchmark: Benchmark, findings: Findings) -> None:
    missing = [clip for clip in benchmark.clips if clip not in layout.claims]
    for position, name in enumerate(layout.surplus_clips):
        guess = near(name, missing) if missing and position < MAX_GUESSES else ""
        findings.add("surplus-clip", f"{name} (did you mean {guess}?)" if guess else name)
    findings.extend("surplus-file", layout.surplus_files)
