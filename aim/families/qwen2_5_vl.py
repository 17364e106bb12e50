"""Qwen2.5-VL: Qwen2-VL with a tower that attends within windows in most layers, and positions that know seconds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig
from transformers.vision_utils import get_vision_window_index

from aim.families import qwen2_vl
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_3B, QWEN2_7B
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid


def _order(sizes: Tensor, vision) -> Tensor:
    """Indices of the tokens in the order in which the tower keeps them, window by window."""
    return get_vision_window_index(sizes, vision.spatial_merge_size, vision.window_size, vision.patch_size)[0]


def vision_shape(config, grid: Grid) -> VisionShape:
    """The tower's numbers: layers that attend within windows, and gated MLPs."""
    vision = config.vision_config
    together = vision.spatial_merge_size**2
    patches = grid.tokens_per_frame * together
    window = vision.window_size // vision.spatial_merge_size // vision.patch_size
    sides = (_parts(grid.rows, window), _parts(grid.columns, window))
    return VisionShape(
        num_layers=vision.depth,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size * 3 // 2,
        patches_per_frame=patches,
        patch_pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        projector_size=vision.out_hidden_size,
        projector_patches=together,
        projector_middle=vision.hidden_size * together,
        windows=tuple(together * rows * columns for rows, columns in product(*sides)),
        windowed_layers=tuple(layer for layer in range(vision.depth) if layer not in vision.fullatt_block_indexes),
    )


def _parts(side: int, window: int) -> list[int]:
    """The lengths into which windows cut a side."""
    return [window] * (side // window) + [side % window] * (side % window > 0)


def _windows(sizes: Tensor, vision) -> Tensor:
    """Where each window of the pictures begins in the tower's row of patches, and where the last one ends."""
    return get_vision_window_index(sizes, vision.spatial_merge_size, vision.window_size, vision.patch_size)[1]


def _timing(seconds: float) -> dict[str, Tensor]:
    """Seconds from one step in time, of two frames, to the next."""
    return {"second_per_grid_ts": torch.tensor([2 * seconds])}


def _published(size: str, llm: dict, vocabulary: int, tied: bool = False) -> Published:
    """A Qwen2.5 behind a ViT with gated MLPs, which attends within windows of 112 pixels in 28 of its 32 layers."""
    return Published(
        name=f"qwen2.5-vl-{size.lower()}",
        hub_ids=(f"Qwen/Qwen2.5-VL-{size}-Instruct",),
        config_class=Qwen2_5_VLConfig,
        parts={
            "text_config": {**llm, "vocab_size": vocabulary, "max_position_embeddings": 128000, "rope_parameters": qwen2_vl.MROPE},
            "vision_config": {
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "out_hidden_size": llm["hidden_size"],
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
            },
            "tie_word_embeddings": tied,
        },
    )


watch_tower = qwen2_vl.tower_watcher(_order)

FAMILY = replace(
    qwen2_vl.FAMILY,
    title="Qwen2.5-VL",
    good_for="Clips of many frames, text in the picture, and when something happens.",
    encode=qwen2_vl.encoder(watch_tower, vision_shape),
    vision_shape=vision_shape,
    timing=_timing,
    watch_tower=watch_tower,
    tower_layers=partial(qwen2_vl.tower_layers, _windows),
    published=(_published("3B", QWEN2_3B, 151936, tied=True), _published("7B", QWEN2_7B, 152064)),
)
