"""DeepStack: visual features of several depths of the vision tower, which the text model adds to the visual tokens after its first layers.

The stock text model adds them by a mask over the whole prompt, which no longer fits once tokens are gone. So they are taken from it, merged
as the tokens were, and added before the layer that follows, to the tokens that are left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aim.engine import seams
from aim.engine.sequence import Sequence


class DeepStack:
    """The levels of one prefill.

    A level of a merged token is the plain mean over the patches in it, whatever weights the method gave them for the token itself. Patches
    that the method dropped are in no mean. A token that has no patch to itself takes the level of the patch at its place.

    Args:
        levels: for each layer that has some, the features [patches, C] of all prompts in the batch, one prompt after the other.
        rows: the prompts, merged already.
    """

    def __init__(self, levels: list[Tensor], rows: list[Sequence]):
        self._rows = rows
        patches = [row.trace.assignment.numel() for row in rows]
        parts = [level.split(patches) for level in levels]
        self._levels = [[_merged(part, row) for part, row in zip(level, rows, strict=True)] for level in parts]

    @staticmethod
    def taken(kwargs: dict, rows: list[Sequence]) -> tuple[dict, DeepStack]:
        """(the text model's arguments without DeepStack features, these features)."""
        levels = kwargs.get(seams.DEEPSTACK)
        if levels is not None:
            kwargs = {**kwargs, seams.DEEPSTACK: None, seams.DEEPSTACK_MASK: None}
        return kwargs, DeepStack(levels or [], rows)

    def before(self, index: int, hidden: Tensor) -> Tensor:
        """The hidden states [B, n, C] that layer `index` is given: with the features that stock adds after the layer before it."""
        if not 1 <= index <= len(self._levels):
            return hidden
        hidden = hidden.clone()
        for number, (row, level) in enumerate(zip(self._rows, self._levels[index - 1], strict=True)):
            places = (row.visual + hidden.shape[1] - row.length).to(hidden.device)
            alive = level[row.alive.to(level.device)].to(hidden.device, hidden.dtype)
            hidden[number, places] = hidden[number, places] + alive
        return hidden


def _merged(level: Tensor, row: Sequence) -> Tensor:
    """One prompt's features [patches, C], as [merged, C]."""
    assignment, merged = row.trace.assignment.flatten().to(level.device), len(row.trace.group_sizes)
    if row.untouched:
        return level
    # One row more takes the patches that are in no merged token, whose index is -1.
    group = assignment.remainder(merged + 1)
    sums = torch.zeros(merged + 1, level.shape[1], dtype=torch.float32, device=level.device).index_add_(0, group, level.float())
    sizes = torch.zeros(merged + 1, device=level.device).index_add_(0, group, torch.ones_like(group, dtype=torch.float32))
    there = level[row.trace.anchors.to(level.device)]
    return torch.where(sizes[:merged, None] > 0, (sums[:merged] / sizes[:merged, None]).to(level.dtype), there)
