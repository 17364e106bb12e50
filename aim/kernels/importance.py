"""How important each token is, from one layer's attention: PageRank over the attention graph, or the attention of the last token.

Post-RoPE queries and keys go in, and one number for each token comes out. The caller decides which tokens' numbers are read, and for what.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aim.kernels.bounds import ABOVE_0, CHANCE, FROM_1
from aim.kernels.refusal import Refusal
from aim.kernels.tiles import HALF, tiles_for

# Rows of attention computed at once. Row i sees columns 0...i only, so blocks of rows leave out nearly half of the n × n work. Small blocks
# leave out more and stay in a CPU's cache: 48 was the best compromise of 24...256 on two cores, with 300 to 12,000 tokens. Large blocks
# launch fewer kernels, so a GPU takes as many rows as fit. It works on fewer heads only where 256 rows of all do not fit. That, and the
# share of the free memory, are choices and no measurements.
CPU_ROWS = 48
GPU_ROWS = 256
FREE_SHARE = 0.25

# Bytes that one call of `pagerank` may hold at a time, where the device does not tell how many are free.
MEMORY_BUDGET = 256 * 2**20

FLOAT = 4  # bytes of a float32
INDEX_TYPES = (torch.int32, torch.int64)


@torch.no_grad()
def pagerank(
    query: Tensor,
    key: Tensor,
    scaling: float,
    temperature: float = 0.1,
    iterations: int = 5,
    damping: float = 0.0,
    restart: Tensor | None = None,
    memory_budget: int | None = None,
) -> Tensor:
    """PageRank of n tokens on a layer's causal attention (AIM, arXiv 2412.03248, section 3.3; temperature, iterations: its code).

    Per head M = softmax((q·kᵀ · scaling + causal) / temperature), row-wise; p starts uniform at 1/n; each step p ← p·M, or with damping
    (1 - damping) · p·M + damping · restart. Over heads the root of the mean of p² is returned. All maths in float32, on float32 copies of
    half-precision inputs. On NVIDIA's GPUs half-precision inputs are multiplied as they are, and summed in float32, on tensor cores; and
    where Triton works, no part of M is written to memory at all (`aim.kernels.pagerank_tiles`).

    No n × n matrix is ever held. M is lower triangular, so what a step brings to a token comes from this token and later ones alone. Blocks
    of rows are therefore computed from the last to the first. By then the later rows have brought all they bring to a block's tokens, so
    every step of the walk can be taken on the block at once, and its rows are not needed again. One pass over the attention serves all
    steps, with a few rows of it in memory at a time. Only the check of a `restart` of weights waits for the device, once.

    Args:
        query: post-RoPE queries [H, n, d], any floating dtype.
        key: post-RoPE keys [KV, n, d]; query head h reads key head h // (H // KV) (grouped-query attention).
        scaling: factor on q·k, usually d^-0.5.
        temperature: > 0; below 1 it sharpens the attention.
        iterations: steps of the walk, ≥ 1.
        damping: chance in [0, 1) to restart at every step; 0 is the paper's.
        restart: [n], where a damped walk restarts: weights, finite, ≥ 0 and not all zero, which are normalised here to sum 1; or bool, the
            tokens to restart at, each as likely as the others. None, or bool without any token: uniform.
        memory_budget: bytes this call may hold at a time beside its arguments. It decides how many key heads, with the query heads that
            read them, and how many rows are worked on at once. What is needed at least grows with n, not with n². By default a quarter of
            what is free on NVIDIA's GPUs, and 256 MiB elsewhere. With Triton some vectors of n a head are all that is needed.

    Returns:
        float32 [n] on the device of `query`, each ≥ 0.

    Raises:
        Refusal: a knob out of range, or a memory_budget too small for one row of one key head.
        ValueError: shapes that do not fit each other, or a restart that is no distribution.
    """
    _check_shapes(query, key)
    ABOVE_0.check("temperature", temperature, "The official code uses 0.1.")
    FROM_1.check("iterations", iterations, "The official code uses 5.")
    CHANCE.check("damping", damping, "The paper uses 0.")
    heads, n, _ = query.shape
    key_heads = key.shape[0]
    group = heads // key_heads
    restart = _restart_vector(restart, damping, n, query.device)
    if tiles := tiles_for(query):
        walked = tiles.walk_in_tiles(query, key, scaling / temperature, iterations, damping, restart)
        return walked.square_().sum(0).div_(heads).sqrt_()
    at_once, rows = _what_fits(query, key_heads, iterations, _budget(query.device) if memory_budget is None else memory_budget)
    logits, transition = torch.empty(2, at_once * group * rows * n, dtype=torch.float32, device=query.device)
    squares = torch.zeros(n, dtype=torch.float32, device=query.device)
    future = torch.ones(rows, rows, dtype=torch.bool, device=query.device).triu_(1)
    halves = _multiplies_halves(query)
    for first in range(0, key_heads, at_once):
        keys = key[first : first + at_once]
        keys = keys if halves else keys.float().contiguous()
        queries = query[first * group : (first + at_once) * group]
        walk = torch.zeros(len(queries), iterations + 1, n, dtype=torch.float32, device=query.device)
        walk[:, 0] = 1 / n
        for start in reversed(range(0, n, rows)):
            end = min(start + rows, n)
            block = _transition_rows(queries[:, start:end], keys[:, :end], scaling / temperature, future, logits, transition)
            here, diagonal = walk[:, :, start:end], block[:, :, start:]
            # `here` already holds what later rows bring to every step; the block's own rows add the rest, one step after the other.
            for step in range(iterations):
                here[:, step + 1] += (here[:, step : step + 1] @ diagonal)[:, 0]
                if damping > 0:
                    here[:, step + 1].mul_(1 - damping).add_(restart[start:end], alpha=damping)
            if start:
                walk[:, 1:, :start] += here[:, :-1] @ block[:, :, :start]
        squares += walk[:, -1].square().sum(0)
    return squares.div_(heads).sqrt_()


@torch.no_grad()
def last_token_attention(query: Tensor, key: Tensor, scaling: float, of: int | Tensor = -1) -> Tensor:
    """Attention that the prompt's last token pays to each of n tokens, mean over all query heads (FastV, arXiv 2403.06764; PyramidDrop).

    It is softmax(q·kᵀ · scaling) of one row, O(n), in float32 (half-precision keys are copied). No attention map is made. Only the check of
    a tensor `of` waits for the device, once.

    Args:
        query: post-RoPE queries [H, n, d], any floating dtype. Only the rows in `of` are read.
        key: post-RoPE keys [KV, n, d]; query head h reads key head h // (H // KV) (grouped-query attention).
        scaling: factor on q·k, usually d^-0.5.
        of: index of the token whose attention is read, -n...n-1, or a tensor of such indices [m] (or 0-d), over which the mean is taken.
            A token pays nothing to those after it.

    Returns:
        float32 [n] on the device of `query`, each ≥ 0, summing to 1.

    Raises:
        ValueError: shapes that do not fit each other, or an index out of range.
    """
    _check_shapes(query, key)
    heads, n, d = query.shape
    rows = _row_indices(of, n, query.device)
    queries = query[:, rows].float() * scaling
    logits = queries.reshape(len(key), -1, d) @ key.float().transpose(1, 2)  # [KV, query heads of a key head · rows, n]
    logits = logits.view(heads, len(rows), n)
    future = torch.arange(n, device=query.device) > rows[:, None]
    return logits.masked_fill_(future, -torch.inf).softmax(dim=-1).mean(dim=(0, 1))


def _transition_rows(queries: Tensor, keys: Tensor, factor: float, future: Tensor, logits: Tensor, transition: Tensor) -> Tensor:
    """The last `rows` rows of softmax(queries·keysᵀ · factor), causal, for queries [heads, rows, d] and keys [key heads, end, d].

    Both buffers are flat and hold heads · rows · end floats or more. `future` is bool [rows, rows] or larger, True above the diagonal.
    Keys in half precision are multiplied as they are. Returns [heads, rows, end], a view of `transition`.
    """
    (heads, rows, d), (key_heads, end, _) = queries.shape, keys.shape
    size = heads * rows * end
    # The query heads that read one key head lie under one another, so that each key head takes one matrix product.
    products = logits[:size].view(key_heads, -1, end)
    if keys.dtype in HALF:
        # Scaling comes after, in float32, because queries in half precision would be rounded by it.
        _half_products(queries.reshape(key_heads, -1, d), keys.transpose(1, 2), products)
        products.mul_(factor)
    else:
        torch.bmm((queries.float() * factor).reshape(key_heads, -1, d), keys.transpose(1, 2), out=products)
    causal = logits[:size].view(heads, rows, end)
    causal[:, :, end - rows :].masked_fill_(future[:rows, :rows], -torch.inf)
    return torch.softmax(causal, dim=-1, out=transition[:size].view(heads, rows, end))


def _half_products(one: Tensor, other: Tensor, out: Tensor) -> None:
    """Products of half-precision matrices in batches, summed and written in float32."""
    torch.bmm(one, other, torch.float32, out=out)  # type: ignore[call-overload]  # torch's annotations lack the form with a type


def _multiplies_halves(query: Tensor) -> bool:
    """Whether the device multiplies the half-precision matrices of `query` with sums in float32: NVIDIA's GPUs do ("meta" stands for them
    in tests), from torch 2.8 on."""
    kinds = ("cuda", "meta") if torch.version.hip is None else ()
    return query.dtype in HALF and query.device.type in kinds and hasattr(torch.ops.aten.bmm, "dtype_out")


def _budget(device: torch.device) -> int:
    """Bytes that a call may hold by default: on CUDA a share of what is free, in the pool that torch has taken too."""
    if device.type != "cuda":
        return MEMORY_BUDGET
    unused, _ = torch.cuda.mem_get_info(device)
    pooled = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(MEMORY_BUDGET, int(FREE_SHARE * (unused + pooled)))


def _what_fits(query: Tensor, key_heads: int, iterations: int, memory_budget: int) -> tuple[int, int]:
    """How many key heads, and how many rows of their query heads' attention, `pagerank` works on at once within `memory_budget` bytes."""
    heads, n, d = query.shape
    group = heads // key_heads
    rows = min(n, CPU_ROWS if query.device.type == "cpu" else GPU_ROWS)
    shared = FLOAT * 4 * n + rows**2  # vectors of n and the mask
    # For each key head: its float32 copy, the walk and what a block adds to it; for each row: logits, transition, copies of the query and
    # what the row's own block adds.
    fixed = FLOAT * n * (d + group * (2 * iterations + 2))
    for_each_row = FLOAT * group * (2 * n + 3 * d + 2)
    if memory_budget < shared + fixed + for_each_row:
        raise Refusal(
            f"memory_budget is {memory_budget} bytes; {n} tokens and {group} query heads a key head need {shared + fixed + for_each_row} "
            "at least. Pass that or more, or fewer tokens."
        )
    at_once = min(key_heads, max(1, (memory_budget - shared) // (fixed + rows * for_each_row)))
    if query.device.type == "cpu":
        return at_once, min(rows, ((memory_budget - shared) // at_once - fixed) // for_each_row)
    # A row of the mask has n bytes at most. Blocks are of the same size, because the buffers are as large as the largest.
    fitting = (memory_budget - FLOAT * 4 * n - at_once * fixed) // (at_once * for_each_row + n)
    return at_once, math.ceil(n / math.ceil(n / min(n, max(1, fitting))))


def _row_indices(of: int | Tensor, n: int, device: torch.device) -> Tensor:
    """`of` as indices 0...n-1, long [m] on `device`."""
    if isinstance(of, int):
        fits = -n <= of < n
        rows = torch.full((1,), of % n, device=device)
    else:
        fits = of.dtype in INDEX_TYPES and of.ndim <= 1 and of.numel() > 0 and bool(((of >= -n) & (of < n)).all())
        rows = of.to(device).remainder(n).flatten()
    if not fits:
        raise ValueError(f"of is {of}; pass the index of one of the {n} tokens, {-n} to {n - 1}, or a tensor of such indices, dtype long.")
    return rows


def _restart_vector(restart: Tensor | None, damping: float, n: int, device: torch.device) -> Tensor:
    """The distribution a damped walk restarts from, float32 [n], summing to 1."""
    if restart is None:
        return torch.full((n,), 1 / n, dtype=torch.float32, device=device)
    if damping == 0:
        raise ValueError("restart is given but damping is 0, so the walk would never restart; set damping above 0, for example 0.15.")
    if restart.shape != (n,):
        raise ValueError(f"restart has shape {tuple(restart.shape)}; it needs one weight for each of the {n} tokens, shape ({n},).")
    if restart.dtype == torch.bool:  # any of them is a distribution, so there is no check to wait for
        restart = torch.where(restart.any(), restart, True)
        return (restart / restart.sum()).to(device=device, dtype=torch.float32)
    restart = restart.to(device=device, dtype=torch.float32)
    total = restart.sum()
    # One question to the device, not three. A non-finite weight makes the sum non-finite.
    if not bool(torch.isfinite(total) & (total > 0) & (restart >= 0).all()):
        raise ValueError("restart holds negative or non-finite weights, or only zeros; pass weights ≥ 0 with at least one above 0.")
    return restart / total


def _check_shapes(query: Tensor, key: Tensor) -> None:
    if query.ndim != 3 or key.ndim != 3 or query.shape[1:] != key.shape[1:] or 0 in query.shape:
        raise ValueError(
            f"query has shape {tuple(query.shape)} and key {tuple(key.shape)}; pass [H, n, d] and [KV, n, d] with the same n and d, "
            "from one sequence without its batch dimension."
        )
    if not key.shape[0] or query.shape[0] % key.shape[0]:
        raise ValueError(
            f"query has {query.shape[0]} heads and key {key.shape[0]}; each key head serves the same number of query heads. "
            "Pass a number of query heads that is a multiple of the key heads."
        )
