"""The notebook runs from start to end, in silence, and shows what is stored in it."""

from __future__ import annotations

import base64
import io
import re

import nbformat
import numpy as np
from notebook import NOTEBOOK, ROOT, execute
from PIL import Image


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def shown(cell):
    """What a cell shows as text: streams, and results as text and HTML."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append((output.name, output.text))
        else:
            found += [(kind, data) for kind, data in sorted(output.data.items()) if not kind.startswith("image/")]
    return found


def pictures(book):
    outputs = [output for cell in code_cells(book) for output in cell.outputs if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode(o.data["image/png"]))) for o in outputs if "image/png" in o.data]


def test_it_runs_in_silence_and_shows_what_is_stored(tmp_path):
    executed = execute(tmp_path)
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert len(code_cells(stored)) >= 7
    for old, new in zip(code_cells(stored), code_cells(executed), strict=True):
        assert new.execution_count is not None
        assert shown(new) == shown(old), "run: python tests/notebook.py"
        assert not any(kind == "stderr" for kind, _ in shown(new)), "a warning is a defect, too"
    assert len(pictures(stored)) == len(pictures(executed)) == 2
    for old, new in zip(pictures(stored), pictures(executed), strict=True):
        assert old.size == new.size
        assert min(new.size) >= 200
        old_pixels, new_pixels = (np.asarray(picture.convert("RGB"), dtype=float) for picture in (old, new))
        assert len(np.unique(new_pixels.reshape(-1, 3), axis=0)) > 30
        assert np.abs(old_pixels - new_pixels).mean() < 2, "the stored figure is another one"


def test_it_is_a_clean_file():
    text = NOTEBOOK.read_text()
    stored = nbformat.reads(text, as_version=4)
    nbformat.validate(stored)
    assert len(text) < 400_000
    assert not re.search(r"/tmp/|/home/|/root/|Traceback", text)
    assert [cell.execution_count for cell in code_cells(stored)] == list(range(1, len(code_cells(stored)) + 1))
    assert all(not cell.metadata for cell in stored.cells)
    for cell in stored.cells:
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source) if cell.cell_type == "markdown" else []:
            assert (ROOT / "docs" / target).exists(), target
        if cell.cell_type == "code":
            assert all(len(line) <= 120 for line in cell.source.splitlines())
            compile(cell.source, "cell", "exec")


def test_the_loop_in_it_can_be_copied():
    """The recipe for several ranks names what there is."""
    import refvps

    recipe = next(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if "all_gather" in cell.source)
    for name in re.findall(r"(?:validation|whole|Scorer)\.(\w+)\(", recipe):
        assert callable(getattr(refvps.Scorer, name))
