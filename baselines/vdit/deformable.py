"""The deformable transformer of VD-IT (Deformable DETR's, with content queries from the text).

Every frame is an item of the batch: nothing here looks across time. Attribute names are the official ones, so that
a checkpoint loads without a map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.deformable import ms_deform_attn


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int, layers: int) -> None:
        super().__init__()
        sides = [width, *[hidden] * (layers - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sides))

    def forward(self, values: Tensor) -> Tensor:
        """[..., width] to [..., out]."""
        for layer in self.layers[:-1]:
            values = torch.relu(layer(values))
        return self.layers[-1](values)


def inverse_sigmoid(share: Tensor) -> Tensor:
    """Logit of a share clamped to [1e-5, 1 - 1e-5] on either side, as Deformable DETR does."""
    share = share.clamp(0, 1)
    return torch.log(share.clamp(min=1e-5) / (1 - share).clamp(min=1e-5))


def sine_waves(places: Tensor, width: int) -> Tensor:
    """Sines and cosines of ``places`` [...] in turn, [..., width], wavelengths from 2 pi to 20,000 pi."""
    channel = torch.arange(width, dtype=torch.float32, device=places.device)
    angles = places[..., None] / 10000 ** (2 * torch.div(channel, 2, rounding_mode="floor") / width)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


def sine_positions(padding: Tensor, width: int) -> Tensor:
    """Positions [N, H, W, width] of an image: rows in the first half of the channels, columns in the second.

    ``padding`` bool [N, H, W] is true outside the image; positions run from 0 to 2 pi over what is inside.
    """
    inside = (~padding).float()
    waves = []
    for axis in (1, 2):
        count = inside.cumsum(axis)
        total = count.select(axis, -1).unsqueeze(axis)
        waves.append(sine_waves((count - 0.5) / (total + 1e-6) * 2 * math.pi, width // 2))
    return torch.cat(waves, dim=-1)


def sine_positions_1d(padding: Tensor, width: int) -> Tensor:
    """Positions [N, L, width] of words, ``padding`` bool [N, L]; the last word stands at 2 pi."""
    count = (~padding).float().cumsum(1)
    return sine_waves(count / (count[:, -1:] + 1e-6) * 2 * math.pi, width)


@dataclass(frozen=True)
class Levels:
    """Maps of several levels one after the other.

    ``shapes`` [L, 2] are (h, w); ``padding`` bool [N, S]; ``shares`` [N, L, 2] the shares (x, y) of a level
    that are image and not padding.
    """

    shapes: Tensor
    padding: Tensor
    shares: Tensor


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its four projections."""

    def __init__(self, width: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.sides = (heads, levels, points)
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.start()

    def start(self) -> None:
        """First values: each head looks in a direction of its own, point k at distance k + 1; all weigh the same."""
        heads, levels, points = self.sides
        angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        way = torch.stack([angle.cos(), angle.sin()], dim=-1)
        way = way / way.abs().amax(dim=-1, keepdim=True)
        offsets = way[:, None, None] * torch.arange(1, points + 1, dtype=torch.float32)[:, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        if not self.sampling_offsets.bias.is_meta:
            with torch.no_grad():
                self.sampling_offsets.bias.copy_(offsets.expand(heads, levels, points, 2).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, references: Tensor, memory: Tensor, levels: Levels) -> Tensor:
        """``query`` [N, Q, D] reads ``memory`` [N, S, D] around ``references`` [N, Q, L, 2 or 4]; [N, Q, D].

        A reference (x, y) is moved by offsets in pixels of each level, a box (x, y, w, h) by offsets of half its size.
        """
        heads, _, points = self.sides
        value = self.value_proj(memory).masked_fill(levels.padding[..., None], 0.0)
        offsets = self.sampling_offsets(query).unflatten(-1, (*self.sides, 2))
        weights = self.attention_weights(query).unflatten(-1, (heads, -1)).softmax(-1)
        centres = references[:, :, None, :, None, :2]
        if references.shape[-1] == 2:
            places = centres + offsets / levels.shapes.flip(-1)[:, None].to(offsets.dtype)
        else:
            places = centres + offsets / points * references[:, :, None, :, None, 2:] * 0.5
        value = value.unflatten(-1, (heads, -1))
        read = ms_deform_attn(value, levels.shapes, places, weights.unflatten(-1, self.sides[1:]))
        return self.output_proj(read)


class EncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then a perceptron; normalised after each."""

    def __init__(self, width: int, hidden: int, levels: int, heads: int, points: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, levels, heads, points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, positions: Tensor, references: Tensor, levels: Levels) -> Tensor:
        """[N, S, D] to [N, S, D]."""
        read = self.self_attn(source + positions, references, source, levels)
        source = self.norm1(source + self.dropout(read))
        hidden = self.linear2(self.dropout(torch.relu(self.linear1(source))))
        return self.norm2(source + self.dropout(hidden))


class DecoderLayer(nn.Module):
    """Self-attention among the queries of a frame, deformable attention to the image, a perceptron."""

    def __init__(self, width: int, hidden: int, levels: int, heads: int, points: int, dropout: float) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(width, levels, heads, points)
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, place: Tensor, references: Tensor, memory: Tensor, levels: Levels) -> Tensor:
        """Content ``target`` [N, Q, D] with positional queries ``place`` [N, Q, D]; [N, Q, D]."""
        asked = target + place
        target = self.norm2(target + self.dropout(self.self_attn(asked, asked, target, need_weights=False)[0]))
        target = self.norm1(target + self.dropout(self.cross_attn(target + place, references, memory, levels)))
        hidden = self.linear2(self.dropout(torch.relu(self.linear1(target))))
        return self.norm3(target + self.dropout(hidden))


class _Stack(nn.Module):
    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


@dataclass(frozen=True)
class Decoded:
    """``queries`` [layers, N, Q, D], ``boxes`` [layers, N, Q, 4] as (x, y, w, h) shares of the image, with gradient,
    and the encoder's ``memory``: a list of [N, D, h, w], one for each level."""

    queries: Tensor
    boxes: Tensor
    memory: list[Tensor]


class DeformableTransformer(nn.Module):
    """Encoder over four levels and decoder with iterative box refinement."""

    def __init__(
        self, width: int, hidden: int, *, layers: int, levels: int, heads: int, points: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        sides = (width, hidden, levels, heads, points, dropout)
        self.encoder = _Stack([EncoderLayer(*sides) for _ in range(layers)])
        self.decoder = _Stack([DecoderLayer(*sides) for _ in range(layers)])
        self.level_embed = nn.Parameter(torch.empty(levels, width))
        self.reference_points = nn.Linear(width, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.start()
        nn.init.zeros_(self.reference_points.bias)
        nn.init.normal_(self.level_embed)

    def forward(
        self, maps: Sequence[Tensor], padding: Tensor, content: Tensor, place: Tensor, box_heads: nn.ModuleList
    ) -> Decoded:
        """Decode ``content`` [N, Q, D] queries at positional queries ``place`` [Q, D] from ``maps`` [N, D, h, w].

        ``padding`` bool [N, H, W] is true outside the image, at the image's resolution. ``box_heads`` are one
        perceptron a layer, whose box, detached, is where the next layer looks.
        """
        masks = [functional.interpolate(padding[:, None].float(), each.shape[-2:])[:, 0].bool() for each in maps]
        sides = torch.tensor([each.shape[-2:] for each in maps], device=content.device)
        shares = torch.stack(
            [torch.stack([(~m[:, 0]).float().mean(1), (~m[:, :, 0]).float().mean(1)], dim=-1) for m in masks], dim=1
        )
        levels = Levels(sides, torch.cat([mask.flatten(1) for mask in masks], dim=1), shares)
        positions = torch.cat(
            [
                (sine_positions(mask, content.shape[-1]) + embedding).flatten(1, 2)
                for mask, embedding in zip(masks, self.level_embed, strict=True)
            ],
            dim=1,
        )
        memory = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], dim=1)
        references = grid_references(levels)
        for layer in self.encoder.layers:
            memory = layer(memory, positions, references, levels)

        place = place.expand(len(content), -1, -1)
        reference = self.reference_points(place).sigmoid()
        queries, boxes = [], []
        for layer, head in zip(self.decoder.layers, box_heads, strict=True):
            scale = shares if reference.shape[-1] == 2 else torch.cat([shares, shares], dim=-1)
            content = layer(content, place, reference[:, :, None] * scale[:, None], memory, levels)
            moved = head(content)
            start = inverse_sigmoid(reference)
            box = (moved + functional.pad(start, (0, moved.shape[-1] - start.shape[-1]))).sigmoid()
            reference = box.detach()
            queries.append(content)
            boxes.append(box)

        parts = memory.split([int(h * w) for h, w in sides.tolist()], dim=1)
        pictures = [part.transpose(1, 2).unflatten(-1, each.shape[-2:]) for part, each in zip(parts, maps, strict=True)]
        return Decoded(torch.stack(queries), torch.stack(boxes), pictures)


def grid_references(levels: Levels) -> Tensor:
    """Where each place of each level looks first, itself, on every level: [N, S, L, 2]."""
    centres = []
    for number, (height, width) in enumerate(levels.shapes.tolist()):
        y, x = torch.meshgrid(
            torch.arange(height, device=levels.shares.device) + 0.5,
            torch.arange(width, device=levels.shares.device) + 0.5,
            indexing="ij",
        )
        grid = torch.stack([x / width, y / height], dim=-1).flatten(0, 1)
        centres.append(grid[None] / levels.shares[:, None, number])
    return torch.cat(centres, dim=1)[:, :, None] * levels.shares[:, None]
