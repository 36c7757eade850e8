"""Frames out of source videos, on the clock of a benchmark: cut, cropped, written, recorded and compared."""

from refvps.extract.batch import Extraction, extract
from refvps.extract.cut import Cut, from_files, from_manifest
from refvps.extract.verify import verify

__all__ = ["Cut", "Extraction", "extract", "from_files", "from_manifest", "verify"]
