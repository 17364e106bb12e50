"""LLaVA-1.5: CLIP in front of Vicuna. It knows images only, so the frames of a clip go in as images, one on each line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from torch import Tensor
from transformers import LlavaConfig
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from aim.families.image_frames import image_frames
from aim.families.pixels import cropped, normalised_frames
from aim.families.published import Published
from aim.families.towers import seen_layer, vision_transformer, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.schedule import StatedRamp


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches, whatever the picture's size: 24 x 24."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return Grid(frames, side, side)


def _pixel_values(_config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames whose shorter side is resized to the model's, with the middle square cut out: float32 [F, 3, side, side]."""
    short, crop = picture_settings["size"]["shortest_edge"], picture_settings["crop_size"]
    sides = frames.shape[1:3]
    height, width = (short if side == min(sides) else int(short * side / min(sides)) for side in sides)
    return {"pixel_values": cropped(normalised_frames(frames, picture_settings, height, width), crop["height"], crop["width"])}


def _shown(picture_settings: dict, height: int, width: int) -> tuple[float, float, float, float]:
    """The middle that is cut out, in pixels of the frame before it is resized."""
    scale = min(height, width) / picture_settings["size"]["shortest_edge"]
    sides = (picture_settings["crop_size"]["width"] * scale, picture_settings["crop_size"]["height"] * scale)
    left, top = ((have - seen) / 2 for have, seen in zip((width, height), sides, strict=True))
    return left, top, left + sides[0], top + sides[1]


def _watch_tower(model, callback: Callable) -> list:
    config, tower = model.config, model.model.vision_tower
    has_cls = hasattr(tower.embeddings, "class_embedding")  # CLIP has one, SigLIP has none
    attention = tower.encoder.layers[-1 if has_cls else seen_layer(config)].self_attn
    first = int(config.vision_feature_select_strategy == "default")  # CLS is dropped
    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, first=first, by_cls=has_cls)


def _prompt(grid: Grid, _times: Sequence[float]) -> list[str | int]:
    parts: list[str | int] = [grid.tokens_per_frame]
    for _ in range(1, grid.frames):
        parts += ["\n", grid.tokens_per_frame]
    return parts


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        other_tokens=1,
    )


def _refuses(config) -> str:
    """Pixtral 12B has the config of a LLaVA."""
    if config.vision_config.model_type != "pixtral":
        return ""
    return "Its tower is Pixtral's, and the rows of a picture stand apart in its prompt, with a token of another kind behind each."


def _published(size: str, layers: int, hidden: int, intermediate: int, heads: int) -> Published:
    """A Vicuna behind CLIP-L at 336 pixels."""
    return Published(
        name=f"llava-1.5-{size}",
        hub_ids=(f"llava-hf/llava-1.5-{size}-hf",),
        config_class=LlavaConfig,
        parts={
            "text_config": {
                "model_type": "llama",
                "vocab_size": 32064,
                "num_hidden_layers": layers,
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_attention_heads": heads,
                "num_key_value_heads": heads,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                "image_size": 336,
                "patch_size": 14,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
            },
        },
    )


FAMILY = image_frames(
    title="LLaVA-1.5",
    good_for="Pictures. It was not trained on videos and takes the frames as pictures.",
    grid=_grid,
    pixel_values=_pixel_values,
    clip_text="<image>",
    clip_type="image",
    prompt=_prompt,
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=vision_transformer,
    published=(_published("7b", 32, 4096, 11008, 32), _published("13b", 40, 5120, 13824, 40)),
    picture_settings={
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 336, "width": 336},
        "image_mean": OPENAI_CLIP_MEAN,
        "image_std": OPENAI_CLIP_STD,
    },
    ramp=StatedRamp(13, 21, 32),
    shown=_shown,
    for_images=lambda family: family,  # a clip of one frame is an image already
    joined=lambda parts: list(chain.from_iterable(parts)),
    refuses=_refuses,
)
