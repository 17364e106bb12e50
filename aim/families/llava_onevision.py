"""LLaVA-OneVision: SigLIP in front of Qwen2; a video frame is pooled to half its side, and one newline token ends a clip."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from aim.cost import VisionShape
from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import batches
from aim.families.pixels import normalised_frames
from aim.grid import Grid


def _side(config) -> int:
    """Patches along a side of the tower's square input."""
    return config.vision_config.image_size // config.vision_config.patch_size


def _grid(config, _settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches, pooled to half their side, rounded up: 27 x 27 → 14 x 14, whatever the clip's size."""
    side = math.ceil(_side(config) / 2)
    return Grid(frames, side, side)


def _videos(config, _inputs: dict) -> Reader:
    side = math.ceil(_side(config) / 2)

    def read(placeholders: int) -> Picture:
        frames, rest = divmod(placeholders - 1, side * side)
        if frames < 1 or rest:
            raise ValueError(
                f"The prompt holds {placeholders} video placeholders in a row; a LLaVA-OneVision clip has {side * side} a frame "
                "and 1 more. Give one whole video, and text between two."
            )
        return plain_picture(frames, side, side, separators=1)

    return read


def _images(config, _inputs: dict) -> Reader:
    side = _side(config)

    def read(_placeholders: int) -> Picture:
        return plain_picture(1, side, side, separators=1)

    return read


def _pixel_values(_config, frames: np.ndarray, settings: dict) -> dict[str, Tensor]:
    """Resized without keeping the aspect ratio, as the checkpoint's own processor does: float32 [1, F, 3, height, width]."""
    size = settings["size"]
    return {"pixel_values_videos": normalised_frames(frames, settings, size["height"], size["width"])[None]}


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected, pooled tokens with the newline: pooler_output [1, F·T + 1, hidden]. Keeps nothing else of the tower's output alive."""
    [frames] = pixels["pixel_values_videos"]
    grid = _grid(model.config, {}, len(frames), 0, 0)
    outputs = []
    for batch in batches(frames, _vision_shape(model.config, grid), model.dtype.itemsize):
        output = model.model.get_video_features(batch[None].to(model.device, model.dtype), return_dict=True)
        outputs.append(output.pooler_output)
    # Every batch ends with the newline; only the last one's stands.
    features = torch.cat([*(part[:, :-1] for part in outputs[:-1]), outputs[-1]], dim=1)
    return Encoded({"video": BaseModelOutputWithPooling(pooler_output=features)}, {}, grid)


def _vision_shape(config, _grid: Grid) -> VisionShape:
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=_side(config) ** 2,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
    )


FAMILY = Family(
    title="LLaVA-OneVision",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=_images,
    videos=_videos,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<video>",
    prompt=lambda grid: [grid.tokens + 1],
    vision_shape=_vision_shape,
)
