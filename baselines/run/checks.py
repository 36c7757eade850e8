"""Did a foreign program do its work? Its log, its folder and every mask are looked at; its exit code says little."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from baselines.published import Door, Places, Recipe
from baselines.published.recipe import HARMLESS_KEYS
from baselines.run.process import Finished
from refvps.errors import InputError
from refvps.files import read_json
from refvps.masks import png
from refvps.predictions.foreign.davis4 import GROUPS
from refvps.predictions.foreign.windows import window_name
from refvps.types import Benchmark

PICTURE_HEAD = 64
"""Bytes of a PNG that hold its size."""

LOG_END = 1 << 14
"""Bytes of a log that are searched for an error."""

MAX_LISTED = 1000
"""Strange files looked for at most, to say where masks went."""

_KEYS = re.compile(r"(Missing|Unexpected) Keys: \[([^\]]*)\]")
_NAME = re.compile(r"['\"]([^'\"]*)['\"]")
_ERROR = re.compile(r"[\w.]*(Error|Exception|Killed)\b")
_RANDOM = "Some model parameters or buffers are not found in the checkpoint"
"""How detectron2 says that a part of the model stayed random."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mask that must be there: its ``place`` below the output, what it answers, and its size (height, width)."""

    place: str
    question: str
    size: tuple[int, int]


def wanted_masks(door: Door, benchmark: Benchmark, questions: Path, window: int) -> Iterator[Wanted]:
    """Every mask of every expression and frame, as the program names it."""
    if door.annotators:
        groups = read_json(questions / GROUPS)["groups"]
        own = "1/" if door.objects else ""
        for video, group in groups.items():
            clip = benchmark.clips[group["clip"]]
            for run, expression in zip(door.annotators, group["expressions"], strict=False):
                for index, frame in enumerate(clip.frames):
                    place = f"{run}/{video}/{own}{index:05d}.png"
                    yield Wanted(place, f"{clip.id}/{expression}/{frame}", clip.size)
        return
    for each in benchmark.expressions:
        clip = benchmark.clips[each.clip]
        for index, frame in enumerate(clip.frames):
            video = window_name(clip.id, index // window) if window else clip.id
            yield Wanted(f"{video}/{each.id}/{frame}.png", f"{clip.id}/{each.id}/{frame}", clip.size)


def check_keys(recipe: Recipe, log: Path, allowed: str) -> None:
    """Raise InputError when the log says that checkpoint and model differ, but for harmless buffers and ``allowed``,
    patterns with commas.
    """
    patterns = (*HARMLESS_KEYS, *(each for each in allowed.split(",") if each))
    wrong: list[str] = []
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := _KEYS.search(line):
                names = _NAME.findall(found[2])
                wrong += [f"{found[1].lower()}: {n}" for n in names if not any(fnmatch(n, p) for p in patterns)]
            elif _RANDOM in line and not allowed:
                wrong.append(line.strip()[-200:])
    if wrong:
        raise InputError(
            f"The checkpoint does not fit the model of {recipe.name}, and a part of it stayed random or unused.",
            where=list(dict.fromkeys(wrong)),
            fix=f"give the weights that belong to these options, or -o allow_keys=PATTERN for known ones; log: {log}",
        )


def find_output(recipe: Recipe, door: Door, places: Places, finished: Finished, log: Path) -> Path:
    """The folder of the masks; InputError when there is none, or several."""
    pattern = places.fill(door.output)
    home = Path(places.run)
    found = sorted(home.glob(str(Path(pattern).relative_to(home)))) if "*" in pattern else [Path(pattern)]
    found = [path for path in found if path.is_dir()]
    if len(found) == 1:
        return found[0]
    strays = _strays(home, set())
    where = [f"expected {pattern}", *(str(path) for path in found), *(f"found {path}" for path in strays)]
    where += [] if found or strays else log_end(log)
    raise InputError(
        f"{recipe.name} stopped with exit code {finished.exit_code} and "
        + ("several folders hold its masks." if found else "there is no folder with its masks."),
        where=where,
        fix=f"read {log}",
    )


def check_masks(
    recipe: Recipe, wanted: Iterator[Wanted], output: Path, finished: Finished, log: Path, run: Path
) -> int:
    """The number of masks, all there and of the right size; InputError naming those that are not."""
    missing: list[Wanted] = []
    wrong: list[str] = []
    seen: set[Path] = set()
    for each in wanted:
        path = output / each.place
        try:
            with path.open("rb") as stream:
                head = png.header(stream.read(PICTURE_HEAD))
        except FileNotFoundError:
            missing.append(each)
            continue
        except (OSError, png.PngError) as error:
            wrong.append(f"{each.question}: {path}: {error}")
            continue
        finally:
            seen.add(path)
        if (head.height, head.width) != each.size:
            sizes = f"{head.width}x{head.height}, the clip is {each.size[1]}x{each.size[0]}"
            wrong.append(f"{each.question}: {path}: {sizes}")
    if missing:
        said = f"{recipe.name} stopped with exit code {finished.exit_code} and left {len(missing):,} of {len(seen):,}"
        strays = _strays(run, seen) if len(missing) == len(seen) else []
        where = [f"{each.question}: no {output / each.place}" for each in missing]
        where = [where[0], *(f"found instead: {path}" for path in strays), *where[1:]] if strays else where
        raise InputError(f"{said} masks unwritten.", where=where, fix="; ".join([f"read {log}", *log_end(log)]))
    if wrong:
        raise InputError(f"Masks of {recipe.name} cannot be used.", where=wrong, fix=f"read {log}")
    return len(seen)


def log_end(log: Path) -> list[str]:
    """The last error that a log tells, else its last line, as a place of an error; nothing for an empty log."""
    with log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - LOG_END))
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line]
    told = [line for line in said if _ERROR.match(line)]
    return [f"the log says: {(told or said)[-1][:200]}"] if said else []


def _strays(folder: Path, known: set[Path]) -> list[Path]:
    """Pictures below ``folder`` that nobody waited for, the first of each folder."""
    found: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*.png")):
        if path not in known:
            found.setdefault(path.parent, path)
        if len(found) > MAX_LISTED:
            break
    return list(found.values())
