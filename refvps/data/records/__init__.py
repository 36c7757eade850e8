"""Everything a data set says about itself beside clips, expressions and masks, as frozen dataclasses.

:class:`ClipRecord` is a line of ``clips.jsonl`` with where the clip is from (:class:`Source`) and how it was cut
(:class:`Edit`); :class:`Candidate` a video that was found and kept or not; :class:`Withdrawal` a clip that is gone.
"""

from refvps.data.records.clip import (
    ClipRecord,
    Edit,
    ExpressionRecord,
    Source,
    read_clips,
    read_expressions,
    uploader_hash,
    write_clips,
)
from refvps.data.records.lists import Candidate, Withdrawal, read_candidates, read_withdrawn

__all__ = [
    "Candidate",
    "ClipRecord",
    "Edit",
    "ExpressionRecord",
    "Source",
    "Withdrawal",
    "read_candidates",
    "read_clips",
    "read_expressions",
    "read_withdrawn",
    "uploader_hash",
    "write_clips",
]
