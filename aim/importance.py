"""How important each token is, from one layer's attention: PageRank over the attention graph.

Post-RoPE queries and keys go in, one number a token comes out. What is done with it, and which tokens it is read for, is not covered here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Rows of attention computed at once. Row i sees columns 0...i only, so working in blocks of rows leaves out nearly half of the
# n × n work, and needs no n × n mask.
BLOCK = 512


@torch.no_grad()
def pagerank(
    query: Tensor,
    key: Tensor,
    scaling: float,
    temperature: float = 0.1,
    iterations: int = 5,
    damping: float = 0.0,
    restart: Tensor | None = None,
) -> Tensor:
    """PageRank of n tokens on a layer's causal attention (AIM, arXiv 2412.03248, section 3.3; temperature, iterations: its code).

    Per head M = softmax((q·kᵀ · scaling + causal) / temperature), row-wise; p starts uniform at 1/n; each step p ← p·M, or with damping
    (1 - damping) · p·M + damping · restart. Over heads the root of the mean of p² is returned. All maths in float32, with one head's n × n
    at a time: peak memory is n² floats and a few rows more, whatever the number of heads.

    Args:
        query: post-RoPE queries [H, n, d], any floating dtype.
        key: post-RoPE keys [KV, n, d]; query head h reads key head h // (H // KV) (grouped-query attention).
        scaling: factor on q·k, usually d^-0.5.
        temperature: > 0; below 1 it sharpens the attention.
        iterations: steps of the walk, ≥ 1.
        damping: chance in [0, 1) to restart at every step; 0 is the paper's.
        restart: [n], where a damped walk restarts, finite, ≥ 0 and not all zero; normalised here to sum 1. None: uniform.

    Returns:
        float32 [n] on the device of `query`, each ≥ 0.

    Raises:
        ValueError: shapes that do not fit each other, or a knob out of range.
    """
    _check_shapes(query, key)
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature is {temperature}; it must be finite and above 0. The paper's code uses 0.1.")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; PageRank needs at least 1. The paper's code uses 5.")
    if not 0 <= damping < 1:
        raise ValueError(f"damping is {damping}; use 0 (the paper's) or a share below 1.")
    heads, n, _ = query.shape
    queries_per_key = heads // key.shape[0]
    restart = _restart_vector(restart, damping, n, query.device)
    future = torch.ones(min(BLOCK, n), min(BLOCK, n), dtype=torch.bool, device=query.device).triu_(1)
    # Reused by every head: only the triangle the causal rows reach is ever written, so the rest stays zero.
    transition = torch.zeros(n, n, dtype=torch.float32, device=query.device)
    squares = torch.zeros(n, dtype=torch.float32, device=query.device)
    for head in range(heads):
        _fill_transition(transition, query[head].float() * (scaling / temperature), key[head // queries_per_key].float(), future)
        visits = torch.full_like(squares, 1 / n)
        for _ in range(iterations):
            visits = visits @ transition
            if damping > 0:
                visits = visits.mul_(1 - damping).add_(restart, alpha=damping)
        squares += visits.square()
    return squares.div_(heads).sqrt_()


def _fill_transition(transition: Tensor, query: Tensor, key: Tensor, future: Tensor) -> None:
    """Write softmax(query·keyᵀ) of one head, [n, d] each, into the lower triangle of `transition` [n, n]."""
    n = len(query)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        logits = query[start:end] @ key[:end].T
        logits[:, start:].masked_fill_(future[: end - start, : end - start], -torch.inf)
        transition[start:end, :end] = logits.softmax(dim=-1)


def _restart_vector(restart: Tensor | None, damping: float, n: int, device: torch.device) -> Tensor:
    """The distribution a damped walk restarts from, float32 [n], summing to 1."""
    if restart is None:
        return torch.full((n,), 1 / n, dtype=torch.float32, device=device)
    if damping == 0:
        raise ValueError("restart is given but damping is 0, so the walk would never restart; set damping above 0, for example 0.15.")
    if restart.shape != (n,):
        raise ValueError(f"restart has shape {tuple(restart.shape)}; it needs one weight for each of the {n} tokens, shape ({n},).")
    restart = restart.to(device=device, dtype=torch.float32)
    total = restart.sum()
    if not (torch.isfinite(total) and total > 0 and bool((restart >= 0).all())):
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
