"""A vision tower that leaves out and merges patches while it runs, by hooks on its layers, and gives the features of its full grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aim.families.full_grid import reducing
from aim.families.packed_attention import NAME, packing
from aim.families.tower_pass import TowerPass
from aim.kernels.changed_patches import changed_patches
from aim.methods.tower import FrameLengths, Tower

# Implementations of attention that add a mask to the logits. In others, such as flash attention, a merged patch counts once.
TAKE_MASKS = ("eager", "sdpa", NAME)


@dataclass(frozen=True)
class TowerLayers:
    """The layers of a tower that can be reduced. Each takes and gives hidden states [F, n, h], and attends without a mask.

    Attributes:
        tower: what takes the frames' pixels [F, C, height, width].
        layers: in order.
        attentions: the attention of each.
        other_tokens: how many tokens in front of the patches are none (CLS). They are never merged, and always computed.
        shown: indices of the layers whose output something behind the tower reads.
        patch: pixels along a side of a patch.
    """

    tower: PreTrainedModel
    layers: Sequence[nn.Module]
    attentions: Sequence[nn.Module]
    other_tokens: int
    shown: frozenset[int]
    patch: int

    def reduced(self, tower: Tower, deviations: Sequence[float]) -> AbstractContextManager[list[FrameLengths]]:
        """See `reduced_tower`."""
        return reduced_tower(self, tower, deviations)


@contextmanager
def reduced_tower(found: TowerLayers, tower: Tower, deviations: Sequence[float]) -> Iterator[list[FrameLengths]]:
    """A block in which a vision tower is reduced. Where nothing is merged and all is computed the bits are the same.

    Args:
        tower: with `layer` filled in.
        deviations: what the colour values of the frames are divided by when they are normalised.

    Yields:
        The (queries, keys) of each layer, for each frame of the passes that have ended in the block.

    Raises:
        Refusal: the tower is being reduced already, or its attention cannot take keys from other frames.
    """
    layers, last = found.layers, len(found.layers) - 1
    state, ended = TowerPass(), []

    def see(_tower: nn.Module, args: tuple, kwargs: dict) -> None:
        state.clear()
        if tower.reuse is not None:
            pixels = args[0] if args else kwargs["pixel_values"]
            state.changed = changed_patches(pixels, found.patch, tower.reuse, torch.tensor(deviations))

    def enter(index: int, _layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if index == 0:
            state.pack(args[0], found.other_tokens)
        if index == tower.layer:
            state.merge(args[0] if state.table is None else state.now, tower, found.other_tokens)
        return None if state.table is None else ((state.now, *args[1:]), kwargs)

    def weigh(_attention: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        mask = state.mask(state.now)
        return None if mask is None else (args, kwargs | {"attention_mask": mask})

    def leave(index: int, _layer: nn.Module, _args: tuple, output: Tensor) -> Tensor | None:
        state.count(output)
        whole = None
        if state.table is not None:
            state.now = output
            whole = state.whole() if index in found.shown or index == last else None
        if index == last:
            ended.extend(state.lengths())
            state.clear()
        return whole

    with reducing(found.attentions, state), nullcontext() if tower.reuse is None else packing(found.tower, found.attentions, state):
        hooks = [found.tower.register_forward_pre_hook(see, with_kwargs=True)]
        hooks += [layer.register_forward_pre_hook(partial(enter, index), with_kwargs=True) for index, layer in enumerate(layers)]
        if found.tower.config._attn_implementation in TAKE_MASKS:
            hooks += [attention.register_forward_pre_hook(weigh, with_kwargs=True) for attention in found.attentions]
        # In front of the hooks by which transformers records a layer's output.
        hooks += [layer.register_forward_hook(partial(leave, index), prepend=True) for index, layer in enumerate(layers)]
        try:
            yield ended
        finally:
            for hook in hooks:
                hook.remove()
