"""What tokens attend to in towers that take pictures of any size and keep the patches of a token side by side."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from aim.families.towers import received
from aim.kernels.tower_attention import TowerAttention


def by_tokens(
    queries: Tensor,
    keys: Tensor,
    rotary: tuple[Tensor, Tensor],
    lengths: list[int],
    scaling: float,
    sizes: list[list[int]],
    group: int,
    back: Tensor | None = None,
) -> TowerAttention:
    """What the tokens receive, of which each is `group` patches that stand together.

    Args:
        queries, keys: [patches, H, d], before the rotary embedding.
        rotary: its cosines and sines.
        lengths: of the pieces of the sequence within which patches attend to one another.
        sizes: (steps, rows, columns) of each picture, in patches.
        back: where each token stands in the tower, where that differs from the picture.
    """
    turned = apply_rotary_pos_emb_vision(queries, keys, *rotary)
    query, key = (part.transpose(0, 1)[None] for part in turned)
    parts = zip(query.split(lengths, dim=2), key.split(lengths, dim=2), lengths, strict=True)
    sums = torch.cat([received(q, k, scaling)[0] * length for q, k, length in parts])
    frames = torch.tensor([rows * columns for steps, rows, columns in sizes for _ in range(steps)], device=sums.device)
    sums = (sums / frames.repeat_interleave(frames)).view(-1, group).sum(-1)
    means = keys.flatten(1).view(-1, group, keys[0].numel()).mean(1)
    if back is not None:
        sums, means = sums[back.to(sums.device)], means[back.to(means.device)]
    # Pictures of several sizes cannot be the rows of one table, so they become one long row.
    table = sums.view((len(frames), -1) if len(frames.unique()) == 1 else (1, -1))
    return TowerAttention(table, means.view(*table.shape, -1), keys.shape[1])
