"""Benchmarks by name. Importing this module is cheap; a loader is imported when its benchmark is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from refvps import home
from refvps.data.importers import IMPORTERS
from refvps.errors import DataMissingError, UsageError
from refvps.types import Benchmark

GROUP = "refvps.benchmarks"
"""Entry point group of other packages; the value is a callable ``load(**options) -> Benchmark``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark of refvps: its loader as "module:attribute", one line about it, and where its data is.

    ``data``: "shipped" with refvps, "installed" under the home folder by ``refvps download``, or "given" by the
    user with every call.
    """

    loader: str
    summary: str
    data: Literal["shipped", "installed", "given"]


@dataclass(frozen=True, slots=True)
class Row:
    """A benchmark in a list: ``available`` says whether its data is on this machine."""

    name: str
    description: str
    available: bool


ALIASES = {"vspw": "vspw-stuff", "refvps": "ref-vps", "ref-youtube-vos": "ref-ytvos"}
"""Other names people use."""

_INSTALLED = "refvps.data.local:load_local"

ENTRIES = {
    "ref-vps": Entry(_INSTALLED, "Ref-VPS: dynamic processes, four expressions a clip", "installed"),
    "sample": Entry(
        "refvps.data.embedded:load_sample", "synthetic clips that come with refvps, for trials and tests", "shipped"
    ),
    **{name: Entry(_INSTALLED, row.summary, "installed") for name, row in IMPORTERS.items()},
    "folder": Entry("refvps.data.folder:load_folder", "any ground truth in PNG files (--gt DIR)", "given"),
}


def names() -> list[Row]:
    """Every benchmark, those of refvps first; imports no loader."""
    own = [Row(name, entry.summary, _available(name, entry)) for name, entry in ENTRIES.items()]
    own += [Row(name, "a data set of your own", True) for name in _registered()]
    foreign = {point.name: point for point in _foreign() if point.name not in ENTRIES}
    return own + [Row(name, f"from the package {_package(foreign[name])}", True) for name in sorted(foreign)]


def load(name: str = "ref-vps", **options: Any) -> Benchmark:
    """Load a benchmark; ``name`` may end in "@version" where several versions can be installed.

    ``options`` go to the loader. Raises UsageError for an unknown name or option, DataMissingError with the
    steps to take when the data is not on this machine, InputError when it is there and cannot be used.
    """
    base, _, version = name.partition("@")
    base = ALIASES.get(base, base)
    if version:
        options["version"] = version
    loader = _loader(base)
    if loader.__module__ == _INSTALLED.partition(":")[0]:
        options["name"] = base
    _check_options(base, loader, options)
    benchmark = loader(**options)
    if not isinstance(benchmark, Benchmark):
        raise UsageError(
            "A benchmark plugin does not return a benchmark.",
            where=[f"{base}: {type(benchmark).__name__}"],
            fix="report this to the author of the plugin",
        )
    return benchmark


def _loader(name: str) -> Callable[..., Any]:
    entry = ENTRIES.get(name)
    points = [] if entry else [point for point in _foreign() if point.name == name]
    if not entry and not points and name in _registered():
        entry = Entry(_INSTALLED, "", "installed")
    if entry:
        module, _, attribute = entry.loader.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), attribute)
        return found
    if len(points) > 1:
        raise UsageError(
            "Several installed packages define this benchmark.",
            where=[f"{name}: {_package(point)}" for point in points],
            fix="uninstall all but one",
        )
    if not points:
        raise unknown(name)
    try:
        loader: Callable[..., Any] = points[0].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            "A benchmark plugin cannot be loaded.",
            where=[f"{name}: {error}"],
            fix=f"reinstall {_package(points[0])}",
        ) from error
    return loader


def unknown(name: str) -> UsageError:
    """The error for a name that is no benchmark, with the nearest one."""
    from difflib import get_close_matches

    known = [*ENTRIES, *_registered(), *sorted({point.name for point in _foreign()} - ENTRIES.keys())]
    near = get_close_matches(name.lower(), known, n=1)
    return UsageError(
        "There is no benchmark of this name.",
        where=[repr(name)[:200]],
        fix=(f"did you mean {near[0]}? " if near else "") + f"known: {', '.join(known)}",
    )


def _check_options(name: str, loader: Callable[..., Any], options: dict[str, Any]) -> None:
    from inspect import Parameter, signature

    parameters = signature(loader).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    accepted = [parameter.name for parameter in parameters]
    surplus = [option for option in options if option not in accepted]
    required = [p.name for p in parameters if p.default is Parameter.empty and p.name not in options]
    if surplus or required:
        raise UsageError(
            f"The benchmark {name} cannot be loaded with these options.",
            where=[f"{option}: it has no such option" for option in surplus] + [f"{r}: missing" for r in required],
            fix=f"its options are: {', '.join(accepted) or 'none'}",
        )


def _available(name: str, entry: Entry) -> bool:
    if entry.data == "shipped":
        try:
            return (home.annotations() / name / "clips.jsonl").is_file()
        except DataMissingError:
            return False
    return entry.data == "given" or any((home.home() / "benchmarks" / name).glob("[!.]*/benchmark.json"))


def _registered() -> list[str]:
    """Data sets of the user's own, registered under names that refvps does not know."""
    found = {path.parent.parent.name for path in (home.home() / "benchmarks").glob("[!.]*/[!.]*/benchmark.json")}
    return sorted(found - ENTRIES.keys())


def _foreign() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
