"""A vision tower that takes pictures of any size as one row of patches, and merges patches while it runs.

A frame's patches stand one behind the other, and so do a window's where some layers attend within windows. Patches are merged within a
frame, or within a window, so that a row keeps its parts. Nothing is reused from frame to frame here. A merged patch counts once in the
attention, which takes no mask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from aim.families.full_grid import reducing
from aim.kernels.merging import merge_tokens
from aim.kernels.products import exact_products
from aim.methods.tower import FrameLengths, Tower

BOUNDS, ROTARY, LONGEST = "cu_seqlens", "position_embeddings", "max_seqlen"  # of a layer's arguments


@dataclass(frozen=True)
class RowLayers:
    """The layers of such a tower. Each takes and gives a row of hidden states [N, h], and is told its parts and its rotary angles.

    Attributes:
        tower: what takes the patches' pixels and the pictures' sizes.
        layers: in order.
        attentions: the attention of each.
        shown: indices of the layers whose output something behind the tower reads.
        parts: (pictures' sizes) → [parts + 1], where each part that merging keeps apart begins in the row, and where the last one ends.
    """

    tower: nn.Module
    layers: Sequence[nn.Module]
    attentions: Sequence[nn.Module]
    shown: frozenset[int]
    parts: Callable[[Tensor], Tensor]

    def reduced(self, tower: Tower, _deviations: Sequence[float]) -> AbstractContextManager[list[FrameLengths]]:
        """See `merged_row`."""
        return merged_row(self, tower)


class RowPass(threading.local):
    """What one thread's pass of such a tower has merged so far.

    Attributes:
        parts: where the parts begin in the full row, [parts + 1].
        assignment: long [N], patch → its place in the merged row; None where nothing is merged.
        anchors: long [M], the patch whose place each merged patch keeps.
        before, merged, now: hidden states just before merging [N, h], the same merged [M, h], and what the last layer has made of them.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.assignment: Tensor | None = None
        self.parts = self.anchors = self.before = self.merged = self.now = self._starts = torch.empty(0)

    def merge(self, hidden: Tensor, tower: Tower) -> None:
        """Merge the patches of each part of [N, h]. Parts of one length are merged together."""
        lengths = self.parts.diff()
        left = torch.tensor([tower.patches(length) for length in lengths.tolist()], device=hidden.device)
        if bool((left == lengths).all()):
            return
        self._starts = torch.cat([left.new_zeros(1), left.cumsum(0)])
        self.assignment = self.parts.new_empty(len(hidden), dtype=torch.long)
        self.anchors, self.merged = self.assignment.new_empty(int(left.sum())), hidden.new_empty(int(left.sum()), hidden.shape[1])
        for length in lengths.unique().tolist():
            those = lengths == length
            full = self.parts[:-1][those][:, None] + torch.arange(length, device=hidden.device)
            with exact_products():  # what is merged does not depend on the processor
                merge = merge_tokens(hidden[full], tower.patches(length), weighted=True, largest_step=tower.step)
            first = self._starts[:-1][those][:, None]
            places = first + torch.arange(merge.anchors.shape[1], device=hidden.device)
            self.assignment[full] = merge.assignment + first
            self.merged[places], self.anchors[places] = merge.tokens, full.long().gather(1, merge.anchors)
        self.before, self.now = hidden, self.merged

    def spread(self, values: Tensor) -> Tensor:
        """Values of merged patches [M, D] → those of all patches, [N, D]."""
        return values if self.assignment is None else values[self.assignment]

    def merged_bounds(self, bounds: Tensor) -> Tensor:
        """Where frames or windows begin in the full row → where they begin in the merged one."""
        return self._starts[torch.searchsorted(self.parts, bounds.to(self.parts.dtype))].to(bounds.dtype)

    def whole_bounds(self, bounds: Tensor) -> Tensor:
        """Where frames or windows begin in the merged row → where they begin in the full one."""
        if self.assignment is None:
            return bounds
        return self.parts[torch.searchsorted(self._starts, bounds.to(self._starts.dtype))].to(bounds.dtype)

    def whole(self) -> Tensor:
        """The hidden states of the full row: before merging, plus what each patch's merged patch has gained since."""
        return self.before + self.spread(self.now - self.merged)


@contextmanager
def merged_row(found: RowLayers, tower: Tower) -> Iterator[list[FrameLengths]]:
    """A block in which such a tower merges patches inside. `tower.layer` is filled in. Where it merges nothing the bits are the same.

    Yields:
        An empty list: how many tokens run does not depend on the clip, so `Tower.lengths` tells it.

    Raises:
        Refusal: the tower is being reduced already.
    """
    layers, last, state = found.layers, len(found.layers) - 1, RowPass()

    def see(_tower: nn.Module, args: tuple, kwargs: dict) -> None:
        state.clear()
        state.parts = found.parts(kwargs["grid_thw"] if "grid_thw" in kwargs else args[1])

    def enter(index: int, _layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if index == tower.layer:
            state.merge(args[0], tower)
        if state.assignment is None:
            return None
        bounds = state.merged_bounds(kwargs[BOUNDS])
        changed = {BOUNDS: bounds, ROTARY: tuple(part[state.anchors] for part in kwargs[ROTARY])}
        if kwargs.get(LONGEST) is not None:
            changed[LONGEST] = int(bounds.diff().max())
        return (state.now, *args[1:]), kwargs | changed

    def leave(index: int, _layer: nn.Module, _args: tuple, output: Tensor) -> Tensor | None:
        if state.assignment is None:
            return None
        state.now = output
        whole = state.whole() if index in found.shown or index == last else None
        if index == last:
            state.clear()
        return whole

    with reducing(found.attentions, state):
        hooks = [found.tower.register_forward_pre_hook(see, with_kwargs=True)]
        hooks += [layer.register_forward_pre_hook(partial(enter, index), with_kwargs=True) for index, layer in enumerate(layers)]
        # In front of the hooks by which transformers records a layer's output.
        hooks += [layer.register_forward_hook(partial(leave, index), prepend=True) for index, layer in enumerate(layers)]
        try:
            yield []
        finally:
            for hook in hooks:
                hook.remove()
