"""SAM 2 over a video: prompts on some frames, masks on all. Segmenter for annotation, tracker for predictors.

Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024, through transformers' Sam2VideoModel. Its
processors need torchvision, so frames and prompts are prepared here and the sessions built directly.

Every call of :meth:`Video.segment` replays all prompts into a new session (one forward call per prompted frame,
in ascending order, then all frames forward and backward): a session that is corrected and propagated again
silently keeps its old masks. So two calls with the same prompts give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from baselines import images, pretrained
from refvps.errors import InputError
from refvps.types import Method

PUBLISHED = pretrained.Checkpoint("facebook/sam2.1-hiera-small", "Apache-2.0", "0.2 GB")

NOT_NEUTRAL = "not neutral on Ref-VPS: its ground truth was made with SAM 2"
"""Stands in the record of every method of the SAM family."""

FEATURE_BYTES = 2 << 30
"""Vision features kept of an open video, so that the next text or click need not encode it again."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What marks one object on one frame: a box with or without points, points, or a mask.

    ``box``: (left, top, right, bottom) in pixels. ``points``: (x, y, 1 inside or 0 outside). ``mask``: bool [H, W],
    alone.
    """

    frame: int
    object: int = 1
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    mask: NDArray[np.bool_] | None = None


def load(
    weights: str | None = None, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Sam2:
    """The segmenter ``sam2``. ``weights``: a folder or repository of a Sam2VideoModel.

    Raises DataMissingError (with the steps) when the weights are not here, InputError when they do not fit.
    """
    return Sam2(pretrained.find(weights, PUBLISHED, revision), pretrained.place(device), dtype)


class Sam2:
    """A SAM 2 checkpoint. :meth:`open` a video, then prompt it as often as needed."""

    def __init__(self, weights: pretrained.Weights, device: torch.device, dtype: str | None) -> None:
        from transformers import Sam2VideoModel

        self.device = device
        self.precision = pretrained.precision(device, dtype)
        self.model = pretrained.load_model(Sam2VideoModel, weights, device, "sam2_video")
        self.method = Method(
            name="sam2",
            version="1",
            weights_sha256=weights.sha256,
            options={"weights": weights.origin, "dtype": dtype or "fp32"},
            licence=PUBLISHED.licence,
            url=f"https://huggingface.co/{PUBLISHED.repo}",
            training_data=f"SA-1B, SA-V; {NOT_NEUTRAL}",
        )

    def open(self, frames: Sequence[NDArray[np.uint8]]) -> Video:
        """A video of uint8 RGB frames [H, W, 3], all of one size; frames are decoded as they are needed."""
        return Video(self, frames)


class Video:
    """An open video: frames, and the vision features that were computed so far."""

    def __init__(self, segmenter: Sam2, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._segmenter = segmenter
        self._frames = Prepared(frames, segmenter.model.config.image_size, images.IMAGENET)
        self._features = _Features(FEATURE_BYTES)
        self.size: tuple[int, int] = tuple(frames[0].shape[:2]) if len(frames) else (0, 0)  # type: ignore[assignment]

    def segment(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Mapping[int, NDArray[np.bool_]]]]:
        """Frame index and, per object, its mask bool [H, W]; every frame once.

        The first prompted frame comes first (a preview, for a caller that stops there), then the frames after it,
        then those before it, backward. Raises InputError for prompts outside of the video.
        """
        ordered = sorted(prompts, key=lambda prompt: (prompt.frame, prompt.object))
        self._check(ordered)
        session = self._session()
        for frame in sorted({prompt.frame for prompt in ordered}):
            self._mark(session, [prompt for prompt in ordered if prompt.frame == frame])
            self._step(session, frame, reverse=False)
        first = ordered[0].frame
        for frame in range(first, len(self._frames)):
            yield frame, self._step(session, frame, reverse=False)
        for frame in range(first - 1, -1, -1):
            yield frame, self._step(session, frame, reverse=True)

    def _session(self) -> Any:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        device = self._segmenter.device
        session = Sam2VideoInferenceSession(
            video_height=self.size[0],
            video_width=self.size[1],
            inference_device=device,
            inference_state_device=device,
            dtype=torch.float32,  # its default is a string, on which it fails
        )
        session.processed_frames = self._frames
        session.cache = self._features
        return session

    def _mark(self, session: Any, prompts: Sequence[Prompt]) -> None:
        """Put the prompts of one frame into the session, in the coordinates of the model's square."""
        side = self._frames.side
        height, width = self.size
        scale = torch.tensor([side / width, side / height])
        for prompt in prompts:
            index = session.obj_id_to_idx(prompt.object)
            if prompt.mask is not None:
                mask = torch.from_numpy(prompt.mask.astype(np.float32))[None, None]
                if (height, width) != (side, side):
                    mask = functional.interpolate(mask, (side, side), mode="bilinear", antialias=True)
                session.add_mask_inputs(index, prompt.frame, (mask >= 0.5).float())
                continue
            corners = [] if prompt.box is None else [(*prompt.box[:2], 2), (*prompt.box[2:], 3)]
            marked = torch.tensor([*corners, *prompt.points], dtype=torch.float32)
            points = {
                "point_coords": (marked[:, :2] * scale)[None, None],
                "point_labels": marked[:, 2].int()[None, None],
            }
            session.add_point_inputs(index, prompt.frame, points)
        session.obj_with_new_inputs = [prompt.object for prompt in prompts]

    @torch.inference_mode()
    def _step(self, session: Any, frame: int, *, reverse: bool) -> dict[int, NDArray[np.bool_]]:
        segmenter = self._segmenter
        with segmenter.precision:
            found = segmenter.model(session, frame_idx=frame, reverse=reverse)
        for outputs in session.output_dict_per_obj.values():
            for kind in outputs.values():
                kind.get(frame, {}).pop("high_res_masks", None)  # two thirds of the state, and never read again
        masks = (images.enlarged(found.pred_masks[:, 0], self.size) > 0).cpu().numpy()
        return dict(zip(found.object_ids, masks, strict=True))

    def _check(self, prompts: Sequence[Prompt]) -> None:
        height, width = self.size
        wrong = [] if prompts else ["no prompts"]
        for prompt in prompts:
            place = f"frame {prompt.frame}, object {prompt.object}"
            if not 0 <= prompt.frame < len(self._frames):
                wrong.append(f"{place}: the video has {len(self._frames)} frames")
            if (prompt.mask is None) == (prompt.box is None and not prompt.points):
                wrong.append(f"{place}: give a mask, or a box and points")
            if prompt.mask is not None and prompt.mask.shape != (height, width):
                wrong.append(f"{place}: the mask has shape {prompt.mask.shape}, the frames {(height, width)}")
            if prompt.box is not None and not (
                0 <= prompt.box[0] <= prompt.box[2] <= width and 0 <= prompt.box[1] <= prompt.box[3] <= height
            ):
                wrong.append(f"{place}: the box {prompt.box} is not inside {width} x {height}")
            if any(not (0 <= x <= width and 0 <= y <= height and label in (0, 1)) for x, y, label in prompt.points):
                wrong.append(f"{place}: a point is not inside {width} x {height}, or neither 0 nor 1")
        marked = [(prompt.frame, prompt.object) for prompt in prompts]
        wrong += [
            f"frame {frame}, object {name}: marked twice"
            for frame, name in set(marked)
            if marked.count((frame, name)) > 1
        ]
        if wrong:
            raise InputError("Prompts cannot be used.", where=wrong)


