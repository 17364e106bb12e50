"""MiniCPM-V 4.6: SigLIP for pictures of any size in front of Qwen3.5. Inside the tower 2 x 2 patches become one, and 2 x 2 more behind it.

Every frame of a clip stands between two markers. The model's processor also shows pictures and frames larger than 448 x 448 in slices,
which are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.minicpmv4_6.configuration_minicpmv4_6 import MiniCPMV4_6Config

from aim.families import qwen3_5
from aim.families.base import Encoded, Family, Reader
from aim.families.batches import encode_batches
from aim.families.pixel_change import PixelLayout
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.sized import Size, SizedFeatures, repeated, sized_reader
from aim.families.towers import Notes, block_means, pooled, received
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.tower_attention import TowerAttention

# Releases before 5.20 build it for pictures of one size.
IS_UNIFORM = hasattr(MiniCPMV4_6Config, "sub_configs_defaults")
INSIDE, BEHIND = 2, 2  # patches along a side that become one inside the tower, and of these, one token behind it
SIDE = 448  # pixels along a side of a square as large as a picture, where a checkpoint's settings do not say


def _frame_size(config, picture_settings: dict, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which a picture is resized: about as large as a square of `SIDE`, in whole tokens, at least one each way."""
    ratio, square = width / height, picture_settings.get("scale_resolution") or SIDE
    height = int(square / math.sqrt(ratio))
    token = config.vision_config.patch_size * INSIDE * BEHIND
    height, width = (max(round(side / token) * token, token) for side in (height, int(height * ratio)))
    return height, width


