"""Checkpoints of VD-IT: the trained part and RoBERTa as one safetensors file, and the official one turned into it.

The official file holds everything, ten gigabytes of frozen public weights and several names for the same tensor; a
table says what becomes of every key. It is read without executing anything in it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.vdit.model import VdIt, VdItConfig
from refvps.errors import InputError, UsageError
from rem.checkpoints import load_strict, read_archive

SCHEMA = "baselines.vdit.head/1"
MAX_HEADER_BYTES = 16 << 20

_LAYERS = r"backbone\.0\.diff_ftex\."
RULES: tuple[tuple[str, str | None, str], ...] = (
    (r"(query_tensors|query_embed\.weight)", r"\1", ""),
    (r"text_encoder\.text_backbone\.embeddings\.position_ids", None, "counters"),
    (r"text_encoder\.text_backbone\.(.+)", r"roberta.\1", ""),
    (r"((?:text_proj|input_proj|class_embed|bbox_embed|controller|mask_refine|fusion_module)\..+)", r"\1", ""),
    (r"sentence_proj\..+", None, "unused layers"),
    (r"transformer\.decoder\.bbox_embed\.(.+)", None, "alias:bbox_embed.\\1"),
    (r"(transformer\..+)", r"\1", ""),
    (_LAYERS + r"((?:projection|cross_attn|noise_pred|noise_fc|act_postprocess)\..+)", r"backbone.\1", ""),
    (_LAYERS + r"act_([1-4])_postprocess\.(.+)", None, "alias:backbone.act_postprocess.\\1.\\2"),
    (_LAYERS + r"(unet|vae|text_encoder|cv_model)\..+", None, "frozen \\1"),
    (r"(?:.+\.)?total_(?:ops|params)", None, "counters"),
)
"""Pattern of an official key, its name here or None where it is dropped, and why: the first that fits whole counts.

"alias:" names the key that must hold the same numbers; ``act_1_postprocess`` is number 0 of the list.
"""


@dataclass(frozen=True)
class Conversion:
    """``state``: tensors by their names here; ``dropped``: how many keys were left out, by reason."""

    state: dict[str, Tensor]
    dropped: dict[str, int]


def convert_state(official: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of an official checkpoint by :data:`RULES`.

    The prefix ``module.`` that a wrapped model leaves is taken off where every key has it. Raises
    :class:`~refvps.errors.InputError` for a key that no rule knows, and for an alias that differs from its original.
    """
    wrapped = [key.startswith("module.") for key in official]
    if any(wrapped) and not all(wrapped):
        mixed = [key for key in official if not key.startswith("module.")]
        raise InputError("Some keys of a checkpoint start with 'module.' and some do not.", where=mixed)
    keys = {key.removeprefix("module.") if all(wrapped) else key: value for key, value in official.items()}
    state: dict[str, Tensor] = {}
    aliases: dict[str, tuple[str, Tensor]] = {}
    dropped: Counter[str] = Counter()
    unknown = []
    for key, value in keys.items():
        fitting = ((found, rule) for rule in RULES if (found := re.fullmatch(rule[0], key)))
        found, (_, name, reason) = next(fitting, (None, ("", None, "")))
        if found is None:
            unknown.append(key)
        elif name is not None:
            state[found.expand(name)] = value
        elif reason.startswith("alias:"):
            aliases[key] = (_counted_from_0(found.expand(reason.removeprefix("alias:"))), value)
            dropped["aliases"] += 1
        else:
            dropped[found.expand(reason)] += 1
    if unknown:
        raise InputError(
            "A checkpoint holds keys that VD-IT does not have.", where=unknown, fix="give an official VD-IT checkpoint"
        )
    odd = [key for key, (name, value) in aliases.items() if name not in state or not torch.equal(state[name], value)]
    if odd:
        raise InputError("Two names of one tensor hold different numbers in a checkpoint.", where=odd)
    return Conversion(state, dict(dropped))


def _counted_from_0(name: str) -> str:
    return re.sub(r"(act_postprocess\.)(\d)", lambda found: f"{found[1]}{int(found[2]) - 1}", name)


def read_official(path: str | Path) -> Conversion:
    """Read and rename an official ``.pth`` (``{'model': ..., ...}``, or the table itself).

    Raises :class:`~refvps.errors.InputError` for any other file, having executed nothing of it.
    """
    fix = "give the official VD-IT checkpoint, or its conversion"
    content = read_archive(path, also=("collections.Counter",), fix=fix)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InputError("A checkpoint has no table of tensors 'model'.", where=[str(path)], fix=fix)
    return convert_state(state)


def write_head(model: VdIt, path: Path) -> None:
    """Write the trained part and RoBERTa, with the sizes, as safetensors; atomic."""
    write_state({key: value.detach() for key, value in model.state_dict().items()}, model.config, path)


def write_state(state: Mapping[str, Tensor], config: VdItConfig, path: Path) -> None:
    """Write tensors by their names here with their ``config``; atomic."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    about = {"schema": SCHEMA, "config": json.dumps(asdict(config), sort_keys=True)}
    try:
        save_file({key: value.cpu().contiguous() for key, value in state.items()}, temporary, metadata=about)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_head(path: str | Path) -> tuple[dict[str, Tensor], VdItConfig]:
    """Tensors and sizes of a file of :func:`write_head`; raises InputError for any other."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            about = stream.metadata() or {}
            if about.get("schema") != SCHEMA:
                raise ValueError(f"its schema is {about.get('schema')!r}, not {SCHEMA!r}")
            config = _read_config(about["config"])
            return {key: stream.get_tensor(key) for key in stream.keys()}, config
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError, UsageError) as error:
        raise InputError(
            "A file is not a trained VD-IT.", where=[f"{path}: {error}"[:300]], fix="give a file this package wrote"
        ) from error


def _read_config(text: str) -> VdItConfig:
    values: dict[str, Any] = json.loads(text)
    values["unet"] = tuple(values["unet"])
    values["pyramid"] = tuple((int(a), int(b)) for a, b in values["pyramid"])
    return VdItConfig(**values)


def load_head(model: VdIt, state: Mapping[str, Tensor], where: str) -> None:
    """Load every tensor and nothing but; raises InputError listing missing, unexpected and mis-shaped keys."""
    load_strict(model, state, where)
