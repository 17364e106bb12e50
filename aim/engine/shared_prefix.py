"""Prompts that begin alike, such as several questions about one clip: what their first tokens are in a layer is computed once.

A causal layer's output at a token depends on that token and those before it. So where the rows that enter a layer begin with the rows that
entered it the last time, the first rows that leave it are those of the last time too, and only the others have to be computed. Rows are
compared number by number in every layer, so nothing is assumed of a method. One that goes by the question shares its layers up to the first
cut, and one that does not shares them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from aim.engine import seams
from aim.engine.sights import Sight, sights

OBSERVE = "observe"  # the argument by which the engine asks a layer's attention for its queries and keys


@dataclass
class _Kept:
    """The last call of a layer: what entered, [1, n, ...], queries, keys and values [1, heads, n, d], and what left it, [1, n, C]."""

    entered: tuple[Tensor, ...]
    query: Tensor
    key: Tensor
    value: Tensor
    left: Tensor


class _Before:
    """Stands in for a KV cache, and holds the keys and values of the shared rows. `key` and `value` are then those of all rows."""

    def __init__(self, kept: _Kept | None, shared: int):
        self._kept, self._shared = kept, shared

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self._kept is not None:
            key = torch.cat([self._kept.key[:, :, : self._shared], key], dim=2)
            value = torch.cat([self._kept.value[:, :, : self._shared], value], dim=2)
        self.key, self.value = key, value
        return key, value


@contextmanager
def sharing_prefixes(parts: seams.Parts) -> Iterator[None]:
    """A block inside `aim.reduce` in which each layer computes only the rows that are not those of its last prompt.

    Outputs, scores and traces are those without the block but for rounding. The first prompt is computed in full, so its time is that of a
    prefill; the time of the others is not. Only prompts of one row without a KV cache share anything, and only where every layer sees all
    tokens before it and no others. Everything else runs as without the block.
    """
    if any(sight != Sight() for sight in sights(parts)):
        yield
        return
    before = [layer.__dict__.get("forward") for layer in parts.layers]
    try:
        for layer in parts.layers:
            layer.forward = partial(_Layer().run, layer.forward)
        yield
    finally:
        for layer, forward in zip(parts.layers, before, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


class _Layer:
    """A layer and its last prompt."""

    def __init__(self) -> None:
        self._last: _Kept | None = None

    def run(self, forward: Any, hidden: Tensor, *further: Any, **kwargs: Any) -> Tensor:
        entered = (hidden, *kwargs.get(seams.TABLES, ()))
        if not self._serves(hidden, further, kwargs):
            self._last = None
            return forward(hidden, *further, **kwargs)
        shared = 0 if self._last is None else _alike(self._last.entered, entered)
        past, queries = _Before(self._last, shared), []

        def observe(query: Tensor, key: Tensor, scaling: float) -> None:
            if self._last is not None:
                query = torch.cat([self._last.query[:, :, :shared], query], dim=2)
            queries.append(query)
            if OBSERVE in kwargs:
                kwargs[OBSERVE](query, key, scaling)

        given = {**kwargs, seams.TABLES: tuple(table[:, shared:] for table in entered[1:]), seams.CACHE: past, OBSERVE: observe}
        if shared:
            count = hidden.shape[1]
            seen = torch.ones(count - shared, count, dtype=torch.bool, device=hidden.device).tril(diagonal=shared)
            given[seams.MASK] = seen[None, None]
        left = forward(hidden[:, shared:], **given)
        if self._last is not None:
            left = torch.cat([self._last.left[:, :shared], left], dim=1)
        self._last = _Kept(entered, queries[0], past.key, past.value, left)
        return left

    @staticmethod
    def _serves(hidden: Tensor, further: tuple, kwargs: dict) -> bool:
        """Whether all that this layer is given is known to be either of one token each or none of its business."""
        known = {seams.TABLES, seams.POSITIONS}
        other = any(isinstance(value, Tensor) for name, value in kwargs.items() if name not in known)
        tables = kwargs.get(seams.TABLES)
        alone = hidden.shape[0] == 1 and tables is not None and all(table.shape[:2] == hidden.shape[:2] for table in tables)
        return alone and not further and not other and kwargs.get(seams.CACHE) is None


def _alike(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> int:
    """How many first rows of [1, n, ...] are the same in all tensors, so that at least one row of those now is left to compute."""
    count = min(before[0].shape[1], now[0].shape[1] - 1)
    for old, new in zip(before, now, strict=True):
        if not torch.equal(old[:, :count], new[:, :count]):
            count = int((old[0, :count] != new[0, :count]).any(dim=-1).nonzero()[0])
    return count
