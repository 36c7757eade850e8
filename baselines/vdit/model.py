"""VD-IT as a whole: what is trained, what is frozen, and the way of a clip through both.

frames -> autoencoder -> latents + predicted noise -> frozen text-to-video UNet, told about every frame by a prompt
made of caption and image -> pyramid at 1/4, 1/8, 1/16, 1/32 -> deformable transformer whose five queries are
multiplied by what they read in the sentence -> a class, a box and a mask for each query and frame.
Dropping every parameter of the frozen part leaves 30.04 million trained ones and RoBERTa.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from baselines.vdit.deformable import DeformableTransformer, Mlp, sine_positions_1d
from baselines.vdit.features import Encoded, encode_frames, pyramid_inputs, unet_activations
from baselines.vdit.mask_head import MaskRefinement, dynamic_patches, mask_features, parameter_count, unfold_patches
from baselines.vdit.noise import add_noise, noise_layers, predict_noise, signal_shares, timestep_of
from baselines.vdit.prompt import FUSIONS, ConcatBlock, CrossAttentionBlock, ImageProjection, clip_pixels
from refvps.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""The colour of padding: released code pads with zeros after taking ImageNet's mean out."""

SIDE_MULTIPLE = 16

SIZES = tuple("queries width hidden layers heads points vision prompt prompt_heads text quarter".split())
"""Fields of the configuration that are whole numbers above 0."""


@dataclass(frozen=True)
class VdItConfig:
    """Sizes of the trained part; the defaults are the paper's.

    ``unet`` are the UNet's channels by level, ``quarter`` those of the autoencoder's map, ``pyramid`` the two widths
    of the convolutions at each of the four levels, ``vision`` and ``prompt`` the widths of CLIP's image tokens and of
    the UNet's prompt, ``text`` that of RoBERTa.
    """

    fusion: str = "attn"
    queries: int = 5
    width: int = 256
    hidden: int = 2048
    layers: int = 4
    heads: int = 8
    points: int = 4
    vision: int = 1280
    prompt: int = 1024
    prompt_heads: int = 16
    text: int = 768
    quarter: int = 512
    unet: tuple[int, ...] = (320, 640, 1280, 1280)
    pyramid: tuple[tuple[int, int], ...] = ((256, 128), (512, 256), (1024, 512), (1024, 1024))
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise UsageError("There is no such fusion.", where=[self.fusion], fix=f"use one of {', '.join(FUSIONS)}")
        numbers = [getattr(self, name) for name in SIZES] + [
            *self.unet,
            *(side for pair in self.pyramid for side in pair),
        ]
        if not all(type(number) is int and 0 < number <= 1 << 16 for number in numbers) or self.layers > 64:
            raise UsageError("A size of VD-IT is out of range.", where=[str(self)[:300]])


@dataclass(frozen=True)
class Frozen:
    """The modules that are never trained, in diffusers' and transformers' classes.

    ``vae`` AutoencoderKL, ``unet`` UNet3DConditionModel, ``text_encoder`` and ``tokenizer`` of the text-to-video
    model, ``scheduler`` its schedule, ``vision`` CLIP's image tower.
    """

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    vision: Any

    def __post_init__(self) -> None:
        for module in (self.vae, self.unet, self.text_encoder, self.vision):
            module.requires_grad_(False).eval()


@dataclass(frozen=True)
class ClipInput:
    """A batch of clips as the frozen part saw it; shared by all texts about them.

    ``encoded`` latents and map, ``image_tokens`` [B*T, L, vision], ``padding`` bool [B, H, W], true outside.
    """

    encoded: Encoded
    image_tokens: Tensor
    padding: Tensor


@dataclass(frozen=True)
class Outputs:
    """All decoder layers' answers, and the pyramid's maps at 1/8 and 1/4.

    ``logits`` [layers, B, T, Q]; ``boxes`` [layers, B, T, Q, 4] as (x, y, w, h) shares of the image without padding;
    ``patches`` [layers, B, T, Q, 16, h, w].
    """

    logits: Tensor
    boxes: Tensor
    patches: Tensor
    eighth: Tensor
    quarter: Tensor

    @property
    def low(self) -> Tensor:
        """Mask logits at half the resolution [layers, B, T, Q, H/2, W/2]."""
        return unfold_patches(self.patches)


