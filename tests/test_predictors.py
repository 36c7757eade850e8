"""Conformance of every registered predictor, and the loading of predictors.

Run as a script, ``python test_predictors.py NAME [JSON options]``, this file is the watched process: it
loads the predictor, then counts opening, listing, connecting or starting anything else as a violation.
A new predictor is covered as soon as its entry point is registered; one whose packages or weights are
absent is skipped with the reason. Options for a quick run stand in QUICK.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from refvps.errors import DataMissingError, UsageError
from refvps.run import predictors
from refvps.types import MaskChunk, Method

ROOT = Path(__file__).resolve().parent.parent

QUICK: dict[str, dict[str, Any]] = {}
"""Loader options that make a predictor small enough for this test."""

LANGUAGE_BLIND = {"empty", "full", "centre", "random-box", "motion"}
ELSEWHERE = {
    *("referformer", "mutr", "uninext", "sgmg"),  # only say how they run: test_baselines_cli.py
    *("rem", "rem-tiny", "vdit", "clipseg", "grounded-sam2", "sam3"),  # tiny models: test_predictors_models.py
    "pipe",  # test_baselines_pipe.py
}
"""Entry points that are examined in another file."""

GROWTH = 48 << 20
"""Bytes that three more calls may add to the resident memory; a clip that is kept shows as a reference first."""

WATCHED = (
    "open", "os.listdir", "os.scandir", "os.walk", "glob.glob", "os.chdir", "os.remove", "os.rename", "os.mkdir",
    "shutil.", "socket.", "urllib.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn",
    "sqlite3.",
)  # fmt: skip


# --- the watched process -----------------------------------------------------------------------------


class Frames(Sequence[np.ndarray]):
    """Lazy frames that remember nothing but pixels and hand out the same array every time."""

    def __init__(self, pixels: list[np.ndarray]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: Any) -> Any:
        return Frames(self._pixels[index]) if isinstance(index, slice) else self._pixels[index]


def tiny_clips() -> dict[str, list[np.ndarray]]:
    """A portrait clip and one of odd size, in which something moves, and a single frame."""
    clips = {}
    for name, (count, height, width) in {"portrait": (9, 64, 36), "odd": (6, 37, 53), "one": (1, 33, 48)}.items():
        y, x = np.mgrid[:height, :width]
        frames = []
        for t in range(count):
            frame = np.stack([(3 * x + y) % 200, (x + 2 * y) % 180, (x * y // 7) % 160], axis=-1).astype(np.uint8)
            inside = (y - height // 2) ** 2 + (x - 6 - 4 * t) ** 2 < 40
            frame[inside] = (255, 40 + t, 220)
            frames.append(frame)
        clips[name] = frames
    return clips


def watch(found: list[str]) -> None:
    """Note every access to files, network and processes, reading Python's own code excepted."""
    own = tuple({sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(ROOT / "refvps"), "/proc", "/sys"})
    code = (".py", ".pyc", ".so")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not event.startswith(WATCHED):
            return
        path = str(args[0]) if args else ""
        reading = event in ("os.listdir", "os.scandir") or (event == "open" and (args[1] or "r").startswith("r"))
        importing = reading and "annotations" not in path and (path.startswith(own) or path.endswith(code))
        if not importing:
            found.append(f"{event} {path}")

    sys.addaudithook(hook)


def collect(predictor: Any, frames: list[np.ndarray], texts: list[str], seed: int, problems: list[str]) -> np.ndarray:
    """All masks [texts, frames, H, W], after the checks of one call."""
    height, width = frames[0].shape[:2]
    masks = np.zeros((len(texts), len(frames), height, width), np.bool_)
    times = np.zeros((len(texts), len(frames)), np.int64)
    before = [frame.copy() for frame in frames]
    for chunk in predictor.predict(Frames(frames), texts, fps=24.0, seed=seed):
        stop = chunk.start + len(chunk.masks)
        if chunk.masks.dtype != np.bool_:
            problems.append(f"dtype {chunk.masks.dtype}")
        if chunk.masks.shape[1:] != (height, width):
            problems.append(f"shape {chunk.masks.shape}")
            return masks
        if not (0 <= chunk.text < len(texts) and 0 <= chunk.start < stop <= len(frames)):
            problems.append(f"outside: text {chunk.text}, frames {chunk.start}-{stop - 1}")
            return masks
        masks[chunk.text, chunk.start : stop] = chunk.masks
        times[chunk.text, chunk.start : stop] += 1
    if (times != 1).any():
        problems.append("coverage: not every (text, frame) exactly once")
    if not all(np.array_equal(a, b) for a, b in zip(frames, before, strict=True)):
        problems.append("mutation: the frames were changed")
    return masks


