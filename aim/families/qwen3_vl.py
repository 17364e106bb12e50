"""Qwen3-VL: Qwen2-VL with a time in words before every step of a clip, and with features of several depths of the tower (DeepStack).

The engine adds the DeepStack features to the tokens that are left (`aim.engine.deepstack`). Positions have three axes, as in Qwen2-VL. They
count time by the words between the steps, so a step's own tokens all have one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLConfig
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from aim.families import qwen2_vl
from aim.families.published import Published
from aim.families.qwen3_sizes import LARGE_TOWER, MROPE, QWEN3_2B, QWEN3_4B, QWEN3_8B, QWEN3_32B, SMALL_TOWER
from aim.families.qwen_pixels import gridder, no_ribbon, pixel_maker
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.tower_attention import TowerAttention

# Pixels of all frames of a clip together, as the published checkpoints limit them.
MIN_PIXELS, MAX_PIXELS = 4096, 25165824
# Of a single picture: as few as its processor's, and 1,280 tokens at most, as for Qwen2-VL.
MIN_IMAGE_PIXELS, MAX_IMAGE_PIXELS = 65536, 1280 * 32 * 32
TOKENS_PER_FRAME = 768  # at most, where the checkpoint's settings cap a frame by itself


def frame_size(config, picture_settings: dict, frames: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a clip's frames are resized, by transformers' own rule, which counts the pixels of all frames together.

    A single frame counts as two, since a step in time takes two.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    size, vision = picture_settings.get("size", {}), config.vision_config
    time, side = vision.temporal_patch_size, vision.patch_size * vision.spatial_merge_size
    frames = max(frames, time)
    least, most = size.get("shortest_edge") or MIN_PIXELS, size.get("longest_edge") or MAX_PIXELS
    if picture_settings.get("cap_pixels_per_frame"):
        each = min(picture_settings.get("max_video_tokens", TOKENS_PER_FRAME) * side**2, most // frames)
        most = frames * max(each, int(1.05 * least))
    with no_ribbon(height, width):
        return smart_resize(frames, height, width, time, side, least, most)


def _image_size(config, picture_settings: dict, _frames: int, height: int, width: int) -> tuple[int, int]:
    return qwen2_vl.size_within(MIN_IMAGE_PIXELS, MAX_IMAGE_PIXELS, config, picture_settings, height, width)


def _prompt(grid: Grid, times: Sequence[float]) -> list[str | int]:
    """The steps, each behind the time of its middle. Where times are not known, a frame a second stands for them."""
    times = list(times) or [float(frame) for frame in range(2 * grid.frames)]
    times += times[-1:] * (len(times) % 2)
    parts: list[str | int] = []
    for first, second in zip(times[::2], times[1::2], strict=True):
        parts += [f"<{(first + second) / 2:.1f} seconds><|vision_start|>", grid.tokens_per_frame, "<|vision_end|>"]
    return parts


def _picked(output: Any) -> tuple[Tensor, list]:
    """(the projected tokens, the levels of DeepStack features as the model has them)."""
    return torch.cat(output.pooler_output), list(output.deepstack_features)


def _joined(parts: list[tuple[Tensor, list]], seen: tuple[TowerAttention, ...]) -> BaseModelOutputWithDeepstackFeatures:
    levels = zip(*(levels for _, levels in parts), strict=True)
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=[torch.cat([tokens for tokens, _ in parts])],  # type: ignore[arg-type]  # transformers' annotation knows one tensor only
        deepstack_features=[_level(list(level)) for level in levels],
        attentions=seen,  # type: ignore[arg-type]
    )


def _level(parts: list[Any]) -> Any:
    """One level of a clip, of the same form as its parts: a tensor, or since transformers 5.18 a sequence of one for each picture."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [torch.cat([picture for part in parts for picture in part])]


def vision_shape(config, grid: Grid) -> VisionShape:
    """The tower's numbers. Each level of DeepStack has a projector of its own."""
    vision = config.vision_config
    together = vision.spatial_merge_size**2
    return VisionShape(
        num_layers=vision.depth,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        projector_size=vision.out_hidden_size,
        projector_patches=together,
        projector_middle=vision.hidden_size * together,
        projectors=1 + len(getattr(vision, "deepstack_visual_indexes", ())),
    )


def _published(size: str, llm: dict, tower: dict, deepstack: list[int], tied: bool = False) -> Published:
    """A Qwen3 behind a ViT that hands on features of three more depths."""
    return Published(
        name=f"qwen3-vl-{size.lower()}",
        hub_ids=(f"Qwen/Qwen3-VL-{size}-Instruct", f"Qwen/Qwen3-VL-{size}-Thinking"),
        config_class=Qwen3VLConfig,
        parts={
            "text_config": {**llm, "vocab_size": 151936, "rope_parameters": MROPE},
            "vision_config": {**tower, "out_hidden_size": llm["hidden_size"], "deepstack_visual_indexes": deepstack},
            "tie_word_embeddings": tied,
        },
    )


FAMILY = replace(
    qwen2_vl.FAMILY,
    title="Qwen3-VL",
    good_for="Clips of many frames, text in the picture, and when something happens. It is told the time of each frame.",
    videos=qwen2_vl.reader("video", step_by_step=True),
    grid=gridder(frame_size),
    pixel_values=pixel_maker(frame_size),
    encode=qwen2_vl.encoder(qwen2_vl.watch_tower, vision_shape, _picked, _joined),
    prompt=_prompt,
    for_images=qwen2_vl.image_taker(_image_size),
    vision_shape=vision_shape,
    published=(
        _published("2B", QWEN3_2B, SMALL_TOWER, [5, 11, 17], tied=True),
        _published("4B", QWEN3_4B, SMALL_TOWER, [5, 11, 17], tied=True),
        _published("8B", QWEN3_8B, LARGE_TOWER, [8, 16, 24]),
        _published("32B", QWEN3_32B, LARGE_TOWER, [8, 16, 24]),
    ),
    picture_settings={
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
    },
)
