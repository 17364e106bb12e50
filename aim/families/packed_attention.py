"""Attention of a vision tower whose frames take keys and values of unchanged patches from the frames where these were computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from aim.families.tower_pass import TowerPass
from aim.kernels.refusal import Refusal

NAME = "aim_tower"
# The attention layers of a tower in a block of `packing`: what their pass has packed, and the attention they had.
_PACKING: dict[object, tuple[TowerPass, str]] = {}


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None, **further
) -> tuple[Tensor, Tensor | None]:
    """SDPA of each frame's computed tokens on all tokens of the frame: query, key, value [1, H, N, d] → [1, N, H, d].

    Where nothing is packed it is the attention that the tower had before.
    """
    state, before = _PACKING[module]
    if not state.packed:
        return AttentionInterface()[before](module, query, key, value, attention_mask, scaling=scaling, **further)
    counts = state.counts if isinstance(state.counts, list) else [None] * len(state.keys)
    found = []
    for asking, places, times in zip(query.split(state.queries, dim=2), state.keys, counts, strict=True):
        if asking.shape[2]:
            mask = None if times is None else times.to(query.dtype).log()[None]  # a merged patch counts as often as it has patches
            found.append(scaled_dot_product_attention(asking, key[:, :, places], value[:, :, places], mask, scale=scaling))
    return torch.cat(found, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, attend)


@contextmanager
def packing(tower: PreTrainedModel, attentions: Sequence[nn.Module], state: TowerPass) -> Iterator[None]:
    """A block in which a tower's attention layers attend as its pass has packed the patches.

    Raises:
        Refusal: the tower's attention is computed by the model's own code.
    """
    before = tower.config._attn_implementation
    if before not in AttentionInterface().valid_keys():
        raise Refusal(
            f'The vision tower computes its attention by "{before}"; reuse takes "sdpa" and other registered functions. '
            'Call model.set_attn_implementation("sdpa") first, or leave reuse out.'
        )
    _PACKING.update(dict.fromkeys(attentions, (state, before)))
    tower.set_attn_implementation(NAME)
    try:
        yield
    finally:
        tower.set_attn_implementation(before)
        for attention in attentions:
            del _PACKING[attention]
