"""``rem convert``, ``rem train`` and ``rem bench`` from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tinymodels import modelscope_folder

from rem.cli import run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return modelscope_folder(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(autouse=True)
def _same_environment(monkeypatch):
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, "error")


def test_help_imports_nothing_heavy():
    probe = (
        "import sys, io; out, sys.stdout = sys.stdout, io.StringIO()\n"
        "from rem.cli import run\n"
        "for page in ([], ['convert'], ['train'], ['bench']): assert run([*page, '--help']) == 0\n"
        "out.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"torch", "diffusers", "transformers", "numpy", "safetensors"} & set(done.stdout.split())


def test_convert_makes_a_model_and_says_what_it_did(tmp_path, base, capsys):
    from rem.checkpoints import read_state

    state = read_state(base)
    torch.save({"unet": state, "optimizer": {}, "epoch": 7}, tmp_path / "a.pth")
    assert run(["convert", str(tmp_path / "a.pth"), str(tmp_path / "out"), "--base", str(base)]) == 0
    said = capsys.readouterr().out
    assert f"modelscope, {len(state):,} tensors" in said
    assert "left out: optimizer (1)" in said
    assert "epoch 7" in said
    assert json.loads((tmp_path / "out" / "rem.json").read_text())["epoch"] == 7
    assert run(["convert", str(tmp_path / "a.pth"), str(tmp_path / "out"), "--base", str(base)]) == 2
    assert "nothing was overwritten" in capsys.readouterr().err


def test_convert_refuses_with_exit_code_4(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"no zip")
    assert run(["convert", str(tmp_path / "a.pth"), str(tmp_path / "out")]) == 4
    assert "error: A checkpoint is not a whole torch archive." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bench_without_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["bench", "--device", "cuda"]) == 2
    assert "There is no GPU" in capsys.readouterr().err
    assert run(["bench", "--tiny", "--full"]) == 2
    assert "Only one model" in capsys.readouterr().err


def test_bench_prints_a_table_and_writes_json(tmp_path, base, capsys):
    small = ["--device", "cpu", "--frames", "2", "--size", "32", "--expressions", "2", "--runs", "1", "--warmup", "0"]
    assert run(["bench", "--weights", str(base), *small, "--out", str(tmp_path / "bench.json")]) == 0
    said = capsys.readouterr()
    assert "on a CPU: 2 frames of 32x32, 1 runs; the paper has 32 frames of 512x512, 80 runs" in said.err
    for part in ("official order", "fast", "denoise", "% of peak", "masks IoU 1.0000"):
        assert part in said.out
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["load"] == {"frames": 2, "size": [32, 32], "expressions": 2, "warmup": 0, "runs": 1}
    assert f"{result['fast']['fps']:.2f} FPS" in said.out


def test_train_shows_its_plan(tmp_path, capsys):
    plan = ["train", "--config", "stage2-released", "--out", str(tmp_path / "run"), "--dry-run"]
    assert run([*plan, "-o", "steps=7", "-o", "epochs=0"]) == 0
    said = capsys.readouterr().out
    assert "1,409,183,300 of 1,411,233,860 parameters (all-released" in said
    assert "steps     7" in said
    assert "hours     unknown" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (["--config", "stage9"], 2, "no such recipe"),
        (["--config", "stage1", "-o", "lr"], 2, "not KEY=VALUE"),
        (["--config", "stage1", "-o", "learning=1"], 2, "unknown or missing fields"),
        (["--config", "stage1"], 3, "does not say where its data is"),
    ],
)
def test_train_refuses(tmp_path, capsys, given, code, text):
    assert run(["train", *given, "--out", str(tmp_path / "run")]) == code
    assert text in capsys.readouterr().err


def test_train_runs_a_recipe(tmp_path, base, capsys, monkeypatch):
    """The command's options reach the loop: two steps on two clips, a checkpoint that the bench's loader reads."""
    import rem.train
    from rem.checkpoints import read_state

    clips = [
        {"frames": torch.rand(3, 2, 32, 32) * 2 - 1, "masks": torch.rand(2, 32, 32) > 0.5, "text": "the smoke"}
    ] * 4  # fmt: skip
    original = rem.train.run
    monkeypatch.setattr(rem.train, "run", lambda recipe, **options: original(recipe, dataset=clips, **options))
    recipe = tmp_path / "own.toml"
    recipe.write_text('name = "own"\nlr = 1e-3\nsteps = 2\nframes = 2\nsize = [32, 32]\nbatch = 2\nlog_every = 1\n')
    out = tmp_path / "run"
    assert run(["train", "--config", str(recipe), "--base", str(base), "--out", str(out), "-o", "trained=spatial"]) == 0
    said = capsys.readouterr()
    assert "2/2  loss" in said.err
    assert "2 steps; last checkpoint" in said.out
    before, after = read_state(base), read_state(next((out / "checkpoints").iterdir()))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert not {key for key in changed if "temp" in key or key.startswith("transformer_in.")}
    monkeypatch.setenv("RANK", "1")  # the second of several processes has nothing to add
    more = ["--resume", "-o", "trained=spatial", "-o", "save_every=7"]  # which moves no number
    assert run(["train", "--config", str(recipe), "--base", str(base), "--out", str(out), *more]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_unknown_option_is_wrong_usage(capsys):
    assert run(["bench", "--speed"]) == 2
    assert run(["fly"]) == 2


def test_an_interrupted_training_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rem.cli._quiet", stopped)
    assert run(["bench"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "diffusers" else object())
    assert run(["bench"]) == 3  # as refvps predict has it
    assert "diffusers" in capsys.readouterr().err