def _grid(config, picture_settings: dict, frames: int, height: int, width: int) -> Grid:
    token = config.vision_config.patch_size * INSIDE * BEHIND
    height, width = _frame_size(config, picture_settings, height, width)
    return Grid(frames, height // token, width // token)


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Patches side by side, frame after frame: float32 [1, 3, side, F · patches · side], and the frames' rows and columns of patches."""
    side = config.vision_config.patch_size
    height, width = _frame_size(config, picture_settings, *frames.shape[1:3])
    pixels = normalised_frames(frames, picture_settings, height, width)
    parts = pixels.view(len(frames), 3, height // side, side, width // side, side)
    patches = parts.permute(1, 3, 0, 2, 4, 5).reshape(1, 3, side, -1)
    sizes = torch.tensor([[height // side, width // side]] * len(frames), dtype=torch.int32)
    return {"pixel_values_videos": patches, "target_sizes_videos": sizes}


def _reader(kind: str) -> Callable[..., Reader]:
    """The family's `images` or `videos`. Every image, slice of one and frame of a clip is a picture of its own."""

    def read(config, inputs: dict) -> Reader:
        return sized_reader(kind, _sizes(config, kind, inputs), "the sizes")

    return read


SIZES = {"image": "target_sizes", "video": "target_sizes_videos"}


def _sizes(config, kind: str, inputs: dict) -> Iterable[Size] | None:
    """The sizes of a forward's pictures in order. None where they are not known."""
    given = inputs.get(SIZES[kind])
    if given is not None:
        joined = BEHIND if (inputs.get("downsample_mode") or config.downsample_mode) == "4x" else INSIDE * BEHIND
        return [(1, rows // joined, columns // joined) for rows, columns in given.tolist()]
    made = (inputs.get("mm_encoder_outputs") or {}).get(kind)
    sizes = getattr(made, "sizes", None)
    return None if sizes is None else repeated([(1, rows, columns) for rows, columns in sizes.tolist()], made.pooler_output)


def _keeping_sizes(model) -> list:
    """Hooks that hand the sizes of pictures on with the tower's output. `generate` encodes pixels before the forward, and drops them."""

    def keep(_module, _args: tuple, kwargs: dict, output) -> SizedFeatures:
        joined = BEHIND * (INSIDE if kwargs.get("use_vit_merger", True) else 1)
        return SizedFeatures(last_hidden_state=output.last_hidden_state, sizes=kwargs["target_sizes"] // joined)

    return [model.model.vision_tower.register_forward_hook(keep, with_kwargs=True)]


def _watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what the last layer attends to, whose tokens are 2 x 2 patches each, or one where nothing was joined inside the tower."""
    tower = model.model.vision_tower
    attention, notes = tower.encoder.layers[-1].self_attn, Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, output)

    def on_tower(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["sizes"] = kwargs["target_sizes"] // (INSIDE if kwargs.get("use_vit_merger", True) else 1)

    def report(_module, _args: tuple, _output) -> None:
        queries, keys, sizes = (notes.seen.pop(name) for name in ("queries", "keys", "sizes"))
        sizes, found = [(rows, columns) for rows, columns in sizes.tolist()], []
        lengths = [rows * columns for rows, columns in sizes]
        for (rows, columns), query, key in zip(sizes, queries.split(lengths, dim=1), keys.split(lengths, dim=1), strict=True):
            asking, asked = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (query, key))

            def pool(values: Tensor, rows=rows, columns=columns) -> Tensor:
                return block_means(values, rows, columns, BEHIND)

            found.append(pooled(received(asking, asked, attention.scaling), key, attention.num_heads, pool))
        # Pictures of several sizes cannot be the rows of one table, so they become one long row.
        axis = 0 if len(set(sizes)) == 1 else 1
        means, keys = (torch.cat([getattr(seen, name) for seen in found], axis) for name in ("received", "keys"))
        callback(TowerAttention(means, keys, attention.num_heads))

    return [
        tower.register_forward_pre_hook(on_tower, with_kwargs=True),
        attention.q_proj.register_forward_hook(note("queries")),
        attention.k_proj.register_forward_hook(note("keys")),
        attention.register_forward_hook(report),
    ]


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [F · T, hidden]. No frame attends to another."""
    sizes = pixels["target_sizes_videos"]
    frames, (rows, columns) = len(sizes), sizes[0].tolist()
    grid = Grid(frames, rows // (INSIDE * BEHIND), columns // (INSIDE * BEHIND))

    def run(part: Tensor) -> Tensor:
        patches = part.permute(1, 2, 0, 3).flatten(2)[None]
        own = sizes[: len(part)].to(model.device)
        return torch.cat(list(model.model.get_image_features(patches, own, return_dict=True).pooler_output))

    patches = pixels["pixel_values_videos"][0].unflatten(-1, (frames, -1)).permute(2, 0, 1, 3)
    outputs, seen = encode_batches(model, _watch_tower, patches, _vision_shape(model.config, grid), run)
    tokens = torch.tensor([[grid.rows, grid.columns]] * frames)
    features = SizedFeatures(pooler_output=[torch.cat(outputs)], attentions=seen, sizes=tokens)  # type: ignore[arg-type]
    return Encoded({"video": features}, {"target_sizes_videos": sizes}, grid)


def _token_means(config, differences: Tensor, grid: Grid) -> Tensor:
    """Means over the patches of each token, of differences [F - 1, columns of pixels, 3, side]."""
    patches = differences.unflatten(1, (-1, config.vision_config.patch_size)).mean((2, 3, 4))
    side = math.isqrt(patches.shape[1] // grid.tokens_per_frame)
    return block_means(patches[..., None], grid.rows * side, grid.columns * side, side)[..., 0]


def _prompt(grid: Grid, _times: Sequence[float]) -> list[str | int]:
    """The number of the clip, and the frames between markers."""
    parts: list[str | int] = ["<image_id>0</image_id>"]
    for _ in range(grid.frames):
        parts += ["<image>", grid.tokens_per_frame, "</image>"]
    return parts


# What the processor calls a picture's inputs, and what it calls the same of a clip.
IMAGE_INPUTS = {"pixel_values": "pixel_values_videos", "target_sizes": "target_sizes_videos"}


def _for_images(family: Family) -> Family:
    """A single picture is a clip of one frame under an image's names."""

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        clip = _pixel_values(config, frames[:1], picture_settings)
        return {name: clip[same] for name, same in IMAGE_INPUTS.items()}

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        encoded = _encode(model, {same: pixels[name] for name, same in IMAGE_INPUTS.items()})
        return Encoded({"image": encoded.features["video"]}, {"target_sizes": pixels["target_sizes"]}, encoded.grid)

    return replace(
        family,
        video_token=lambda _config: None,
        pixel_values=pixel_values,
        encode=encode,
        clip_text="<|image_pad|>",
        clip_type="image",
    )


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * (INSIDE * BEHIND) ** 2,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=BEHIND**2,
        projector_middle=vision.hidden_size * BEHIND**2,
        narrowed_by=INSIDE**2,
        narrowed_from=vision.insert_layer_id + 1,
        narrowing_size=vision.intermediate_size * INSIDE**2,
    )


def _refuses(config) -> str:
    """Another number of patches in a token than the published model's."""
    usual = config.merger_times == 1 and tuple(config.merge_kernel_size) == (BEHIND, BEHIND)
    usual = usual and tuple(config.vision_config.window_kernel_size) == (INSIDE, INSIDE) and config.vision_config.insert_layer_id >= 0
    if usual and config.downsample_mode != "4x" and not config.drop_vision_last_layer:
        return ""
    return "It joins another number of patches than 4 x 4 in a token, or leaves a layer of its tower out."


def _published(llm: dict[str, Any]) -> Published:
    """A Qwen3.5 behind SigLIP so400m."""
    tower = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14}
    return Published(
        name="minicpm-v-4.6",
        hub_ids=("openbmb/MiniCPM-V-4.6",),
        config_class=MiniCPMV4_6Config,
        parts={
            "text_config": {"model_type": "qwen3_5_text", **llm, "tie_word_embeddings": True},
            "vision_config": {**tower, "image_size": 980},
            "image_token_id": 248056,
            "video_token_id": 248057,
            "tie_word_embeddings": True,
        },
    )


FAMILY = Family(
    title="MiniCPM-V 4.6",
    good_for="Clips of many frames on a small machine: a frame is 66 tokens.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=_reader("image"),
    videos=_reader("video"),
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<|video_pad|>",
    prompt=_prompt,
    vision_shape=_vision_shape,
    language_shape=qwen3_5.FAMILY.language_shape,
    watch_tower=_watch_tower,
    keeping_sizes=_keeping_sizes,
    pixel_layout=PixelLayout(lambda pixels: pixels[0].permute(2, 0, 1), _token_means),
    published=(_published(qwen3_5.size(24, 1024, 8, 2, 16, intermediate_size=3584)),),
    picture_settings={"image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD},
    unquantised=("model.vision_tower", "model.merger", "lm_head"),
    suggested_for_video=True,
    for_images=_for_images,
    tiles=True,
    refuses=_refuses,
)
