"""Gemma 4: frames of any shape go in as few tokens each, behind their time, and the tokens of one see one another in both directions.

That holds in the LLM's layers with a window. The others have wider heads, whose values are their keys. The larger models are taken. The
small ones (E2B, E4B) also give each layer an input of its own and share keys between layers, which the engine cannot reduce yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Gemma4Config
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil, get_aspect_ratio_preserving_size

from aim.families.base import Encoded, Family
from aim.families.batches import encode_batches
from aim.families.gemma4_tower import ONE_AXIS, PlacedFeatures, keeping_sizes, reader, sizes_of, watch_tower
from aim.families.language import WINDOW, dense
from aim.families.pixel_change import PixelLayout
from aim.families.published import Published
from aim.families.towers import block_means
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.shape import Heads, ModelShape, VisionShape

# Tokens of a frame of a clip, and of a single picture, at most.
FRAME_TOKENS, IMAGE_TOKENS = 70, 280
BEFORE, AFTER = "<|image>", "<image|>"
# What of a checkpoint's picture settings its processor is made of.
SETTINGS = ("resample", "rescale_factor", "image_mean", "image_std", "do_rescale", "do_normalize")


def _processor(config, picture_settings: dict, tokens: int) -> Gemma4ImageProcessorPil:
    """The official processor of single pictures, with the checkpoint's settings and the tower's patches."""
    given = {name: picture_settings[name] for name in SETTINGS if name in picture_settings}
    vision, most = config.vision_config, picture_settings.get("max_soft_tokens") or tokens
    return Gemma4ImageProcessorPil(
        **given, max_soft_tokens=most, patch_size=vision.patch_size, pooling_kernel_size=vision.pooling_kernel_size
    )


def _grid(tokens: int, config, picture_settings: dict, frames: int, height: int, width: int) -> Grid:
    """As many tokens as fit below the limit, in the frame's own shape: at most 70, of 640 x 360 pixels 6 x 11.

    Raises:
        Refusal: one side is so much longer than the other that no token fits into it.
    """
    vision, most = config.vision_config, picture_settings.get("max_soft_tokens") or tokens
    joined = vision.pooling_kernel_size
    try:
        size = get_aspect_ratio_preserving_size(height, width, vision.patch_size, most * joined**2, joined)
    except ValueError as error:
        raise Refusal(f"The frames are {width} x {height} pixels, so narrow that no token fits into them. Crop the clip.") from error
    rows, columns = (side // (vision.patch_size * joined) for side in size)
    return Grid(frames, rows, columns)


def _patches(config, frames: np.ndarray, picture_settings: dict, tokens: int) -> tuple[Tensor, Tensor]:
    """(patches of all frames, float32 [F, P, 3 · side²]; their columns and rows, [F, P, 2]), without the processor's padding."""
    made = _processor(config, picture_settings, tokens)(list(frames), return_tensors="pt")
    positions = made["image_position_ids"]
    real = int((positions[0] >= 0).all(-1).sum())
    return made["pixel_values"][:, :real].float(), positions[:, :real]


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """The frames in patches. Before transformers 5.19 the videos had an axis of their own."""
    patches, positions = _patches(config, frames, picture_settings, FRAME_TOKENS)
    if not ONE_AXIS:
        return {"pixel_values_videos": patches[None], "video_position_ids": positions[None]}
    return {"pixel_values_videos": patches, "video_position_ids": positions, "num_frames_per_video": torch.tensor([len(frames)])}


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, [F · T, hidden]. No frame attends to another."""
    frames, positions = (pixels[name].flatten(0, -3) for name in ("pixel_values_videos", "video_position_ids"))
    _, rows, columns = sizes_of(model.config, positions)[0]
    grid = Grid(len(frames), rows, columns)

    def run(part: Tensor) -> Tensor:
        places = positions[: len(part)].to(model.device)
        given = (part, places, torch.tensor([len(part)])) if ONE_AXIS else (part[None], places[None])
        return torch.cat(list(model.model.get_video_features(*given, return_dict=True).pooler_output))

    outputs, seen = encode_batches(model, watch_tower, frames, _vision_shape(model.config, grid), run)
    features = PlacedFeatures(pooler_output=[torch.cat(outputs)], attentions=seen, positions=positions)  # type: ignore[arg-type]
    return Encoded({"video": features}, {name: value for name, value in pixels.items() if "pixel" not in name}, grid)


def _token_means(config, differences: Tensor, grid: Grid) -> Tensor:
    """Means over the patches of each token. Those behind the grid's are padding."""
    side = config.vision_config.pooling_kernel_size
    patches = differences[:, 0, : grid.tokens_per_frame * side**2].mean(-1, keepdim=True)
    return block_means(patches, grid.rows * side, grid.columns * side, side)[..., 0]


