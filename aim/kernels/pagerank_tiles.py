"""PageRank on NVIDIA's GPUs in tiles: Triton kernels that never write an attention map, not even a part of one.

`aim.kernels.importance.pagerank` says what is computed. Here each step of the walk computes the attention's tiles anew from the queries and
keys on tensor cores, and adds up what they bring in registers. Memory then grows with n, and not with n times the rows of a block. On an
H200 at 7B sizes that takes 3.9 ms at 6,372 tokens and 0.48 ms at 1,668, where rows of attention in memory took 22.4 and 1.7 ms.

Triton comes with torch's builds for NVIDIA's GPUs on Linux. It compiles a kernel when it is first called, for which it needs a C compiler.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows and columns of a tile. On an H200 tiles of 32 to 128 rows and 64 to 128 columns took 0.95 to 1.5 times as long as these.
TILE = 64
LOG2_E = 1.4426950408889634


@triton.jit
def _products(queries, keys, rows, columns, n, factor):
    """Logits of a tile in units of log2, -inf above the diagonal and outside."""
    seen = (rows[:, None] >= columns[None, :]) & (rows[:, None] < n)
    return tl.where(seen, tl.dot(queries, tl.trans(keys)) * factor, float("-inf"))


@triton.jit
def _vectors(start, rows, widths, stride_row, stride_width, n, width):
    """The vectors of some tokens, 0 outside."""
    inside = (rows[:, None] < n) & (widths[None, :] < width)
    return tl.load(start + rows[:, None] * stride_row + widths[None, :] * stride_width, mask=inside, other=0.0)


@triton.jit(do_not_specialize=["n"])
def _log_sums(
    query, key, sums, n, width, group, factor, qh, qn, qd, kh, kn, kd, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTHS: tl.constexpr
):
    """log2 of the sum of 2^logit over each row, for some rows of one head."""
    block, head = tl.num_programs(0) - 1 - tl.program_id(0), tl.program_id(1)  # the longest rows first
    rows, widths = block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTHS)
    queries = _vectors(query + head * qh, rows, widths, qn, qd, n, width)
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(0, tl.minimum((block + 1) * ROWS, n), COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        keys = _vectors(key + (head // group) * kh, columns, widths, kn, kd, n, width)
        logits = _products(queries, keys, rows, columns, n, factor)
        higher = tl.maximum(most, tl.max(logits, 1))
        # A row outside has seen nothing, and -inf less -inf is no number.
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp2(most - base) + tl.sum(tl.exp2(logits - base[:, None]), 1)
        most = higher
    tl.store(sums + head * n + rows, most + tl.log2(total), mask=rows < n)


@triton.jit(do_not_specialize=["n"])
def _step(
    query, key, sums, before, after, restart, n, width, group, factor, damping, qh, qn, qd, kh, kn, kd,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTHS: tl.constexpr,
):  # fmt: skip
    """One step of the walk for some tokens of one head: what all later tokens and they themselves bring to them."""
    block, head = tl.program_id(0), tl.program_id(1)
    columns, widths = block * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, WIDTHS)
    keys = _vectors(key + (head // group) * kh, columns, widths, kn, kd, n, width)
    brought = tl.zeros([COLUMNS], tl.float32)
    for first in range(block * COLUMNS // ROWS * ROWS, n, ROWS):
        rows = first + tl.arange(0, ROWS)
        queries = _vectors(query + head * qh, rows, widths, qn, qd, n, width)
        logits = _products(queries, keys, rows, columns, n, factor)
        base = tl.load(sums + head * n + rows, mask=rows < n, other=0.0)
        chance = tl.load(before + head * n + rows, mask=rows < n, other=0.0)
        brought += tl.sum(tl.exp2(logits - base[:, None]) * chance[:, None], 0)
    home = tl.load(restart + columns, mask=columns < n, other=0.0)
    tl.store(after + head * n + columns, (1 - damping) * brought + damping * home, mask=columns < n)


def walk_in_tiles(query: Tensor, key: Tensor, factor: float, iterations: int, damping: float, restart: Tensor) -> Tensor:
    """The last step of the walk for each head.

    Args:
        query: [H, n, d] in half precision, on an NVIDIA GPU.
        key: [KV, n, d], as `query`.
        factor: on q·k, scaling and temperature in one.
        iterations, damping: see `aim.kernels.importance.pagerank`.
        restart: float32 [n], summing to 1.

    Returns:
        float32 [H, n], each row summing to 1.
    """
    heads, n, width = query.shape
    widths = max(16, triton.next_power_of_2(width))
    tile = TILE if widths <= 128 else TILE // 2  # wider ones would not fit into the memory of a multiprocessor
    sizes = {"ROWS": tile, "COLUMNS": tile, "WIDTHS": widths}
    fixed = (n, width, heads // key.shape[0], factor * LOG2_E)
    strides = (*query.stride(), *key.stride())
    sums = torch.empty(heads, n, dtype=torch.float32, device=query.device)
    before, after = torch.full_like(sums, 1 / n), torch.empty_like(sums)
    with torch.cuda.device_of(query):
        _log_sums[(triton.cdiv(n, tile), heads)](query, key, sums, *fixed, *strides, **sizes)
        for _ in range(iterations):
            _step[(triton.cdiv(n, tile), heads)](query, key, sums, before, after, restart, *fixed, damping, *strides, **sizes)
            before, after = after, before
    return before
