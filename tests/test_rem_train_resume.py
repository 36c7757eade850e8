"""A run that was stopped goes on as if it had not been; one that is not the same run is refused."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training import SIDE, moving_squares, tiny_backbone

from refvps.errors import InputError, UsageError
from refvps.files import locked
from rem.checkpoints import load_strict, read_state, sha256_of, snapshots
from rem.heads import build_head
from rem.train import Recipe, changed, run
from rem.train.log import read_log
from rem.train.loop import TrainResult, train

CLIPS = moving_squares(6)
RECIPE = Recipe(
    name="tiny", lr=3e-3, steps=4, batch=2, micro_batch=2, frames=2, size=(SIDE, SIDE), log_every=1, save_every=2,
    keep=9, drops=((3, 1e-3),), clamp=0.1, no_decay="released",
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the tokenizer, which all backbones of this file share."""
    return tmp_path_factory.mktemp("parts")


class Stopped(Exception):
    """Stands for a kill."""


def stopping_after(step: int) -> Any:
    def progress(done: int, total: int, numbers: Any) -> None:
        if done == step:
            raise Stopped

    return progress


def head_for(recipe: Recipe, backbone: Any) -> Any:
    return build_head("mlp", backbone.denoiser, seed=5) if recipe.decoder == "mlp" else None


def whole(recipe: Recipe, parts: Path, out: Path) -> TrainResult:
    backbone = tiny_backbone(parts)
    return train(recipe, backbone, CLIPS, out, decoder=head_for(recipe, backbone))


def same_files(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert names == sorted(path.name for path in other.glob("*.safetensors"))
    for name in names:
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name


@pytest.mark.parametrize("kind", ["plain", "average", "adapters", "head"])
def test_two_steps_a_kill_and_two_more_are_four_steps(kind: str, parts: Path, tmp_path: Path) -> None:
    change: dict[str, Any] = {
        "plain": {"checkpointing": True, "micro_batch": 1}, "average": {"ema": 0.5}, "adapters": {"lora_rank": 2},
        "head": {"decoder": "mlp"},
    }[kind]  # fmt: skip
    recipe = changed(RECIPE, **change)
    straight = whole(recipe, parts, tmp_path / "straight")
    first = tiny_backbone(parts)
    with pytest.raises(Stopped):  # after step 3: the step since the last checkpoint is lost, and done again
        train(recipe, first, CLIPS, tmp_path / "cut", decoder=head_for(recipe, first), progress=stopping_after(3))
    assert [path.name for path in snapshots(tmp_path / "cut")] == ["step-00000002"]
    torch.manual_seed(99)  # a process that starts anew has another random state
    second = tiny_backbone(parts)
    rest = train(recipe, second, CLIPS, tmp_path / "cut", decoder=head_for(recipe, second), resume=True)
    assert rest.losses == straight.losses[2:]
    assert rest.steps == 4
    same_files(straight.checkpoint, rest.checkpoint)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("straight", "cut")]
    numbers = [[(record["step"], record["loss"], record["lr"]) for record in log] for log in logs]
    assert numbers[0] == numbers[1]
    again = train(recipe, tiny_backbone(parts), CLIPS, tmp_path / "cut", decoder=head_for(recipe, second), resume=True)
    assert (again.losses, again.steps, again.checkpoint) == ((), 4, rest.checkpoint)


