"""What the current weights predict: sample grids to look at, and scores on a benchmark through ``refvps``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from refvps.types import Benchmark
from rem.backbones.base import Backbone
from rem.chunks import plan_chunks
from rem.frames import frame_pixels
from rem.heads import predicted_logits
from rem.inference.noise import frame_noise
from rem.masks import masks_from_pixels
from rem.train.mixture import Items
from rem.train.recipe import Recipe
from rem.train.sampling import seed_of

GRID_CLIPS = 4
GRID_FRAMES = 4


@torch.no_grad()
def chunk_masks(
    backbone: Backbone,
    decoder: nn.Module | None,
    recipe: Recipe,
    pixels: Tensor,
    texts: Sequence[str],
    *,
    size: tuple[int, int],
    seed: int,
    first: int = 0,
) -> Iterator[NDArray[np.bool_]]:
    """Masks [T, H, W] at ``size`` for each of ``texts``, of the chunk ``pixels`` [3, T, h, w].

    ``first``: index in the clip of the first frame; with ``seed`` it decides the noise, where the recipe has any.
    """
    latents = backbone.encode(pixels[None].to(backbone.device, backbone.dtype))
    noise = None
    if recipe.noise == "official" and backbone.noise:
        shape: Any = tuple(latents.shape[1:])
        noise = frame_noise(seed, first, shape).to(latents.device)
    shifted = backbone.shift(latents, noise)
    for text in texts:
        prompt = backbone.embed([text])
        if decoder is not None:
            masks = predicted_logits(backbone, decoder, shifted, prompt, size) > 0
        else:
            decoded = backbone.decode(backbone.denoise(shifted, prompt), pixels.shape[1])
            masks = masks_from_pixels(decoded, size)
        yield masks[0].cpu().numpy()


def sample_grid(backbone: Backbone, decoder: nn.Module | None, recipe: Recipe, dataset: Any) -> NDArray[np.uint8]:
    """A picture [H, W, 3]: of each of the first clips a row of frames, of target masks, of predicted masks."""
    rows = []
    items = Items(dataset, recipe.size)
    for index in range(min(GRID_CLIPS, len(dataset))):
        item = items[index, seed_of(recipe.seed, "grid", index)]
        frames, masks = item["frames"], item["masks"]
        (found,) = chunk_masks(backbone, decoder, recipe, frames, [item["text"]], size=recipe.size, seed=item["seed"])
        shown = torch.as_tensor(found, dtype=torch.float32)[None].expand(3, -1, -1, -1)
        for row in (frames * 0.5 + 0.5, masks, shown):
            picked = row[:, :GRID_FRAMES]
            blank = torch.zeros(3, GRID_FRAMES - picked.shape[1], *picked.shape[2:])
            rows.append(torch.cat([picked, blank], 1).permute(2, 1, 3, 0).flatten(1, 2))
    grid: NDArray[np.uint8] = (torch.cat(rows).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return grid


def benchmark_scores(
    recipe: Recipe, benchmark: Benchmark | str
) -> Callable[[Backbone, nn.Module | None, int], Mapping[str, float]]:
    """A function that scores weights on a benchmark, or the one of that name: ``{"sample/J": 0.41, ...}``.

    Every process predicts its share of the clips, and all return the same numbers. Raises what ``refvps.load``
    raises, at once, when the benchmark is not on this machine.
    """
    import refvps

    bench = refvps.load(benchmark) if isinstance(benchmark, str) else benchmark

    def scores(backbone: Backbone, decoder: nn.Module | None, step: int) -> Mapping[str, float]:
        from accelerate import PartialState
        from accelerate.utils import gather_object

        state = PartialState()
        mine = refvps.Scorer(bench)
        for clip in list(bench.clips.values())[state.process_index :: state.num_processes]:
            frames, expressions = bench.frames(clip.id), bench.expressions_of(clip.id)
            stride = getattr(backbone, "frame_stride", 1)
            for chunk in plan_chunks(len(clip.frames), backbone.chunk_frames, stride=stride):
                pixels = frame_pixels(frames[chunk.start : chunk.stop], recipe.size)
                found = chunk_masks(
                    backbone, decoder, recipe, pixels, [each.text for each in expressions],
                    size=clip.size, seed=seed_of(recipe.seed, clip.id), first=chunk.start,
                )  # fmt: skip
                for each, masks in zip(expressions, found, strict=True):
                    kept = range(chunk.first_kept, chunk.stop)
                    mine.update(clip.id, each.id, masks[-chunk.keep :], frames=kept)
        whole = refvps.Scorer(bench)
        for part in gather_object([mine.state()]):
            whole.merge(refvps.Scorer.from_state(bench, part))
        return whole.compute().flat()

    return scores
