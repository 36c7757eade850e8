"""Where things live on this machine. The only module that reads environment variables."""

import os
from pathlib import Path


def home() -> Path:
    """The cache root: ``$REFVPS_HOME``, else ``$XDG_CACHE_HOME/refvps``, else ``~/.cache/refvps``."""
    if value := os.environ.get("REFVPS_HOME"):
        return Path(value).expanduser()
    if value := os.environ.get("XDG_CACHE_HOME"):
        return Path(value).expanduser() / "refvps"
    return Path.home() / ".cache" / "refvps"


def cpu_count() -> int:
    """CPUs this process may use (respects affinity and container limits where the OS says so)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def annotations() -> Path:
    """The ``annotations/`` folder, in a checkout, an editable install, or an installed wheel.

    In a wheel it is package data (``refvps/annotations``); in a checkout and the sdist it stands
    beside the package. Raises :class:`~refvps.errors.DataMissingError` when neither is there.
    """
    here = Path(__file__).resolve().parent
    for candidate in (here / "annotations", here.parent / "annotations"):
        if (candidate / "sample" / "clips.jsonl").is_file():
            return candidate
    from refvps.errors import DataMissingError

    raise DataMissingError(
        "The annotations folder is not beside the package.",
        where=[str(here)],
        fix="reinstall refvps: pip install --force-reinstall refvps",
    )
