"""Proposals for choosing clips: shots, padding, cards, still and fast videos, near-duplicates. A person decides."""

from refvps.curate.duplicates import Fingerprints, clusters, fingerprints, near_duplicates
from refvps.curate.probe import Probe, probe
from refvps.curate.record import proposals, read_record, record, write_record
from refvps.curate.review import Review, review
from refvps.curate.split import clip_lines
from refvps.curate.thresholds import Thresholds

__all__ = [
    "Fingerprints",
    "Probe",
    "Review",
    "Thresholds",
    "clip_lines",
    "clusters",
    "fingerprints",
    "near_duplicates",
    "probe",
    "proposals",
    "read_record",
    "record",
    "review",
    "write_record",
]