class Held(np.ndarray):
    """An array that can be watched."""


def memory(predictor: Any, frames: list[np.ndarray], texts: list[str], problems: list[str]) -> None:
    """Frames must be free once a call is over, finished or not, and calls must not add up."""
    for finished in (True, False):
        held = [frame.copy().view(Held) for frame in frames]
        watched = [weakref.ref(frame) for frame in held]
        stream = predictor.predict(Frames(held), texts, fps=24.0, seed=3)  # type: ignore[arg-type]
        for chunk in stream:
            del chunk
            if not finished:
                break
        stream.close()
        del stream, held
        gc.collect()
        if kept := sum(each() is not None for each in watched):
            problems.append(f"memory: {kept} frames are kept after a call that was {'done' if finished else 'left'}")
    before = resident()
    for _ in range(3):
        collect(predictor, frames, texts, 3, problems)
    gc.collect()
    if (grown := resident() - before) > GROWTH:
        problems.append(f"memory: {grown >> 20} MB more after three more calls")


def resident() -> int:
    """Resident memory of this process in bytes; 0 where nobody tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def conform(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Load a predictor and watch it keep to everything; the problems found, as words."""
    predictor = predictors.load(name, **options)
    accesses: list[str] = []
    watch(accesses)
    return examine(predictor, accesses)