def test_training_leaves_the_random_state_alone(parts: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    backbone = tiny_backbone(parts)  # seeds by itself
    torch.manual_seed(1)
    train(changed(RECIPE, steps=1), backbone, CLIPS, tmp_path)
    assert torch.equal(torch.rand(3), wanted)


def test_a_killed_write_leaves_the_checkpoint_before_it(parts: Path, tmp_path: Path) -> None:
    done = whole(changed(RECIPE, steps=2), parts, tmp_path)
    torn = tmp_path / "checkpoints" / ".step-00000004.tmp"
    shutil.copytree(done.checkpoint, torn)
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    recipe = changed(RECIPE, steps=2)
    again = train(recipe, tiny_backbone(parts), CLIPS, tmp_path, resume=True)
    assert again.checkpoint == done.checkpoint
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [1, 2]
    assert [path.name for path in snapshots(tmp_path)] == ["step-00000002"]


def test_only_so_many_checkpoints_are_kept(parts: Path, tmp_path: Path) -> None:
    result = whole(changed(RECIPE, steps=3, save_every=1, keep=2), parts, tmp_path)
    assert [path.name for path in snapshots(tmp_path)] == ["step-00000002", "step-00000003"]
    assert result.checkpoint == snapshots(tmp_path)[-1]


def test_another_run_is_refused(parts: Path, tmp_path: Path) -> None:
    recipe = changed(RECIPE, steps=2, lora_rank=2)
    whole(recipe, parts, tmp_path)
    with pytest.raises(UsageError, match="There is a training run here already"):
        whole(recipe, parts, tmp_path)
    with pytest.raises(UsageError, match="made by another recipe"):
        train(changed(recipe, seed=1), tiny_backbone(parts), CLIPS, tmp_path, resume=True)
    with pytest.raises(UsageError, match="made with 6 samples, here are 5"):
        train(recipe, tiny_backbone(parts), CLIPS[:5], tmp_path, resume=True)
    with pytest.raises(UsageError, match="Adapters belong to the weights"):
        train(recipe, tiny_backbone(parts, seed=1), CLIPS, tmp_path, resume=True)
    moved = changed(recipe, coco="/elsewhere", workers=0)
    assert train(moved, tiny_backbone(parts), CLIPS, tmp_path, resume=True).losses == ()
    with locked(tmp_path / ".lock"), pytest.raises(UsageError, match="Another process is writing here"):
        train(recipe, tiny_backbone(parts), CLIPS, tmp_path, resume=True)


def test_a_damaged_checkpoint_is_named(parts: Path, tmp_path: Path) -> None:
    recipe = changed(RECIPE, steps=2)
    checkpoint = whole(recipe, parts, tmp_path).checkpoint
    path = checkpoint / "optimizer.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:100])
    with pytest.raises(InputError, match=r"optimizer\.safetensors"):
        train(recipe, tiny_backbone(parts), CLIPS, tmp_path, resume=True)
    path.write_bytes(data)
    about = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps({**about, "schema": "other"}))
    with pytest.raises(InputError, match="A checkpoint cannot be used"):
        train(recipe, tiny_backbone(parts), CLIPS, tmp_path, resume=True)


def test_stage_2_starts_from_what_stage_1_made(parts: Path, tmp_path: Path) -> None:
    first = tiny_backbone(parts)
    stage1 = changed(RECIPE, name="stage1", steps=1, trained="spatial", frames=1)
    run(stage1, out=tmp_path / "one", backbone=first, dataset=moving_squares(frames=1))
    newest = tmp_path / "one/checkpoints/step-00000001"
    assert sha256_of(newest) == sha256_of(newest / "denoiser.safetensors")  # whatever the optimiser's state is
    fresh = tiny_backbone(parts, seed=8)
    load_strict(fresh.denoiser, read_state(tmp_path / "one"), "one")
    assert all(torch.equal(a, b) for a, b in zip(fresh.denoiser.parameters(), first.denoiser.parameters(), strict=True))
    stage2 = changed(RECIPE, name="stage2", steps=1, start=str(tmp_path / "one"))
    straight = train(changed(stage2, start=""), first, CLIPS, tmp_path / "straight")
    loaded = run(stage2, out=tmp_path / "two", backbone=tiny_backbone(parts, seed=8), dataset=CLIPS)
    assert loaded.losses == straight.losses
    same_files(straight.checkpoint, loaded.checkpoint)


WORKER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from training import moving_squares, tiny_backbone
from rem.train import recipe_of
from rem.train.loop import train
recipe = recipe_of(json.loads(sys.argv[2]), "arguments")
out = Path(sys.argv[3])
result = train(recipe, tiny_backbone(Path(sys.argv[4]), dropout=False), moving_squares(6), out)
Path(sys.argv[4], "losses.json").write_text(json.dumps(result.losses))
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.mark.slow
def test_two_processes_train_as_one_does(parts: Path, tmp_path: Path) -> None:
    table: dict[str, Any] = {"name": "two", "lr": 3e-3, "steps": 3, "batch": 4, "micro_batch": 1, "frames": 2}
    table |= {"size": [SIDE, SIDE], "log_every": 1, "save_every": 3}
    recipe = Recipe(**{**table, "size": (SIDE, SIDE)})
    one = train(recipe, tiny_backbone(parts, dropout=False), CLIPS, tmp_path / "one")
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    common = {
        **os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    running = []
    for rank in range(2):
        own = tmp_path / f"rank{rank}"
        own.mkdir()
        arguments = [str(Path(__file__).parent), json.dumps(table), str(tmp_path / "two"), str(own)]
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        running.append(subprocess.Popen([sys.executable, str(script), *arguments], env=environment))
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    losses = [json.loads((tmp_path / f"rank{rank}/losses.json").read_text()) for rank in range(2)]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(one.losses, rel=1e-3)
    (checkpoint,) = snapshots(tmp_path / "two")
    two, alone = load_file(checkpoint / "denoiser.safetensors"), load_file(one.checkpoint / "denoiser.safetensors")
    assert two.keys() == alone.keys()
    assert all(torch.allclose(two[name], alone[name], atol=2e-3) for name in two)
