"""Seconds and peak memory of a stretch of work, and what it ran on.

torch is asked only when a predictor has imported it: refvps never does.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
PACKAGES = ("refvps", "numpy", "torch", "diffusers", "transformers", "accelerate", "safetensors")
"""Packages whose versions a run file notes, those that are loaded."""


def cuda() -> Any:
    """``torch.cuda`` when torch is loaded and uses a GPU in this process, else None."""
    found = getattr(sys.modules.get("torch"), "cuda", None)
    return found if found is not None and found.is_available() and found.is_initialized() else None


def synchronize() -> None:
    """Wait until a GPU in use has done all it was asked to do."""
    if (gpu := cuda()) is not None:
        gpu.synchronize()


class Meter:
    """Measures from :meth:`start` to :meth:`stop`.

    Memory of the process is the kernel's high-water mark, set back at the start where it can be (Linux);
    elsewhere it is the highest of the whole process so far. None where the system does not tell.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self.seconds = 0.0

    def start(self) -> None:
        """Begin; also sets the marks of memory back."""
        with suppress(OSError):
            _CLEAR.write_text("5")
        if (gpu := cuda()) is not None:
            gpu.reset_peak_memory_stats()
        synchronize()
        self._began = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """``seconds``, ``peak_memory_mb`` and, on a GPU, ``peak_gpu_mb``; a megabyte is 2^20 bytes."""
        synchronize()
        self.seconds = time.perf_counter() - self._began
        found = {"seconds": round(self.seconds, 3)}
        if (peak := peak_memory()) is not None:
            found["peak_memory_mb"] = round(peak / 2**20, 1)
        if (gpu := cuda()) is not None:
            found["peak_gpu_mb"] = round(gpu.max_memory_allocated() / 2**20, 1)
        return found


def peak_memory() -> int | None:
    """High-water mark of the resident memory of this process in bytes; None where nobody knows."""
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with suppress(ImportError, OSError):
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * scale
    return None


def environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run ran on: versions of loaded packages, Python, system, GPU, and whatever is ``given``."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        if name in sys.modules:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
    found: dict[str, Any] = {"versions": versions, "system": platform.platform()}
    if (gpu := cuda()) is not None:
        found["gpu"] = gpu.get_device_name()
    return {**found, **{key: value for key, value in given.items() if value not in (None, "", ())}}