class Prepared:
    """The frames as a model wants them, float32 [3, S, S], made when asked for: a session's video."""

    def __init__(
        self, frames: Sequence[NDArray[np.uint8]], side: int, channels: tuple[images.Channels, images.Channels]
    ) -> None:
        self._frames, self.side, self._channels = frames, side, channels

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Tensor:
        return images.pixels([self._frames[index]], (self.side, self.side), *self._channels)[0]


class _Features:
    """Vision features of the frames seen, up to a size, and of the latest; the session's cache.

    The positions, which transformers keeps once per frame, are the same for all and most of the memory.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._kept: dict[int, list[Tensor]] = {}
        self._latest: tuple[int, list[Tensor]] = (-1, [])
        self._positions: list[Tensor] = []

    def cache_vision_features(self, frame: int, features: Mapping[str, list[Tensor]]) -> None:
        maps = features["vision_feats"]
        size = sum(each.nbytes for each in maps)
        self._positions = features["vision_pos_embeds"]
        self._latest = (frame, maps)
        if size <= self._left:
            self._left -= size
            self._kept[frame] = maps

    def get_vision_features(self, frame: int) -> dict[str, list[Tensor]] | None:
        maps = self._latest[1] if frame == self._latest[0] else self._kept.get(frame)
        return None if maps is None else {"vision_feats": maps, "vision_pos_embeds": self._positions}
