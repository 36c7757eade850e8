"""The training loop: encode, shift, denoise once, squared error on mask latents (paper, equation 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from refvps.errors import InputError, UsageError
from refvps.files import locked
from rem.backbones.base import Backbone
from rem.checkpoints import load_strict
from rem.heads import UNUSED, predicted_logits
from rem.parameters import clamp_gradients, freeze
from rem.train.adapters import (
    add_lora,
    copy_weights,
    digest_of,
    follow,
    merged_state,
    recomputed,
    remove_lora,
    swapped,
)  # fmt: skip
from rem.train.log import RunLog
from rem.train.mixture import Items, collated
from rem.train.optimizer import adamw, load_optimizer_state, optimizer_state, set_rate
from rem.train.recipe import Recipe
from rem.train.sampling import Key, Order, seed_of
from rem.train.snapshots import Snapshot, latest_snapshot, read_group, write_snapshot
from rem.train.validation import sample_grid

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after every step with steps done, steps in all, and the numbers of the step."""

Validate = Callable[[Backbone, nn.Module | None, int], Mapping[str, float]]
"""Scores the current weights, given a head if there is one and the steps done; called on every process."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Steps done in all, the loss of each step of this call, the last checkpoint, and the last validation."""

    steps: int
    losses: tuple[float, ...]
    checkpoint: Path
    metrics: Mapping[str, float] = field(default_factory=dict)


