"""Qwen2-VL: a tower takes pictures of any size, two frames make one step in time, 2 x 2 patches make one token, and positions have three
axes (M-RoPE)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLConfig
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import encode_batches, features
from aim.families.full_grid import full_bounds, full_grid
from aim.families.patch_tokens import by_tokens
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_1_5B, QWEN2_7B, ROPE
from aim.families.qwen_pixels import FrameSize, gridder, no_ribbon, pixel_maker
from aim.families.row_tower import RowLayers
from aim.families.towers import Notes
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention

# The video processor's own limits for a frame. A checkpoint's settings may name others. Those of its image processor allow 12.8 million
# pixels, too many for a frame of a clip, so the upper limit always holds.
MIN_PIXELS, MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28
# Of a single picture: 1,280 tokens of Qwen2-VL, as many as its model card suggests. Its processor would make up to 16,384.
MAX_IMAGE_PIXELS = 1280 * 28 * 28


def frame_size(config, picture_settings: dict, _frames: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a clip's frames are resized, by transformers' own rule.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    return size_within(MIN_PIXELS, MAX_PIXELS, config, picture_settings, height, width)


def _image_size(config, picture_settings: dict, _frames: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a single picture is resized, which may be larger than a frame.

    Raises:
        Refusal: as `frame_size`.
    """
    return size_within(MIN_PIXELS, MAX_IMAGE_PIXELS, config, picture_settings, height, width)


