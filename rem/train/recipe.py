"""A recipe: every choice of a training run that moves a number, read from TOML and checked field by field."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, sha256
from rem.backbones import BACKBONES

CHOICES: dict[str, tuple[str, ...]] = {
    "backbone": tuple(BACKBONES),
    "decoder": ("vae", "cnn", "mlp"),
    "trained": ("spatial", "spatial-released", "all", "all-released", "wan-released"),
    "noise": ("official", "none"),
    "mix": ("concat", "alternate"),
    "schedule": ("constant", "cosine"),
    "no_decay": ("nothing", "released"),
    "precision": ("fp32", "bf16", "fp16"),
}
"""Fields that take one of a few words."""

REFCOCO = ("refcoco", "refcoco+", "refcocog")
DATA: dict[str, tuple[str, ...]] = {"images": REFCOCO, "pseudo": REFCOCO, "videos": ("ref-ytvos",)}
"""Fields that list data sets, and those they may list."""

PLACES = (
    *("base", "start", "refcoco", "coco", "ytvos", "workers", "checkpointing"),
    *("keep", "save_every", "log_every", "sample_every", "validate_every", "benchmark"),
)
"""Fields that say where things are, how they are done or what is watched; a run may go on with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. Fields without a value here must be in the file."""

    name: str
    """Shown in logs and checkpoints."""
    backbone: str = "modelscope"
    decoder: str = "vae"
    """vae: the frozen decoder of the backbone; cnn, mlp: a mask head trained along (paper, Table 4)."""
    trained: str = "all"
    """Which weights of the denoiser are trained, a rule of :mod:`rem.parameters`."""
    noise: str = "official"
    """official: what the backbone's inference adds at the smallest timestep; none: clean latents."""

    images: tuple[str, ...] = ()
    """Sets of RefCOCO given as clips of one frame."""
    pseudo: tuple[str, ...] = ()
    """Sets of RefCOCO given as pseudo-videos of ``frames`` frames."""
    videos: tuple[str, ...] = ()
    mix: str = "concat"
    """concat: one shuffled list; alternate: a step of images, a step of video, and so on."""
    per_set: int = 0
    """Samples drawn of each set of RefCOCO, by the rule of :mod:`rem.train.mixture`; 0: all."""
    total: int = 0
    """Samples drawn of all of them together, by the same rule; 0: all."""
    published: bool = False
    """The data sets must have their published sizes, and the draw must be the shipped list."""
    frames: int = 8
    size: tuple[int, int] = (512, 512)
    """Height and width of the network's input."""

    lr: float
    warmup: int = 0
    """Steps of linear warm-up."""
    schedule: str = "constant"
    drops: tuple[tuple[int, float], ...] = ()
    """(step, lr): from that step on, another learning rate."""
    epochs: float = 0.0
    steps: int = 0
    """Exactly one of epochs and steps is given."""
    batch: int = 4
    """Samples of one step of the optimiser, over all processes."""
    micro_batch: int = 1
    """Samples of one forward pass; the rest comes from processes and accumulation."""
    weight_decay: float = 0.01
    no_decay: str = "nothing"
    """released: no decay for biases and norms, by the names of the released code."""
    clamp: float = 0.0
    """Gradients are clamped element by element to ±clamp in each forward pass's share; 0: not."""
    precision: str = "fp32"
    checkpointing: bool = False
    """Recompute activations in the backward pass."""
    ema: float = 0.0
    """Decay of an average of the trained weights; 0: none."""
    lora_rank: int = 0
    """Rank of low-rank adapters on the attention projections, trained instead of ``trained``; 0: none."""
    seed: int = 0

    save_every: int = 1000
    keep: int = 1
    """Checkpoints kept; older ones go when a newer one is complete."""
    log_every: int = 10
    sample_every: int = 0
    """Steps between sample grids; 0: none."""
    validate_every: int = 0
    benchmark: str = ""
    """Benchmark of ``refvps`` that is scored every ``validate_every`` steps."""

    base: str = ""
    """Folder or repository of the pretrained model."""
    start: str = ""
    """Checkpoint of the denoiser to start from (stage 2: what stage 1 made)."""
    refcoco: str = ""
    coco: str = ""
    """Folder that holds COCO's ``train2014``."""
    ytvos: str = ""
    workers: int = 0
    """Processes that read data."""

    def __post_init__(self) -> None:
        wrong = [*_ranges(self), *_words(self), *_together(self)]
        if wrong:
            raise UsageError("A recipe makes no sense.", where=wrong, fix="change these fields")

    def identity(self) -> str:
        """SHA-256 of what moves numbers: all fields but :data:`PLACES`."""
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in PLACES}
        return sha256(canonical_json(found))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step ``step`` (from 0) of ``steps``."""
        lr = self.lr
        for at, other in self.drops:
            lr = other if step >= at else lr
        if step < self.warmup:
            return lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return lr * 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, steps - self.warmup)))
        return lr


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with the package: ``stage1``, ``ablation/modelscope-vae``, ..."""
    folder = Path(str(files("rem") / "configs"))
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml")))


