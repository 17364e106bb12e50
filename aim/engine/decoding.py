"""Decoding after a reduced prefill: where positions go on, and which entries of each layer's cache are padding.

Positions and paddings go to the device once, when the prefill ends. Each step then only counts them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aim.engine import seams
from aim.engine.copies import moved
from aim.kernels.refusal import Refusal

Tables = tuple[Tensor, Tensor]  # cosines and sines


@dataclass(frozen=True)
class Continuation:
    """Where positions go on after the prompts of a batch of B; positions are [B, 1], or [axes, B, 1].

    Attributes:
        dropped: what is subtracted from positions that the caller counts on from the whole prompt; None where every token kept its own.
        next: the position of the first generated token where the caller gives none.
    """

    dropped: Tensor | None
    next: Tensor


class Decoding:
    """The steps after a prefill. Each brings one token a row.

    Args:
        cache: the KV cache that the prefill filled.
        rotary: (hidden states, positions) → cosines and sines.
        continuation: where positions go on.
        paddings: for each layer the padding of each row, in tokens.
        behind: for each layer how far each row's positions lie behind those of layer 0, in tokens. It is all 0 unless every cut renumbers.
    """

    def __init__(self, cache: Any, rotary: nn.Module, continuation: Continuation, paddings: list[list[int]], behind: list[list[int]]):
        self._cache, self._rotary = cache, rotary
        self._length = 0 if cache is None else seams.tokens_in(cache)
        self._dropped, self._next = continuation.dropped, continuation.next
        self._paddings = _columns(paddings, self._next.device)
        self._behind = _columns(behind, self._next.device)
        self._masks: dict[tuple[int, int, torch.device], Tensor] = {}
        self._tables: dict[tuple[int, torch.device], Tables] = {}

    def step(self, kwargs: dict, given: Tensor | None) -> dict:
        """The arguments of the text model in one step.

        Stock `generate` gives positions, which go on after the last one of the prompt. A forward without positions goes on after the
        largest one. No mask is passed on, because layers differ in length.

        Args:
            kwargs: the arguments that the text model would have got.
            given: the caller's own positions, [B, 1] or [axes, B, 1]; None where the caller gave none.

        Raises:
            Refusal: the cache does not hold the prompt and the tokens of the steps so far.
        """
        held = seams.tokens_in(self._cache)
        if held != self._length:
            raise Refusal(
                f"The cache holds {held} tokens where {self._length} were left in it; inside `aim.reduce` it only grows, since layers "
                "differ in length. Run the prompt again with an empty cache."
            )
        self._length += 1
        if given is None:
            position = moved(self._next, kwargs[seams.EMBEDDINGS].device)
        else:
            position = given if self._dropped is None else given - moved(self._dropped, given.device)
        self._next = self._next + 1
        self._position, self._masks, self._tables = position, {}, {}
        return {**kwargs, seams.POSITIONS: position, seams.MASK: None}

    def layer(self, index: int, kwargs: dict) -> dict:
        """The arguments of a layer in this step: with a mask where it has padding, and its own positions where cuts renumbered them."""
        tables = kwargs[seams.TABLES]
        padding, behind = self._paddings[index], self._behind[index]
        if padding is not None:
            length = seams.tokens_in(self._cache, index) + 1
            masked = (id(padding), length, tables[0].device)
            if masked not in self._masks:
                place = torch.arange(length, device=tables[0].device)
                self._masks[masked] = (place >= moved(padding, place.device))[:, None, None, :]
            kwargs = {**kwargs, seams.MASK: self._masks[masked]}
        if behind is not None:
            turned = (id(behind), tables[0].device)
            if turned not in self._tables:
                self._tables[turned] = self._rotary(tables[0], moved(self._position, tables[0].device) - moved(behind, tables[0].device))
            kwargs = {**kwargs, seams.TABLES: self._tables[turned]}
        return kwargs


def _columns(by_layer: list[list[int]], device: torch.device) -> list[Tensor | None]:
    """For each layer its numbers as [B, 1] on the device, or None where all are 0. Layers with equal numbers share one tensor."""
    made = {numbers: moved(torch.tensor(numbers), device)[:, None] for numbers in {tuple(row) for row in by_layer} if any(numbers)}
    return [made.get(tuple(row)) for row in by_layer]
