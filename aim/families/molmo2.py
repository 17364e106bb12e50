"""Molmo2: SigLIP 2 in front of Qwen3 or OLMo. The frames of a clip are squares, each behind its second, and 3 x 3 patches make one token.

The features are added to what the placeholders embed. All visual tokens of a prompt, and the markers around them, see one another in both
directions. The rows of a single picture stand apart in its prompt, with a token of another kind behind each, so only clips are taken here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from aim.families.base import Encoded, Family
from aim.families.batches import encode_batches
from aim.families.molmo2_tower import images, keeping_sizes, watch_tower
from aim.families.pixel_change import PixelLayout
from aim.families.published import Published
from aim.families.qwen3_sizes import QWEN3_4B
from aim.families.sized import SizedFeatures
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.shape import VisionShape

try:
    from transformers import Molmo2Config
except ImportError:  # releases before 5.20
    Molmo2Config = None  # type: ignore[assignment, misc]

IS_UNIFORM = Molmo2Config is not None
WINDOW = 3  # patches along a side of a token of a clip, where the picture settings name no other
# How pillow's ways of resizing are called in torch, by which its processor resizes.
MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}
OF_IMAGES = "max_crops"  # only the settings of single pictures have it, whose windows are others


def _side(config) -> int:
    """Patches along a side of a frame."""
    return config.vision_config.image_size[0] // config.vision_config.patch_size


def _tokens(config, picture_settings: dict) -> tuple[int, int]:
    """Rows and columns of visual tokens in a frame. The last windows may reach beyond the patches."""
    window = (WINDOW, WINDOW) if OF_IMAGES in picture_settings else picture_settings.get("pooling_size") or (WINDOW, WINDOW)
    rows, columns = (-(-_side(config) // size) for size in window)
    return rows, columns


def _grid(config, picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """The tower's patches pooled in windows, whatever the clip's size: 27 x 27 → 9 x 9."""
    return Grid(frames, *_tokens(config, picture_settings))


def _windows(side: int, rows: int, columns: int) -> Tensor:
    """The patches of each token of one frame, long [rows · columns, patches of a window]; -1 where a window reaches beyond the frame."""
    high, wide = -(-side // rows), -(-side // columns)
    below, right = high * rows - side, wide * columns - side
    patches = pad(torch.arange(side**2).view(side, side), (right // 2, right - right // 2, below // 2, below - below // 2), value=-1)
    return patches.view(rows, high, columns, wide).transpose(1, 2).reshape(rows * columns, high * wide)


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio, in patches: float32 [F, P, 3 · side²]. Colours of a pixel stand together.

    Raises:
        Refusal: the picture settings name a way of resizing that its processor cannot do.
    """
    vision, resample = config.vision_config, picture_settings.get("resample", 2)
    if resample not in MODES:
        raise Refusal(
            f"The picture settings say resample {resample}; Molmo2 resizes frames by 0, 2 or 3, which are nearest, bilinear and bicubic. "
            "Download the checkpoint's picture settings again."
        )
    size, side, patch = vision.image_size[0], _side(config), vision.patch_size
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    mode = MODES[resample]
    corners = {} if mode == "nearest" else {"align_corners": False, "antialias": False}
    pixels = interpolate(pixels, (size, size), mode=mode, **corners).round_().clamp_(0, 255)
    mean, std = (torch.tensor(picture_settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    pixels = pixels.mul_(picture_settings.get("rescale_factor", 1 / 255)).sub_(mean).div_(std)
    patches = pixels.view(len(frames), 3, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    rows, columns = _tokens(config, picture_settings)
    one = _windows(side, rows, columns)
    windows = torch.stack([torch.where(one < 0, one, one + frame * side**2) for frame in range(len(frames))])
    grids = torch.tensor([[len(frames), rows, columns]])
    return {"pixel_values_videos": patches, "video_token_pooling": windows.flatten(0, 1), "video_grids": grids}


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [F · T, hidden]. No frame attends to another, and the windows of the first frames are those of any part."""
    frames, windows, grids = pixels["pixel_values_videos"], pixels["video_token_pooling"], pixels["video_grids"]
    grid = Grid(*grids[0].tolist())

    def run(part: Tensor) -> Tensor:
        own = windows[: len(part) * grid.tokens_per_frame].to(part.device)
        size = torch.tensor([[len(part), grid.rows, grid.columns]], device=part.device)
        return torch.cat(list(model.model.get_video_features(part, own, size, return_dict=True).pooler_output))

    outputs, seen = encode_batches(model, watch_tower, frames, _vision_shape(model.config, grid), run)
    features = SizedFeatures(pooler_output=[torch.cat(outputs)], attentions=seen, sizes=grids)  # type: ignore[arg-type]
    return Encoded({"video": features}, {}, grid)


def _token_means(_config: Any, differences: Tensor, grid: Grid) -> Tensor:
    """Means over the patches of each token, [F - 1, 1, P, values] → [F - 1, T]."""
    side = math.isqrt(differences.shape[2])
    return adaptive_avg_pool2d(differences[:, 0].mean(-1).unflatten(1, (side, side)), (grid.rows, grid.columns)).flatten(1)


def _flagged(config) -> tuple[int, ...]:
    """The markers around frames and pictures, which see what their visual tokens see."""
    starts = (config.image_start_token_id, config.low_res_image_start_token_id, config.frame_start_token_id)
    return (*starts, config.image_end_token_id, config.frame_end_token_id)


def _prompter(before: str, after: str) -> Callable[[Grid, Sequence[float]], list[str | int]]:
    """The family's `prompt`: the frames, each behind its second. Where times are not known, a frame a second."""

    def prompt(grid: Grid, times: Sequence[float]) -> list[str | int]:
        parts: list[str | int] = []
        for number, second in enumerate(list(times) or range(grid.frames)):
            space = " " if number else ""
            parts += [f"{space}{second:.1f} {before}", grid.tokens_per_frame, after]
        return parts

    return prompt


def _by_config(family: Family, config) -> Family:
    """Its processor has markers of their own for frames, unless the checkpoint says otherwise, as the published ones do."""
    own = getattr(config, "use_frame_special_tokens", True)
    return replace(family, prompt=_prompter("<frame_start>", "<frame_end>")) if own else family


def _vision_shape(config, grid: Grid) -> VisionShape:
    """The projector takes several layers' features. The mean of a token's patches asks these, and a gated MLP follows."""
    vision, adapter, patches = config.vision_config, config.adapter_config, _side(config) ** 2
    together = patches // grid.tokens_per_frame
    hidden, entering = adapter.hidden_size, adapter.hidden_size * len(adapter.vision_feature_layer)
    asking = entering * hidden + 2 * together * entering * hidden + 2 * together * hidden + hidden**2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=patches,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_middle=adapter.intermediate_size,
        projector_means=True,
        projector_further=hidden * adapter.intermediate_size + asking,
    )


FAMILY = Family(
    title="Molmo2",
    good_for="Clips, and questions about where and when something happens in them.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda _config: None,  # the same, which `images` reads
    images=images,
    videos=None,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<|video|>",
    prompt=_prompter("<im_start>", "<im_end>"),
    begun=True,
    by_config=_by_config,
    vision_shape=_vision_shape,
    token_types="mm_token_type_ids",
    flagged=_flagged,
    watch_tower=watch_tower,
    pixel_layout=PixelLayout(lambda pixels: pixels.flatten(0, -3), _token_means),
    keeping_sizes=keeping_sizes,
    published=(
        Published(
            name="molmo2-4b",
            hub_ids=("allenai/Molmo2-4B",),
            config_class=Molmo2Config,
            parts={
                "text_config": {
                    **QWEN3_4B,
                    "max_position_embeddings": 36864,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6},
                },
                "vision_config": {},  # the defaults of its class are SigLIP 2 so400m at 378 pixels, without its last two layers
                "adapter_config": {"text_hidden_size": QWEN3_4B["hidden_size"], "intermediate_size": QWEN3_4B["intermediate_size"]},
                "use_frame_special_tokens": False,
            },
        ),
    ),
    suggested_for_video=True,
    picture_settings={
        "size": {"height": 378, "width": 378},
        "resample": 2,
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
        "pooling_size": [WINDOW, WINDOW],
    },
)
