"""LLaVA-NeXT-Video: CLIP in front of Vicuna. The frames of a clip are pooled to half their side and stand in one run.

Its processor shows an image whole and in tiles. The model takes no image without tiles, so single pictures are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaNextVideoConfig

from aim.families import llava
from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import encode_batches, features
from aim.families.clips_and_images import watch_clips_and_images
from aim.families.llava_onevision_images import images, tower_side
from aim.families.published import Published
from aim.families.towers import block_means, vision_transformer, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal


def _side(config) -> int:
    """Tokens along a side of a frame: 24 patches → 12."""
    return tower_side(config) // config.spatial_pool_stride


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """12 x 12 tokens a frame, whatever the clip's size."""
    return Grid(frames, _side(config), _side(config))


def _videos(config, _inputs: dict) -> Reader:
    side = _side(config)

    def read(placeholders: int) -> Picture:
        frames, rest = divmod(placeholders, side * side)
        if frames < 1 or rest:
            raise Refusal(
                f"The prompt holds {placeholders} video placeholders in a row; a LLaVA-NeXT-Video clip has {side * side} a frame. "
                "Give one whole video, and text between two."
            )
        return plain_picture(frames, side, side)

    return read


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames as LLaVA-1.5 takes its images: float32 [1, F, 3, side, side]."""
    return {"pixel_values_videos": llava.FAMILY.pixel_values(config, frames, picture_settings)["pixel_values"][None]}


def _pooled(config, values: Tensor) -> Tensor:
    """Values of patches, pooled as the features of frames are: [F, side · side, D] → [F, T, D]."""
    return block_means(values, tower_side(config), tower_side(config), config.spatial_pool_stride)


def _watch_patches(model, callback: Callable, pool: Callable[[Tensor], Tensor] = lambda values: values) -> list:
    """What CLS pays the patches in the tower's last layer."""
    attention = model.model.vision_tower.encoder.layers[-1].self_attn
    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool, first=1, by_cls=True)


def _watch_tower(model, callback: Callable) -> list:
    """Frames are pooled and images are not."""
    return watch_clips_and_images(model, callback, _watch_patches, partial(_pooled, model.config))


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected, pooled tokens, [1, F · T, hidden]. Nothing else of the tower's output is kept alive."""
    [frames] = pixels["pixel_values_videos"]
    grid = _grid(model.config, {}, len(frames), 0, 0)
    watch = partial(_watch_patches, pool=partial(_pooled, model.config))

    def run(part: Tensor) -> Tensor:
        [tokens] = model.model.get_video_features(part[None], return_dict=True).pooler_output
        return tokens.flatten(end_dim=-2)  # [F, T, hidden] in the first releases

    outputs, seen = encode_batches(model, watch, frames, _vision_shape(model.config, grid), run)
    return Encoded({"video": features(torch.cat(outputs)[None], seen)}, {}, grid)


def _vision_shape(config, _grid: Grid) -> VisionShape:
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=tower_side(config) ** 2,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=config.spatial_pool_stride**2,
        other_tokens=1,
        projector_means=True,
    )


def _refuses(config) -> str:
    """Another way of pooling than the published models', or a side that the pooling cuts off."""
    if config.spatial_pool_mode != "average" or tower_side(config) % config.spatial_pool_stride:
        return "It pools its frames in another way than by means of whole blocks of patches."
    return ""


[_SEVEN, _] = llava.FAMILY.published

FAMILY = Family(
    title="LLaVA-NeXT-Video",
    good_for="Short clips. It was trained on videos.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=images,
    videos=_videos,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<video>",
    prompt=lambda grid, _times: [grid.tokens],
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=vision_transformer,
    published=(
        Published(
            name="llava-next-video-7b",
            hub_ids=("llava-hf/LLaVA-NeXT-Video-7B-hf", "llava-hf/LLaVA-NeXT-Video-7B-DPO-hf"),
            config_class=LlavaNextVideoConfig,
            parts=_SEVEN.parts,
        ),
    ),
    picture_settings=llava.FAMILY.picture_settings,
    shown=llava.FAMILY.shown,
    refuses=_refuses,
)
