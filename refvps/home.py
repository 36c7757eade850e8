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


def repository() -> str:
    """``$REFVPS_REPO``: the hub repository of Ref-VPS, "ORG/NAME", or ""."""
    return os.environ.get("REFVPS_REPO", "").strip()


def offline() -> bool:
    """True when ``$REFVPS_OFFLINE`` or ``$HF_HUB_OFFLINE`` forbids the network."""
    values = (os.environ.get(name, "").strip().lower() for name in ("REFVPS_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value in ("1", "true", "yes", "on") for value in values)


def hub_cache() -> Path | None:
    """The cache of huggingface_hub where the environment names one: ``$HF_HUB_CACHE``, else ``$HF_HOME/hub``."""
    if value := os.environ.get("HF_HUB_CACHE"):
        return Path(value).expanduser()
    if value := os.environ.get("HF_HOME"):
        return Path(value).expanduser() / "hub"
    return None


def hub_folder() -> Path:
    """Where huggingface_hub keeps what it downloads: :func:`hub_cache`, else its own default."""
    if (named := hub_cache()) is not None:
        return named
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def settings() -> dict[str, str]:
    """Variables that change what refvps does; of those that hold a secret only whether they are set."""
    wanted = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "CUDA_VISIBLE_DEVICES", "LC_ALL", "LANG")
    names = {name for name in os.environ if name.startswith("REFVPS_")} | {
        name for name in wanted if name in os.environ
    }
    secret = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")
    found = {name: "set" if any(part in name for part in secret) else os.environ[name] for name in sorted(names)}
    return {**found, "HF_TOKEN": "set" if os.environ.get("HF_TOKEN") else "not set"}