class FeatureLayers(nn.Module):
    """The trained layers around the frozen UNet: projection, fusion, noise prediction, pyramid."""

    def __init__(self, config: VdItConfig) -> None:
        super().__init__()
        if config.fusion != "text":
            self.projection = ImageProjection(config.vision, config.prompt)
        if config.fusion == "attn":
            self.cross_attn = CrossAttentionBlock(config.prompt, config.prompt_heads)
        if config.fusion == "concat":
            self.concat = ConcatBlock(config.prompt)
        self.noise_pred, self.noise_fc = noise_layers()
        first, second, third, fourth = config.unet
        inputs = (config.quarter, first + second, first + third, second + fourth)
        self.act_postprocess = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, middle, 1), nn.Conv2d(middle, out, 1))
            for channels, (middle, out) in zip(inputs, config.pyramid, strict=True)
        )
        self.fusion = config.fusion

    def prompts(self, caption: Tensor, image_tokens: Tensor) -> Tensor:
        """Prompts [B*T, L, prompt], one a frame, of captions [B*T, 77, prompt] and image tokens [B*T, 257, vision]."""
        if self.fusion == "text":
            return caption
        image = self.projection(image_tokens)
        if self.fusion == "image":
            return image
        return self.cross_attn(caption, image) if self.fusion == "attn" else self.concat(caption, image)


