"""A vision tower that merges patches while it runs, by hooks on its layers, and gives the features of its full grid."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from aim.kernels.merging import merge_tokens
from aim.kernels.products import exact_products
from aim.kernels.refusal import Refusal
from aim.methods.tower import Tower


@dataclass(frozen=True)
class TowerLayers:
    """The layers of a tower whose patches can be merged. Each takes and gives hidden states [F, n, h], and attends without a mask.

    Attributes:
        layers: in order, each with its attention as `self_attn`.
        other_tokens: how many tokens in front of the patches are none (CLS). They are never merged.
        shown: indices of the layers whose output something behind the tower reads.
    """

    layers: Sequence[nn.Module]
    other_tokens: int
    shown: frozenset[int]


class _Pass(threading.local):
    """What one thread's pass of the tower has merged so far. Two threads' passes may overlap.

    Attributes:
        assignment: long [F, n], token of the full grid → token that the reduced layers run on; None where nothing is merged.
        before: hidden states [F, n, h] of the full grid, just before merging.
        merged: the same merged, [F, m, h].
        now: what the last layer has made of `merged`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.assignment: Tensor | None = None
        self.before = self.merged = self.now = torch.empty(0)

    def begin(self, hidden: Tensor, tower: Tower, other_tokens: int) -> None:
        others, patches = hidden[:, :other_tokens], hidden[:, other_tokens:]
        target = tower.patches(patches.shape[1])
        if target == patches.shape[1]:
            return
        with exact_products():  # what is merged does not depend on the processor
            merge = merge_tokens(patches, target, weighted=True, largest_step=tower.step)
        own = torch.arange(other_tokens, device=hidden.device).expand(len(hidden), -1)
        self.assignment = torch.cat([own, merge.assignment + other_tokens], dim=1)
        self.before = hidden
        self.merged = self.now = torch.cat([others, merge.tokens], dim=1)

    def spread(self, values: Tensor) -> Tensor:
        """Values of merged tokens [F, m, D] → those of the full grid, [F, n, D]. Each patch gets its merged token's."""
        if self.assignment is None:
            return values
        return values.gather(1, self.assignment[..., None].expand(-1, -1, values.shape[-1]))

    def whole(self) -> Tensor:
        """The hidden states of the full grid: before merging, plus what each patch's merged token has gained since."""
        return self.before + self.spread(self.now - self.merged)


# The attention layers that run on merged tokens in a block of `reduced_tower`. Whoever watches them asks here for the full grid.
_REDUCED: dict[object, _Pass] = {}


def full_grid(attention: object, values: Tensor) -> Tensor:
    """What a projection of an attention layer has just made, [F, n, D], for all tokens of the tower's grid.

    Where the tower is reduced each patch gets its merged patch's. Elsewhere these are `values` themselves.
    """
    reduced = _REDUCED.get(attention)
    return values if reduced is None else reduced.spread(values)


@contextmanager
def reduced_tower(found: TowerLayers, tower: Tower) -> Iterator[None]:
    """A block in which a vision tower merges patches inside. `tower.layer` is filled in. Where it merges nothing the bits are the same.

    Raises:
        Refusal: the tower is being reduced already.
    """
    layers, last = found.layers, len(found.layers) - 1
    attentions = [layer.self_attn for layer in layers]
    if any(attention in _REDUCED for attention in attentions):
        raise Refusal("The vision tower is being reduced already; leave that block first, or load a second model.")
    state = _Pass()

    def enter(index: int, _layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if index == 0:
            state.clear()
        if index == tower.layer:
            state.begin(args[0], tower, found.other_tokens)
        return None if state.assignment is None else ((state.now, *args[1:]), kwargs)

    def leave(index: int, _layer: nn.Module, _args: tuple, output: Tensor) -> Tensor | None:
        if state.assignment is None:
            return None
        state.now = output
        if index not in found.shown and index != last:
            return None
        whole = state.whole()
        if index == last:
            state.clear()
        return whole

    hooks = [layer.register_forward_pre_hook(partial(enter, index), with_kwargs=True) for index, layer in enumerate(layers)]
    # In front of the hooks by which transformers records a layer's output.
    hooks += [layer.register_forward_hook(partial(leave, index), prepend=True) for index, layer in enumerate(layers)]
    _REDUCED.update(dict.fromkeys(attentions, state))
    try:
        yield
    finally:
        for attention in attentions:
            del _REDUCED[attention]
        for hook in hooks:
            hook.remove()
