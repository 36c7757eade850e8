"""The installation: refvps itself, what it needs, builds of OpenCV that clash, fast paths, plugins."""

from __future__ import annotations

import ast
import importlib.util
import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import refvps
from refvps.doctor import Finding

GROUPS = ("refvps.predictors", "refvps.benchmarks", "refvps.segmenters")
"""Entry points that other packages may bring."""

OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""Builds of OpenCV; each installs the same folder ``cv2``, so that two of them destroy each other."""

PATIENCE = 60
"""Seconds that a module may take to be imported."""

_REQUIREMENT = re.compile(
    r"""([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?\s*(?:>=\s*([0-9.]+))?[^;]*(?:;\s*extra == ["']([\w-]+)["'])?"""
)
_MAX_SOURCE = 1 << 22


def install() -> Iterator[Finding]:
    """refvps and Python."""
    here = Path(refvps.__file__).resolve().parent
    found = _distribution("refvps")
    how, state, fix = "run from its source, not installed", "ok", ""
    if found is not None:
        how = _how(found)
        installed = Path(str(found.locate_file("refvps"))).resolve()
        if "editable" not in how and installed != here:
            how, state = f"run from its source; another one is installed, {found.version} in {installed.parent}", "note"
            fix = "leave the source folder to use the installed one, or install the source: pip install -e ."
        elif found.version != refvps.__version__:
            how, state = f"{how}; its metadata says {found.version}", "note"
            fix = "install it again: pip install -e ."
    yield Finding("refvps", f"{refvps.__version__}, {how}", "note" if state == "note" else "ok", fix)
    yield Finding("place", str(here))
    version = platform.python_version()
    implementation = platform.python_implementation()
    yield Finding("python", f"{implementation} {version}, {sys.executable}")


def _how(found: metadata.Distribution) -> str:
    """Wheel, editable or from an address, as pip recorded it."""
    text = found.read_text("direct_url.json")
    try:
        record = json.loads(text) if text else {}
        url = str(record.get("url", ""))
        if record.get("dir_info", {}).get("editable"):
            return f"editable install of {url.removeprefix('file://')}"
        return f"installed from {url.removeprefix('file://')}" if url else "installed from an index"
    except (ValueError, AttributeError):
        return "installed, its record cannot be read"


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> dict[str, dict[str, str]]:
    """Distributions that refvps wants, with the least version ("" for any): of the core under "", else by extra.

    From pyproject.toml where it lies beside the package, because the metadata of an editable install gets old.
    """
    beside = Path(refvps.__file__).resolve().parent.parent / "pyproject.toml"
    lines: list[tuple[str, str]] = []
    if beside.is_file():
        project = tomllib.loads(beside.read_text(encoding="utf-8"))["project"]
        lines = [("", line) for line in project["dependencies"]]
        lines += [(extra, line) for extra, each in project["optional-dependencies"].items() for line in each]
    else:
        found = _distribution("refvps")
        lines = [("", line) for line in (found.requires if found is not None else None) or ()]
    wanted: dict[str, dict[str, str]] = {}
    for extra, line in lines:
        match = _REQUIREMENT.match(line)
        if match is not None and match[1] != "refvps":
            wanted.setdefault(extra or match[4] or "", {})[match[1]] = match[3] or ""
    return wanted


def packages() -> Iterator[Finding]:
    """Versions of what refvps needs, and whether OpenCV and the fast paths can be loaded."""
    for extra, wanted in requirements().items():
        versions, lacking, old = [], [], []
        for name, least in wanted.items():
            found = _distribution(name)
            version = found.version if found is not None else ""
            versions.append(f"{name} {version or '-'}")
            if not version:
                lacking.append(f"{name}>={least}" if least else name)
            elif least and not _at_least(version, least):
                old.append(f"{name}>={least}")
        if old or (lacking and not extra):  # nobody has to have an extra, but what is there must be new enough
            versions.append(f"needed: {', '.join([*old, *lacking])}")
            command = f"pip install --upgrade {' '.join(repr(each) for each in [*old, *lacking])}"
            yield Finding(
                f"[{extra}]" if extra else "core", ", ".join(versions), "note" if extra else "problem", command
            )
        else:
            yield Finding(f"[{extra}]" if extra else "core", ", ".join(versions))
    yield from opencv()
    yield _loads("numba", "numba", "reads filtered PNG masks faster", "pip install 'refvps[fast]'")
    yield _loads("zlib-ng", "zlib_ng.zlib_ng", "inflates PNG masks faster", "pip install zlib-ng")


def _at_least(version: str, least: str) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text.split("+")[0])[:4]]

    return numbers(version) >= numbers(least)


def opencv() -> Iterator[Finding]:
    """Builds of OpenCV that are installed, and whether cv2 can be imported."""
    builds = {name: found.version for name in OPENCV if (found := _distribution(name)) is not None}
    again = "pip uninstall -y " + " ".join(builds or OPENCV[:1]) + " && pip install opencv-python-headless"
    told = ", ".join(f"{name} {version}" for name, version in builds.items()) or "no build of OpenCV is installed"
    if len(builds) > 1:
        yield Finding("opencv", f"{told}: they overwrite each other's files", "problem", again)
    code = "import cv2; print(cv2.__version__)"
    version, error = _run_python(code)
    if error:
        yield Finding("cv2", f"cannot be imported: {error}", "problem", again)
    elif len(builds) == 1 and not next(iter(builds.values())).startswith(version):
        yield Finding("cv2", f"{version}, but {told} is installed: files of two builds are mixed", "problem", again)
    elif len(builds) != 1:
        yield Finding("cv2", f"{version} can be imported")
    else:
        yield Finding("cv2", f"{version} from {told}")


def _loads(name: str, module: str, use: str, fix: str) -> Finding:
    if _distribution(name) is None:
        return Finding(name, f"- ({use})", "note", fix)
    _, error = _run_python(f"import {module}; print(0)")
    if error:
        return Finding(name, f"cannot be imported: {error}", "note", f"pip install --force-reinstall {name}")
    return Finding(name, f"loads, {use}")


def _run_python(code: str) -> tuple[str, str]:
    """(what a piece of code printed, what went wrong), in a process of its own: it may even crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{type(error).__name__} after {PATIENCE} s" if "Timeout" in type(error).__name__ else str(error)
    if done.returncode == 0:
        return done.stdout.strip(), ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "", (lines[-1] if lines else f"the process died with code {done.returncode}")[:300]


# --- plugins ---------------------------------------------------------------------------------------


def plugins() -> Iterator[Finding]:
    """Entry points of other packages: whether what they name is there, without importing any of it."""
    count = 0
    for group in GROUPS:
        seen: dict[str, str] = {}
        for point in sorted(metadata.entry_points(group=group), key=lambda each: (each.name, each.value)):
            owner = point.dist.name if point.dist is not None else "?"
            place = f"{group} {point.name}"
            again = f"pip install --force-reinstall {owner}"
            count += 1
            if seen.get(point.name, point.value) != point.value:
                value = f"{point.value} ({owner}) and {seen[point.name]}: two packages use one name"
                yield Finding(place, value, "problem", f"pip uninstall {owner}, or the other one")
            seen[point.name] = point.value
            if reason := unresolved(point.module, point.attr):
                yield Finding(place, f"{point.value} ({owner}): {reason}", "problem", again)
            elif owner != "refvps":
                yield Finding(place, f"{point.value} ({owner})")
    yield Finding("entry points", f"{count} are registered" if count else "none are registered")


def unresolved(module: str, attribute: str) -> str:
    """Why ``module:attribute`` cannot be there, or ""; finds the module and reads its source, and runs neither."""
    spec = _spec(module)
    if spec is None:
        return f"there is no module {module}"
    source = spec.origin
    if not attribute or source is None or not source.endswith(".py"):
        return ""
    try:
        path = Path(source)
        if path.stat().st_size > _MAX_SOURCE:
            return ""
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"{source} cannot be read: {error}"
    names = _top_level(tree)
    first = attribute.partition(".")[0]
    return "" if {"*", "__getattr__", first} & names else f"{module} defines no {first}"


def _spec(module: str) -> ModuleSpec | None:
    """The spec of a module; its parents are found on disk, not imported as ``find_spec`` would."""
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(parts[0]) if parts[0] else None
    except (ImportError, ValueError, AttributeError):
        return None
    for end in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:end]), list(spec.submodule_search_locations))
    return spec


def _top_level(tree: ast.AST) -> set[str]:
    """Names bound at the top of a module, also under ``if`` and ``try``."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        else:
            found |= _top_level(node)
    return found