class WordProjection(nn.Module):
    """Words of RoBERTa's width to the transformer's."""

    def __init__(self, text: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Linear(text, width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor) -> Tensor:
        """[B, L, text] to [B, L, width]."""
        return self.dropout(self.layer_norm(self.fc(words)))


class SentenceReading(nn.Module):
    """Queries multiplied by what they read in the sentence (text-instance matching)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, queries: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """``queries`` [B, Q, D], ``words`` [B, L, D], ``padding`` bool [B, L]; [B, Q, D]."""
        keys = words + sine_positions_1d(padding, words.shape[-1])
        return queries * self.multihead_attn(queries, keys, words, key_padding_mask=padding, need_weights=False)[0]


class VdIt(nn.Module):
    """The trained part, and RoBERTa, which the released checkpoint brings along.

    ``roberta`` a RobertaModel, or None where its output is not needed (counting), ``roberta_tokenizer`` its
    tokenizer; ``noise_step`` the supplement's step, 1 unless Table B is repeated.
    """

    def __init__(
        self, config: VdItConfig, roberta: Any = None, roberta_tokenizer: Any = None, *, noise_step: int = 1
    ) -> None:
        super().__init__()
        self.config = config
        self.timestep = timestep_of(noise_step)
        self.roberta_tokenizer = roberta_tokenizer
        width = config.width
        self.backbone = FeatureLayers(config)
        self.query_tensors = nn.Parameter(torch.empty(config.queries, width))
        self.query_embed = nn.Embedding(config.queries, width)
        self.text_proj = WordProjection(config.text, width, config.dropout)
        self.fusion_module = SentenceReading(width, config.heads)
        channels = [out for _, out in config.pyramid[1:]]
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(each, width, 1), nn.GroupNorm(min(32, width // 4), width)) for each in channels
        )
        last = nn.Conv2d(channels[-1], width, 3, stride=2, padding=1)
        self.input_proj.append(nn.Sequential(last, nn.GroupNorm(min(32, width // 4), width)))
        self.transformer = DeformableTransformer(
            width, config.hidden, layers=config.layers, levels=len(self.input_proj), heads=config.heads,
            points=config.points, dropout=config.dropout,
        )  # fmt: skip
        self.class_embed = nn.ModuleList(nn.Linear(width, 1) for _ in range(config.layers))
        self.bbox_embed = nn.ModuleList(Mlp(width, width, 4, 3) for _ in range(config.layers))
        self.controller = Mlp(width, width, parameter_count(width), 3)
        self.mask_refine = MaskRefinement(config.pyramid[1][1], config.pyramid[0][1])
        self.roberta = roberta
        self._start()

    def _start(self) -> None:
        nn.init.normal_(self.query_tensors)
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        for head in self.class_embed:
            nn.init.constant_(head.bias, -math.log(99.0))  # one query in a hundred is the target
        for number, head in enumerate(self.bbox_embed):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)
            if number == 0:
                nn.init.constant_(head.layers[-1].bias[2:], -2.0)
        for layer in self.controller.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def read_words(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Word features [B, L, width] of ``texts`` and their padding, bool [B, L]."""
        device = self.query_tensors.device
        tokens = self.roberta_tokenizer(
            list(texts), padding="longest", truncation=True, max_length=512, return_tensors="pt"
        ).to(device)
        words = self.roberta(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return self.text_proj(words.float()), tokens.attention_mask == 0

    def pyramid(self, frozen: Frozen, clip: ClipInput, texts: Sequence[str]) -> list[Tensor]:
        """The four maps [B*T, c, h, w] at 1/4, 1/8, 1/16 and 1/32 of one text a clip."""
        latents = clip.encoded.latents
        caption = read_caption(frozen, texts).repeat_interleave(latents.shape[2], dim=0)
        prompts = self.backbone.prompts(caption, clip.image_tokens)
        noise = predict_noise(latents, self.backbone.noise_pred, self.backbone.noise_fc)
        noisy = add_noise(latents, noise, signal_shares(frozen.scheduler), self.timestep)
        maps = pyramid_inputs(clip.encoded.quarter, unet_activations(frozen.unet, noisy, self.timestep, prompts))
        return [layers(each) for layers, each in zip(self.backbone.act_postprocess, maps, strict=True)]

    def forward(self, frozen: Frozen, clip: ClipInput, texts: Sequence[str]) -> Outputs:
        """Answers of all decoder layers about a batch of clips, one text each."""
        quarter, eighth, *_, last = maps = self.pyramid(frozen, clip, texts)
        batch, _, frames = clip.encoded.latents.shape[:3]
        words, padding = self.read_words(texts)
        content = self.fusion_module(self.query_tensors.expand(batch, -1, -1), words, padding)
        sources = [projection(each) for projection, each in zip(self.input_proj, [*maps[1:], last], strict=True)]
        outside = clip.padding.repeat_interleave(frames, dim=0)
        decoded = self.transformer(
            sources, outside, content.repeat_interleave(frames, dim=0), self.query_embed.weight, self.bbox_embed
        )
        features = mask_features(decoded.memory[:3])
        inside = ~clip.padding
        size = torch.stack([inside[:, 0].sum(1), inside[:, :, 0].sum(1)], dim=-1).repeat_interleave(frames, dim=0)
        patches = [
            dynamic_patches(features, self.controller(queries), boxes[..., :2].detach() * size[:, None])
            for queries, boxes in zip(decoded.queries, decoded.boxes, strict=True)
        ]
        logits = [head(queries)[..., 0] for head, queries in zip(self.class_embed, decoded.queries, strict=True)]
        clips = (batch, frames)
        return Outputs(
            torch.stack(logits).unflatten(1, clips), decoded.boxes.unflatten(1, clips),
            torch.stack(patches).unflatten(1, clips), eighth, quarter,
        )  # fmt: skip

    def refine(self, outputs: Outputs, patches: Tensor) -> Tensor:
        """Full-resolution logits [B, T, H, W] of one query's ``patches`` [B, T, 16, h, w]."""
        refined = self.mask_refine(patches.flatten(0, 1), outputs.eighth, outputs.quarter)
        return refined.unflatten(0, patches.shape[:2])

    def choose(self, outputs: Outputs) -> Tensor:
        """The query of each clip [B]: the largest mean over the frames of the last layer's sigmoid; never none."""
        return outputs.logits[-1].sigmoid().mean(1).argmax(1)

    def segment(self, frozen: Frozen, clip: ClipInput, texts: Sequence[str]) -> Tensor:
        """Full-resolution logits [B, T, H, W], padding included, of the query chosen for each clip."""
        outputs = self(frozen, clip, texts)
        chosen = outputs.patches[-1][torch.arange(len(texts)), :, self.choose(outputs)]
        return self.refine(outputs, chosen)


@torch.no_grad()
def read_caption(frozen: Frozen, texts: Sequence[str]) -> Tensor:
    """The text-to-video model's own text embeddings [B, 77, prompt], padded to the tokenizer's full length."""
    tokens = frozen.tokenizer(
        list(texts), padding="max_length", truncation=True,
        max_length=frozen.tokenizer.model_max_length, return_tensors="pt",
    )  # fmt: skip
    return frozen.text_encoder(tokens.input_ids.to(frozen.text_encoder.device)).last_hidden_state.float()


@torch.no_grad()
def look_at(
    frozen: Frozen,
    clips: Sequence[Any],
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> ClipInput:
    """Run the frozen encoders over clips, uint8 [T, H, W, 3] each, of equal length.

    The frames are used at their size, padded below and to the right to the largest of the batch and to a multiple
    of 16; resizing is the caller's. ``generator`` samples the latents instead of taking the mode.
    """
    height, width = (
        math.ceil(max(clip.shape[axis] for clip in clips) / SIDE_MULTIPLE) * SIDE_MULTIPLE for axis in (1, 2)
    )
    colour = torch.tensor([255 * mean for mean in IMAGENET_MEAN])
    pixels = colour.view(1, 3, 1, 1, 1).repeat(len(clips), 1, len(clips[0]), height, width)
    padding = torch.ones(len(clips), height, width, dtype=torch.bool)
    for number, clip in enumerate(clips):
        pixels[number, :, :, : clip.shape[1], : clip.shape[2]] = torch.as_tensor(clip).permute(3, 0, 1, 2)
        padding[number, : clip.shape[1], : clip.shape[2]] = False
    encoded = encode_frames(frozen.vae, pixels.to(device) / 127.5 - 1, generator=generator)
    seen = pixels.to(torch.uint8).permute(0, 2, 3, 4, 1).flatten(0, 1).numpy()  # truncates, as the released code does
    vision = frozen.vision
    tokens = [
        vision(part.to(device, vision.dtype)).last_hidden_state.float()
        for part in clip_pixels(seen, vision.config.image_size).split(16)
    ]
    return ClipInput(encoded, torch.cat(tokens), padding.to(device))
