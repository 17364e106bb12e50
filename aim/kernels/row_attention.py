"""The attention of one token, for looking at: one row of softmax(q·kᵀ), in place of the whole map.

`aim.kernels.importance.last_token_attention` reads the same row while all queries of a prompt are there. This one also serves a decoding
step, in which there is one query and every key.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def row_attention(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Attention that one token pays to each of n tokens, itself and all before it: softmax(q·kᵀ · scaling), the mean over query heads.

    It takes O(n) time and memory, computes in float32, and does not wait for the device.

    Args:
        query: post-RoPE query of the token [H, d], any floating dtype.
        key: post-RoPE keys [KV, n, d] of the tokens that it sees; query head h reads key head h // (H // KV) (grouped-query attention).
        scaling: factor on q·k, usually d^-0.5.

    Returns:
        float32 [n] on the device of `query`, each ≥ 0, summing to 1.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    fits = query.ndim == 2 and key.ndim == 3 and query.shape[1] == key.shape[2] and 0 not in key.shape
    if not fits or not len(query) or len(query) % len(key):
        raise ValueError(
            f"query has shape {tuple(query.shape)} and key {tuple(key.shape)}; pass [H, d] and [KV, n, d] with the same d, "
            "and a number of query heads that is a multiple of the key heads."
        )
    heads = query.float().mul(scaling).view(len(key), -1, query.shape[1])  # [KV, query heads of a key head, d]
    return (heads @ key.float().transpose(1, 2)).softmax(dim=-1).mean(dim=(0, 1))