def _prompt(grid: Grid, times: Sequence[float]) -> list[str | int]:
    """The frames, each behind its minute and second. Where the times are not known, one frame a second."""
    parts: list[str | int] = []
    for number, second in enumerate(list(times) or range(grid.frames)):
        space = " " if number else ""
        parts += [f"{space}{int(second // 60):02d}:{int(second % 60):02d} {BEFORE}", grid.tokens_per_frame, AFTER]
    return parts


def _for_images(family: Family) -> Family:
    """A single picture has more tokens, and no time."""

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        patches, positions = _patches(config, frames[:1], picture_settings, IMAGE_TOKENS)
        return {"pixel_values": patches, "image_position_ids": positions}

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        encoded = _encode(model, {"pixel_values_videos": pixels["pixel_values"], "video_position_ids": pixels["image_position_ids"]})
        return Encoded({"image": encoded.features["video"]}, {"image_position_ids": pixels["image_position_ids"]}, encoded.grid)

    return replace(
        family,
        video_token=lambda _config: None,
        grid=partial(_grid, IMAGE_TOKENS),
        pixel_values=pixel_values,
        encode=encode,
        clip_text="<|image|>",
        clip_type="image",
        prompt=lambda grid, *_further: [BEFORE, grid.tokens_per_frame, AFTER],
        picture_settings={},
    )


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision, together = config.vision_config, config.vision_config.pooling_kernel_size**2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=3 * vision.intermediate_size // 2,  # a gated MLP
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=3 * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_matrices=1,
        projector_means=True,
        means_by_matrix=True,
    )


def _language_shape(text: Any) -> ModelShape:
    """The LLM's numbers: those of its layers with a window, and what the others have in their place. Experts stand beside the MLP."""
    first = text.layer_types.index(WINDOW)
    shape = dense(text.per_layer_config[first])
    others = tuple(layer for layer in range(shape.num_layers) if layer not in shape.windowed_layers)
    own = text.per_layer_config[others[0]]
    heads = Heads(own.num_key_value_heads, own.head_dim, values_are_keys=bool(text.attention_k_eq_v))
    shape = replace(shape, other_heads=heads, other_layers=others)
    if not text.enable_moe_block:
        return shape
    used = text.top_k_experts * text.moe_intermediate_size
    return replace(
        shape,
        intermediate_size=text.intermediate_size + used,
        router=text.num_experts,
        unused_size=text.num_experts * text.moe_intermediate_size - used,
    )


def _refuses(config) -> str:
    text = config.text_config
    if not (text.hidden_size_per_layer_input or text.num_kv_shared_layers):
        return ""
    return (
        "Each of its LLM layers takes a further input for every token of the prompt, and the last ones attend to keys of earlier ones; "
        "AIM can reduce neither yet."
    )


def _published(size: str, layers: int, hidden: int, intermediate: int, heads: tuple[int, int, int], **experts: Any) -> Published:
    """`heads`: those of queries, of keys in layers with a window, and of keys in the others."""
    queries, keys, wide_keys = heads
    return Published(
        name=f"gemma-4-{size.lower()}",
        hub_ids=(f"google/gemma-4-{size}-it", f"google/gemma-4-{size}"),
        config_class=Gemma4Config,
        parts={
            "text_config": {
                "num_hidden_layers": layers,
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_attention_heads": queries,
                "num_key_value_heads": keys,
                "num_global_key_value_heads": wide_keys,
                "head_dim": 256,
                "global_head_dim": 512,
                "attention_k_eq_v": True,
                "sliding_window": 1024,
                "use_bidirectional_attention": "vision",
                "hidden_size_per_layer_input": 0,
                "final_logit_softcapping": 30.0,
                "max_position_embeddings": 262144,
                **experts,
            },
            "vision_config": {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "num_key_value_heads": 16,
                "head_dim": 72,
                "standardize": True,
            },
        },
    )


FAMILY = Family(
    title="Gemma 4",
    good_for="Clips at few tokens a frame, and questions in many languages.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=reader("image"),
    videos=reader("video"),
    grid=partial(_grid, FRAME_TOKENS),
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<|video|>",
    prompt=_prompt,
    vision_shape=_vision_shape,
    language_shape=_language_shape,
    token_types="mm_token_type_ids",
    watch_tower=watch_tower,
    pixel_layout=PixelLayout(lambda pixels: pixels.flatten(0, -3), _token_means),
    keeping_sizes=keeping_sizes,
    published=(
        _published("31B", 60, 5376, 21504, (32, 16, 4)),
        _published(
            "26B-A4B", 30, 2816, 2112, (16, 8, 2), enable_moe_block=True, num_experts=128, top_k_experts=8, moe_intermediate_size=704
        ),
    ),
    unquantised=("model.vision_tower", "model.embed_vision", "lm_head"),
    suggested_for_video=True,
    refuses=_refuses,
    for_images=_for_images,
)
