"""Mutation checks: the tests go red when a rule that moves a number is altered (decisions.md, 31)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MUTANTS = {
    "empty union scores 0": (
        "metrics/region.py",
        "np.ones(union.shape",
        "np.zeros(union.shape",
        "test_metrics.py",
        "perfect_and_empty",
    ),
    "union forgets Ignore": (
        "metrics/region.py",
        "pg, p - pi + g - pg",
        "pg, p + g - pg",
        "test_metrics.py",
        "all_ignore",
    ),
    "target in Ignore counts": (
        "metrics/region.py",
        "target = target & ~ignore",
        "target = target",
        "test_metrics.py",
        "equal_the_oracle",
    ),
    "recall is not strict": (
        "metrics/region.py",
        "values > threshold",
        "values >= threshold",
        "test_metrics.py",
        "recall_is_strict",
    ),
    "decay wraps": (
        "metrics/region.py",
        ").astype(np.int64)\n    first",
        ").astype(np.uint8)\n    first",
        "test_metrics.py",
        "decay",
    ),
    "TC is signed": (
        "metrics/temporal.py",
        "mean(np.abs(np.diff(values)))",
        "mean(np.diff(values))",
        "test_metrics.py",
        "temporal",
    ),
    "missing scores as empty": (
        "metrics/catalogue.py",
        "values[self.missing] = 0.0",
        "pass",
        "test_metrics.py",
        "missing",
    ),
    "F matches without tolerance": (
        "metrics/boundary.py",
        "radius * radius - dy * dy",
        "0",
        "test_metrics.py",
        "equal_the_oracle",
    ),
    "the scorer forgets Ignore": (
        "run/count.py",
        "np.stack([target.bits(), ignore.bits()])",
        "np.stack([target.bits(), target.bits()])",
        "test_incumbents.py",
        "pumavos or arbitrary",
    ),
    "RLE forgets Ignore": (
        "run/count.py",
        "on_ignore = inter[:, 1]",
        "on_ignore = inter[:, 0]",
        "test_incumbents.py",
        "arbitrary",
    ),
    "expressions are not averaged first": (
        "run/score.py",
        'get(average, "")',
        "get(average, row.expression)",
        "test_score.py",
        "frame_expression_clip",
    ),
    "groups are ignored": (
        "stats.py",
        "np.array([names[g] for g in groups]",
        "np.array(list(range(len(groups)))",
        "test_stats.py",
        "clusters",
    ),
    "TC survives missing frames": (
        "run/score.py",
        "needs_complete and any(",
        "needs_complete and not any(",
        "test_score.py",
        "missing",
    ),
    "merge takes doubles": ("run/counts.py", "if len(double):", "if False:", "test_counts.py", "merging"),
}

MUTANTS["frames are joined by position"] = (
    "predictions/join.py",
    "{index[stem]: name for stem, name in files.items() if stem in index}",
    "dict(enumerate(files.values()))",
    "test_broken.py",
    "joined_by_name",
)


def outcome(tmp_path: Path, place: str, old: str, new: str, tests: str, chosen: str) -> int:
    """Exit code of the chosen tests over a copy of the package with one change."""
    package = tmp_path / "refvps"
    shutil.copytree(ROOT / "refvps", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "annotations").symlink_to(ROOT / "annotations")
    path = package / place
    text = path.read_text()
    assert old in text, f"{place} no longer holds {old!r}: adapt the mutant"
    path.write_text(text.replace(old, new))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        str(ROOT / "tests" / tests),
        "-k",
        chosen,
    ]
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    probe = [sys.executable, "-c", "import refvps; print(refvps.__file__)"]
    assert (
        str(package) in subprocess.run(probe, env=env, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    )
    return subprocess.run(command, env=env, capture_output=True, cwd=tmp_path).returncode


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(tmp_path, name):
    assert outcome(tmp_path, *MUTANTS[name]) == 1  # 1: tests failed; not 2 or 5, nothing ran


def test_the_unchanged_copy_passes(tmp_path):
    assert outcome(tmp_path, "stats.py", "def mean", "def mean", "test_stats.py", "clusters or constant") == 0
