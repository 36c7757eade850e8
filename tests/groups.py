"""Runs the test suite in groups and prints the time of each; exit code 1 when any group fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent

FILES = {
    "masks": ["test_masks_*.py"],
    "predictions": ["test_archive.py", "test_predictions*.py", "test_validate.py", "test_broken.py"],
    "data": [
        *("test_data.py", "test_folder.py", "test_benchmarks.py", "test_sample.py", "test_importers.py"),
        *("test_burst.py", "test_vspw.py", "test_expressions.py", "test_rem_trees.py", "test_the_class.py"),
        *("test_hidden.py", "test_ytvis.py", "test_export.py", "test_layouts_page.py"),
    ],
    "download": [
        *("test_download.py", "test_fetch.py", "test_hub.py"),
        *("test_store.py", "test_layouts.py", "test_register.py"),
    ],
    "frames": ["test_ticks.py", "test_source.py", "test_fingerprint.py", "test_extract*.py", "test_curate*.py"],
    "lists": ["test_manifest*.py", "test_statistics.py", "test_purge.py"],
    "predict": [
        "test_sanity.py",
        "test_predict*.py",
        "test_video.py",
        "test_sheet.py",
        "test_overlay*.py",
        "test_notebook.py",
    ],
    "incumbents": ["test_incumbents*.py", "test_protocols*.py", "test_refdavis.py"],
    "cli": ["test_cli*.py", "test_docs.py", "test_kill.py", "test_startup.py", "test_doctor.py", "test_explain*.py"],
    "annotate": ["test_annotate*.py", "test_import.py", "test_refcoco.py"],
    "report": ["test_report*.py"],
    "rem": ["test_rem_[!t]*.py"],
    "training": ["test_rem_train*.py", "test_rem_tiny*.py"],
    "baselines": ["test_vdit*.py", "test_baselines*.py"],
    "published": ["test_published*.py"],
    "conformance": ["test_predictors.py", "test_bench.py"],
    "package": ["test_package.py", "test_pages.py"],
}
LINT = [[str(BIN / "ruff"), "check", "."], [str(BIN / "ruff"), "format", "--check", "."], [str(BIN / "mypy")]]


def paths(group: str) -> list[str]:
    """Test files of a group; ``scoring`` is whatever no other group names."""
    tests = ROOT / "tests"
    if group != "scoring":
        return sorted(str(path) for pattern in FILES[group] for path in tests.glob(pattern))
    named = {path for patterns in FILES.values() for pattern in patterns for path in tests.glob(pattern)}
    return sorted(str(path) for path in set(tests.glob("test_*.py")) - named)


def main(groups: list[str]) -> int:
    """Run ``groups``, all by default, one after the other; everything runs even when one fails."""
    groups = groups or ["lint", *FILES, "scoring"]
    workers = str(min(4, len(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else "2"
    environment = {"OMP_NUM_THREADS": "1", **os.environ}  # torch: one thread for each worker
    spent, failed = [], []
    for group in groups:
        started = time.perf_counter()
        if group == "lint":
            codes = [subprocess.run(command, cwd=ROOT).returncode for command in LINT]
        else:
            found = paths(group)
            command = [PYTHON, "-m", "pytest", "-q", "-n", workers, "-m", "not slow", *found]
            codes = [subprocess.run(command, cwd=ROOT, env=environment).returncode] if found else [0]
        spent.append((group, time.perf_counter() - started))
        if any(codes):
            failed.append(group)
    print("\ntime per group: " + ", ".join(f"{group} {seconds:.0f} s" for group, seconds in spent))
    print(f"all groups: {sum(seconds for _, seconds in spent):.0f} s")
    print(f"{len(groups) - len(failed)} passed, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
