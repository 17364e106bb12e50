"""LLaVA-OneVision: SigLIP in front of Qwen2. A video frame is pooled to half its side, and one newline token ends a clip.

An image that is alone in its prompt is shown twice: whole, and enlarged in tiles. One of several images is shown whole. No image is pooled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionConfig

from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import encode_batches, features
from aim.families.clips_and_images import watch_clips_and_images
from aim.families.llava_onevision_images import images, tower_side
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_0_5B, QWEN2_7B, QWEN2_72B, ROPE
from aim.families.towers import seen_layer, vision_transformer, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches, pooled to half their side, rounded up: 27 x 27 → 14 x 14, whatever the clip's size."""
    side = math.ceil(tower_side(config) / 2)
    return Grid(frames, side, side)


def _videos(config, _inputs: dict) -> Reader:
    side = math.ceil(tower_side(config) / 2)

    def read(placeholders: int) -> Picture:
        frames, rest = divmod(placeholders - 1, side * side)
        if frames < 1 or rest:
            raise Refusal(
                f"The prompt holds {placeholders} video placeholders in a row; a LLaVA-OneVision clip has {side * side} a frame "
                "and 1 more. Give one whole video, and text between two."
            )
        return plain_picture(frames, side, side, separators=1)

    return read


def _pixel_values(_config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio, as the checkpoint's own processor does: float32 [1, F, 3, height, width]."""
    size = picture_settings["size"]
    return {"pixel_values_videos": normalised_frames(frames, picture_settings, size["height"], size["width"])[None]}


def _pooled(config, values: Tensor) -> Tensor:
    """Values of patches, pooled as the features of frames are: [F, side · side, D] → [F, T, D]."""
    side = tower_side(config)
    planes = values.transpose(1, 2).unflatten(2, (side, side))
    half = (math.ceil(side / 2),) * 2
    return nn.functional.interpolate(planes, size=half, mode="bilinear").flatten(2).transpose(1, 2)


def _watch_tower(model, callback: Callable) -> list:
    """Frames are pooled and images are not."""
    return watch_clips_and_images(model, callback, _watch_patches, partial(_pooled, model.config))


def _watch_patches(model, callback: Callable, pool: Callable[[Tensor], Tensor] = lambda values: values) -> list:
    attention = model.model.vision_tower.encoder.layers[seen_layer(model.config)].self_attn
    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool)


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected, pooled tokens with the newline, [1, F·T + 1, hidden]. Nothing else of the tower's output is kept alive."""
    [frames] = pixels["pixel_values_videos"]
    grid = _grid(model.config, {}, len(frames), 0, 0)
    watch = partial(_watch_patches, pool=partial(_pooled, model.config))

    def run(part: Tensor) -> Tensor:
        return model.model.get_video_features(part[None], return_dict=True).pooler_output

    outputs, seen = encode_batches(model, watch, frames, _vision_shape(model.config, grid), run)
    # Every part ends with the newline, and only the last one's is kept. Before transformers 5.18 none does: the model adds it later.
    newlines = outputs[-1].shape[1] % grid.tokens_per_frame
    tokens = torch.cat([*(part[:, : part.shape[1] - newlines] for part in outputs[:-1]), outputs[-1]], dim=1)
    return Encoded({"video": features(tokens, seen)}, {}, grid)


def _image_grid(config, _picture_settings: dict, _frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches, which are not pooled: 27 x 27."""
    return Grid(1, tower_side(config), tower_side(config))


def _image_values(_config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """The whole view of one image, without tiles: float32 [1, 1, 3, height, width], and its size before."""
    size = picture_settings["size"]
    pixels = normalised_frames(frames[:1], picture_settings, size["height"], size["width"])
    return {"pixel_values": pixels[None], "image_sizes": torch.tensor([frames.shape[1:3]])}


def _encode_image(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens with the newline, [side · side + 1, hidden]."""
    grid = _image_grid(model.config, {}, 1, 0, 0)
    sizes = pixels["image_sizes"].to(model.device)
    # The model shows an image in tiles where it is alone in its prompt. As one of two it has the whole view only.
    counts = torch.tensor([2], device=model.device)

    def run(part: Tensor) -> list[Tensor]:
        return model.model.get_image_features(part[None], sizes, batch_num_images=counts, return_dict=True).pooler_output

    [[tokens]], seen = encode_batches(model, _watch_patches, pixels["pixel_values"][0], _vision_shape(model.config, grid), run)
    return Encoded({"image": features([tokens], seen)}, {}, grid)


def _for_images(family: Family) -> Family:
    return replace(
        family,
        video_token=lambda _config: None,
        grid=_image_grid,
        pixel_values=_image_values,
        encode=_encode_image,
        clip_text="<image>",
        clip_type="image",
    )


def _vision_shape(config, _grid: Grid) -> VisionShape:
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=tower_side(config) ** 2,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
    )


def _published(size: str, kinds: tuple[str, ...], llm: dict, vocabulary: int, tied: bool = False) -> Published:
    """A Qwen2 behind SigLIP so400m at 384 pixels; `kinds` are the checkpoints of this size, by the training each ends with."""
    return Published(
        name=f"llava-onevision-qwen2-{size}",
        hub_ids=tuple(f"llava-hf/llava-onevision-qwen2-{size}-{kind}-hf" for kind in kinds),
        config_class=LlavaOnevisionConfig,
        parts={
            "text_config": {"model_type": "qwen2", **llm, "vocab_size": vocabulary, "rope_parameters": ROPE, "tie_word_embeddings": tied},
            "vision_config": {
                "model_type": "siglip_vision_model",
                "image_size": 384,
                "patch_size": 14,
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 26,
                "num_attention_heads": 16,
                "vision_use_head": False,
            },
            "tie_word_embeddings": tied,
        },
    )


FAMILY = Family(
    title="LLaVA-OneVision",
    good_for="Clips and pictures. It is the model of the paper that AIM comes from.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=images,
    videos=_videos,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<video>",
    prompt=lambda grid, _times: [grid.tokens + 1],
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=vision_transformer,
    published=(
        _published("0.5b", ("ov", "si"), QWEN2_0_5B, 152000, tied=True),
        _published("7b", ("ov", "si", "ov-chat"), QWEN2_7B, 152128),
        _published("72b", ("ov", "si", "ov-chat"), QWEN2_72B, 152128),
    ),
    picture_settings={"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    suggested_for_video=True,
    for_images=_for_images,
    tiles=True,
)
