"""Decoding after a reduced prefill: where positions go on, and which entries of each layer's cache are padding.

What is needed on the device is made once, when the prefill ends, and then counted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aim.engine import seams
from aim.engine.copies import moved


@dataclass(frozen=True)
class Continuation:
    """Where positions go on after the prompts of a batch of B; positions are [B, 1], or [axes, B, 1].

    Attributes:
        dropped: what to take off the positions that the caller counts on from the whole prompt; None where every token kept its own.
        next: the position of the first token, where the caller gives none.
    """

    dropped: Tensor | None
    next: Tensor


class Decoding:
    """The steps after a prefill, each of one token a row.

    Args:
        paddings: for each layer the padding of each row, in tokens.
        behind: for each layer how far each row's positions lie behind those of layer 0, where every cut renumbers them; else all 0.
    """

    def __init__(self, cache, rotary: nn.Module, continuation: Continuation, paddings: list[list[int]], behind: list[list[int]]):
        self._cache, self._rotary = cache, rotary
        self._dropped, self._next = continuation.dropped, continuation.next
        self._paddings = _columns(paddings, self._next.device)
        self._behind = _columns(behind, self._next.device)
        self._masks: dict = {}
        self._tables: dict = {}

    def step(self, kwargs: dict, given: Tensor | None) -> dict:
        """A step's arguments of the text model. `given` are the caller's own positions, [B, 1] or [axes, B, 1].

        Stock `generate` goes on after the last position of the prompt and says so; a forward without positions goes on after the largest.
        No mask is passed on, since layers differ in length.
        """
        if given is None:
            position = moved(self._next, kwargs[seams.EMBEDDINGS].device)
        else:
            position = given if self._dropped is None else given - moved(self._dropped, given.device)
        self._next = self._next + 1
        self._position, self._masks, self._tables = position, {}, {}
        return {**kwargs, seams.POSITIONS: position, seams.MASK: None}

    def layer(self, index: int, kwargs: dict) -> dict:
        """A layer's arguments: its padding masked, and where positions were renumbered, its own."""
        tables = kwargs[seams.TABLES]
        padding, behind = self._paddings[index], self._behind[index]
        if padding is not None:
            length = seams.tokens_in(self._cache, index) + 1
            key = (id(padding), length, tables[0].device)
            if key not in self._masks:
                place = torch.arange(length, device=tables[0].device)
                self._masks[key] = (place >= moved(padding, place.device))[:, None, None, :]
            kwargs = {**kwargs, seams.MASK: self._masks[key]}
        if behind is not None:
            key = (id(behind), tables[0].device)
            if key not in self._tables:
                self._tables[key] = self._rotary(tables[0], moved(self._position, tables[0].device) - moved(behind, tables[0].device))
            kwargs = {**kwargs, seams.TABLES: self._tables[key]}
        return kwargs


def _columns(by_layer: list[list[int]], device: torch.device) -> list[Tensor | None]:
    """For each layer its numbers as [B, 1] on the device, None where all are 0; layers alike share one tensor."""
    made = {numbers: moved(torch.tensor(numbers), device)[:, None] for numbers in {tuple(row) for row in by_layer} if any(numbers)}
    return [made.get(tuple(row)) for row in by_layer]
