"""Checkpoints of the denoiser, read without running anything in them and loaded without a key to spare.

Three kinds are read: safetensors (a file, or a folder in diffusers' layout, sharded or not) and the two official
``.pth`` layouts, which are pickles in a zip. ModelScope's is ``{'unet', 'optimizer', 'epoch', 'args'}``, Wan's
``{'model_state', 'optimizer', 'epoch', 'iteration', 'args'}`` with the keys ``backbone.dit.*`` and
``backbone.vae.*``; ``args`` is an ``argparse.Namespace`` and may hold numpy scalars. Everything else is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import pickletools
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refvps.errors import InputError

MAX_PICKLE_BYTES = 64 << 20
"""Largest table of contents of a ``.pth`` file; the official ones need less than 2 MB."""
MAX_INDEX_BYTES = 16 << 20
"""Largest index of a sharded safetensors checkpoint."""

CODES = {"f2": "e", "f4": "f", "f8": "d", "b1": "?"} | {f"{kind}{2**k}": letter for kind, letters in
         (("i", "bhiq"), ("u", "BHIQ")) for k, letter in enumerate(letters)}  # fmt: skip
"""Codes of numpy's number types and of :mod:`struct`."""

ALLOWED = frozenset(
    [
        *("collections.OrderedDict", "_codecs.encode", "argparse.Namespace", "torch.device", "torch.Size"),
        *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "numpy.dtype"),
        *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        *("torch.float32", "torch.float16", "torch.bfloat16", "torch.float64"),
        *(f"torch.{kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double")),
        *(f"torch.{kind}Storage" for kind in ("Long", "Int", "Short", "Char", "Byte", "Bool")),
    ]
)
"""Every name a ``.pth`` file may ask for; the two of numpy are answered by stand-ins that only make numbers."""

FOLDERS = ("unet", "transformer")
"""Subfolders of a denoiser in diffusers' layout."""
FILE = "diffusion_pytorch_model.safetensors"
TRAINED = "denoiser.safetensors"
"""What a checkpoint of ``rem train`` calls the same."""
HEAD = "decoder.safetensors"
"""What lies beside it where a mask head was trained."""
_STEP = re.compile(r"step-\d{8}")
_FIX = "use an official REM checkpoint, its conversion by 'rem convert', or a file written by 'rem train'"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of a denoiser.

    ``layout`` is modelscope, wan or safetensors; ``state`` maps the denoiser's keys to tensors, mapped from the file
    where possible; ``dropped`` counts what was left out by the part it belongs to; ``about`` holds the numbers and
    ``args`` that came along, as JSON values.
    """

    layout: str
    state: dict[str, Tensor]
    dropped: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


class _NumpyDtype:
    """Stands in for ``numpy.dtype``: the code of a number type and its byte order, nothing else."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if code not in CODES:
            raise ValueError(f"a numpy value of type {code!r:.40}")
        self.order, self.code = "<", code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("a numpy type of unknown byte order")
        self.order = ">" if state[1] == ">" else "<"


def _numpy_scalar(dtype: _NumpyDtype, data: bytes) -> float | int | bool:
    """Stands in for numpy's scalar constructor: the number as Python's own."""
    (number,) = struct.unpack(dtype.order + CODES[dtype.code], data)
    return number  # type: ignore[no-any-return]


