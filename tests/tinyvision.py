"""Tiny random models of the vision families the baselines load, saved as folders that from_pretrained reads.

All are built without a network and adjusted so that their answers are neither empty nor full: a random head
says "absent" or "below the threshold" everywhere, and a test of it would pass vacuously.
"""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tinymodels import clip_tokenizer

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}


def _tokens(length: int) -> dict[str, Any]:
    """A text tower for :func:`tinymodels.clip_tokenizer`."""
    return {
        "vocab_size": 514, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": length, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 0,
    }  # fmt: skip


def _save(model: Any, folder: Path, **preparation: Any) -> Path:
    model.eval().save_pretrained(folder)
    if preparation:
        (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


def clipseg(folder: Path, *, seed: int = 0, side: int = 64) -> Path:
    """A CLIPSeg whose images are ``side`` x ``side`` and whose positions were made for half of that."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    torch.manual_seed(seed)
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "image_size": side // 2, "patch_size": 8,
    }  # fmt: skip
    config = CLIPSegConfig(
        text_config=_tokens(77), vision_config=vision, projection_dim=32, extract_layers=[0, 1, 2], reduce_dim=16,
        decoder_num_attention_heads=2, decoder_intermediate_size=32, conditional_layer=0, initializer_factor=8.0,
    )  # fmt: skip
    model = CLIPSegForImageSegmentation(config)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    clip_tokenizer(folder)
    return _save(model, folder, size={"height": side, "width": side}, **IMAGENET)


def bert_vocabulary(folder: Path) -> Any:
    """A BertTokenizer over letters with [CLS], [SEP], "." and "?" where GroundingDINO expects them."""
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789',;:!-"
    entries = ["[PAD]", *(f"[unused{index}]" for index in range(1, 1200))]
    entries[100:104] = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries[1012], entries[1029] = ".", "?"
    entries[200 : 200 + len(letters)] = letters
    entries[300 : 300 + len(letters)] = [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(entries))
    tokenizer = BertTokenizer(vocab={entry: index for index, entry in enumerate(entries)}, do_lower_case=True)
    tokenizer.save_pretrained(folder)
    return tokenizer


def grounding_dino(folder: Path, *, seed: int = 0) -> Path:
    """A GroundingDINO of 5 queries; frames are resized to 64, at most 96 pixels."""
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    torch.manual_seed(seed)
    swin = SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=4,
        out_indices=[2, 3, 4],
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=1200, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512,
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, num_queries=5, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, d_model=32, max_text_len=64,
    )  # fmt: skip
    model = GroundingDinoForObjectDetection(config)
    with torch.no_grad():
        model.model.decoder.layer_norm.weight.mul_(0.05)  # scores between 0 and 1, not at them
        for parameter in model.bbox_embed.parameters():
            parameter.normal_(std=0.05)
    bert_vocabulary(folder)
    return _save(model, folder, size={"shortest_edge": 64, "longest_edge": 96}, **IMAGENET)


def owlv2(folder: Path, *, seed: int = 0) -> Path:
    """An OWLv2 over 64 x 64 pixels, one box per patch of 16."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    torch.manual_seed(seed)
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64,
        "patch_size": 16,
    }  # fmt: skip
    config = Owlv2Config(text_config=_tokens(16), vision_config=vision, projection_dim=32)
    model = Owlv2ForObjectDetection(config)
    with torch.no_grad():
        for parameter in model.box_head.parameters():
            parameter.normal_(std=0.05)
    clip_tokenizer(folder)
    return _save(model, folder, size={"height": 64, "width": 64}, **CLIP)


def sam2(folder: Path, *, seed: int = 0, side: int = 64) -> Path:
    """A SAM 2 video model of ``side`` x ``side`` pixels."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import (
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
    )

    torch.manual_seed(seed)
    hiera = Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[side, side], embed_dim_per_stage=[8, 16, 32, 64],
        blocks_per_stage=[1, 2, 2, 1], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[4],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=128,
        backbone_feature_sizes=[[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
    )  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=vision, image_size=side,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(
            hidden_size=128, image_size=side, patch_size=16, mask_input_channels=4
        ),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=128
        ),
        memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16] * 2, memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64, mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
    )  # fmt: skip
    model = Sam2VideoModel(config)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)  # the object is there
        model.memory_temporal_positional_encoding.normal_(std=0.1)
        model.no_memory_embedding.normal_(std=0.1)
    return _save(model, folder)


def sam3(folder: Path, *, seed: int = 0, side: int = 56) -> Path:
    """A SAM 3 video model of ``side`` x ``side`` pixels, with tokenizer; the detector alone is Sam3Model's."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(seed)
    cells = side // 14
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": side, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": side // 2,
    }  # fmt: skip
    vision = {
        "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
    }  # fmt: skip
    small = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 64, "num_layers": 1}
    detector = {
        "model_type": "sam3", "vision_config": vision,
        "text_config": {"model_type": "clip_text_model", "projection_dim": 32, "hidden_act": "gelu", **_tokens(32)},
        "geometry_encoder_config": small, "detr_encoder_config": small,
        "detr_decoder_config": {**small, "num_queries": 6},
        "mask_decoder_config": {"hidden_size": 128, "num_attention_heads": 4},
    }  # fmt: skip
    tracker = {
        "model_type": "sam3_tracker_video", "vision_config": vision, "image_size": side,
        "prompt_encoder_config": {"hidden_size": 128, "image_size": side, "patch_size": 14, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 128
        },
        "memory_attention_hidden_size": 128, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64, "memory_attention_rope_feat_sizes": [cells] * 2,
        "memory_encoder_hidden_size": 128, "memory_encoder_output_channels": 64, "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 32, "memory_fuser_num_layers": 1,
    }  # fmt: skip
    config = Sam3VideoConfig(detector_config=detector, tracker_config=tracker, low_res_mask_size=4 * cells)
    model = Sam3VideoModel(config)
    with torch.no_grad():
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
        model.detector_model.detr_decoder.presence_head.layer3.bias.fill_(5.0)
        model.detector_model.dot_product_scoring.query_proj.weight.mul_(60)  # some queries above 0.7, by the text
    clip_tokenizer(folder)
    return _save(model, folder)


