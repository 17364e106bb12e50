"""Gemma 3: SigLIP in front of Gemma 3. Frames go in as images, whose tokens see one another in both directions, and most layers have a
window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor
from transformers import Gemma3Config
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from aim.families.image_frames import image_frames
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.reduced_tower import TowerLayers
from aim.families.towers import block_means, siglip_or_clip, watch_projections
from aim.kernels.grid import Grid
from aim.kernels.shape import VisionShape


def _side(config) -> int:
    """Patches along a side of the tower's square input."""
    return config.vision_config.image_size // config.vision_config.patch_size


def _joined(config) -> int:
    """Patches along a side of a token, which is their mean."""
    return _side(config) // math.isqrt(config.mm_tokens_per_image)


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches averaged four by four, whatever the clip's size: 64 x 64 → 16 x 16."""
    side = math.isqrt(config.mm_tokens_per_image)
    return Grid(frames, side, side)


def _pixel_values(_config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio: float32 [F, 3, height, width]."""
    size = picture_settings["size"]
    return {"pixel_values": normalised_frames(frames, picture_settings, size["height"], size["width"])}


def _watch_tower(model, callback: Callable) -> list:
    config = model.config
    attention, side = model.model.vision_tower.encoder.layers[-1].self_attn, _side(config)

    def pool(values: Tensor) -> Tensor:
        return block_means(values, side, side, _joined(config))

    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool)


def _tower_layers(model) -> TowerLayers:
    """The layers of its SigLIP, of which the last one's output is read."""
    return siglip_or_clip(model.model.vision_tower, frozenset())


def _prompt(grid: Grid, _times: Sequence[float] = ()) -> list[str | int]:
    """One image after the other, as the processor writes several."""
    parts: list[str | int] = []
    for _ in range(grid.frames):
        parts += ["\n\n<start_of_image>", grid.tokens_per_frame, "<end_of_image>\n\n"]
    return parts


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision, together = config.vision_config, _joined(config) ** 2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_matrices=1,
        projector_means=True,
    )


def _published(size: str, layers: int, hidden: int, heads: int, head_dim: int, scalar: int) -> Published:
    """A Gemma 3 behind SigLIP so400m at 896 pixels. Five layers with a window of 1,024 tokens stand before each without one."""
    return Published(
        name=f"gemma-3-{size}",
        hub_ids=(f"google/gemma-3-{size}-it", f"google/gemma-3-{size}-pt"),
        config_class=Gemma3Config,
        parts={
            "text_config": {
                "num_hidden_layers": layers,
                "hidden_size": hidden,
                "intermediate_size": 4 * hidden,
                "num_attention_heads": heads,
                "num_key_value_heads": heads // 2,
                "head_dim": head_dim,
                "query_pre_attn_scalar": scalar,
                "sliding_window": 1024,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                },
            },
            "vision_config": {
                "image_size": 896,
                "patch_size": 14,
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "vision_use_head": False,
            },
        },
    )


FAMILY = image_frames(
    title="Gemma 3",
    good_for="Pictures, and questions in many languages. It takes the frames as pictures.",
    grid=_grid,
    pixel_values=_pixel_values,
    clip_text="<start_of_image>",
    clip_type="image",
    prompt=_prompt,
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=_tower_layers,
    token_types="token_type_ids",
    published=(
        _published("4b", 34, 2560, 8, 256, 256),
        _published("12b", 48, 3840, 16, 256, 256),
        _published("27b", 62, 5376, 32, 128, 168),
    ),
    for_images=lambda family: family,
    unquantised=("model.vision_tower", "lm_head"),  # its projector is a single parameter, which no quantisation touches
    picture_settings={
        "size": {"height": 896, "width": 896},
        "resample": 2,
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
    },
)
