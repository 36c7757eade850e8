"""The text encoder of rem-tiny: trained once to tell what a training sentence says, frozen ever after.

As CLIP's, it learns without masks and before the segmenter. Sentences are those of the training clips, invented
words among them, so that words it does not know change little.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rem.tiny import canvas, model, objects, words

SEED = 901
"""Seed of the sentences, one of objects.TRAINING_SEEDS, used for nothing else."""

FACTS = {
    "colour": tuple(canvas.PALETTE),
    "shape": words.SHAPES,
    "texture": words.TEXTURES,
    "size": words.SIZES,
    "place": words.PLACES,
    "motion": words.MOTIONS,
}
"""What a sentence may say of its thing, by kind."""


def sentences(tokenizer: Any, number: int, *, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Token ids [N, 77], and for each kind of fact which one is said, [N, 6] (0: none)."""
    found = [objects.caption(seed, k) for k in range(number)]
    ids = tokenizer(
        [text for text, _ in found], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    said = [[1 + table.index(facts[key]) if key in facts else 0 for key, table in FACTS.items()] for _, facts in found]
    return ids, torch.tensor(said)


def train(tokenizer: Any, *, steps: int = 500, batch: int = 48, number: int = 12_000, seed: int = 0) -> Any:
    """A CLIPTextModel whose states from the end of the sentence on tell, linearly, what the sentence says."""
    ids, said = sentences(tokenizer, number)
    encoder = model.text_encoder(tokenizer, seed=seed).train()
    heads = nn.ModuleList([nn.Linear(model.WIDTH, 1 + len(table)) for table in FACTS.values()])
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(number, (batch,), generator=generator)
        loss = told(encoder, heads, ids[chosen], said[chosen])[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return encoder.eval().requires_grad_(False)


def told(encoder: Any, heads: nn.ModuleList, ids: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of the heads, and the share of facts they tell rightly, over all states after the sentence."""
    states = encoder(ids)[0]
    after = torch.cumsum(ids == encoder.config.eos_token_id, dim=1) > 0
    chosen, truth = states[after], said[:, None].expand(-1, ids.shape[1], -1)[after]
    logits = [head(chosen) for head in heads]
    loss = torch.stack([functional.cross_entropy(each, truth[:, k]) for k, each in enumerate(logits)]).sum()
    right = torch.stack([each.argmax(1) == truth[:, k] for k, each in enumerate(logits)])
    return loss, right.float().mean()
