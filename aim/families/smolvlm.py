"""SmolVLM2: SigLIP in front of SmolLM2. The frames of a clip are squares, each behind its time, and s x s patches make one token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor
from transformers import SmolVLMConfig
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from aim.families.base import Encoded, Family
from aim.families.batches import encode_batches, features
from aim.families.image_frames import image_frames
from aim.families.published import Published
from aim.families.towers import block_means, watch_projections
from aim.kernels.grid import Grid
from aim.kernels.shape import VisionShape

BEFORE, AFTER = "<fake_token_around_image><global-img>", "<fake_token_around_image>"
UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# What of a checkpoint's picture settings its processor is made of.
SETTINGS = ("size", "max_image_size", "resample", "rescale_factor", "image_mean", "image_std")


def _side(config) -> int:
    """Patches along a side of the tower's square input."""
    return config.vision_config.image_size // config.vision_config.patch_size


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches joined to squares of s x s, whatever the clip's size: 32 x 32 → 8 x 8 where s is 4."""
    side = _side(config) // config.scale_factor
    return Grid(frames, side, side)


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized to their longer side and then to a square, as the checkpoint's own processor does: float32 [1, F, 3, side, side]."""
    settings = {name: picture_settings[name] for name in SETTINGS if name in picture_settings}
    sampling = picture_settings.get("video_sampling") or {}
    if "video_size" in sampling:
        settings["size"] = sampling["video_size"]
    for name in ("size", "max_image_size"):
        settings.setdefault(name, {"longest_edge": config.vision_config.image_size})
    processor = SmolVLMImageProcessorPil(**settings, do_image_splitting=False, do_pad=False)
    return {"pixel_values": processor([list(frames)], return_tensors="pt")["pixel_values"]}  # type: ignore[arg-type]  # one list a clip


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [F · T, hidden], or before transformers 5.18 [F, T, hidden]. Nothing else of the tower's output is kept."""
    [frames] = pixels["pixel_values"]
    clip = _grid(model.config, {}, len(frames), 0, 0)

    def run(part: Tensor) -> Tensor | list[Tensor]:
        return model.model.get_image_features(part[None], return_dict=True).pooler_output

    outputs, seen = encode_batches(model, _watch_tower, frames, _vision_shape(model.config, clip), run)
    whole = [part for part in outputs if isinstance(part, Tensor)]
    tokens = torch.cat(whole) if whole else [torch.cat([tokens for part in outputs for tokens in part])]
    return Encoded({"image": features(tokens, seen)}, {}, clip)


def _watch_tower(model, callback: Callable) -> list:
    config = model.config
    attention, side = model.model.vision_model.encoder.layers[-1].self_attn, _side(config)

    def pool(values: Tensor) -> Tensor:
        return block_means(values, side, side, config.scale_factor)

    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool)


def in_words(number: int) -> str:
    """A number from 0 to 999 as the processor writes it, for example "one hundred and twenty-one"."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{UNITS[number % 10]}" if number % 10 else "")
    return f"{UNITS[number // 100]} hundred" + (f" and {in_words(number % 100)}" if number % 100 else "")


def _prompt(grid: Grid, times: Sequence[float] = ()) -> list[str | int]:
    """How many frames there are, and each behind its minute and second. Where the times are not known, one frame a second.

    The processor also writes how long the video is. That is not known here, so it is the time of the last frame, as the processor has it
    where the length is missing.
    """
    seconds = [int(time) for time in times] or list(range(grid.frames))
    lasts = timedelta(seconds=seconds[-1])
    parts: list[str | int] = [f" You are provided the following series of {in_words(grid.frames)} frames from a {lasts} [H:MM:SS] video.\n"]
    for second in seconds:
        parts += [f"\nFrame from {second // 60:02d}:{second % 60:02d}:{BEFORE}", grid.tokens_per_frame, AFTER]
    return [*parts, "\n\n"]


def _for_images(family: Family) -> Family:
    """One square, between the markers."""
    return replace(family, prompt=lambda grid, *_further: [BEFORE, grid.tokens_per_frame, AFTER])


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision, together = config.vision_config, config.scale_factor**2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_matrices=1,
    )


BASE_TOWER = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "image_size": 512, "patch_size": 16}
LARGE_TOWER = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "image_size": 384,
    "patch_size": 14,
}


def _published(size: str, hub_id: str, llm: tuple[int, ...], theta: float, tower: dict, scale: int) -> Published:
    """A SmolLM2 behind SigLIP. `llm`: layers, hidden size, intermediate size, heads, key heads."""
    layers, hidden, intermediate, heads, key_value_heads = llm
    return Published(
        name=f"smolvlm2-{size.lower()}",
        hub_ids=(f"HuggingFaceTB/{hub_id}",),
        config_class=SmolVLMConfig,
        parts={
            "text_config": {
                "model_type": "llama",
                "num_hidden_layers": layers,
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_attention_heads": heads,
                "num_key_value_heads": key_value_heads,
                "vocab_size": 49280,
                "max_position_embeddings": 8192,
                "rms_norm_eps": 1e-5,
                "rope_parameters": {"rope_type": "default", "rope_theta": theta},
                "pad_token_id": 2,
            },
            "vision_config": tower,
            "image_token_id": 49190,
            "scale_factor": scale,
        },
    )


FAMILY = replace(
    image_frames(
        title="SmolVLM2",
        good_for="Clips on a computer without a GPU.",
        grid=_grid,
        pixel_values=_pixel_values,
        clip_text="<image>",
        clip_type="image",
        prompt=_prompt,
        vision_shape=_vision_shape,
        watch_tower=_watch_tower,
        published=(
            _published("256M", "SmolVLM2-256M-Video-Instruct", (30, 576, 1536, 9, 3), 1e5, BASE_TOWER, 4),
            _published("500M", "SmolVLM2-500M-Video-Instruct", (32, 960, 2560, 15, 5), 1e5, BASE_TOWER, 4),
            _published("2.2B", "SmolVLM2-2.2B-Instruct", (24, 2048, 8192, 32, 32), 1.3e5, LARGE_TOWER, 3),
        ),
        for_images=_for_images,
        tiles=True,
        unquantised=("model.vision_model", "model.connector", "lm_head"),
        suggested_for_video=True,
        picture_settings={
            "image_mean": IMAGENET_STANDARD_MEAN,
            "image_std": IMAGENET_STANDARD_STD,
        },
    ),
    encode=_encode,
)
