"""Run a published method on a benchmark: export, environment, the program itself, checks, import.

The exit codes of these programs say little: they start a process for each GPU and do not notice when one dies. So a run
counts when every mask of every expression and frame is there, in the size of its clip, and the checkpoint fitted.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import refvps
from baselines.published import RECIPES, ROWS, Door, Places, Recipe
from baselines.published.recipe import script, words
from baselines.run.checks import check_keys, check_masks, find_output, log_end, wanted_masks
from baselines.run.process import Finished, watch
from refvps.errors import DataMissingError, InputError, RefvpsError, UsageError
from refvps.export import export_benchmark
from refvps.files import canonical_json, sha256_file, write_atomic
from refvps.predictions.foreign.davis4 import GROUPS
from refvps.predictions.importing import Imported, import_predictions
from refvps.types import Benchmark, Method

SHIM = Path(__file__).resolve().parent.parent / "shim"
SCHEMA = "baselines.run/1"
ALWAYS = {"PYTHONUNBUFFERED": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
"""Variables for every program, beside PYTHONPATH: say things at once; load checkpoints that hold more than tensors."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run left behind: ``folder`` with ``run.sh``, ``environment.md``, ``run.json`` and ``log.txt``;
    ``finished`` and ``imported`` are None when nothing was run because there was no clone. ``next_step`` is a sentence
    for people.
    """

    folder: Path
    command: tuple[str, ...]
    next_step: str
    finished: Finished | None = None
    imported: Imported | None = None


def run(
    method: str,
    *,
    repo: Path | str | None = None,
    weights: Path | str | None = None,
    benchmark: str | Benchmark = "ref-vps",
    out: Path | str | None = None,
    work: Path | str | None = None,
    python: str = "python3",
    options: Mapping[str, str] | None = None,
    progress: Say | None = None,
) -> Ran:
    """Run one of :data:`RECIPES` in its own environment and import what it predicts to ``out``, a new folder.

    ``repo``: a clone of its code; without one, everything is written and nothing run. ``weights``: its checkpoint.
    ``work``: where questions, logs and raw output go, ``<out>.work`` by default; each run gets a folder of its own
    there, so that nothing of an earlier one can be taken for its result. ``python``: the interpreter of its
    environment. ``options``: of the recipe. ``progress``: gets every line that the program prints.

    Raises UsageError for an unknown method or option or an existing ``out``, DataMissingError for what is not on this
    machine, InputError naming three places when masks are missing, elsewhere or unusable, or the checkpoint does not
    fit; the log is kept.
    """
    recipe = _recipe(method)
    door, chosen = recipe.choose(options or {})
    target = Path(out or f"{method}-preds").absolute()
    if target.exists():
        raise UsageError("The output exists.", where=[str(target)], fix="choose another --out, or remove it")
    loaded = refvps.load(benchmark) if isinstance(benchmark, str) else benchmark
    say = progress or (lambda line: None)
    home = Path(work).absolute() if work else target.with_name(f"{target.name}.work")
    if home.is_relative_to(target):  # or the import would find that it exists, hours later
        raise UsageError("--work lies in --out.", where=[str(home)], fix="keep them apart")
    target.parent.mkdir(parents=True, exist_ok=True)
    found = shutil.which(python)
    interpreter = str(Path(found).absolute()) if found else ""  # not resolved: a venv's is a link
    clone = str(Path(repo).absolute()) if repo else ""
    checkpoint = str(Path(weights).absolute()) if weights else ""
    if repo:
        _check_given(recipe, clone, checkpoint, interpreter, python)
    window = int(chosen[door.window]) if door.window else 0
    questions = _questions(loaded, door, window, home, say)
    folder = _new_folder(home)
    places = Places(clone, checkpoint, str(questions), str(folder), interpreter or python, chosen)
    _check_inside(door, places)
    if repo:
        _check_clone(recipe, door, places)
    job = _Job(recipe, door, places, loaded, window, target)
    about = _record(job)
    _write_recipe(job, about["environment"])
    if repo:
        return _carry_out(job, about, say)
    _save(folder, about | {"state": "prepared"})
    step = f"clone {recipe.url}, follow {folder / 'environment.md'}, then run {folder / 'run.sh'} and: {job.after()}"
    return Ran(folder, tuple(about["command"]), step)


@dataclass(frozen=True, slots=True)
class _Job:
    """A run that is ready: the program, where everything lies, what is asked, and where the masks will go."""

    recipe: Recipe
    door: Door
    places: Places
    benchmark: Benchmark
    window: int
    target: Path

    def layout(self) -> str:
        """The layout of the answers, for ``refvps import``."""
        return "davis4" if self.door.annotators else "tree"

    def groups(self) -> Path | None:
        """Which expressions pseudo-videos stand for."""
        return Path(self.places.questions) / GROUPS if self.door.annotators else None

    def after(self) -> str:
        """The import, as a line for a shell."""
        call = ["refvps", "import", "--layout", self.layout(), self.places.fill(self.door.output)]
        call += ["-b", self.benchmark.name, "--out", str(self.target), "--method", self.recipe.name]
        call += ["--groups", str(self.groups())] if self.groups() else []
        return " ".join("*".join(shlex.quote(part) if part else "" for part in each.split("*")) for each in call)


def _carry_out(job: _Job, about: dict[str, Any], say: Say) -> Ran:
    """Start the program, check what it did, import it. ``about`` is saved as it grows, also when this fails."""
    recipe, door, places, folder = job.recipe, job.door, job.places, Path(job.places.run)
    log = folder / "log.txt"
    about |= {"weights": _weights(places.weights), "commit": _commit(places.repo)}
    try:
        _place(door, places)
        say(f"running {recipe.title}; log: {log}")
        path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = dict(os.environ) | about["environment"] | ({"PATH": path} if door.shell else {})
        _save(folder, about | {"state": "running"})
        home = Path(places.fill(door.folder))
        finished = watch(about["command"], folder=home, environment=environment, log=log, progress=say)
        about["exit_code"] = finished.exit_code
        about["seconds"], about["peak_memory"] = round(finished.seconds, 3), finished.peak_memory
        check_keys(recipe, log, places.options["allow_keys"])
        output = find_output(recipe, door, places, finished, log)
        wanted = wanted_masks(door, job.benchmark, Path(places.questions), job.window)
        about["masks"] = check_masks(recipe, wanted, output, finished, log, folder)
        if finished.exit_code and not door.dies_after:
            where = [f"exit code {finished.exit_code}", *log_end(log)]
            fix = f"read {log}; if the masks are good nevertheless: {job.after()}"
            raise InputError(f"{recipe.name} failed after writing all masks.", where=where, fix=fix)
        say(f"all {about['masks']:,} masks are there; importing")
        maker, told = _method(recipe, about), _told(about)
        imported = import_predictions(
            output, job.benchmark, job.target, job.layout(), method=maker, details=told, groups=job.groups()
        )
    except BaseException as error:
        failed = str(error) if isinstance(error, RefvpsError) else type(error).__name__
        _save(folder, about | {"state": "failed", "error": failed})
        raise
    _save(folder, about | {"state": "imported"})
    step = f"refvps evaluate --pred {shlex.quote(str(job.target))} -b {job.benchmark.name}"
    return Ran(folder, tuple(about["command"]), step, finished, imported)


def _recipe(method: str) -> Recipe:
    if method in RECIPES:
        return RECIPES[method]
    if method in ROWS:
        row = ROWS[method]
        raise UsageError(f"{row.title} has no adapter.", where=[row.url], fix=row.how)
    raise UsageError("There is no such method.", where=[repr(method)[:80]], fix=f"one of {', '.join(RECIPES)}")


def _check_given(recipe: Recipe, clone: str, checkpoint: str, interpreter: str, python: str) -> None:
    missing = []
    if not Path(clone).is_dir():
        missing.append((f"no clone at {clone}", f"git clone {recipe.url}"))
    if not checkpoint or not Path(checkpoint).is_file():
        missing.append((f"no checkpoint at {checkpoint or '--weights'}", f"get {recipe.weights}"))
    if not interpreter:
        missing.append((f"no interpreter {python}", "make its environment (run without --repo to get the recipe)"))
    if missing:
        raise DataMissingError(
            f"{recipe.name} cannot be run yet.",
            where=[place for place, _ in missing],
            fix="; ".join(step for _, step in missing),
        )


def _check_clone(recipe: Recipe, door: Door, places: Places) -> None:
    missing = [path for path in map(places.fill, door.needs) if not Path(path).exists()]
    if missing:
        fix = f"give a clone of {recipe.url}, prepared as {places.run}/environment.md says"
        raise DataMissingError(f"The clone of {recipe.name} lacks something.", where=missing, fix=fix)


def _questions(benchmark: Benchmark, door: Door, window: int, home: Path, say: Say) -> Path:
    """The export, made once for each benchmark, layout and window; it appears whole or not at all."""
    cut = f"-w{window}" if window else ""
    questions = home / f"questions-{door.questions}-{benchmark.digest[:12]}{cut}"
    if not questions.exists():
        say(f"writing the questions to {questions}")
        try:
            export_benchmark(benchmark, questions, door.questions, frames="link", window=window or None)
        except (OSError, UsageError):
            if not questions.exists():  # else another run was faster
                raise
    return questions


def _new_folder(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = home / f"run-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise UsageError("A thousand runs lie here.", where=[str(home)], fix="choose another --work")


def _write_recipe(job: _Job, variables: Mapping[str, str]) -> None:
    """``environment.md`` and ``run.sh``."""
    recipe, folder = job.recipe, Path(job.places.run)
    exported = {name: shlex.quote(value) for name, value in variables.items()}
    if job.door.shell:
        exported["PATH"] = f'{shlex.quote(str(folder / "bin"))}:"$PATH"'
    traps = "".join(f"- {trap}\n" for trap in recipe.traps)
    page = (
        f"# {recipe.title}\n\n- code: {recipe.url}\n- licence: {recipe.licence}\n- weights: {recipe.weights}\n\n"
        f"## Environment\n\n{recipe.environment}\n## Known traps\n\n{traps}\n## Run\n\n"
        f"`{folder / 'run.sh'}`, with REPO, WEIGHTS and PYTHON from outside where they are not in it; then\n\n"
        f"```\n{job.after()}\n```\n"
    )
    write_atomic(folder / "environment.md", page.encode())
    write_atomic(folder / "run.sh", script(recipe, job.door, job.places, exported, job.after()).encode())
    (folder / "run.sh").chmod(0o755)


def _check_inside(door: Door, places: Places) -> None:
    """An option that is part of a path must not lead out of the run's folder."""
    paths = map(places.fill, (*door.copies, *door.texts, door.output))
    if outside := [path for path in paths if not Path(os.path.normpath(path)).is_relative_to(places.run)]:
        raise UsageError("An option leads out of the folder of the run.", where=outside, fix="give a plain name")


