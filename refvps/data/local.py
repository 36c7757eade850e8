"""Ref-VPS, or any data set in its form, from this machine: registered once, then loaded by name.

Loading trusts what registration checked (:mod:`refvps.data.register`): manifests must still have the hash they
had then, and so must every mask file when it is read, in whichever process that happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refvps.data.digest import benchmark_digest
from refvps.data.importers import IMPORTERS
from refvps.data.manifest import CLIPS, EXPRESSIONS, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from refvps.data.packed import PackedFile, TwoFormTruth
from refvps.data.records.lists import WITHDRAWN, parse_withdrawn
from refvps.data.register import register
from refvps.data.store import RECORD, SCHEMA, check_frames, frame_files, rules_from
from refvps.data.truth import FileTruth, HiddenTruth
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import read_bytes, read_json, sha256
from refvps.frames import Frames
from refvps.home import home
from refvps.types import Benchmark, Clip, Truth

__all__ = ["load_local", "register"]

STEPS = """one of
  refvps download ref-vps --from DIR|ZIP|URL     register the data set you have (see docs/download.md)
  refvps download ref-vps --repo ORG/NAME        or a repository of the Hugging Face hub that holds it
  refvps evaluate --pred preds/ --gt gt/         score against any folder of ground-truth PNGs
  refvps evaluate --pred preds/ -b sample        score the clips that come with refvps"""


def load_local(name: str = "ref-vps", version: str = "") -> Benchmark:
    """Load a registered data set. With several versions, ``version`` must say which.

    Raises DataMissingError with the steps to take when none is registered, InputError when its files are no
    longer the ones that were registered.
    """
    folder = _folder(name, version)
    record = read_record(folder)
    manifests = {part: read_checked(folder / part, digest) for part, digest in record["manifests"].items()}
    clips, expressions = _manifest(manifests, folder)
    gone = parse_withdrawn(manifests.get(WITHDRAWN, b""))
    entries: Mapping[str, Mapping[str, Any]] = record["clips"]
    digests = {key: entry["digest"] for key, entry in entries.items()}
    digest = benchmark_digest(digests)
    fits = entries.keys() == clips.keys()
    if not fits or digest != record["digest"]:
        raise damaged(folder / RECORD)

    def truth(key: str) -> Truth:
        return _truth(folder, clips[key], entries[key])

    def frames(key: str) -> Frames:
        return _frames(folder, clips[key], entries[key]["frames"])

    return Benchmark(
        name=record["name"],
        version=record["version"],
        digest=digest,
        clips=clips,
        expressions=expressions,
        truth=truth,
        frames=frames,
        clip_digests=digests,
        rules=rules_from(record.get("rules", {}), str(folder / RECORD)),
        licence=record["licence"],
        notes=(*record.get("notes", ()), *((f"Clips withdrawn from this version: {len(gone)}.",) if gone else ())),
    )


def steps(name: str) -> str:
    """How to get the data of a benchmark, one step a line."""
    if name not in IMPORTERS:
        return STEPS
    row = IMPORTERS[name]
    lines = [*row.instructions, f"refvps download {name} --from DIR|ZIP, where DIR holds", *row.layout.splitlines()]
    return "\n".join(["these steps", *(f"  {line}" for line in lines)])


def _folder(name: str, version: str) -> Path:
    base = home() / "benchmarks" / name
    versions = sorted(path.parent.name for path in base.glob(f"[!.]*/{RECORD}"))
    if not versions:
        raise DataMissingError(f"The benchmark {name} is not on this machine.", where=[str(base)], fix=steps(name))
    if version and version not in versions:
        raise DataMissingError(
            f"This version of {name} is not on this machine.",
            where=[f"{base}: {', '.join(versions)}"],
            fix=f"register it: refvps download {name} --from DIR|ZIP",
        )
    if not version and len(versions) > 1:
        raise UsageError(
            f"Several versions of {name} are registered.",
            where=[str(base / found) for found in versions],
            fix=f"say which: {name}@{versions[-1]}",
        )
    return base / (version or versions[0])


def read_record(folder: Path) -> dict[str, Any]:
    """The ``benchmark.json`` of a registered version; InputError when it is damaged."""
    record = read_json(folder / RECORD)
    try:
        if record["schema"] != SCHEMA or {CLIPS, EXPRESSIONS} - record["manifests"].keys():
            raise KeyError(SCHEMA)
        texts = [record[key] for key in ("name", "version", "licence", "digest")]
        for entry in record["clips"].values():
            texts += [entry["digest"], entry["frames"], entry["rle_sha256"], entry["bits_sha256"], *entry["targets"]]
            texts += [target for target, index in entry["absent"] if index >= 0]
        texts += record.get("notes", [])
        if not all(isinstance(text, str) for text in texts) or not isinstance(record.get("rules", {}), dict):
            raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder / RECORD) from error
    found: dict[str, Any] = record
    return found


def _manifest(manifests: Mapping[str, bytes], folder: Path) -> Manifest:
    names = str(folder / CLIPS), str(folder / EXPRESSIONS)
    return parse_manifest(manifests[CLIPS], manifests[EXPRESSIONS], names, checked=True)


def read_checked(path: Path, digest: str) -> bytes:
    """A manifest of a registered data set; InputError when it is not the one its ``benchmark.json`` means.

    While ``refvps purge`` puts a new state in place, that one stands in ``<path>.next`` for a moment.
    """
    found = [candidate for candidate in (path, next_to(path)) if candidate.is_file()]
    for candidate in found or [path]:
        data = read_bytes(candidate, MAX_MANIFEST_BYTES)
        if sha256(data) == digest:
            return data
    raise damaged(path)


def next_to(path: Path) -> Path:
    """Where the next state of a manifest waits."""
    return path.with_name(f"{path.name}.next")


def damaged(path: Path) -> InputError:
    """The error for a registered file with other content than was checked."""
    return InputError(
        "A file of a registered data set is not the one that was checked.",
        where=[str(path)],
        fix=f"delete {path.parent} and register the data set again",
    )


def _truth(folder: Path, clip: Clip, entry: Mapping[str, Any]) -> Truth:
    if not entry["targets"]:
        return HiddenTruth(folder.parent.name)
    return TwoFormTruth(
        PackedFile(str(folder / "bits" / f"{clip.id}.bits"), clip.size, entry["bits_sha256"]),
        FileTruth(str(folder / "masks" / f"{clip.id}.jsonl"), clip, entry["rle_sha256"]),
        tuple(entry["targets"]),
        frozenset((target, index) for target, index in entry["absent"]),
    )


def _frames(folder: Path, clip: Clip, kind: str) -> Frames:
    if not kind:
        raise DataMissingError(
            "The frames of this clip are not on this machine.",
            where=[clip.id],
            fix=f"add them: refvps download {folder.parent.name} --from DIR --frames link, with a copy that has frames",
        )
    return check_frames(frame_files(folder, clip, kind), clip)