def examine(predictor: Any, accesses: list[str], most: int = 9) -> dict[str, Any]:
    """The examination of a loaded predictor on clips of at most ``most`` frames; :func:`watch` fills ``accesses``."""
    clips, problems = {name: frames[:most] for name, frames in tiny_clips().items()}, []
    accesses.clear()
    texts = ["the disc that moves to the right", "the ground", "a bird"][: 3 if most > 5 else 2]
    same_for_all, fractions = True, []
    for clip, frames in clips.items():
        first = collect(predictor, frames, texts, 7, problems)
        if most > 5:  # else left to the turned texts, which cannot be equal without it
            again = collect(predictor, frames, texts, 7, problems)
            if not np.array_equal(first, again):
                problems.append(f"determinism: {clip} differs with the same seed")
        turned = collect(predictor, frames, texts[::-1], 7, problems)[::-1]
        if not np.array_equal(first, turned):
            problems.append(f"order: {clip} depends on the order of the texts")
        alone = collect(predictor, frames, texts[:1], 7, problems)
        if not np.array_equal(first[:1], alone):
            problems.append(f"order: {clip} depends on which other texts are asked")
        same_for_all &= bool((first == first[:1]).all())
        fractions.append(float(first.mean()))
    with_nothing = collect(predictor, clips["odd"], [texts[0], ""], 7, problems)
    if not np.array_equal(with_nothing[1:], collect(predictor, clips["odd"], [""], 7, problems)):
        problems.append("order: the empty text depends on which other texts are asked")
    memory(predictor, clips["portrait"][: most // 2], texts, problems)
    problems += [f"access: {access}" for access in dict.fromkeys(accesses)]
    method = {"name": predictor.method.name, "options": dict(predictor.method.options)}
    return {"problems": problems, "same_for_all": same_for_all, "fractions": fractions, "method": method}


def run_watched(name: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run :func:`conform` in a process of its own, in an empty folder, with no path in its environment."""
    command = [sys.executable, "-W", "error", str(Path(__file__).resolve()), name, json.dumps(options)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# --- tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(predictors.names()) - ELSEWHERE))
def test_conformance(name: str, tmp_path: Path) -> None:
    result = run_watched(name, QUICK.get(name, {}), tmp_path)
    if "missing" in result:
        pytest.skip(result["missing"])
    assert result["problems"] == []
    if name in LANGUAGE_BLIND:
        assert result["same_for_all"]


class _Toy:
    """A predictor that keeps to the protocol; the cheats below each break one rule."""

    method = Method(name="toy")

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for text in range(len(texts)):
            yield MaskChunk(text, 0, np.stack([frame[..., 0] > 99 for frame in frames]))


class _Peeker(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        list(Path("/tmp").iterdir())
        yield from super().predict(frames, texts, fps=fps, seed=seed)


class _Reader(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        with open("/etc/hostname", "a+b"):
            pass
        yield from super().predict(frames, texts, fps=fps, seed=seed)


class _Painter(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        yield from list(super().predict(frames, texts, fps=fps, seed=seed))
        frames[0][0, 0] ^= 1


class _Gambler(_Toy):
    calls = 0

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        _Gambler.calls += 1
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield MaskChunk(chunk.text, chunk.start, chunk.masks ^ bool(_Gambler.calls % 2))


class _Forgetful(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield MaskChunk(chunk.text, 0, chunk.masks[: max(1, len(frames) - 1)])


class _Repeater(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield from (chunk, chunk)


class _Soft(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield MaskChunk(chunk.text, 0, chunk.masks.astype(np.float32))  # type: ignore[arg-type]


class _First(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield MaskChunk(chunk.text, 0, chunk.masks & (chunk.text == 0))


class _Hoarder(_Toy):
    kept: ClassVar[list[Any]] = []

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        self.kept.append(frames[0])
        yield from super().predict(frames, texts, fps=fps, seed=seed)


class _Leak(_Toy):
    kept: ClassVar[list[Any]] = []

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        self.kept.append(np.ones(30 << 20, np.uint8))
        yield from super().predict(frames, texts, fps=fps, seed=seed)


class _Wordy(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in super().predict(frames, texts, fps=fps, seed=seed):
            yield MaskChunk(chunk.text, 0, chunk.masks[: 0 if not texts[chunk.text] else None])


class _Late(_Toy):
    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        import colorsys  # a module that is imported late is no violation
        import subprocess

        assert colorsys
        subprocess.run(["true"], check=True)
        yield from super().predict(frames, texts, fps=fps, seed=seed)


CHEATS = {
    "_Peeker": "access", "_Reader": "access", "_Painter": "mutation", "_Gambler": "determinism",
    "_Forgetful": "coverage", "_Repeater": "coverage", "_Soft": "dtype", "_First": "order",
    "_Late": "access: subprocess", "_Hoarder": "memory: 1 frames", "_Leak": "memory: ", "_Wordy": "outside",
}  # fmt: skip


@pytest.mark.parametrize(("cheat", "problem"), [("_Toy", ""), *CHEATS.items()])
def test_the_watch_sees_every_cheat(cheat: str, problem: str, tmp_path: Path) -> None:
    result = run_watched(f"{Path(__file__).resolve()}:{cheat}", {}, tmp_path)
    if problem:
        assert any(found.startswith(problem) for found in result["problems"]), result
        assert not any("colorsys" in found for found in result["problems"])
    else:
        assert result["problems"] == []


def test_names_come_without_imports() -> None:
    code = (
        "import sys; from refvps.run import predictors; n = predictors.names();"
        "assert 'numpy' not in sys.modules and 'refvps.sanity' not in sys.modules, 'heavy';"
        "print(*n)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert LANGUAGE_BLIND <= set(done.stdout.split())


class _Entry:
    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Add entry points for the duration of a test."""
    entries: list[_Entry] = []
    monkeypatch.setattr(
        predictors.metadata, "entry_points", lambda group: entries if group == "refvps.predictors" else []
    )

    def add(name: str, value: str) -> None:
        entries.append(_Entry(name, value))

    return add


def test_other_packages_register_theirs(register: Callable[[str, str], None], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from refvps.sanity import full\ndef load(**options): return full()\n")
    register("motion", "refvps.sanity:motion")  # refvps itself, installed
    register("mine", f"{tmp_path}/mine.py:load")
    assert predictors.names() == ("centre", "empty", "full", "mine", "motion", "random-box")
    assert predictors.load("mine").method.name == "full"


def test_one_name_for_two_predictors_is_refused(register: Callable[[str, str], None]) -> None:
    register("motion", "elsewhere:motion")
    with pytest.raises(UsageError, match=r"same name[\s\S]*elsewhere:motion"):
        predictors.names()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("moton", {}, "did you mean 'motion'"),
        ("", {}, "There are centre"),
        ("motion", {"treshold": 3}, "treshold[\\s\\S]*accepts threshold, samples"),
        ("empty", {"name": 1}, "accepts none"),
        ("motion", {"threshold": "x"}, "threshold must be a whole number"),
        ("no_such_module:load", {}, "no module named no_such_module"),
        ("refvps.no_such_module:load", {}, "no module named refvps.no_such_module"),
        ("refvps.sanity:moton", {}, "did you mean 'motion'"),
        ("no_such_file.py:load", {}, "no_such_file.py"),
        ("json:dumps", {"obj": 1}, "not a predictor"),
        ("refvps.types:MaskChunk", {"text": 0, "start": 0, "masks": 0}, "no 'method' or no 'predict'"),
        ("json:__doc__", {}, "callable"),
    ],
)
def test_what_cannot_be_loaded_is_a_usage_error(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        predictors.load(name, **options)
    assert caught.value.exit_code == 2


def test_wrong_shapes_of_a_predictor(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from refvps.types import Method\n"
        "class NoMethod:\n    method = 'me'\n    def predict(self, frames, texts, *, fps, seed): ...\n"
        "class NoSeed:\n    method = Method('me')\n    def predict(self, frames, texts, *, fps): ...\n"
        "class Crash:\n    def __init__(self): raise RuntimeError('no GPU here')\n"
    )
    for name, words in {"NoMethod": "'method' is a str", "NoSeed": "seed", "Crash": "no GPU here"}.items():
        with pytest.raises(UsageError, match=words):
            predictors.load(f"{tmp_path}/bad.py:{name}")
    (tmp_path / "syntax.py").write_text("def load(:\n")
    with pytest.raises(UsageError, match="SyntaxError"):
        predictors.load(f"{tmp_path}/syntax.py:load")


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here_only.py").write_text("from refvps.sanity import centre as load\nready = load()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert predictors.load("here_only:load").method.name == "centre"
    assert predictors.load("here_only:ready").method.name == "centre"
    with pytest.raises(UsageError, match="no options"):
        predictors.load("here_only:ready", a=1)


def test_missing_packages_name_the_extra(
    register: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rem").mkdir()
    (tmp_path / "rem" / "__init__.py").write_text("")
    (tmp_path / "rem" / "predictor.py").write_text("import no_such_package_xyz\n")
    (tmp_path / "late_one.py").write_text("def load():\n    import no_such_package_xyz.sub\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [module for module in sys.modules if module.partition(".")[0] == "rem"]:
        monkeypatch.delitem(sys.modules, module)
    register("rem", "rem.predictor:load")
    with pytest.raises(DataMissingError, match=r'pip install "refvps\[rem\]"') as caught:
        predictors.load("rem")
    assert caught.value.exit_code == 3
    with pytest.raises(DataMissingError, match="pip install no_such_package_xyz"):
        predictors.load("late_one:load")
    for module in [module for module in sys.modules if module.partition(".")[0] == "rem"]:
        del sys.modules[module]  # the made-up one; monkeypatch brings the true one back


if __name__ == "__main__":
    try:
        outcome = conform(sys.argv[1], json.loads(sys.argv[2]))
    except DataMissingError as error:
        outcome = {"missing": str(error)}
    json.dump(outcome, sys.stdout)
