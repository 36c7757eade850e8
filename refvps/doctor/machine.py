"""The machine: system, memory, disk, GPU, text encoding, and the settings in the environment."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from refvps import home
from refvps.doctor import Finding, size

LITTLE, TIGHT = 1 << 28, 5 << 30
"""Free bytes on a disk below which writing will soon fail, and below which it is worth saying."""

PATIENCE = 10
"""Seconds that nvidia-smi may take."""


def machine() -> Iterator[Finding]:
    """System, CPUs, memory, GPU, disks, encoding."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    claimed = platform.system() == "Linux"
    yield Finding(
        "system", system if claimed else f"{system}: refvps is tested on Linux only", "ok" if claimed else "note"
    )
    yield Finding("cpus", f"{home.cpu_count()} for this process, {os.cpu_count() or '?'} in all")
    yield Finding("memory", memory())
    yield from gpus()
    yield disk("disk of home", home.home())
    yield disk("disk here", Path.cwd())
    yield encoding()


def memory() -> str:
    """Physical memory, and the limit of the container where there is one."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):
            continue
        if limit < total:
            return f"{size(total)}, of which this container may use {size(limit)}"
    return size(total)


def gpus() -> Iterator[Finding]:
    """What nvidia-smi says, where it is installed; refvps itself never needs a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("gpu", "nvidia-smi is not installed")
        return
    query = ["--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            [program, *query], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding("gpu", f"nvidia-smi does not answer within {PATIENCE} s", "note", "restart the driver")
        return
    except OSError as error:
        yield Finding("gpu", f"nvidia-smi cannot be run: {error.strerror}", "note", "reinstall the driver")
        return
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode or not lines:
        told = lines[0] if lines else f"code {done.returncode}"
        yield Finding(
            "gpu", f"nvidia-smi fails: {told}"[:300], "note", "load the driver, or start the container with GPUs"
        )
        return
    for line in lines[:16]:
        name, driver, total, used = [*(part.strip() for part in line.split(",")), "", "", ""][:4]
        yield Finding("gpu", f"{name}, {total} of which {used} are in use, driver {driver}")


def disk(name: str, folder: Path) -> Finding:
    """Free space where a folder lies, or would lie, and whether it can be written."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, f"{folder}: {error.strerror}", "problem", "check the path")
    told = f"{size(free)} free at {folder}"
    if not there.is_dir():
        return Finding(name, f"{there} is a file where a folder is needed", "problem", "move that file away")
    if not os.access(there, os.W_OK | os.X_OK):
        if name == "disk here":
            return Finding(name, f"{told}, which cannot be written", "note", "pass --out to commands that write")
        return Finding(name, f"{told}, which cannot be written", "problem", "set REFVPS_HOME to a folder of yours")
    if free < LITTLE:
        return Finding(
            name, told, "problem", "free some space; files are written whole or not at all, so commands fail"
        )
    return Finding(
        name, told, "note" if free < TIGHT else "ok", "data sets with frames need more" if free < TIGHT else ""
    )


def encoding() -> Finding:
    """How names and text become bytes."""
    names, text = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    out = getattr(sys.stdout, "encoding", None) or "?"
    told = f"file names {names}, files {text}, output {out}"
    if names.lower().replace("-", "") != "utf8":
        return Finding("encoding", told, "problem", "export PYTHONUTF8=1")
    if out.lower().replace("-", "") != "utf8":
        return Finding("encoding", told, "note", "export PYTHONUTF8=1, or some output cannot be printed")
    return Finding("encoding", told)


def settings() -> Iterator[Finding]:
    """Variables that change what refvps does."""
    for name, value in home.settings().items():
        yield Finding(name, value)
