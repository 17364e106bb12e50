"""Average pooling of a frame's grid of visual tokens to a smaller grid."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import isqrt

import torch
from torch import Tensor

from aim.kernels.merging import MergedClip


def pooled_sides(rows: int, columns: int, budget: int) -> tuple[int, int]:
    """The smaller grid of at most `budget` ≥ 1 cells: (rows, columns).

    The side that shrinks more shrinks as little as it can, and then the other side is as long as the budget allows. Of two such grids the
    wider one is taken. (14, 14, 49) → (7, 7), (7, 7, 12) → (3, 4), (12, 24, 72) → (6, 12).
    """
    grids = [(high, min(columns, budget // high)) for high in range(1, min(rows, budget) + 1)]
    return max(grids, key=lambda grid: (min(Fraction(grid[0], rows), Fraction(grid[1], columns)), grid[0] * grid[1]))


def squarest(tokens: int) -> tuple[int, int]:
    """(rows, columns) of the grid of so many tokens that is most nearly square, never higher than wide."""
    rows = next(rows for rows in range(isqrt(tokens), 0, -1) if tokens % rows == 0)
    return rows, tokens // rows


def pool_clip(patches: Tensor, rows: int, columns: int, to_rows: int, to_columns: int) -> MergedClip:
    """Each frame of [F, rows · columns, C] pooled to to_rows · to_columns cells.

    A token is the plain mean of its cell, in float32. Cells do not overlap: row i lies in cell row ⌊i · to_rows / rows⌋, and columns alike.
    A pooled token stands at the middle of its cell, at the upper or left of two middles. There are loops over the cells' rows and columns.
    """
    frames, _, channels = patches.shape
    heights, widths = _lengths(rows, to_rows), _lengths(columns, to_columns)
    bands = patches.reshape(frames, rows, columns, channels).split(heights, dim=1)
    means = torch.stack([band.float().mean(dim=1) for band in bands], dim=1)  # [F, to_rows, columns, C]
    means = torch.stack([cells.mean(dim=2) for cells in means.split(widths, dim=2)], dim=2)  # [F, to_rows, to_columns, C]

    device = patches.device
    frame = torch.arange(frames, device=device)[:, None, None]
    cell = (_cells(rows, to_rows, device)[:, None] * to_columns + _cells(columns, to_columns, device)).expand(frames, -1, -1)
    middle = _middles(rows, to_rows, device)[:, None] * columns + _middles(columns, to_columns, device)
    assignment = (cell + frame * (to_rows * to_columns)).reshape(frames, -1)
    merged = frames * to_rows * to_columns
    return MergedClip(
        tokens=means.to(patches.dtype).view(merged, channels),
        assignment=assignment,
        sizes=assignment.new_zeros(merged).scatter_add_(0, assignment.flatten(), torch.ones_like(assignment.flatten())),
        anchors=(middle + frame * (rows * columns)).flatten(),
    )


def pool_flops(hidden: int, tokens: int, pooled: int) -> int:
    """FLOPs of `pool_clip`, which leaves `pooled` of so many tokens of size C = `hidden`: C for each token (sums) and each pooled one
    (division)."""
    return hidden * (tokens + pooled)


def _cells(length: int, parts: int, device: torch.device) -> Tensor:
    """The part, 0...parts - 1, in which each place of a side lies: ⌊i · parts / length⌋."""
    return torch.arange(length, device=device) * parts // length


def _middles(length: int, parts: int, device: torch.device) -> Tensor:
    """The middle place of each part. Part k begins at ⌈k · length / parts⌉."""
    begins = (torch.arange(parts + 1, device=device) * length + parts - 1) // parts
    return (begins[:-1] + begins[1:] - 1) // 2


def _lengths(length: int, parts: int) -> list[int]:
    """How many places of a side each part has."""
    begins = [-(-part * length // parts) for part in range(parts + 1)]
    return [end - begin for begin, end in pairwise(begins)]
