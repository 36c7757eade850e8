"""Conformance of the predictors with weights: tiny random models of every family, in one watched process.

Run as a script, ``python test_predictors_models.py FOLDER``, this file is that process: it builds and loads
them all, and then, watched, examines one after the other as test_predictors.py does.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import test_predictors as conformance

from refvps.run import predictors

ROOT = Path(__file__).resolve().parent.parent


def _rem(folder: Path) -> dict[str, Any]:
    from tinymodels import modelscope_folder

    return {"weights": str(modelscope_folder(folder)), "size": 32, "chunk": 4}


def _vdit(folder: Path) -> dict[str, Any]:
    from vdit_tiny import predictor_folder

    return {"base": str(predictor_folder(folder)), "side": 32, "window": 4}


def _vision(kind: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    def build(folder: Path) -> dict[str, Any]:
        import tinyvision

        return {"weights": str(getattr(tinyvision, kind)(folder)), **options}

    return build


def _grounded(folder: Path) -> dict[str, Any]:
    import tinyvision

    weights, detector = tinyvision.sam2(folder / "sam2"), tinyvision.grounding_dino(folder / "detector")
    return {"weights": str(weights), "detector_weights": str(detector), "keyframes": 3}


MODELS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "rem": ("rem.predictor:load", _rem),
    "rem-tiny": ("rem.tiny.predictor:load", lambda folder: {}),
    "vdit": ("baselines.vdit.predictor:load", _vdit),
    "clipseg": ("baselines.clipseg:load", _vision("clipseg", threshold=0.5)),
    "grounded-sam2": ("baselines.grounded_sam2:load", _grounded),
    "sam3": ("baselines.sam3:load", _vision("sam3")),
    "sam3-semantic": ("baselines.sam3:load", _vision("sam3", mode="semantic")),
}
"""Predictor to its loader and to what builds a tiny model of it and says the loader's options."""

HARMLESS: tuple[str, ...] = ()
"""Warnings of other packages' own code, as regular expressions."""


def examined(folder: Path) -> dict[str, Any]:
    """Build, load and examine every model."""
    import torch

    torch.set_num_threads(1)
    loaded, found = {}, {}
    for name, (place, build) in MODELS.items():
        try:
            options = {**build(folder / name), "device": "cpu"}
            loaded[name] = predictors.load(place, **options)
        except Exception as error:
            found[name] = {"problems": [f"loading: {type(error).__name__}: {error}"]}
    accesses: list[str] = []
    conformance.watch(accesses)
    for name, predictor in loaded.items():
        began = time.process_time()
        try:
            found[name] = conformance.examine(predictor, accesses, most=5)
        except Exception as error:
            found[name] = {"problems": [f"{type(error).__name__}: {error}"]}
        print(f"{name}: {time.process_time() - began:.1f} s", file=sys.stderr, flush=True)
    return found


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the watched process found, by predictor."""
    for module in ("torch", "diffusers", "transformers"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("models")
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_tiny_model_conforms(name: str, reports: dict[str, Any]) -> None:
    report = reports[name]
    assert report["problems"] == []
    assert any(0 < fraction < 1 for fraction in report["fractions"]), "neither all nor nothing: or nothing is tested"
    assert report["method"]["name"].startswith(name.removesuffix("-semantic"))


@pytest.mark.parametrize("place", sorted({place for place, _ in MODELS.values()}))
def test_what_moves_a_pixel_is_declared(place: str, reports: dict[str, Any]) -> None:
    """--dtype reaches the run key through the options of the method."""
    module, _, attribute = place.partition(":")
    loader = getattr(import_module(module), attribute)
    assert {"weights", "device", "dtype"} <= set(inspect.signature(loader).parameters)
    for name in [name for name, (other, _) in MODELS.items() if other == place]:
        assert any("dtype" in key or key in ("precision", "autocast") for key in reports[name]["method"]["options"])


if __name__ == "__main__":
    warnings.simplefilter("error")
    for pattern in HARMLESS:
        warnings.filterwarnings("ignore", message=pattern)
    print(json.dumps(examined(Path(sys.argv[1]))))
