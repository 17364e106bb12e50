"""Which tokens of a question rate visual tokens, and how they do it (SparseVLM, arXiv 2410.04417)."""

from __future__ import annotations

import torch
from torch import Tensor


def question_raters(question: Tensor, visual: Tensor) -> Tensor:
    """The tokens of a question that have to do with the pictures, bool [q].

    Each visual token shares itself out over the question by softmax(x · t), without a scaling. The raters are the question's tokens whose
    mean share is above the mean of all; where all are equal, all of them rate. It takes O(v·q) memory, in float32.

    Args:
        question, visual: the LLM's input embeddings [q, C] and [v, C], floating, q and v ≥ 1.
    """
    shares = (visual.float() @ question.float().T).softmax(dim=-1).mean(dim=0)
    above = shares > shares.mean()
    return above | ~above.any()


def rated_attention(query: Tensor, key: Tensor, scaling: float, raters: Tensor) -> Tensor:
    """Attention that the raters among a prompt's last q tokens pay to each of n tokens, the mean over heads and raters, float32 [n].

    It is causal: a token pays nothing to those after it. It takes O(H/KV · q·n) memory, key head by key head.

    Args:
        query: post-RoPE queries [H, q, d] of the last q tokens, floating.
        key: post-RoPE keys [KV, n, d] of all tokens, n ≥ q, H a multiple of KV.
        scaling: factor on q·k, usually d^-0.5.
        raters: bool [q], at least one of them.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    (heads, asked, size), (key_heads, tokens, _) = query.shape, key.shape
    if asked > tokens or raters.shape != (asked,) or heads % key_heads or key.shape[2] != size:
        raise ValueError(
            f"query has shape {tuple(query.shape)}, key {tuple(key.shape)} and raters {tuple(raters.shape)}; "
            "pass [H, q, d], [KV, n, d] and [q] with q up to n, and H a multiple of KV."
        )
    place = torch.arange(tokens, device=query.device)
    future = place > place[tokens - asked :, None]
    weights = raters.float() / raters.sum()
    paid = torch.zeros(tokens, device=query.device)
    for own, keys in zip(query.view(key_heads, -1, asked, size), key, strict=True):
        logits = (own.float() * scaling) @ keys.float().T  # [query heads of the key head, q, n]
        paid += weights @ logits.masked_fill_(future, -torch.inf).softmax(dim=-1).sum(dim=0)
    return paid / heads


def rating_flops(heads: int, head_size: int, asked: int, tokens: int) -> int:
    """FLOPs of `rated_attention`: H·q·(2·n·d (scores) + 5·n (softmax))."""
    return heads * asked * (2 * head_size + 5) * tokens
