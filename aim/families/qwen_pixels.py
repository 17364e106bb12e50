"""What all families of Qwen share on the way from frames to pixel values: two frames are a step in time, 2 x 2 patches are a token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aim.families.pixels import normalised_frames
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal

MAX_ASPECT = 200


@contextmanager
def no_ribbon(height: int, width: int) -> Iterator[None]:
    """A block in which transformers' rules for sizes say no to frames of a shape that they do not take.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    try:
        yield
    except ValueError as error:
        raise Refusal(f"The frames are {width} x {height} pixels; sides up to {MAX_ASPECT} : 1 are accepted. Crop the clip.") from error


# (config, picture settings, frames, height, width) → (height, width) to which frames are resized.
FrameSize = Callable[[Any, dict, int, int, int], tuple[int, int]]


def gridder(frame_size: FrameSize) -> Callable[..., Grid]:
    """The family's `grid`: half as many steps in time as frames, rounded up, each of tokens of 2 x 2 patches."""

    def grid(config, picture_settings: dict, frames: int, height: int, width: int) -> Grid:
        vision = config.vision_config
        side = vision.patch_size * vision.spatial_merge_size
        height, width = frame_size(config, picture_settings, frames, height, width)
        return Grid(math.ceil(frames / vision.temporal_patch_size), height // side, width // side)

    return grid


def pixel_maker(frame_size: FrameSize) -> Callable[..., dict[str, Tensor]]:
    """The family's `pixel_values`: patches [steps · rows · columns, 3 · 2 · side²], those of a token together.

    The last of an odd number of frames is repeated.
    """

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        vision = config.vision_config
        time, merge, side = vision.temporal_patch_size, vision.spatial_merge_size, vision.patch_size
        height, width = frame_size(config, picture_settings, *frames.shape[:3])
        pixels = normalised_frames(frames, picture_settings, height, width)
        pixels = torch.cat([pixels, pixels[-1:].expand(-len(pixels) % time, -1, -1, -1)])
        steps, rows, columns = len(pixels) // time, height // side, width // side
        parts = pixels.view(steps, time, 3, rows // merge, merge, side, columns // merge, merge, side)
        patches = parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(steps * rows * columns, -1)
        return {"pixel_values_videos": patches, "video_grid_thw": torch.tensor([[steps, rows, columns]])}

    return pixel_values