# --- what every predictor is asked --------------------------------------------------------------------


class Frames(Sequence[np.ndarray]):
    """A lazy clip, computed when asked for: a disc moves over a slope of colours."""

    def __init__(self, count: int = 4, size: tuple[int, int] = (37, 53), indices: Sequence[int] | None = None) -> None:
        self.size, self.indices = size, range(count) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Frames(size=self.size, indices=self.indices[index])
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        frame = np.stack([(3 * x + y) % 200, (x + 2 * y) % 180, (x * y // 7) % 160], axis=-1).astype(np.uint8)
        frame[(y - self.size[0] // 2) ** 2 + (x - 8 - 5 * self.indices[index]) ** 2 < 40] = (255, 40, 220)
        return frame


def answers(predictor: Any, frames: Any, texts: Sequence[str]) -> np.ndarray:
    """All masks [texts, frames, H, W]; fails unless every (text, frame) comes exactly once, as bool."""
    masks = np.zeros((len(texts), len(frames), *frames[0].shape[:2]), bool)
    times = np.zeros(masks.shape[:2], int)
    for chunk in predictor.predict(frames, texts, fps=24.0, seed=0):
        assert chunk.masks.dtype == np.bool_
        masks[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
        times[chunk.text, chunk.start : chunk.start + len(chunk.masks)] += 1
    assert (times == 1).all()
    return masks


def check_independence(predictor: Any, *, alike: bool = False) -> None:
    """Several texts, one of them empty, answer as each alone; one frame and a portrait clip have answers too."""
    texts = ["the disc that moves", "", "A bird on the ground"]
    together = answers(predictor, Frames(3), texts)
    assert np.array_equal(together[::-1], answers(predictor, Frames(3), texts[::-1]))
    assert np.array_equal(together[2:], answers(predictor, Frames(3), texts[2:]))
    assert 0 < together.mean() < 1
    assert alike or not np.array_equal(together[0], together[2])
    assert answers(predictor, Frames(1, (41, 22)), texts[:1]).shape == (1, 1, 41, 22)
    assert list(predictor.predict(Frames(3), [], fps=24.0, seed=0)) == []
    assert list(predictor.predict(Frames(0), texts, fps=24.0, seed=0)) == []


def check_release(predictor: Any, *kinds: type) -> None:
    """Neither the frames nor an object of ``kinds`` outlives a prediction, finished or left in the middle."""
    frames = Frames(3)
    gone = weakref.ref(frames)
    answers(predictor, frames, ["the disc"])
    left = predictor.predict(frames, ["the disc", "a bird"], fps=24.0, seed=0)
    next(left)
    left.close()
    del frames, left
    gc.collect()
    assert gone() is None
    assert not [each for each in gc.get_objects() if issubclass(type(each), kinds)]


def check_sample(predictor: Any, out: Path, *, frames: int = 3) -> tuple[Any, dict[str, Any]]:
    """Run over the first frames of a clip of the sample benchmark by the real runner, then score the files.

    The scores, and the method as the run's record has it.
    """
    import refvps
    from refvps.run.predict import predict

    sample = refvps.load("sample")
    clip = next(iter(sample.clips.values()))
    short = replace(clip, frames=clip.frames[:frames], annotated=clip.frames[:frames])
    bench = replace(
        sample, name="short-sample", digest="0" * 64, clips={clip.id: short}, clip_digests={},
        expressions=sample.expressions_of(clip.id), frames=lambda name: sample.frames(name)[:frames],
    )  # fmt: skip
    run = predict(bench, predictor, out)
    assert run.done == (clip.id,)
    scores = refvps.evaluate(bench, out)
    assert len(scores.rows) == len(sample.expressions_of(clip.id))
    assert all(row.missing == 0 and 0 <= row.values["J"] <= 1 for row in scores.rows)
    assert scores.method.name == predictor.method.name
    method = json.loads((out / "run.json").read_text())["method"]
    assert method["weights_sha256"] == predictor.method.weights_sha256
    return scores, method