def size_within(least: int, limit: int, config, picture_settings: dict, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a picture is resized, of `least` to `limit` pixels. The settings may name others, but never more.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    size, vision = picture_settings.get("size", {}), config.vision_config
    least = picture_settings.get("min_pixels") or size.get("shortest_edge") or least
    most = picture_settings.get("max_pixels") or size.get("longest_edge") or limit
    with no_ribbon(height, width):
        return smart_resize(height, width, vision.patch_size * vision.spatial_merge_size, least, min(most, limit))


def reader(kind: str, step_by_step: bool = False) -> Callable[..., Reader]:
    """The family's `images` or `videos`. `step_by_step`: every step of a clip is a picture of its own, with text between them."""

    def read(config, inputs: dict) -> Reader:
        given = inputs.get(f"{kind}_grid_thw")
        merge, token = config.vision_config.spatial_merge_size, getattr(config, f"{kind}_token_id")
        if given is not None:
            rows_given = [(steps, rows // merge, columns // merge) for steps, rows, columns in given.tolist()]
            each_step = [(1, rows, columns) for steps, rows, columns in rows_given for _ in range(steps)]
            sizes = iter(each_step if step_by_step else rows_given)
        else:
            sizes = _sizes_by_position(inputs["input_ids"], inputs.get("position_ids"), token)

        def next_picture(_placeholders: int) -> Picture:
            size = next(sizes, None)
            if size is None and given is None and inputs.get("position_ids") is not None:
                raise Refusal(
                    f"The sizes of the {kind}s can only be told from `{kind}_grid_thw` or from the positions that `generate` makes of it. "
                    "Leave `position_ids` out."
                )
            if size is None:
                raise Refusal(
                    f"The prompt holds more {kind}s than `{kind}_grid_thw` has rows. Pass the {kind} inputs of the processor, one row each."
                )
            return plain_picture(*size)

        return next_picture

    return read


def _sizes_by_position(ids: Tensor, positions: Tensor | None, token: int) -> Iterator[tuple[int, int, int]]:
    """(steps, rows, columns) of each picture, from the positions [axes, B, n] of its tokens.

    `generate` does not pass the sizes on, but it passes on the positions that it made of them. A picture is a run of placeholders, since
    each picture stands between two markers.
    """
    if positions is None or positions.dim() < 3:
        return
    for row, places in zip(ids, positions[-2:].transpose(0, 1), strict=True):
        tokens, lengths = torch.unique_consecutive(row, return_counts=True)
        for value, part in zip(tokens.tolist(), places.split(lengths.tolist(), dim=1), strict=True):
            if value == token:
                rows, columns = (int(side) for side in (part.amax(1) - part.amin(1) + 1).tolist())
                steps, left_over = divmod(part.shape[1], rows * columns)
                if left_over or not steps:
                    return  # they are not the positions of a grid
                yield steps, rows, columns


def _picked(output: Any) -> Tensor:
    return torch.cat(output.pooler_output)


def _joined(parts: list[Tensor], seen: tuple[TowerAttention, ...]) -> Any:
    return features([torch.cat(parts)], seen)


def encoder(watch: Callable, vision_shape: Callable, picked: Callable = _picked, joined: Callable = _joined) -> Callable[..., Encoded]:
    """The family's `encode`, which keeps what `watch` sees of the tower. It may take parts, as no step of a clip attends to another.

    Args:
        picked: what the model's own `get_video_features` gives for a part → what is kept of it.
        joined: (what was kept of each part, what the tower attended to) → what `get_video_features` gives for the clip.
    """

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        sizes, merge = pixels["video_grid_thw"], model.config.vision_config.spatial_merge_size
        steps, rows, columns = sizes[0].tolist()
        grid = Grid(steps, rows // merge, columns // merge)

        def run(part: Tensor) -> Any:
            size = torch.tensor([[len(part), rows, columns]], device=model.device)
            return picked(model.model.get_video_features(part.flatten(0, 1), size, return_dict=True))

        frames = pixels["pixel_values_videos"].unflatten(0, (steps, -1))
        outputs, seen = encode_batches(model, watch, frames, vision_shape(model.config, grid), run)
        return Encoded({"video": joined(outputs, seen)}, {"video_grid_thw": sizes}, grid)

    return encode


# What the processor calls a picture's inputs, and what it calls the same of a clip. A picture is a step whose two frames are alike.
IMAGE_INPUTS = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw"}


def image_taker(image_size: FrameSize) -> Callable[[Family], Family]:
    """`for_images` of the family, or of one that was made of it: the same tower and features under an image's names."""
    return partial(_for_images, image_size)


def _for_images(image_size: FrameSize, family: Family) -> Family:
    made = pixel_maker(image_size)

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        clip = made(config, frames[:1], picture_settings)
        return {name: clip[same] for name, same in IMAGE_INPUTS.items()}

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        encoded = family.encode(model, {same: pixels[name] for name, same in IMAGE_INPUTS.items()})
        return Encoded({"image": encoded.features["video"]}, {"image_grid_thw": pixels["image_grid_thw"]}, encoded.grid)

    return replace(
        family,
        video_token=lambda _config: None,
        grid=gridder(image_size),
        pixel_values=pixel_values,
        encode=encode,
        clip_text="<|image_pad|>",
        clip_type="image",
        prompt=lambda grid, *_further: [grid.tokens],
        timing=None,
    )


def tower_watcher(order: Callable[[Tensor, object], Tensor] | None = None) -> Callable[..., list]:
    """The family's `watch_tower`. `order`: (pictures' sizes, vision config) → the tokens' order inside the tower, where that differs.

    The keys are those before the rotary embedding, so that they say what a patch shows and not where it is. Where the last layer attends
    within windows, a frame's mean counts the queries outside a patch's window as paying it nothing.
    """

    def watch(model, callback: Callable[[TowerAttention], None]) -> list:
        tower, vision = model.model.visual, model.config.vision_config
        attention, group = tower.blocks[-1].attn, vision.spatial_merge_size**2
        notes = Notes()

        def on_tower(_module, args: tuple, kwargs: dict) -> None:
            notes.seen["sizes"] = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]

        def on_attention(_module, _args: tuple, kwargs: dict) -> None:
            notes.seen["bounds"], notes.seen["rotary"] = kwargs["cu_seqlens"], kwargs["position_embeddings"]

        def report(_module, _args: tuple, _output) -> None:
            sizes = notes.seen.pop("sizes").tolist()
            made, rotary = full_grid(attention, notes.seen.pop("qkv")), notes.seen.pop("rotary")
            heads, pairs = attention.num_heads, getattr(attention, "num_key_value_heads", attention.num_heads)
            queries, keys, _ = made.unflatten(-1, (heads + 2 * pairs, -1)).split([heads, pairs, pairs], dim=1)
            keys = keys.repeat_interleave(heads // pairs, dim=1)  # several queries may share a key
            rotary = tuple(full_grid(attention, part) for part in rotary)
            lengths = full_bounds(attention, notes.seen.pop("bounds")).diff().tolist()
            back = None if order is None else order(torch.tensor(sizes), vision).argsort()
            callback(by_tokens(queries, keys, rotary, lengths, attention.scaling, sizes, group, back))

        return [
            tower.register_forward_pre_hook(on_tower, with_kwargs=True),
            attention.register_forward_pre_hook(on_attention, with_kwargs=True),
            attention.qkv.register_forward_hook(lambda _module, _args, output: notes.seen.__setitem__("qkv", output)),
            attention.register_forward_hook(report),
        ]

    return watch


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision = config.vision_config
    together = vision.spatial_merge_size**2
    return VisionShape(
        num_layers=vision.depth,
        hidden_size=vision.embed_dim,
        intermediate_size=int(vision.embed_dim * vision.mlp_ratio),
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        projector_size=vision.hidden_size,
        projector_patches=together,
        projector_middle=vision.embed_dim * together,
    )


# Positions have three axes. `mrope_section` is how many of a head's rotary pairs go to time, height and width.
MROPE = {**ROPE, "mrope_section": [16, 24, 24]}


def _published(size: str, llm: dict, vocabulary: int, tied: bool = False) -> Published:
    """A Qwen2 behind the family's own ViT of 675 million parameters."""
    return Published(
        name=f"qwen2-vl-{size.lower()}",
        hub_ids=(f"Qwen/Qwen2-VL-{size}-Instruct", f"Qwen/Qwen2-VL-{size}"),
        config_class=Qwen2VLConfig,
        parts={
            "text_config": {**llm, "vocab_size": vocabulary, "rope_parameters": MROPE},
            "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": llm["hidden_size"]},
            "tie_word_embeddings": tied,
        },
    )


def tower_layers(parts: Callable[[Tensor, Any], Tensor], model) -> RowLayers:
    """The layers of the tower. `parts`: (pictures' sizes, vision config) → what merging keeps apart; see `RowLayers`."""
    tower, vision = model.model.visual, model.config.vision_config
    shown = frozenset(getattr(vision, "deepstack_visual_indexes", ()))
    return RowLayers(tower, tower.blocks, [layer.attn for layer in tower.blocks], shown, lambda sizes: parts(sizes, vision))


def _frames(sizes: Tensor, _vision) -> Tensor:
    """Where each frame, or step in time, begins in the tower's row of patches, and where the last one ends."""
    lengths = (sizes[:, 1] * sizes[:, 2]).repeat_interleave(sizes[:, 0])
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


watch_tower = tower_watcher()

FAMILY = Family(
    title="Qwen2-VL",
    good_for="Clips of many frames, and text in the picture.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=reader("image"),
    videos=reader("video"),
    grid=gridder(frame_size),
    pixel_values=pixel_maker(frame_size),
    encode=encoder(watch_tower, _vision_shape),
    clip_text="<|video_pad|>",
    prompt=lambda grid, _times: [grid.tokens],
    vision_shape=_vision_shape,
    token_types="mm_token_type_ids",
    watch_tower=watch_tower,
    tower_layers=partial(tower_layers, _frames),
    tower_reuse=False,
    published=(_published("2B", QWEN2_1_5B, 151936, tied=True), _published("7B", QWEN2_7B, 152064)),
    picture_settings={"image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD},
    unquantised=("model.visual", "lm_head"),
    suggested_for_video=True,
    for_images=image_taker(_image_size),
)
