"""Nothing heavy at start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "pandas", "matplotlib", "cv2", "torch", "PIL", "pycocotools", "jsonschema", "huggingface_hub")


@pytest.mark.parametrize(
    "code",
    [
        "import refvps",
        "from refvps.cli import run; run(['--help'])",
        "from refvps.cli import run; run(['evaluate', '--help'])",
    ],
)
def test_nothing_heavy_is_imported(code):
    probe = f"import sys, io; sys.stdout = io.StringIO(); {code}; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not set(HEAVY) & set(done.stderr.split())


def test_public_names_are_there_when_asked_for():
    import refvps

    for name in refvps.__all__:
        assert getattr(refvps, name) is not None
    assert set(refvps.__all__) <= set(dir(refvps))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = refvps.nothing