def _place(door: Door, places: Places) -> None:
    """Files that the program wants at places of its own, all in the run's folder."""
    for target, source in door.copies.items():
        path = Path(places.fill(target))
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = os.path.realpath(places.fill(source))
        try:
            os.link(origin, path)
        except OSError:  # another disk
            shutil.copyfile(origin, path)
    for target, text in door.texts.items():
        path = Path(places.fill(target))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(places.fill(text) + "\n")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def _record(job: _Job) -> dict[str, Any]:
    recipe, door, places, benchmark = job.recipe, job.door, job.places, job.benchmark
    own = {name: places.fill(value) for name, value in door.variables.items()}
    return {
        "schema": SCHEMA,
        "method": recipe.name,
        "licence": recipe.licence,
        "url": recipe.url,
        "options": dict(places.options),
        "command": [places.python, *words(door, places)],
        "folder": places.fill(door.folder),
        "environment": ALWAYS | {"PYTHONPATH": str(SHIM)} | own,
        "layout": door.questions,
        "benchmark": {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
    }


def _told(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the predictions' own run.json says of the run."""
    return {name: about[name] for name in ("command", "commit", "weights", "exit_code", "seconds", "peak_memory")}


def _method(recipe: Recipe, about: Mapping[str, Any]) -> Method:
    return Method(
        name=recipe.name,
        version=about["commit"],
        weights_sha256=about["weights"]["sha256"],
        options=about["options"],
        licence=recipe.licence,
        url=recipe.url,
    )


def _weights(path: str) -> dict[str, Any]:
    return {"file": Path(path).name, "bytes": Path(path).stat().st_size, "sha256": sha256_file(Path(path))}


def _commit(clone: str) -> str:
    """The commit of the clone, '' where it cannot be told."""
    try:
        called = ["git", "-C", clone, "rev-parse", "--show-toplevel", "HEAD"]
        done = subprocess.run(called, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    said = done.stdout.split("\n")
    own = done.returncode == 0 and Path(said[0]).resolve() == Path(clone).resolve()
    return said[1].strip() if own else ""


def _save(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomic(folder / "run.json", canonical_json(record) + b"\n")