def read_recipe(source: Path | str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a TOML file, or a shipped one by its name; ``changes`` replaces fields (texts are parsed).

    Raises UsageError for an unknown name or field (with the nearest one) or a value that makes no sense, InputError
    for a file that is not TOML.
    """
    path = Path(source)
    if not path.is_file():
        if str(source) not in shipped():
            near = difflib.get_close_matches(str(source), shipped(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                "There is no such recipe.", where=[str(source)], fix=f"{hint}a file, or one of {', '.join(shipped())}"
            )
        path = Path(str(files("rem") / "configs")) / f"{source}.toml"
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, OSError) as error:
        raise InputError("A recipe cannot be read.", where=[f"{path}: {error}"], fix="write it as TOML") from error
    parsed = {name: _parsed(name, value) for name, value in (changes or {}).items()}
    return recipe_of({**table, **parsed}, str(path))


def recipe_of(table: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from plain values; ``where`` names them in errors."""
    kinds = get_type_hints(Recipe)
    wrong = [f"{where}: {name}{_hint(name, kinds)}" for name in table if name not in kinds]
    wrong += [f"{where}: {name} is missing" for name in ("name", "lr") if name not in table]
    if wrong:
        raise UsageError("A recipe has unknown or missing fields.", where=wrong, fix="the fields are those of Recipe")
    values: dict[str, Any] = {}
    for name, value in table.items():
        try:
            values[name] = _typed(value, kinds[name])
        except TypeError as error:
            wrong.append(f"{where}: {name} = {value!r}: {error}"[:300])
    if wrong:
        raise UsageError("A recipe has fields of the wrong kind.", where=wrong, fix="give the kind that is named")
    return Recipe(**values)


def changed(recipe: Recipe, **values: Any) -> Recipe:
    """The recipe with other values, checked again."""
    return replace(recipe, **values)


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" is no field; did you mean {near[0]!r}?" if near else " is no field"


def _parsed(name: str, value: Any) -> Any:
    """A change as the command line gives it: a TOML value, or a plain text."""
    if not isinstance(value, str) or get_type_hints(Recipe).get(name) is str:
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _typed(value: Any, kind: Any) -> Any:
    """``value`` as ``kind``; whole numbers pass as fractions, lists become tuples. TypeError for anything else."""
    parts = get_args(kind)
    if not parts:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise TypeError(f"it must be {'a number' if kind is float else kind.__name__}")
        return value
    if not isinstance(value, list | tuple):
        raise TypeError("it must be a list")
    if parts[-1] is not Ellipsis and len(value) != len(parts):
        raise TypeError(f"it must have {len(parts)} parts")
    kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
    return tuple(_typed(each, one) for each, one in zip(value, kinds, strict=True))


def _ranges(recipe: Recipe) -> list[str]:
    least: dict[str, float] = {"frames": 1, "batch": 1, "micro_batch": 1, "save_every": 1, "keep": 1, "log_every": 1}
    wrong = []
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        low = least.get(field.name, 0)
        if type(value) in (int, float) and not (math.isfinite(value) and low <= value < 1 << 53):
            wrong.append(f"{field.name} = {value}: at least {low}")
    if not recipe.lr > 0:
        wrong.append("lr: above 0")
    if recipe.ema >= 1:
        wrong.append("ema: below 1")
    if min(recipe.size) < 1 or max(recipe.size) > 1 << 13:
        wrong.append(f"size = {list(recipe.size)}: height and width from 1 to 8192")
    return wrong


def _words(recipe: Recipe) -> list[str]:
    wrong = []
    for name, words in {**CHOICES, **DATA}.items():
        value = getattr(recipe, name)
        for word in value if isinstance(value, tuple) else (value,):
            if word not in words:
                near = difflib.get_close_matches(str(word), words, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                wrong.append(f"{name} = {word!r}: {hint}one of {', '.join(words)}")
        if isinstance(value, tuple) and len(set(value)) != len(value):
            wrong.append(f"{name}: a data set stands twice")
    return wrong


def _together(recipe: Recipe) -> list[str]:
    """Fields that do not go together."""
    wrong = []
    if (recipe.epochs > 0) == (recipe.steps > 0):
        wrong.append("epochs and steps: give exactly one of them")
    if recipe.batch % recipe.micro_batch:
        wrong.append(f"batch = {recipe.batch}: not a multiple of micro_batch = {recipe.micro_batch}")
    if list(recipe.drops) != sorted(recipe.drops) or any(lr <= 0 for _, lr in recipe.drops):
        wrong.append("drops: steps must grow and rates be above 0")
    if recipe.mix == "alternate" and not (recipe.images and (recipe.videos or recipe.pseudo)):
        wrong.append("mix = 'alternate': it needs images and videos")
    if recipe.mix == "concat" and recipe.images and (recipe.videos or recipe.pseudo) and recipe.frames > 1:
        wrong.append("images: clips of one frame and of several need mix = 'alternate', or give pseudo")
    if recipe.mix == "alternate" and recipe.total:
        wrong.append("total: a draw of everything needs mix = 'concat'")
    if recipe.precision == "fp16" and recipe.clamp:
        wrong.append("clamp: gradients are scaled under fp16; use bf16")
    if recipe.validate_every and not recipe.benchmark:
        wrong.append("validate_every: it needs a benchmark")
    if recipe.lora_rank and recipe.decoder != "vae":
        wrong.append("lora_rank: heads are trained with the whole denoiser; use decoder = 'vae'")
    return wrong
