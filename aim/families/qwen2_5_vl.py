"""Qwen2.5-VL: Qwen2-VL with a tower that attends within windows in most layers, and positions that know seconds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from aim.families import qwen2_vl
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid


def _order(sizes: Tensor, vision) -> Tensor:
    """Tokens in the order the tower keeps them, window by window."""
    return get_vision_window_index(sizes, vision.spatial_merge_size, vision.window_size, vision.patch_size)[0]


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision = config.vision_config
    together = vision.spatial_merge_size**2
    patches = grid.tokens_per_frame * together
    window = vision.window_size // vision.spatial_merge_size // vision.patch_size
    inside = together**2 * _squares(grid.rows, window) * _squares(grid.columns, window)
    full = len(set(vision.fullatt_block_indexes) & set(range(vision.depth)))
    return VisionShape(
        num_layers=vision.depth,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size * 3 // 2,
        patches_per_frame=patches,
        patch_pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        projector_size=vision.out_hidden_size,
        projector_patches=together,
        projector_middle=vision.hidden_size * together,
        attention_pairs=full * patches**2 + (vision.depth - full) * inside,
    )


def _squares(side: int, window: int) -> int:
    """Sum of squares of the lengths a side is cut into."""
    return side // window * window**2 + (side % window) ** 2


def _timing(seconds: float) -> dict[str, Tensor]:
    """Seconds from one step in time, of two frames, to the next."""
    return {"second_per_grid_ts": torch.tensor([2 * seconds])}


watch_tower = qwen2_vl.tower_watcher(_order)

FAMILY = replace(
    qwen2_vl.FAMILY,
    title="Qwen2.5-VL",
    encode=qwen2_vl.encoder(watch_tower, _vision_shape),
    vision_shape=_vision_shape,
    timing=_timing,
    watch_tower=watch_tower,
)
