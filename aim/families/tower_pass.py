"""What one pass of a reduced vision tower has left out so far, and how its full grid comes back."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from aim.kernels.changed_patches import last_places
from aim.kernels.merging import merge_tokens
from aim.kernels.products import exact_products
from aim.methods.tower import FrameLengths, Tower


class TowerPass(threading.local):
    """One thread's pass of a tower. Two threads' passes may overlap.

    Where nothing is reused the layers run on frames of equal length, [F, m, h]. Where some patches are reused the tokens that are computed
    are packed into one row, [1, N, h], frame after frame.

    Attributes:
        table: long [F, n], token of the full grid → its token in the frame, or in the row; None where the tower still runs in full.
        packed: whether the layers run on one row.
        queries: how many tokens of each frame are computed.
        keys: for each frame the places in the row that its tokens attend to.
        counts: how many patches each key of a frame stands for: [F, m] where nothing is packed, else for each frame in the order of its
            `keys`; None where nothing is merged.
        before: hidden states [F, n, h] of the full grid, just before merging; None where nothing is merged.
        merged: the same merged, in the shape that the layers run on.
        now: what the last layer has made of them.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.changed: Tensor | None = None
        self.table: Tensor | None = None
        self.packed = False
        self.queries: list[int] = []
        self.keys: list[Tensor] = []
        self.counts: Tensor | list[Tensor] | None = None
        self.before: Tensor | None = None
        self.merged = self.now = self._computed = torch.empty(0)
        self._lengths: list[list[tuple[int, int]]] = []

    def pack(self, hidden: Tensor, other_tokens: int) -> None:
        """Leave out the patches of [F, n, h] that have not changed. Tokens that are no patches are always computed."""
        changed, self.changed = self.changed, None
        if changed is None or bool(changed.all()):
            return
        self.packed = True
        self._computed = torch.cat([changed.new_ones(len(changed), other_tokens), changed], dim=1)
        self.table = last_places(self._computed, _places(self._computed))
        self.queries, self.keys = self._computed.sum(1).tolist(), list(self.table)
        self.now = hidden[self._computed][None]

    def merge(self, hidden: Tensor, tower: Tower, other_tokens: int) -> None:
        """Merge the patches of each frame. In a row, a merged patch is computed where one of its patches has changed.

        `hidden` is what enters the layer, in the shape that the layers run on.
        """
        grid = self.spread(hidden)
        others, patches = grid[:, :other_tokens], grid[:, other_tokens:]
        target = tower.patches(patches.shape[1])
        if target == patches.shape[1]:
            return
        with exact_products():  # what is merged does not depend on the processor
            merge = merge_tokens(patches, target, weighted=True, largest_step=tower.step)
        own = torch.arange(other_tokens, device=grid.device).expand(len(grid), -1)
        assignment = torch.cat([own, merge.assignment + other_tokens], dim=1)
        tokens = torch.cat([others, merge.tokens], dim=1)
        self.before = grid
        if self.packed:
            members = torch.zeros(tokens.shape[:2], dtype=torch.long, device=grid.device)
            computed = members.scatter_add_(1, assignment, self._computed.long()) > 0
            self.table = last_places(computed.gather(1, assignment), _places(computed).gather(1, assignment))
            self.queries = computed.sum(1).tolist()
            self.keys, self.counts = map(list, zip(*(row.unique(return_counts=True) for row in self.table), strict=True))
            tokens = tokens[computed][None]
        else:
            self.table = assignment
            self.counts = assignment.new_zeros(tokens.shape[:2]).scatter_add_(1, assignment, torch.ones_like(assignment))
        self.merged = self.now = tokens

    def spread(self, values: Tensor) -> Tensor:
        """Values of the tokens that are computed → those of the full grid, [F, n, D]."""
        if self.table is None:
            return values
        if self.packed:
            return values[0][self.table]
        return values.gather(1, self.table[..., None].expand(-1, -1, values.shape[-1]))

    def mask(self, hidden: Tensor) -> Tensor | None:
        """What is added to the attention logits of frames [F, m, h], so that a merged patch counts as often as it has patches: log of that,
        [F, 1, m, m] (proportional attention, ToMe, arXiv 2210.09461, equation 1). None where nothing is merged, or frames are packed."""
        if not isinstance(self.counts, Tensor):
            return None
        return self.counts.to(hidden.dtype).log()[:, None, None].expand(-1, 1, hidden.shape[1], -1)

    def whole_bounds(self, bounds: Tensor) -> Tensor:
        """The bounds themselves: these layers are given none."""
        return bounds

    def whole(self) -> Tensor:
        """The hidden states of the full grid: before merging, plus what each patch's merged token has gained since."""
        return self.spread(self.now) if self.before is None else self.before + self.spread(self.now - self.merged)

    def count(self, hidden: Tensor) -> None:
        """Note how many queries and keys a layer has that gives `hidden`, in the shape that the layers run on."""
        frames, tokens = hidden.shape[:2]
        packed = list(zip(self.queries, map(len, self.keys), strict=True))
        self._lengths.append(packed if self.packed else [(tokens, tokens)] * frames)

    def lengths(self) -> list[FrameLengths]:
        """What `count` has noted, frame by frame."""
        return list(zip(*self._lengths, strict=True))


def _places(computed: Tensor) -> Tensor:
    """Where each token that is computed, of bool [F, n], stands in the row of them; long [F, n]."""
    return (computed.flatten().long().cumsum(0) - 1).view_as(computed)
