"""The clips on which official code was run, and what it put out: data to hold the methods against, and no code of theirs.

A clip is made again from its seed, so that only the results need to be kept, in `tests/data`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

CHANNELS = 64
SIZES = {"a": (8, 7, 7), "b": (6, 14, 14)}  # frames, rows, columns
SEEDS = {("a", "iid"): 11, ("a", "video"): 12, ("b", "iid"): 21}


def cases(method: str) -> dict[str, dict]:
    """What the official code of a method put out, by "clip.kind.ratio"."""
    return json.loads((Path(__file__).parent / "data" / f"{method}.json").read_text(encoding="utf-8"))["cases"]


def patches(clip: str, kind: str) -> Tensor:
    """Visual tokens [F, T, 64] in raster order.

    "iid" is noise. "video" is five plane waves, which stand still in the left half of a frame and drift in the right half, with a cut to
    another scene in the middle of the clip, and noise on top. The order of the draws is part of the data.
    """
    frames, rows, columns = SIZES[clip]
    torch.manual_seed(SEEDS[clip, kind])
    if kind == "iid":
        return torch.randn(frames, rows * columns, CHANNELS)
    down, across = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    drifting = (torch.arange(columns) >= columns // 2).float().expand(rows, columns)
    level, scenes = 0.8 * torch.randn(CHANNELS), []
    for first, end in ((0, frames // 2), (frames // 2, frames)):
        waves, phases, speeds, heights = 1.5 * torch.rand(5, 2) + 0.25, torch.rand(5), 0.1 * torch.rand(5) + 0.04, torch.randn(5, CHANNELS)
        time = torch.arange(first, end).float()[:, None, None, None]
        turns = across[..., None] * waves[:, 0] + down[..., None] * waves[:, 1] + phases
        turns = turns + time * (1 + time / frames) * speeds * drifting[..., None]
        scenes.append(level + 0.7 * torch.sin(2 * math.pi * turns) @ heights)
        level = level + 0.8 * torch.randn(CHANNELS)
    clean = torch.cat(scenes).reshape(frames, rows * columns, CHANNELS)
    return clean + 0.3 * torch.randn(frames, rows * columns, CHANNELS)
