"""The wheel, the sdist and an editable install: by plain pip, in an empty environment, without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command, cwd, env=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Wheel and sdist, built as a user would."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="session")
def empty_environment(tmp_path_factory, built):
    """A virtual environment with the wheel and nothing else; pip takes the pinned versions."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder / "v", cwd=folder)
    python = folder / "v" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return python


def clean_env(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REFVPS"))}
    return {**env, "REFVPS_HOME": str(tmp_path / "home")}


def test_the_wheel_predicts_and_scores_without_the_checkout(empty_environment, tmp_path):
    refvps = empty_environment.parent / "refvps"
    env = clean_env(tmp_path)
    run(refvps, "predict", "-p", "centre", "-b", "sample", "--out", "preds", cwd=tmp_path, env=env)
    text = run(refvps, "evaluate", "--pred", "preds", "-b", "sample", "--json", cwd=tmp_path, env=env)
    found = json.loads(text)["summary"]["J"]["value"]
    (tmp_path / "here").mkdir()
    here = [
        sys.executable,
        "-m",
        "refvps",
        "evaluate",
        "--pred",
        tmp_path / "preds",
        "-b",
        "sample",
        "--json",
        "--method",
        "centre",
    ]
    again = run(*here, cwd=tmp_path / "here", env={**env, "PYTHONPATH": str(ROOT)})
    assert json.loads(again)["summary"]["J"]["value"] == found
    code = "import refvps.home as h, refvps; print(refvps.__file__, h.annotations())"
    places = run(empty_environment, "-c", code, cwd=tmp_path, env=env)
    assert str(ROOT) not in places
    assert places.count("site-packages") == 2


def test_the_core_has_no_torch_and_entry_points_work(empty_environment, tmp_path):
    probe = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('torchvision'))"
    assert run(empty_environment, "-c", probe, cwd=tmp_path).split() == ["None", "None"]
    listed = json.loads(run(empty_environment.parent / "refvps", "list", "predictors", "--json", cwd=tmp_path))
    assert {"empty", "full", "centre", "motion"} <= {row["name"] for row in listed}
    run(empty_environment, "-m", "pip", "check", cwd=tmp_path)  # fails when versions clash
    for name in ("rem", "baselines", "refvps-rem", "refvps-baselines"):
        assert "Usage: " in run(empty_environment.parent / name, "--help", cwd=tmp_path)
    command = [empty_environment.parent / "refvps", "predict", "-p", "rem-tiny", "-b", "sample", "--out", "preds"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_env(tmp_path), capture_output=True, text=True)
    assert (done.returncode, 'pip install "refvps[rem]"' in done.stderr) == (3, True), done.stderr


def test_annotations_are_in_the_wheel_and_in_the_sdist(built):
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    wanted = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "annotations").rglob("*") if path.is_file())
    names = zipfile.ZipFile(wheel).namelist()
    assert [f"refvps/{name}" for name in wanted if f"refvps/{name}" not in names] == []
    for name in ("refvps/py.typed", "refvps/run/results-1.json", "refvps/data/schemas/clips.json"):
        assert name in names
    assert not [name for name in names if name.startswith(("tests/", "annotations/"))]
    for package in ("rem", "baselines"):  # code, recipes, the weights of rem-tiny, the op for published methods
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert [str(path.relative_to(ROOT)) for path in files if str(path.relative_to(ROOT)) not in names] == []
    assert "rem/tiny/weights/model/unet/config.json" in names
    assert wheel.stat().st_size < 5_000_000
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {*wanted, "tests/conftest.py", "CITATION.cff", "LICENSE", "constraints.txt"} <= inside


def test_an_editable_install_finds_the_annotations(empty_environment, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "v", cwd=tmp_path)
    python = tmp_path / "v" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT, cwd=tmp_path)
    code = "import refvps.home as h; print(h.annotations())"
    assert run(python, "-c", code, cwd=tmp_path, env=clean_env(tmp_path)).strip() == str(ROOT / "annotations")


def test_constraints_pin_every_requirement():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in [
        *project["dependencies"],
        *extras["video"],
        *extras["protocols"],
        *extras["fast"],
        *extras["rem"],
    ]:
        name = requirement.split(">=")[0].replace("_", "-").lower()
        assert name in {pin.replace("_", "-").lower() for pin in pins}, requirement
    assert pins["torch"] == "2.13.0"
    assert "torchvision" not in pins
