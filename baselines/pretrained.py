"""Checkpoints of transformers: found on this machine, read strictly, named by their hash.

Nothing is downloaded: a checkpoint that is not here is a DataMissingError with the command that gets it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from refvps.errors import DataMissingError, InputError, UsageError

LOG = logging.getLogger("baselines")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: repository on the Hugging Face hub, licence and download size.

    ``gated`` ones are handed out by their owner, on request.
    """

    repo: str
    licence: str
    size: str
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint on this machine: its folder, the SHA-256 of its tensors' files, and repository@commit (or "")."""

    folder: Path
    sha256: str
    origin: str


def find(weights: str | None, published: Checkpoint, revision: str | None = None) -> Weights:
    """The checkpoint ``weights``: a folder, or a repository that was downloaded before; None is ``published``.

    ``revision`` pins a commit, tag or branch of the repository. Raises DataMissingError with the steps when it
    is not on this machine, UsageError for a revision of a folder.
    """
    if weights is not None and Path(weights).is_dir():
        if revision is not None:
            raise UsageError("A folder of weights has no revision.", where=[str(weights)], fix="leave revision out")
        return _checked(Path(weights), "", published)
    repo = weights or published.repo
    if weights is not None and (repo.count("/") != 1 or repo.startswith((".", "/", "~"))):
        raise DataMissingError(
            "The folder of weights is not there.", where=[repo], fix=f"name a folder, or get {_steps(published, None)}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        known = published if repo == published.repo else Checkpoint(repo, "see its card", "size unknown")
        raise DataMissingError(
            "The weights are not on this machine.",
            where=[repo + (f" at revision {revision}" if revision else "")],
            fix=_steps(known, revision),
        ) from error
    return _checked(folder, f"{repo}@{folder.name}", published)


def _steps(published: Checkpoint, revision: str | None) -> str:
    pinned = f" --revision {revision}" if revision else ""
    files = "--include '*.json' --include '*.txt' --include '*.safetensors'"
    command = f"hf download {published.repo}{pinned} {files}   ({published.size}, licence: {published.licence})"
    if not published.gated:
        return command
    return (
        f"these weights are gated: 1. ask for access at https://huggingface.co/{published.repo} "
        f"2. hf auth login 3. {command}"
    )


def _checked(folder: Path, origin: str, published: Checkpoint) -> Weights:
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        raise DataMissingError(
            "A folder of weights lacks config.json or *.safetensors.",
            where=[str(folder)],
            fix=f"get {_steps(published, None)}",
        )
    digests = [_sha256(file) for file in files]
    together = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    single = digests[0] if len(files) == 1 else hashlib.sha256(together.encode()).hexdigest()
    return Weights(folder, single, origin)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(kind: Any, weights: Weights, device: torch.device, model_type: str) -> Any:
    """A model of class ``kind`` in float32 on ``device``, for inference; ``model_type`` is what its config says.

    Raises InputError when the file's tensors are not exactly the model's, naming the first keys.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        found = json.loads((weights.folder / "config.json").read_text("utf-8"))["model_type"]
        if found != model_type:  # or a wrong folder would first be built at full size, then refused
            raise ValueError(f"it is a {found!r}, not a {model_type!r}")
        model, info = kind.from_pretrained(
            weights.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError, StrictDataclassError) as error:
        raise InputError(
            "The weights cannot be read.",
            where=[f"{weights.folder}: {type(error).__name__}: {error}"[:400]],
            fix=f"use a checkpoint of {kind.__name__}",
        ) from error
    wrong = [
        f"{weights.folder}: {name.replace('_', ' ')[:-1]} {key}"
        for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in sorted(map(str, info[name]))
    ]
    if wrong or info["error_msgs"]:
        raise InputError(
            "The weights do not fit the model.",
            where=wrong or [str(message)[:300] for message in info["error_msgs"]],
            fix=f"use a complete checkpoint of {kind.__name__}",
        )
    return model.to(device).eval().requires_grad_(False)


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer of class ``kind``; raises InputError when its vocabulary is not in ``folder``.

    Without one, transformers makes a tokenizer of a handful of tokens and says nothing: every text would read the same.
    """
    names = dict(kind.vocab_files_names)
    whole = names.pop("tokenizer_file", "tokenizer.json")
    lacking = [] if (folder / whole).is_file() else [n for n in names.values() if not (folder / n).is_file()]
    try:
        if lacking:
            raise FileNotFoundError(f"there is no {' and no '.join(lacking)}, nor {whole}")
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises nothing more special
        raise InputError(
            "The tokenizer cannot be read.",
            where=[f"{folder}: {error}"[:400]],
            fix="download the whole repository, not only its weights",
        ) from error


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a checkpoint wants its images: ``size`` as its file has it, mean and standard deviation per channel."""

    size: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def preparation(weights: Weights) -> Preparation:
    """The image settings that lie beside the weights; raises InputError when there are none."""
    path = weights.folder / "preprocessor_config.json"
    nested = weights.folder / "processor_config.json"
    try:
        if path.is_file() or not nested.is_file():
            found = json.loads(path.read_text("utf-8"))
        else:
            found = json.loads(nested.read_text("utf-8"))["image_processor"]
        size = found["size"]
        sides = {"height": size, "width": size} if isinstance(size, int) else {k: int(v) for k, v in size.items() if v}
        mean, std = (tuple(map(float, found[key])) for key in ("image_mean", "image_std"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not all(0 < side <= 1 << 14 for side in sides.values()):
            raise ValueError("impossible sizes or channels")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            "The image settings of a checkpoint cannot be read.",
            where=[f"{path}: {type(error).__name__}: {error}"[:300]],
            fix="download the whole repository, with its *.json",
        ) from error
    return Preparation(sides, mean, std)


def shortened(text: str, tokenizer: Any, limit: int, notes: Counter[str], end: str = "") -> str:
    """``text`` + ``end``, with as many last words left out as it takes to fit into ``limit`` tokens.

    A cut is logged as a warning and counted in ``notes["texts cut"]``. A single word that is too long stays, for
    the tokenizer to cut.
    """
    words = text.split()

    def fits(count: int) -> bool:
        return len(tokenizer(" ".join(words[:count]) + end, verbose=False)["input_ids"]) <= limit

    if fits(len(words)):
        return text.strip() + end
    low, high = 1, len(words)  # the most words that fit lie in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    kept = " ".join(words[:low]) + end
    notes["texts cut"] += 1
    LOG.warning("only the first %d of %d words fit into %d tokens: %r", low, len(words), limit, kept[:200])
    return kept


def place(device: str | None) -> torch.device:
    """The device of that name; None is the GPU where there is one, else the CPU. Raises UsageError for others."""
    gpus = torch.cuda.device_count()
    try:
        found = torch.device(device or ("cuda" if gpus else "cpu"))
    except RuntimeError as error:
        raise UsageError("There is no such device.", where=[str(device)], fix="use cpu, cuda or cuda:1") from error
    if found.type == "cuda" and (found.index or 0) >= gpus:
        raise UsageError("There is no such device.", where=[f"{device}: torch sees {gpus} GPUs"], fix="use cpu")
    return found


def precision(device: torch.device, dtype: str | None) -> torch.autocast:
    """The context in which a model runs: float32 (None), or autocast to bfloat16 or float16.

    The weights stay float32 either way: casting them is known to hurt SAM's masks (transformers #46493).
    """
    kinds = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if (dtype or "fp32") not in kinds:
        raise UsageError("There is no such dtype.", where=[str(dtype)], fix=f"use {', '.join(kinds)}")
    kind = kinds[dtype or "fp32"]
    return torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)


def fraction(name: str, value: object) -> float:
    """``value`` if it lies in [0, 1); raises UsageError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UsageError(f"{name} must be a number from 0 to below 1.", where=[repr(value)])
    return float(value)


def count(name: str, value: object) -> int:
    """``value`` if it is a whole number from 1 to 4096; raises UsageError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise UsageError(f"{name} must be a whole number from 1 to 4096.", where=[repr(value)])
    return value
