"""One clip brought into a data set in the form of Ref-VPS, with a record of who made it, when and with what.

Written are ``masks/<clip>.jsonl``, the record of the clip in ``clips.jsonl`` if it has none, and a line of
``provenance.jsonl``. The mask file comes last: where it is, everything else is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from refvps import __version__
from refvps.annotate.clip import Outcome, Request, read_clip
from refvps.annotate.provenance import Provenance, add_provenance, now
from refvps.annotate.sources.folders import Progress
from refvps.data.manifest import CLIPS, MAX_MANIFEST_BYTES
from refvps.data.masktracks import mask_lines
from refvps.data.records.clip import ClipRecord, read_clips, record_of
from refvps.data.records.lists import WITHDRAWN, read_withdrawn
from refvps.errors import CheckError, InputError, UsageError
from refvps.files import canonical_json, locked, read_bytes, sha256, write_atomic
from refvps.types import check_id


def import_clip(request: Request, progress: Progress | None = None) -> Outcome:
    """Import, check and write one clip.

    Raises UsageError (2) when the masks are there already and ``force`` is not given, InputError (4) for a source that
    cannot be used, CheckError (7) when a check finds an error that is not accepted; then nothing is written.
    """
    check_id(request.clip, "clip")
    path = request.out / "masks" / f"{request.clip}.jsonl"
    present = [each for each in (path, path.with_suffix("")) if each.exists()]
    if present and not request.force:
        raise UsageError(
            "This clip has masks already.",
            where=map(str, present),
            fix="give --force to replace them, or another --out",
        )
    if path.with_suffix("").exists():
        raise UsageError("The masks of this clip are PNG files.", where=[str(path.with_suffix(""))], fix="remove them")
    record = listed_record(request)
    outcome = read_clip(request, record, progress)
    if wrong := [result for result in outcome.results if result.blocks]:
        raise CheckError(
            "These masks have errors, and were not imported.",
            where=[f"{r.check.id} {r.check.what}: {place}" for r in wrong for place in r.where[:3]],
            fix="correct them; or say that they are right: --accept "
            + ",".join(dict.fromkeys(r.check.id for r in wrong)),
        )
    data = mask_lines(outcome.clip, outcome.annotation)
    accepted = tuple(sorted({result.check.id for result in outcome.results if result.accepted}))
    provenance = Provenance(
        clip=request.clip,
        at=now(),
        by=request.by,
        tool=request.tool,
        layout=request.layout,
        source=outcome.source,
        ignore=outcome.ignore,
        targets=outcome.targets,
        frame_map=outcome.frame_map,
        counts=outcome.counts,
        accepted=accepted,
        masks_sha256=sha256(data),
        refvps=__version__,
    )
    with locked(request.out / ".lock"):
        if path.exists() and not request.force:
            raise UsageError("This clip got masks meanwhile.", where=[str(path)], fix="look at them first")
        add_provenance(request.out, provenance)
        _list_clip(request.out, record or ClipRecord(outcome.clip))
        write_atomic(path, data)
    return replace(outcome, path=path)


def listed_record(request: Request) -> ClipRecord | None:
    """The record of the clip in the manifest that is given, or in that of the data set; None where nobody lists it."""
    withdrawn = request.out / WITHDRAWN
    gone = {each.clip.lower() for each in read_withdrawn(withdrawn)} if withdrawn.is_file() else set()
    if request.clip.lower() in gone:
        raise UsageError(
            "This clip was withdrawn; its id is not used again.", where=[request.clip], fix="choose another id"
        )
    own = _records(request.out / CLIPS).get(request.clip)
    if request.manifest is None:
        return own
    given = _records(request.manifest, must=True).get(request.clip)
    if given is None:
        raise InputError(
            "The manifest does not list this clip.", where=[f"{request.manifest}: {request.clip}"], fix="check --clip"
        )
    if own is not None and own.clip != given.clip:
        raise InputError(
            "Two manifests describe this clip differently.",
            where=[str(request.manifest), str(request.out / CLIPS)],
            fix="correct one of them",
        )
    return own or given


def _records(path: Path, *, must: bool = False) -> dict[str, ClipRecord]:
    if not must and not path.is_file():
        return {}
    return {record.clip.id: record for record in read_clips(path)}


def _list_clip(folder: Path, record: ClipRecord) -> None:
    """Add the clip to ``clips.jsonl`` unless it is there."""
    path = folder / CLIPS
    if record.clip.id in _records(path):
        return
    before = read_bytes(path, MAX_MANIFEST_BYTES) if path.is_file() else b""
    before += b"" if before.endswith(b"\n") or not before else b"\n"
    write_atomic(path, before + canonical_json(record_of(record)) + b"\n")