def train(
    recipe: Recipe,
    backbone: Backbone,
    dataset: Any,
    out: Path,
    *,
    decoder: nn.Module | None = None,
    resume: bool = False,
    validate: Validate | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train ``backbone.denoiser`` in place, and ``decoder`` (a mask head) along with it.

    ``dataset``: items ``{"frames", "masks", "text"}`` with frames uint8 [T, H, W, 3] or float [3, T, h, w] in [-1, 1]
    at the size of the recipe, masks bool [T, H, W], text str. With a method ``draw(index, seed)``, that is called in
    place of ``dataset[index]``; with an attribute ``parts`` (ranges of indices), steps take these in turn.
    ``out`` gets ``checkpoints/step-<n>/``, ``log.jsonl``, ``samples/`` and, if installed, ``tensorboard/``.

    Everything random follows from the seed of the recipe and the number of the step, so a resumed run continues the
    same trajectory. ``resume`` with nothing to resume starts from the beginning. Raises UsageError when ``out`` holds
    a run and ``resume`` is False, or belongs to another recipe or other data.
    """
    accelerator = _accelerator(recipe)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(locked(Path(out) / ".lock"))
        devices = [accelerator.device] if accelerator.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        run = _Run(recipe, backbone, dataset, Path(out), decoder, accelerator, resume)
        stack.enter_context(run.prepared())
        return run.go(validate, progress)


class _Run:
    """One call of :func:`train`: what stays the same from step to step."""

    def __init__(
        self,
        recipe: Recipe,
        backbone: Backbone,
        dataset: Any,
        out: Path,
        decoder: nn.Module | None,
        accelerator: Any,
        resume: bool,
    ) -> None:
        self.recipe, self.backbone, self.dataset, self.out = recipe, backbone, dataset, out
        self.decoder, self.accelerator = decoder, accelerator
        _check_fit(recipe, backbone, accelerator.num_processes)
        self.accumulate = recipe.batch // (recipe.micro_batch * accelerator.num_processes)
        parts = getattr(dataset, "parts", None) or [range(len(dataset))]
        self.order = Order(parts, recipe.batch, recipe.seed)
        self.steps = recipe.steps or max(1, round(recipe.epochs * self.order.epoch_steps))
        self.snapshot = latest_snapshot(out, recipe.identity(), len(dataset), resume=resume)
        self.average: dict[str, Tensor] | None = None
        self.base = ""

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Weights frozen by the rule and restored from the checkpoint, adapters and hooks in place; then undone."""
        recipe, denoiser, device = self.recipe, self.backbone.denoiser, self.accelerator.device
        for module in (self.backbone.vae, self.backbone.text_encoder):
            module.requires_grad_(False).eval().to(device)
        freeze(denoiser, recipe.trained)
        for name, parameter in denoiser.named_parameters() if self.decoder is not None else ():
            if name.startswith(UNUSED):
                parameter.requires_grad_(False)
        was_training = denoiser.training
        with ExitStack() as stack:
            stack.callback(denoiser.train, was_training)
            if recipe.lora_rank:
                self.base = digest_of(denoiser)
                add_lora(denoiser, recipe.lora_rank, seed_of(recipe.seed, "lora"))
                stack.callback(remove_lora, denoiser)
            self.trained = _trained(denoiser, self.decoder)
            if self.snapshot:
                self._restore_weights(self.snapshot)
            for module in (denoiser, self.decoder):
                if module is not None:
                    module.to(device)
            if recipe.clamp:
                for hook in clamp_gradients(self.trained.values(), recipe.clamp / self.accumulate):
                    stack.callback(hook.remove)
            if recipe.checkpointing:
                stack.enter_context(recomputed(denoiser))
            yield

    def go(self, validate: Validate | None, progress: Progress | None) -> TrainResult:
        """Train to the end."""
        recipe, accelerator = self.recipe, self.accelerator
        raw = adamw(self.trained, lr=recipe.lr, weight_decay=recipe.weight_decay, no_decay=recipe.no_decay)
        model, optimizer = accelerator.prepare(_Forward(self.backbone, self.decoder), raw)
        if recipe.ema:
            self.average = {name: value.detach().clone() for name, value in self.trained.items()}
        begun = self._restore_state(self.snapshot, raw) if self.snapshot else 0
        with closing(RunLog(self.out, begun)) if accelerator.is_main_process else nullcontext() as log:
            done = self._steps(begun, model, optimizer, raw, log, validate, progress)
        if self.average is not None:
            with torch.no_grad():
                for name, parameter in self.trained.items():
                    parameter.copy_(self.average[name])
        return done

    def _steps(
        self,
        begun: int,
        model: Any,
        optimizer: Any,
        raw: torch.optim.Optimizer,
        log: RunLog | None,
        validate: Validate | None,
        progress: Progress | None,
    ) -> TrainResult:
        """All steps that are left, with what happens between them."""
        recipe = self.recipe
        losses: list[float] = []
        metrics: Mapping[str, float] = {}
        checkpoint = self.snapshot.path if self.snapshot else self.out
        batches = self._batches(begun)
        started = time.perf_counter()
        for step in range(begun, self.steps):
            set_rate(raw, recipe.rate(step, self.steps))
            losses.append(self._step(step, model, optimizer, batches))
            done, last = step + 1, step + 1 == self.steps
            seconds = round(time.perf_counter() - started, 3)
            numbers = {"loss": losses[-1], "lr": recipe.rate(step, self.steps), "seconds": seconds}
            if log and (last or done % recipe.log_every == 0):
                log.numbers(done, numbers)
            if last or done % recipe.save_every == 0:
                checkpoint = self._save(done, raw)
            if log and recipe.sample_every and done % recipe.sample_every == 0:
                with self._evaluating():
                    log.picture(done, sample_grid(self.backbone, self.decoder, recipe, self.dataset))
            if validate and recipe.validate_every and done % recipe.validate_every == 0:
                with self._evaluating():
                    metrics = validate(self.backbone, self.decoder, done)
                if log:
                    log.numbers(done, metrics)
            if progress:
                progress(done, self.steps, numbers)
        return TrainResult(max(begun, self.steps), tuple(losses), checkpoint, metrics)

    def _step(self, step: int, model: Any, optimizer: Any, batches: Iterator[Mapping[str, Any]]) -> float:
        """One step of the optimiser; the loss, averaged over all processes."""
        accelerator, recipe = self.accelerator, self.recipe
        model.train()
        total = torch.zeros((), device=accelerator.device)
        torch.manual_seed(seed_of(recipe.seed, "dropout", step, accelerator.process_index))
        for k in range(self.accumulate):
            with accelerator.no_sync(model) if k < self.accumulate - 1 else nullcontext():
                loss = self._loss(model, next(batches)) / self.accumulate
                accelerator.backward(loss)
            total += loss.detach()
        value = float(accelerator.reduce(total, reduction="mean"))
        if not math.isfinite(value):
            raise InputError(
                "The loss is not finite.",
                where=[f"step {step + 1}"],
                fix="resume from the last checkpoint with precision = 'fp32', or start again with a lower lr",
            )
        optimizer.step()
        optimizer.zero_grad()
        if self.average is not None:
            follow(self.average, self.trained, recipe.ema)
        return value

    def _loss(self, model: Any, batch: Mapping[str, Any]) -> Tensor:
        """Mean squared error of mask latents, or of a head the binary cross-entropy of pixels."""
        backbone, device = self.backbone, self.accelerator.device
        masks = batch["masks"].to(device)
        latents = backbone.encode(batch["frames"].to(device, backbone.dtype))
        noise = None
        if self.recipe.noise == "official" and backbone.noise:
            noise = noise_of(batch["seed"], latents)
        shifted = backbone.shift(latents, noise)
        prediction = model(shifted, backbone.embed(batch["text"]), self.recipe.size).float()
        if self.decoder is not None:
            return functional.binary_cross_entropy_with_logits(prediction, masks[:, 0])
        return functional.mse_loss(prediction, backbone.encode(masks.to(backbone.dtype)).float())

    def _batches(self, begun: int) -> Iterator[Mapping[str, Any]]:
        """This process's forward passes from step ``begun`` on, without end."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        size = self.recipe.micro_batch

        def keys() -> Iterator[list[Key]]:
            for step in count(begun):
                samples = self.order.samples(step)
                for k in range(self.accumulate):
                    at = (k * world + rank) * size
                    yield samples[at : at + size]

        loader = torch.utils.data.DataLoader(
            Items(self.dataset, self.recipe.size),  # type: ignore[arg-type]
            batch_sampler=keys(),  # type: ignore[arg-type]
            num_workers=self.recipe.workers,
            collate_fn=collated,
            generator=torch.Generator(),
            multiprocessing_context="spawn" if self.recipe.workers else None,
        )
        return iter(loader)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The averaged weights, without dropout and gradients."""
        for module in (self.backbone.denoiser, self.decoder):
            if module is not None:
                module.eval()
        with swapped(self.trained, self.average), torch.no_grad():
            yield

    def _save(self, done: int, optimizer: torch.optim.Optimizer) -> Path:
        """Write a checkpoint on the main process while the others wait."""
        path = self.out / "checkpoints" / f"step-{done:08d}"
        if self.accelerator.is_main_process:
            groups: dict[str, Mapping[str, Tensor]] = {"optimizer": optimizer_state(optimizer, self.trained)}
            if self.average is not None:
                groups["average"] = self.average
            if self.average is not None or self.recipe.lora_rank:
                groups["trained"] = {name: value.detach().clone() for name, value in self.trained.items()}
            with swapped(self.trained, self.average), torch.no_grad():
                groups["denoiser"] = merged_state(self.backbone.denoiser)
                if self.decoder is not None:
                    groups["decoder"] = self.decoder.state_dict()
                scaler = self.accelerator.scaler
                about = {
                    "identity": self.recipe.identity(), "recipe": asdict(self.recipe), "samples": len(self.dataset),
                    "steps": self.steps, "base": self.base, "scaler": scaler.state_dict() if scaler else None,
                }  # fmt: skip
                path = write_snapshot(self.out, done, groups, about, self.recipe.keep)
        self.accelerator.wait_for_everyone()
        return path

    def _restore_weights(self, snapshot: Snapshot) -> None:
        """Trained weights of a checkpoint: the whole denoiser, or its adapters; and the head."""
        if self.recipe.lora_rank:
            if snapshot.about.get("base") != self.base:
                raise UsageError(
                    "Adapters belong to the weights they were trained with.",
                    where=[str(snapshot.path)],
                    fix="resume with the base model and start of the run",
                )
        else:
            load_strict(self.backbone.denoiser, read_group(snapshot, "denoiser"), str(snapshot.path))
        if self.decoder is not None:
            load_strict(self.decoder, read_group(snapshot, "decoder"), str(snapshot.path))
        if self.recipe.lora_rank or self.recipe.ema:
            copy_weights(read_group(snapshot, "trained"), self.trained, str(snapshot.path))

    def _restore_state(self, snapshot: Snapshot, optimizer: torch.optim.Optimizer) -> int:
        """The rest of a checkpoint; returns the steps done."""
        load_optimizer_state(optimizer, self.trained, read_group(snapshot, "optimizer"), str(snapshot.path))
        if self.average is not None:
            copy_weights(read_group(snapshot, "average"), self.average, str(snapshot.path))
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(snapshot.about["scaler"])
        return snapshot.step


class _Forward(nn.Module):
    """One pass of the denoiser as a module, which is what accelerate wraps."""

    def __init__(self, backbone: Backbone, decoder: nn.Module | None) -> None:
        super().__init__()
        self.backbone, self.denoiser, self.decoder = backbone, backbone.denoiser, decoder

    def forward(self, latents: Tensor, text: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask latents [B, C, F, h, w], or logits [B, T, H, W] of a head."""
        if self.decoder is None:
            return self.backbone.denoise(latents, text)
        return predicted_logits(self.backbone, self.decoder, latents, text, size)


def noise_of(seeds: list[int], latents: Tensor) -> Tensor:
    """Normal noise in the form of ``latents``, each clip's from its own seed, drawn on the CPU."""
    drawn = [torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(latents.device)


def _accelerator(recipe: Recipe) -> Any:
    """Accelerate's view of the processes; raises UsageError for a precision or a division that does not work."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    if recipe.precision == "fp16" and PartialState().device.type == "cpu":
        raise UsageError(
            "Half precision has no gradient scaling on a CPU.", where=["precision = 'fp16'"], fix="use 'bf16' or 'fp32'"
        )
    if AcceleratorState._shared_state:  # a run before this one in the same process, perhaps of another precision
        AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision={"fp32": "no"}.get(recipe.precision, recipe.precision))
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UsageError(
            "Weights divided among processes are not supported.",
            where=[str(accelerator.distributed_type)],
            fix="run accelerate without FSDP or DeepSpeed; for models too large for one device use lora_rank",
        )
    return accelerator


def _check_fit(recipe: Recipe, backbone: Backbone, processes: int) -> None:
    """Raise UsageError when the recipe does not fit the backbone or the number of processes."""
    wrong = []
    if recipe.batch % (recipe.micro_batch * processes):
        wrong.append(
            f"batch = {recipe.batch}: no multiple of micro_batch = {recipe.micro_batch} x {processes} processes"
        )
    if any(side % backbone.side_multiple for side in recipe.size):
        wrong.append(f"size = {list(recipe.size)}: sides must be multiples of {backbone.side_multiple}")
    try:
        backbone.latent_frames(recipe.frames)
    except ValueError as error:
        wrong.append(f"frames = {recipe.frames}: {error}")
    if wrong:
        raise UsageError("The recipe does not fit this run.", where=wrong, fix="change these fields")


def _trained(denoiser: nn.Module, decoder: nn.Module | None) -> dict[str, nn.Parameter]:
    """Parameters with a gradient by name; raises UsageError unless they are float32."""
    found = {f"denoiser.{name}": each for name, each in denoiser.named_parameters() if each.requires_grad}
    if decoder is not None:
        found |= {f"decoder.{name}": each for name, each in decoder.named_parameters()}
    if half := [name for name, each in found.items() if each.dtype != torch.float32]:
        raise UsageError(
            "Trained weights must be float32: small steps vanish in half precision.",
            where=half,
            fix="load the backbone in float32 and choose precision = 'bf16'",
        )
    return found
