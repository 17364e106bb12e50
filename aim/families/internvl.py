"""InternVL: frames and tiles of images are squares of their own, 2 x 2 patches make one token, and the prompt numbers the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor
from transformers import InternVLConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from aim.families.base import Family
from aim.families.image_frames import image_frames
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_0_5B, QWEN2_1_5B, QWEN2_7B, ROPE
from aim.families.qwen3_sizes import QWEN3
from aim.families.reduced_tower import TowerLayers
from aim.families.towers import block_means, seen_layers, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid


def _patches(config) -> tuple[int, int]:
    """(rows, columns) of the tower's patches."""
    (height, width), (patch_height, patch_width) = config.vision_config.image_size, config.vision_config.patch_size
    return height // patch_height, width // patch_width


def _factor(config) -> int:
    """Patches along a side of a token."""
    return round(1 / config.downsample_ratio)


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches joined two by two, whatever the clip's size: 32 x 32 → 16 x 16."""
    rows, columns = _patches(config)
    return Grid(frames, rows // _factor(config), columns // _factor(config))


def _pixel_values(_config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio, each as one tile: float32 [F, 3, height, width]."""
    size = picture_settings["size"]
    return {"pixel_values": normalised_frames(frames, picture_settings, size["height"], size["width"])}


def _watch_tower(model, callback: Callable) -> list:
    config, tower = model.config, model.model.vision_tower
    attention, (rows, columns) = tower.encoder.layer[-1].attention, _patches(config)
    first = int(config.vision_feature_select_strategy == "default")  # CLS is dropped

    def pool(values: Tensor) -> Tensor:
        return block_means(values, rows, columns, _factor(config))

    return watch_projections(attention, attention.q_norm, attention.k_norm, callback, pool, first, by_cls=True)


def _tower_layers(model) -> TowerLayers:
    """The layers of its InternViT, which has a CLS token in front. Only the last one's output is read."""
    tower = model.model.vision_tower
    layers = tower.encoder.layer
    return TowerLayers(tower, layers, [layer.attention for layer in layers], 1, seen_layers(model.config), tower.config.patch_size[0])


def _prompt(grid: Grid, _times: Sequence[float]) -> list[str | int]:
    """One line for each frame, with its number."""
    parts: list[str | int] = []
    for frame in range(grid.frames):
        parts += ["\n" * bool(frame) + f"Frame{frame + 1}: <img>", grid.tokens_per_frame, "</img>"]
    return parts


def _for_images(family: Family) -> Family:
    """One tile, between the markers and without a number."""
    return replace(
        family,
        clip_text="<IMG_CONTEXT>",
        clip_type="image",
        prompt=lambda grid, *_further: ["<img>", grid.tokens_per_frame, "</img>"],
    )


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision, together = config.vision_config, _factor(config) ** 2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.num_channels * vision.patch_size[0] * vision.patch_size[1],
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        other_tokens=1,
    )


def _published(size: str, llm: dict) -> Published:
    """A Qwen2.5 behind InternViT-300M at 448 pixels."""
    return Published(
        name=f"internvl3-{size.lower()}",
        hub_ids=(f"OpenGVLab/InternVL3-{size}-hf", f"OpenGVLab/InternVL3-{size}-Instruct"),
        config_class=InternVLConfig,
        parts={
            "text_config": {"model_type": "qwen2", **llm, "vocab_size": 151674, "rope_parameters": ROPE},
            "vision_config": {
                "image_size": [448, 448],
                "patch_size": [14, 14],
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "attention_bias": True,
            },
            "tie_word_embeddings": False,
        },
    )


def _published_3_5(size: str, llm: dict) -> Published:
    """A Qwen3 behind the same tower."""
    parts = _published(size, llm).parts
    text = {**parts["text_config"], "model_type": "qwen3", "vocab_size": 151936}
    return Published(
        name=f"internvl3.5-{size.lower()}",
        hub_ids=(f"OpenGVLab/InternVL3_5-{size}-HF",),
        config_class=InternVLConfig,
        parts={**parts, "text_config": text},
    )


FAMILY = image_frames(
    title="InternVL",
    good_for="Clips of few frames, and pictures.",
    grid=_grid,
    pixel_values=_pixel_values,
    clip_text="<video>",
    prompt=_prompt,
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=_tower_layers,
    published=(
        _published("1B", QWEN2_0_5B),
        _published("2B", QWEN2_1_5B),
        _published("8B", QWEN2_7B),
        *(_published_3_5(size, llm) for size, llm in QWEN3.items()),
    ),
    for_images=_for_images,
    tiles=True,
    picture_settings={
        "size": {"height": 448, "width": 448},
        "image_mean": IMAGENET_DEFAULT_MEAN,
        "image_std": IMAGENET_DEFAULT_STD,
    },
)
