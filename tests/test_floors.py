"""Who may import whom: down the floors only, and nothing heavy at start."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (
    ("types", "errors", "home", "files"),
    ("masks", "metrics", "stats", "archive", "zips", "video", "frames", "workers", "source", "fetch"),
    ("data", "predictions", "sanity"),
    ("run", "doctor", "extract", "curate", "export", "annotate"),
    ("report",),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: k for k, names in enumerate(FLOORS) for name in names}
MODULES = sorted((ROOT / "refvps").rglob("*.py"))
HEAVY = {"torch", "diffusers", "transformers", "rem", "baselines"}
ONLY_IN = {
    "cv2": ("video", "report", "extract"),
    "matplotlib": ("report",),
    "pandas": ("report", "run", "types"),
    "click": ("cli",),
    "tqdm": ("cli",),
    "huggingface_hub": ("fetch",),
}


def unit(path: Path) -> str:
    """The file or folder directly under refvps/ that a module belongs to."""
    return path.relative_to(ROOT / "refvps").parts[0].removesuffix(".py")


def imports(path: Path, *, everywhere: bool) -> Iterator[str]:
    """Modules imported by a file: at module level, or also inside functions; not under TYPE_CHECKING."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (name.name for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                yield from [f"{module}.{name.name}" for name in child.names] if module == "refvps" else [module]
            elif everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child)

    yield from walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = unit(path)
    if own == "__init__":
        return
    for module in imports(path, everywhere=True):
        parts = module.split(".")
        assert parts[0] not in HEAVY, f"{path} imports {module}"
        assert own in ONLY_IN.get(parts[0], (own,)), f"{path} imports {module}, which belongs in {ONLY_IN[parts[0]]}"
        if parts[0] == "refvps" and len(parts) > 1 and parts[1] in FLOOR and parts[1] != own:
            assert FLOOR[parts[1]] <= FLOOR[own], f"{path} (floor {FLOOR[own]}) imports {module}"
            if FLOOR[parts[1]] == FLOOR[own]:
                assert FLOOR[own] <= 1, f"{path} imports its neighbour {module}"


def test_the_cited_page_stands_alone() -> None:
    for path in (ROOT / "refvps" / "metrics").glob("*.py"):
        for module in imports(path, everywhere=True):
            allowed = (
                "numpy",
                "refvps.metrics",
                "refvps.types",
                "__future__",
                "math",
                "typing",
                "collections",
                "dataclasses",
            )
            assert module.startswith(allowed), f"{path} imports {module}"


def test_the_checker_sees_a_violation(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    import torch\n    from refvps import cli\n")
    assert list(imports(bad, everywhere=True)) == ["torch", "refvps.cli"]
    assert list(imports(bad, everywhere=False)) == []


def test_only_home_reads_the_environment_and_only_the_cli_prints() -> None:
    for path in MODULES:
        text = path.read_text()
        tree = ast.parse(text)
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if unit(path) not in ("cli", "__main__"):
            assert not calls & {"print", "sys.exit", "exit", "quit"}, path
        if unit(path) != "home":
            assert "os.environ" not in text and "os.getenv" not in text, path


def test_files_are_small_and_folders_shallow() -> None:
    folders: dict[Path, int] = {}
    for path in [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]:
        folders[path.parent] = folders.get(path.parent, 0) + 1
        most = 500 if "tests" in path.parts else 420
        assert len(path.read_text().splitlines()) <= most, f"{path} is no longer one noun"
        assert path.name != "utils.py"
    for folder, files in folders.items():
        assert "tests" in folder.parts or files <= 14, f"{folder} holds {files} files"


MODELS = sorted(path for package in ("rem", "baselines") for path in (ROOT / package).rglob("*.py"))
JUDGES = (
    *("rem/train", "rem/bench/training", "rem/cli", "rem/tiny/recipe", "rem/tiny/report"),
    *("baselines/oracles", "baselines/run", "baselines/cli"),
)
"""Modules beside the predictors that train, load benchmarks and score; no predictor imports them."""


@pytest.mark.parametrize("path", MODELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_predictors_see_types_and_errors_only(path: Path) -> None:
    own = str(path.relative_to(ROOT))
    for module in imports(path, everywhere=True):
        assert not (own.startswith("rem/") and module.partition(".")[0] == "baselines"), f"{own} imports {module}"
        if own.startswith(JUDGES):
            continue
        if module.partition(".")[0] == "refvps":
            assert module in ("refvps.types", "refvps.errors"), f"{own} imports {module}"
        assert not module.replace(".", "/").startswith(JUDGES), f"{own} imports {module}"


@pytest.mark.parametrize("package", ["rem", "baselines"])
def test_the_models_are_imported_late(package: str) -> None:
    for path in (ROOT / package / "__init__.py", ROOT / package / "cli.py"):
        for module in imports(path, everywhere=False):
            assert module.partition(".")[0] not in {"torch", "diffusers", "transformers", "accelerate"}, path
