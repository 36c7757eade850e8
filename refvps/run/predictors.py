"""Find predictors by entry point and load one; listing them imports nothing.

A predictor is registered by a package as an entry point of the group ``refvps.predictors`` whose value
is a callable ``load(**options) -> Predictor``. One that is not registered is named by where it is:
``module:attribute`` or ``path/to/file.py:attribute``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from refvps.errors import DataMissingError, RefvpsError, UsageError
from refvps.types import ID, Method, Predictor

GROUP = "refvps.predictors"
"""The entry-point group."""

BUILT_IN = {
    name: f"refvps.sanity:{name.replace('-', '_')}" for name in ("empty", "full", "centre", "random-box", "motion")
}
"""The predictors of refvps itself, known even to a checkout that was never installed."""

MAX_NAME = 100
"""Characters in the name of a method; a result may append to it, and no id is longer than 128."""

EXTRAS = {"rem": "rem", "baselines": "baselines"}
"""Which extra of refvps brings what a package of ours needs."""


def registered() -> Mapping[str, str]:
    """Name to ``module:attribute`` of every predictor there is, sorted by name, without importing any."""
    found = dict(BUILT_IN)
    for entry in metadata.entry_points(group=GROUP):
        if found.get(entry.name, entry.value) != entry.value:
            raise UsageError(
                "Two installed packages register a predictor of the same name.",
                where=[f"{entry.name}: {found[entry.name]}", f"{entry.name}: {entry.value}"],
                fix="uninstall one of them",
            )
        found[entry.name] = entry.value
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Names of all registered predictors, sorted."""
    return tuple(registered())


def load(name: str, /, **options: Any) -> Predictor:
    """Load a predictor by name, ``module:attribute`` or ``file.py:attribute``.

    ``options`` go to its loader. Raises UsageError for an unknown name or option and for an object that
    is not a predictor, DataMissingError when a package it needs is not installed.
    """
    value = name
    if ":" not in name.strip(":"):
        known = registered()
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                "There is no predictor of this name.",
                where=[repr(name)],
                fix=(f"did you mean {close[0]!r}? " if close else "")
                + f"There are {', '.join(known)}; or name your own as module:attribute",
            )
        value = known[name]
    module_name, _, attribute = value.rpartition(":")
    try:
        loader = _attribute(_module(module_name, name), attribute, name)
        predictor = _call(loader, name, options)
    except ImportError as error:
        raise _missing(name, module_name, error) from error
    except RefvpsError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={option!r}" for key, option in options.items())
        raise UsageError(
            "A predictor could not be loaded.",
            where=[f"{name}({given}): {type(error).__name__}: {error}"[:500]],
            fix="check its options and its code",
        ) from error
    return _checked(predictor, name)


def _module(module_name: str, name: str) -> ModuleType:
    if module_name.endswith(".py"):
        return _module_from_file(Path(module_name), name)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # a console script does not look into the working directory by itself
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise UsageError(
            "The module of a predictor is not there.",
            where=[f"{name}: no module named {error.name}"],
            fix="run where the module lies, or name its file: path/to/file.py:attribute",
        ) from error


def _module_from_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_predictor_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError("The file of a predictor is not there.", where=[f"{name}: {path}"], fix="check the path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, attribute: str, name: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not part or not hasattr(found, part):
            callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            close = difflib.get_close_matches(attribute, callables, n=1)
            raise UsageError(
                "The module has no such attribute.",
                where=[f"{name}: {attribute!r} in {module.__name__}"],
                fix=f"did you mean {close[0]!r}?" if close else "name a callable that returns a predictor",
            )
        found = getattr(found, part)
    return found


def _call(loader: Any, name: str, options: Mapping[str, Any]) -> Any:
    if isinstance(loader, Predictor) and not inspect.isclass(loader):
        if options:
            raise UsageError("This predictor takes no options.", where=[name], fix="leave them out")
        return loader
    if not callable(loader):
        raise UsageError("A predictor is loaded by a callable.", where=[f"{name}: {loader!r}"[:200]])
    _check_options(loader, name, options)
    return loader(**options)


def _check_options(loader: Callable[..., Any], name: str, options: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(loader).parameters.values()
    except (TypeError, ValueError):
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    accepted = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if unknown := [key for key in options if key not in accepted]:
        raise UsageError(
            "A predictor does not know this option.",
            where=[f"{name}: {key}" for key in unknown],
            fix=f"it accepts {', '.join(accepted)}" if accepted else "it accepts none",
        )


def _missing(name: str, module_name: str, error: ImportError) -> DataMissingError:
    extra = EXTRAS.get(module_name.partition(".")[0])
    package = (error.name or "").partition(".")[0]
    fix = f'pip install "refvps[{extra}]"' if extra else f"pip install {package}" if package else "install it"
    return DataMissingError(
        "A predictor needs a package that is not installed.", where=[f"{name}: {error}"[:300]], fix=fix
    )


def method_problem(method: Any) -> str:
    """Why ``method`` cannot name a run and its results, "" when it can."""
    if not isinstance(method, Method):
        return f"its 'method' is a {type(method).__name__}, not a refvps.types.Method"
    if not isinstance(method.name, str) or not ID.fullmatch(method.name) or len(method.name) > MAX_NAME:
        return (
            f"its method is called {method.name!r}; a name is 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            "and starts with a letter or digit"
        )
    if not isinstance(method.options, Mapping):
        return f"the options of its method are a {type(method.options).__name__}, not a dict"
    return ""


def _checked(predictor: Any, name: str) -> Predictor:
    """The object itself; raises UsageError unless the object has the shape of a :class:`~refvps.types.Predictor`."""
    problem = ""
    if inspect.isclass(predictor) or not isinstance(predictor, Predictor):
        problem = "it has no 'method' or no 'predict'"
    elif found := method_problem(predictor.method):
        problem = found
    else:
        try:
            inspect.signature(predictor.predict).bind((), (), fps=24.0, seed=0)
        except TypeError as error:
            problem = f"predict(frames, texts, *, fps, seed) cannot be called: {error}"
        except ValueError:  # no signature to look at
            problem = ""
    if problem:
        raise UsageError(
            "This is not a predictor.", where=[f"{name}: {problem}"], fix="see refvps.types.Predictor for the protocol"
        )
    checked: Predictor = predictor
    return checked
