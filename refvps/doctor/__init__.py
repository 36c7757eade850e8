"""What this machine and this installation look like, in one block to paste into an issue.

Nothing here imports what it looks at: versions come from metadata, modules are found and not run, and what can
only be known by running it (OpenCV, numba, nvidia-smi) runs in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "note", "problem"]
Progress = Callable[[int, int], None]

MARKS = {"ok": " ", "note": "~", "problem": "!"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``state``: fine, worth knowing, or wrong; ``fix``: what to do then."""

    name: str
    value: str
    state: State = "ok"
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Findings of one kind."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was looked at."""

    sections: tuple[Section, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What is wrong."""
        return tuple(f for section in self.sections for f in section.findings if f.state == "problem")

    def text(self) -> str:
        """One block of plain text; wrong lines start with "!", those worth knowing with "~"."""
        width = max(len(f.name) for section in self.sections for f in section.findings)
        lines: list[str] = []
        for section in self.sections:
            lines.append(section.title)
            for each in section.findings:
                lines.append(f" {MARKS[each.state]} {each.name.ljust(width)}  {each.value}")
                if each.fix:
                    lines.append(f"   {' ' * width}  fix: {each.fix}")
        count = len(self.problems)
        verdict = "no problem found" if not count else "1 problem" if count == 1 else f"{count} problems"
        return "\n".join([*lines, f"{verdict}{', marked with !' if count else ''}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "ok": not self.problems,
            "sections": {
                section.title: [
                    {"name": f.name, "value": f.value, "state": f.state, "fix": f.fix} for f in section.findings
                ]
                for section in self.sections
            },
        }


def examine(*, deep: bool = False, progress: Progress | None = None) -> Diagnosis:
    """Look at everything; ``deep`` also hashes every file of the registered data sets (``progress`` counts files)."""
    from refvps.doctor import machine, packages, stores

    sections = (
        Section("install", tuple(packages.install())),
        Section("packages", tuple(packages.packages())),
        Section("plugins", tuple(packages.plugins())),
        Section("machine", tuple(machine.machine())),
        Section("data", tuple(stores.data(deep, progress))),
        Section("weights", tuple(stores.weights())),
        Section("settings", tuple(machine.settings())),
    )
    return Diagnosis(tuple(Section(s.title, tuple(_tidy(s.findings))) for s in sections))


def _tidy(findings: Iterable[Finding]) -> Iterable[Finding]:
    for each in findings:
        yield replace(each, name=tidy(each.name), value=tidy(each.value), fix=tidy(each.fix))


def tidy(text: str) -> str:
    """``text`` as one printable ASCII line, without the home folder, passwords in addresses and tokens."""
    try:
        own = str(Path.home())
    except RuntimeError:
        own = ""
    if len(own) > 1:
        text = re.sub(rf"'{re.escape(own)}/(?=[^']*')", "~/'", text)  # a shell expands ~ outside of quotes only
        text = re.sub(rf"{re.escape(own)}(?=/|\\|$|[\s,:;)])", "~", text)
    text = re.sub(r"://[^/@\s]+@", "://***@", text)
    text = re.sub(r"\bhf_[A-Za-z0-9]{6,}", "hf_***", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text.encode("ascii", "backslashreplace").decode("ascii")


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
