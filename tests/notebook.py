"""Executes docs/quickstart.ipynb; run as a program, it stores the outputs in the notebook."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
KEPT = ("REFVPS_HOME", "PATH", "LANG")


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel that works in ``folder`` and leaves nothing elsewhere."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    homes = {name: str(folder / name.lower()) for name in ("HOME", "IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR")}
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= homes | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    for home in homes.values():
        Path(home).mkdir(exist_ok=True)
    work = folder / "work"
    work.mkdir()
    client = NotebookClient(book, timeout=120, resources={"metadata": {"path": str(work)}}, record_timing=False)
    client.create_kernel_manager()
    if len(str(folder)) < 80:  # a socket in the folder, so no port that somebody else may take
        client.km.transport, client.km.ip = "ipc", str(folder / "kernel")
    client.execute(env=env)
    return book


def main() -> None:
    """Execute the notebook and store what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        book = execute(Path(folder))
    for cell in book.cells:
        cell.metadata.clear()
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(book)
    NOTEBOOK.write_text(nbformat.writes(book) + "\n", encoding="utf-8")
    print(f"wrote {NOTEBOOK} ({NOTEBOOK.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
