"""What it takes to run a published method unchanged: a recipe, as data.

Nothing here runs anything; :mod:`baselines.run` does. Texts of a recipe are templates of :meth:`str.format` with the
places of :class:`Places` and the recipe's own options as names.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

from refvps.errors import UsageError

ANNOTATORS = ("anno_0", "anno_1", "anno_2", "anno_3")
"""Folders of expressions 0 to 3 of a pseudo-video, as the programs for Ref-DAVIS mostly call them."""

HARMLESS_KEYS = ("*position_ids", "*total_ops", "*total_params")
"""Parameters that a checkpoint may lack or have in excess: buffers of older transformers, and counters of thop."""

COMMON = {"allow_keys": ""}
"""Options of every recipe. ``allow_keys``: further patterns of parameters that may be missing, with commas."""


@dataclass(frozen=True, slots=True)
class Door:
    """One program of a repository: what it reads, how it is started and what it writes.

    ``questions``: layout of ``refvps export benchmark``; with ``window`` the most frames of a video, an option's name.
    ``arguments``: after the interpreter. ``folder``: where it is started. ``output``: folder of the masks, one * at
    most. ``annotators``: folders of the four expressions of a pseudo-video; empty for trees
    ``<clip>/<expression>/<frame>.png``. ``objects``: masks lie one folder deeper, in ``1``. ``copies``: files it wants
    at a place of its own. ``texts``: small files, by place. ``variables``: of the environment. ``dies_after``: why its
    exit code says nothing once all masks are there. ``shell``: it hands its arguments to a shell again.
    """

    questions: str
    arguments: tuple[str, ...]
    output: str
    folder: str = "{repo}"
    window: str = ""
    annotators: tuple[str, ...] = ()
    objects: bool = False
    needs: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    dies_after: str = ""
    shell: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A published method. ``doors``: its programs by name, the recommended one first; ``options``: and their defaults.

    ``weights``: where to get them, in words. ``environment``: how to install it, as a page. ``traps``: what goes wrong,
    one line each.
    """

    name: str
    title: str
    licence: str
    url: str
    weights: str
    doors: Mapping[str, Door]
    options: Mapping[str, str]
    environment: str
    traps: tuple[str, ...] = ()

    def choose(self, given: Mapping[str, str]) -> tuple[Door, dict[str, str]]:
        """The door and all options; UsageError for an option or a door that the method does not have."""
        defaults = {"door": next(iter(self.doors))} | COMMON | dict(self.options)
        if unknown := sorted(set(given) - set(defaults)):
            known = ", ".join(f"{key}={value or '...'}" for key, value in defaults.items())
            raise UsageError(f"{self.name} has no such option.", where=unknown, fix=f"these are known: {known}")
        chosen = defaults | {key: str(value) for key, value in given.items()}
        if chosen["door"] not in self.doors:
            places = [f"door={chosen['door']}"]
            raise UsageError(f"{self.name} has no such program.", where=places, fix=f"one of {', '.join(self.doors)}")
        door = self.doors[chosen["door"]]
        if door.window and (not chosen[door.window].isdigit()):
            raise UsageError("A window is a number of frames, 0 for whole clips.", where=[f"window={chosen['window']}"])
        return door, chosen


@dataclass(frozen=True, slots=True)
class Row:
    """A method without an adapter, and what to do instead."""

    name: str
    title: str
    licence: str
    url: str
    how: str


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute paths of one run: the clone, the checkpoint, the questions, the run's own folder, the interpreter."""

    repo: str
    weights: str
    questions: str
    run: str
    python: str
    options: Mapping[str, str]

    def fill(self, template: str) -> str:
        """A template with the places in it."""
        return template.format_map(self._all())

    def word(self, template: str) -> str:
        """The same for a shell, where the clone, the checkpoint and the interpreter are variables."""
        text = ""
        for literal, name, _, _ in Formatter().parse(template):
            text += shlex.quote(literal) if literal else ""
            if name in ("repo", "weights", "python"):
                text += f'"${name.upper()}"'
            elif name:
                text += shlex.quote(self._all()[name])
        return text or "''"

    def _all(self) -> dict[str, str]:
        own = {name: getattr(self, name) for name in ("repo", "weights", "questions", "run", "python")}
        return dict(self.options) | own


_ABSOLUTE = (
    'REPO=$(cd "$REPO" && pwd)',
    'WEIGHTS=$(cd "$(dirname "$WEIGHTS")" && pwd)/$(basename "$WEIGHTS")',
    'PYTHON=$(command -v "$PYTHON")',
    'case "$PYTHON" in /*) ;; *) PYTHON=$PWD/$PYTHON ;; esac',
)
"""Paths from outside may be relative, and the script goes elsewhere."""


def words(door: Door, places: Places) -> list[str]:
    """The arguments of the program, after the interpreter."""
    filled = [places.fill(each) for each in _arguments(door, places)]
    return [*filled[: door.shell], *map(shlex.quote, filled[door.shell :])] if door.shell else filled


def _arguments(door: Door, places: Places) -> list[str]:
    """Templates of the arguments, without flags whose option is empty."""
    kept: list[str] = []
    for each in door.arguments:
        if each[1:-1] in places.options and not places.options[each[1:-1]]:
            kept.pop()
        else:
            kept.append(each)
    return kept


def script(recipe: Recipe, door: Door, places: Places, variables: Mapping[str, str], after: str) -> str:
    """``run.sh``: the run as commands; the clone, the checkpoint and the interpreter can be given from outside."""
    known = {"REPO": places.repo, "WEIGHTS": places.weights, "PYTHON": places.python}
    need = {
        "REPO": f"set REPO to a clone of {recipe.url}",
        "WEIGHTS": f"set WEIGHTS to {recipe.weights}",
        "PYTHON": "-",
    }
    lines = ["#!/bin/sh", f"# {recipe.title}, by the recipe of refvps' baselines", "set -eu"]
    for name, value in known.items():
        given = f"{name}=${{{name}-{shlex.quote(value)}}}"  # from outside, or as it was
        lines.append(given if value else f': "${{{name}:?{_plain(need[name])}}}"')
    lines += _ABSOLUTE
    for target, source in door.copies.items():
        lines += [f'mkdir -p "$(dirname {places.word(target)})"', f"cp {places.word(source)} {places.word(target)}"]
    for target, text in door.texts.items():
        lines += [f'mkdir -p "$(dirname {places.word(target)})"']
        lines += [f"printf '%s\\n' {places.word(text)} > {places.word(target)}"]
        lines += [f"chmod +x {places.word(target)}"] if text.startswith("#!") else []
    lines += [f"export {name}={value}" for name, value in variables.items()]
    lines.append(f"cd {places.word(door.folder)}")
    if door.shell:
        arguments = [shlex.quote(each) for each in words(door, places)]
    else:
        arguments = [places.word(each) for each in _arguments(door, places)]
    call = f'"$PYTHON" {" ".join(arguments)}'
    lines.append(f"{call} || echo 'it stopped with exit code' $?")
    return "\n".join([*lines, "echo 'then:'", f"echo {shlex.quote(after)}", ""])


def _plain(text: str) -> str:
    return "".join(each for each in text if each not in "\"'`$\\{}")
