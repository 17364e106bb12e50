"""Decoding after a reduced prefill: where positions go on, and which entries of each layer's cache are padding.

Positions and paddings go to the device once, when the prefill ends. Each step then only counts them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aim.engine import caches, seams
from aim.engine.copies import moved
from aim.engine.sights import sights
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
        parts: the model's.
        continuation: where positions go on.
        paddings: for each layer the padding of each row, in tokens.
        behind: for each layer how far each row's positions lie behind those of layer 0, in tokens. It is all 0 unless every cut renumbers.
        places: for each layer where its tokens stand, long [B, n]; see `aim.engine.places`.
        longest: how many places the longest prompt has.
    """

    def __init__(
        self,
        cache: Any,
        parts: seams.Parts,
        continuation: Continuation,
        paddings: list[list[int]],
        behind: list[list[int]],
        places: list[Tensor],
        longest: int,
    ):
        self._cache, self._parts = cache, parts
        self._windows = [sight.window for sight in sights(parts)]
        self._places, self._reach, self._steps = places, longest, 0
        self._length = 0 if cache is None else caches.tokens_in(cache)
        self._dropped, self._next = continuation.dropped, continuation.next
        self._paddings = _columns(paddings, self._next.device)
        self._behind = _columns(behind, self._next.device)
        self._masks: dict[tuple[int, int, int, torch.device], Tensor] = {}
        self._tables: dict[tuple[int, int, torch.device], tuple[Tables, Tables]] = {}

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
        held = caches.tokens_in(self._cache)
        if held != self._length:
            raise Refusal(
                f"The cache holds {held} tokens where {self._length} were left in it; inside `aim.reduce` it only grows, since layers "
                "differ in length. Run the prompt again with an empty cache."
            )
        self._length += 1
        self._steps += 1
        self._reach += 1
        if given is None:
            position = moved(self._next, kwargs[seams.EMBEDDINGS].device)
        else:
            position = given if self._dropped is None else given - moved(self._dropped, given.device)
        self._next = self._next + 1
        self._position, self._masks, self._tables = position, {}, {}
        return {**kwargs, seams.POSITIONS: position, seams.MASK: None}

    def layer(self, index: int, kwargs: dict) -> dict:
        """The arguments of a layer in this step: with a mask where it has padding or a window, and its own positions where cuts renumbered
        them."""
        tables = kwargs[seams.TABLES]
        device, behind = tables[0].device, self._behind[index]
        window = self._windows[index]
        if window is not None and window < self._reach:
            mask: Tensor | None = self._windowed(index, window, device)
        else:
            mask = self._unpadded(index, device)
        if mask is not None:
            kwargs = {**kwargs, seams.MASK: mask}
        if behind is not None:
            turned = (id(behind), id(tables[0]), device)
            if turned not in self._tables:
                positions = moved(self._position, device) - moved(behind, device)
                self._tables[turned] = tables, self._parts.tables(index, tables[0], positions)
            kwargs = {**kwargs, seams.TABLES: self._tables[turned][1]}
        return kwargs

    def _unpadded(self, index: int, device: torch.device) -> Tensor | None:
        """What the new token sees in a layer without a window, bool [B, 1, 1, entries of the cache]; None for all."""
        padding = self._paddings[index]
        if padding is None:
            return None
        length = caches.tokens_in(self._cache, index) + 1
        key = (id(padding), length, 0, device)
        if key not in self._masks:
            place = torch.arange(length, device=device)
            self._masks[key] = (place >= moved(padding, device))[:, None, None, :]
        return self._masks[key]

    def _windowed(self, index: int, window: int, device: torch.device) -> Tensor:
        """As `_unpadded`, in a layer with a window, whose cache may have forgotten tokens before it."""
        held, places = caches.held_in(self._cache, index) + 1, self._places[index]
        key = (id(places), held, window, device)
        if key not in self._masks:
            here = moved(places, device)
            new = here[:, -1:] + torch.arange(1, self._steps + 1, device=device)
            self._masks[key] = (torch.cat([here, new], dim=1)[:, -held:] > new[:, -1:] - window)[:, None, None, :]
        return self._masks[key]


def _columns(by_layer: list[list[int]], device: torch.device) -> list[Tensor | None]:
    """For each layer its numbers as [B, 1] on the device, or None where all are 0. Layers with equal numbers share one tensor."""
    made = {numbers: moved(torch.tensor(numbers), device)[:, None] for numbers in {tuple(row) for row in by_layer} if any(numbers)}
    return [made.get(tuple(row)) for row in by_layer]