_STAND_INS = [
    argparse.Namespace,
    (_NumpyDtype, "numpy.dtype"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
]


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file; of a folder, of the sorted "digest  name" lines of its safetensors files.

    Of a checkpoint of ``rem train`` the denoiser alone counts, not the state of the optimiser beside it.
    """
    place = denoiser_place(Path(path))
    if (place / TRAINED).is_file():
        place = place / TRAINED
    if place.is_dir():
        files = sorted(place.rglob("*.safetensors"))
        lines = "".join(f"{sha256_of(file)}  {file.relative_to(place).as_posix()}\n" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with open(place, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def snapshots(out: Path) -> list[Path]:
    """Folders of the complete checkpoints of a run of ``rem train``, oldest first."""
    folder = out / "checkpoints"
    found = [path for path in folder.iterdir() if _STEP.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found)


def denoiser_place(place: Path) -> Path:
    """Where the denoiser lies: for the ``out`` of a run of ``rem train`` its newest checkpoint, else ``place``."""
    found = snapshots(place)
    return found[-1] if found else place


def read_state(path: str | Path, *, prefix: str = "auto") -> dict[str, Tensor]:
    """The denoiser's tensors in a checkpoint, by key; see :func:`read_checkpoint`."""
    return read_checkpoint(path, prefix=prefix).state


def read_checkpoint(path: str | Path, *, prefix: str = "auto") -> Checkpoint:
    """Read a safetensors file or folder, or an official ``.pth``.

    ``prefix`` is cut off the keys, and keys without it are dropped; "auto" is what the layout says. Raises
    :class:`~refvps.errors.InputError` for anything else, having executed nothing.
    """
    place = denoiser_place(Path(path))
    if not place.exists():
        raise InputError("There is no such checkpoint.", where=[str(place)], fix="check the path")
    head = (place if place.is_dir() else place.parent) / HEAD
    if head.is_file() and (place.is_dir() or place.name == TRAINED):
        raise InputError(
            "This denoiser was trained with a mask head, whose scores only rem train gives (validate_every).",
            where=[str(head)],
            fix="use weights trained with decoder = 'vae': no autoencoder can read what this one puts out",
        )
    if place.is_dir():
        return _kept("safetensors", _read_folder(place), prefix, {})
    if not place.is_file():
        raise InputError("A checkpoint is not a file.", where=[str(place)], fix=_FIX)
    if place.suffix == ".safetensors":
        return _kept("safetensors", _read_safetensors(place), prefix, {})
    return _read_official(place, prefix)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load ``state`` into ``module``, every key and nothing but.

    A module on the meta device takes the tensors over as they are, any other copies them into its own dtype and
    device. ``where`` names the source in the message. Raises :class:`~refvps.errors.InputError` that lists keys that
    are missing, unexpected, of another shape or not floating point, the first three of each; the module is then
    unchanged.
    """
    expected = {key: value.shape for key, value in module.state_dict().items()}
    common = [key for key in expected if key in state]
    wrong = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(expected[key])}"
            for key in common
            if state[key].shape != expected[key]
        ],
        "not floating point": [f"{key} {state[key].dtype}" for key in common if not state[key].is_floating_point()],
    }
    found = {kind: keys for kind, keys in wrong.items() if keys}
    if found:
        counts = ", ".join(f"{len(keys):,} {kind}" for kind, keys in found.items())
        lines = [
            f"{kind}: {', '.join(keys[:3])}" + (f" and {len(keys) - 3:,} more" if len(keys) > 3 else "")
            for kind, keys in found.items()
        ]
        raise InputError(
            f"The checkpoint does not fit the network: of {len(expected):,} keys {counts} ({where}).",
            where=["\n     ".join(lines)],
            fix="give the checkpoint of this backbone, or the --backbone or --config of this checkpoint",
        )
    meta = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(dict(state), strict=True, assign=meta)


def _kept(layout: str, state: dict[str, Tensor], prefix: str, about: dict[str, Any]) -> Checkpoint:
    """The denoiser's share of ``state``."""
    cut = prefix
    if prefix == "auto":
        wan = layout == "wan" or any(key.startswith("backbone.dit.") for key in state)
        cut = "backbone.dit." if wan else ""
    kept = {key.removeprefix(cut): value for key, value in state.items() if key.startswith(cut)}
    left = [key for key in state if not key.startswith(cut)]
    others = [key for key in left if not key.startswith(("backbone.vae.", "backbone.text_encoder."))]
    if prefix == "auto" and others:
        raise InputError(
            "A checkpoint holds keys of no known part.", where=others, fix="expected backbone.dit.*, backbone.vae.*"
        )
    if not kept:
        raise InputError("A checkpoint holds no tensor of the denoiser.", where=[f"prefix {cut!r}"], fix=_FIX)
    return Checkpoint(layout, kept, dict(Counter(".".join(key.split(".")[:2]) for key in left)), about)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            "A safetensors file cannot be read.", where=[f"{path}: {str(error)[:200]}"], fix="copy or download it again"
        ) from error


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """Tensors of a denoiser's folder, of the denoiser in a model's folder, or of a training checkpoint."""
    inner = [folder / name for name in FOLDERS if (folder / name).is_dir()]
    for place in [folder, *inner]:
        for name in (FILE, TRAINED):
            if (place / name).is_file():
                return _read_safetensors(place / name)
        if (place / f"{FILE}.index.json").is_file():
            return _read_shards(place, place / f"{FILE}.index.json")
    raise InputError(
        "A folder holds no denoiser in safetensors.", where=[str(folder)], fix=f"expected {FILE} there or in unet/"
    )


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError("it is too large")
        places = json.loads(index.read_bytes())["weight_map"]
        names = sorted(set(places.values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it names a file outside its folder")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            "The index of a checkpoint is not usable.", where=[f"{index}: {str(error)[:200]}"], fix="copy it again"
        ) from error
    found: dict[str, Tensor] = {}
    for name in names:
        found.update(_read_safetensors(folder / name))
    if set(found) != set(places):
        odd = sorted(set(found) ^ set(places))
        raise InputError("The shards of a checkpoint differ from its index.", where=odd, fix="copy all files again")
    return found


def read_archive(path: str | Path, *, also: Collection[str] = (), fix: str = _FIX) -> Any:
    """The content of a ``.pth`` archive, after two looks at it that execute nothing.

    ``also`` are names the file may ask for beside :data:`ALLOWED`, all of which torch's own ``weights_only`` loader
    must know; ``fix`` is what an error advises. Raises :class:`~refvps.errors.InputError` for anything else.
    """
    path = Path(path)
    _check_archive(path, ALLOWED | set(also), fix)
    # A hostile file can fail in as many ways as the unpickler has lines; each of them is the file's fault.
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            outline = torch.load(path, map_location="meta", weights_only=True)
            _check_size(outline, path, fix)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise InputError("A checkpoint cannot be read.", where=[f"{path}: {reason}"], fix=fix) from error


def _read_official(path: Path, prefix: str) -> Checkpoint:
    """Read one of the official layouts."""
    content = read_archive(path)
    keys = [key for key in content if isinstance(key, str)] if isinstance(content, dict) else []
    kinds = [layout for layout, part in (("modelscope", "unet"), ("wan", "model_state")) if part in keys]
    if len(kinds) != 1:
        has = ", ".join(repr(key) for key in keys[:6]) or type(content).__name__
        raise InputError(
            "A checkpoint has neither of the official layouts ('unet' or 'model_state').",
            where=[f"{path}: it holds {has}"],
            fix=_FIX,
        )
    part = {"modelscope": "unet", "wan": "model_state"}[kinds[0]]
    state = content[part]
    if not isinstance(state, dict) or not all(isinstance(k, str) and type(v) is Tensor for k, v in state.items()):
        raise InputError(f"In a checkpoint, {part!r} is not a table of tensors.", where=[str(path)], fix=_FIX)
    about = {key: plain(content[key]) for key in keys if key not in (part, "optimizer")}
    found = _kept(kinds[0], state, prefix, about)
    dropped = found.dropped | ({"optimizer": 1} if "optimizer" in keys else {})
    return Checkpoint(found.layout, found.state, dropped, found.about)


def plain(value: Any) -> Any:
    """A value of ``args`` as JSON: numbers, texts, flat lists and tables; anything else by the name of its type."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {str(key): _plain_item(item) for key, item in value.items()}
    return _plain_item(value)


def _plain_item(value: Any) -> Any:
    if isinstance(value, list | tuple):  # one level: deeper ones can refer to each other without end
        return [_plain_number(item) for item in value]
    return _plain_number(value)


def _plain_number(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return f"<{type(value).__name__}>"


def _check_archive(path: Path, allowed: frozenset[str], fix: str) -> None:
    """Refuse what is not a plain torch archive, or asks for a name that is not allowed."""
    try:
        with open(path, "rb") as start, zipfile.ZipFile(path) as archive:
            if start.read(4) != b"PK\x03\x04":  # torch would read what comes before the archive instead
                raise ValueError("something stands before the archive")
            members = archive.infolist()
            packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
            tables = [m for m in members if m.filename.count("/") == 1 and m.filename.endswith("/data.pkl")]
            script = [m.filename for m in members if "/code/" in m.filename or m.filename.endswith("/constants.pkl")]
            if script:
                raise InputError("A checkpoint is a TorchScript program.", where=[f"{path}: {script[0]}"], fix=fix)
            if packed or len(tables) != 1 or tables[0].file_size > MAX_PICKLE_BYTES:
                raise InputError(
                    "A checkpoint is not a plain torch archive.",
                    where=[f"{path}: one stored data.pkl of at most {MAX_PICKLE_BYTES >> 20} MB expected"],
                    fix=fix,
                )
            table = archive.read(tables[0])
        wanted = set(_names(table))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            "A checkpoint is not a whole torch archive.",
            where=[f"{path}: {str(error)[:200] or type(error).__name__}"],
            fix="download or copy it again",
        ) from error
    if wanted - allowed:
        raise InputError(
            "A checkpoint asks for Python objects that it should not need; nothing of it was executed.",
            where=[f"{path}: {name}" for name in sorted(wanted - allowed)],
            fix=fix,
        )


def _names(table: bytes) -> Iterator[str]:
    """Names that a pickle asks for; the walk builds no object."""
    for operation, argument, _ in pickletools.genops(table):
        if operation.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif operation.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            yield f"a name hidden behind {operation.name}"


def _check_size(outline: Any, path: Path, fix: str) -> None:
    """Refuse tensors that claim more bytes than the file has; ``outline`` is on the meta device."""
    size, seen, waiting = path.stat().st_size, set[int](), [outline]
    total = 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
            if total > size:
                raise InputError(
                    "A checkpoint declares tensors larger than its file.",
                    where=[f"{path}: {list(value.shape)} {value.dtype}"],
                    fix=fix,
                )
        elif isinstance(value, argparse.Namespace):
            waiting.append(vars(value))
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
