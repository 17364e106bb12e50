"""GLM-4.1V: the steps of a clip stand at the placeholders of images, each before its second; positions have three axes, as in Qwen2-VL.

The model itself takes a clip apart into its steps, so a clip goes in as images of two frames each, which gives the same numbers. Prompts
with the inputs that its processor makes of a video are read too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Glm4vConfig
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize

from aim.families import qwen2_vl
from aim.families.base import Encoded, Family, Reader
from aim.families.published import Published
from aim.families.qwen2_vl import IMAGE_INPUTS
from aim.families.qwen_pixels import FrameSize, gridder, no_ribbon, pixel_maker
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid

# Pixels of all frames of a clip together, as the published checkpoints limit them, and of a single picture, which counts as two frames:
# 1,280 tokens at most, as for Qwen2-VL. Its processor would make up to 7,500.
MIN_PIXELS, MAX_PIXELS, MAX_IMAGE_PIXELS = 112 * 112, 28 * 28 * 2 * 30000, 2 * 1280 * 28 * 28
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]}


def _frame_size(config, picture_settings: dict, frames: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a clip's frames are resized, by transformers' own rule, which counts the pixels of all frames together.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    return _size_within(MAX_PIXELS, config, picture_settings, frames, height, width)


def _image_size(config, picture_settings: dict, _frames: int, height: int, width: int) -> tuple[int, int]:
    given = picture_settings.get("size", {}).get("longest_edge") or MAX_IMAGE_PIXELS
    settings = {"size": {**picture_settings.get("size", {}), "longest_edge": min(given, MAX_IMAGE_PIXELS)}}
    return _size_within(MAX_IMAGE_PIXELS, config, settings, 1, height, width)


def _size_within(limit: int, config, picture_settings: dict, frames: int, height: int, width: int) -> tuple[int, int]:
    """An odd last frame counts twice, since a step in time takes two."""
    size, vision = picture_settings.get("size", {}), config.vision_config
    time, side = vision.temporal_patch_size, vision.patch_size * vision.spatial_merge_size
    least, most = size.get("shortest_edge") or MIN_PIXELS, size.get("longest_edge") or limit
    with no_ribbon(height, width):
        return smart_resize(frames + frames % time, height, width, time, side, least, most)


def _images(config, inputs: dict) -> Reader:
    """Every step of a clip is a picture of its own."""
    sizes = inputs.get("image_grid_thw")
    sizes = inputs.get("video_grid_thw") if sizes is None else sizes
    return qwen2_vl.reader("image", step_by_step=True)(config, {**inputs, "image_grid_thw": sizes})


def _pixel_maker(frame_size: FrameSize) -> Callable[..., dict[str, Tensor]]:
    """The family's `pixel_values`: the steps as images of two frames each."""
    made = pixel_maker(frame_size)

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        clip = {name: made(config, frames, picture_settings)[same] for name, same in IMAGE_INPUTS.items()}
        [(steps, rows, columns)] = clip["image_grid_thw"].tolist()
        return {**clip, "image_grid_thw": torch.tensor([[1, rows, columns]] * steps)}

    return pixel_values


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [steps · T, hidden]."""
    sizes = pixels["image_grid_thw"]
    clip = torch.tensor([[len(sizes), *sizes[0, 1:].tolist()]])
    encode = qwen2_vl.encoder(qwen2_vl.watch_tower, _vision_shape)
    encoded = encode(model, {"pixel_values_videos": pixels["pixel_values"], "video_grid_thw": clip})
    return Encoded({"image": encoded.features["video"]}, {"image_grid_thw": sizes}, encoded.grid)


def prompter(time_of: Callable[[float], str]) -> Callable[[Grid, Sequence[float]], list[str | int]]:
    """The family's `prompt`: the steps, each before the time of its first frame. Where times are not known, a frame a second.

    `time_of`: a second → how the processor writes it.
    """

    def prompt(grid: Grid, times: Sequence[float]) -> list[str | int]:
        parts: list[str | int] = []
        for second in (list(times) or [float(frame) for frame in range(2 * grid.frames)])[::2]:
            parts += ["<|begin_of_image|>", grid.tokens_per_frame, f"<|end_of_image|>{time_of(second)}"]
        return parts

    return prompt


def _for_images(family: Family) -> Family:
    one = _pixel_maker(_image_size)
    return replace(
        family,
        grid=gridder(_image_size),
        pixel_values=lambda config, frames, picture_settings: one(config, frames[:1], picture_settings),
        clip_text="<|image|>",
        clip_type="image",
        prompt=lambda grid, *_further: [grid.tokens],
    )


def _vision_shape(config, grid: Grid) -> VisionShape:
    """Gated MLPs. One matrix joins four patches, a second follows, and a gated MLP of three more."""
    vision, together = config.vision_config, config.vision_config.spatial_merge_size**2
    out = vision.out_hidden_size
    return VisionShape(
        num_layers=vision.depth,
        hidden_size=vision.hidden_size,
        intermediate_size=out * 3 // 2,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        projector_size=out,
        projector_patches=together,
        projector_further=3 * out * vision.intermediate_size,
    )


def published(name: str, hub_ids: tuple[str, ...], config_class: type, **parts: Any) -> Published:
    """A GLM-4-9B behind the family's own ViT. The sizes of both are the defaults of their config classes."""
    text = {"max_position_embeddings": 65536, "rope_parameters": ROPE}
    return Published(name, hub_ids, config_class, {"text_config": text, "vision_config": {}, **parts})


FAMILY = replace(
    qwen2_vl.FAMILY,
    title="GLM-4.1V",
    good_for="Clips, and answers that are thought through first.",
    video_token=lambda _config: None,
    images=_images,
    videos=None,
    grid=gridder(_frame_size),
    pixel_values=_pixel_maker(_frame_size),
    encode=_encode,
    clip_text="<|video|>",
    prompt=prompter(lambda second: str(int(second))),
    tower_layers=None,
    vision_shape=_vision_shape,
    published=(published("glm-4.1v-9b", ("zai-org/GLM-4.1V-9B-Thinking", "zai-org/GLM-4.1V-9B-Base"), Glm4vConfig),),
    for_images=_for_images,
)
