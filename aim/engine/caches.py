"""What the engine asks of a KV cache of transformers, whose layers may differ in length.

As `aim.engine.seams` does for the model, this file names the cache's internals, so that the rest of the engine names none of them.
tests/engine/test_seams.py says in one line what broke when transformers changed one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin


def grows(cache: Any) -> bool:
    """Whether a cache's layers may differ in length."""
    return isinstance(cache, DynamicCache)


def tokens_in(cache: DynamicCache, layer: int = 0) -> int:
    """How many tokens a layer of a cache holds, padding included. It attends to keys; layer 0 stands for the first one that does."""
    return cache.get_seq_length(layer)


def held_in(cache: DynamicCache, layer: int) -> int:
    """How many tokens a layer of a cache still holds, padding included; one with a sliding window forgets those before it."""
    return cache.layers[layer].keys.shape[-2]


def held_by_layer(cache: DynamicCache | None, paddings: list[int]) -> list[int]:
    """How many tokens each layer of a cache holds beside its padding; 0 for one without keys, and empty where there is no cache."""
    if cache is None:
        return []
    return [
        min(int(layer.get_seq_length()) - padding, held_in(cache, index)) if isinstance(layer, CacheLayerMixin) else 0
        for index, (layer, padding) in enumerate(zip(cache.layers, paddings, strict=False))
    ]


def close_cache(cache: DynamicCache, refuse: Callable[..., Any]) -> None:
    """Let `refuse` answer whoever brings a cache new keys and values, or a layer that asks for its state. What it holds can still be read,
    layer by layer."""
    for name in ("update", "get_conv_state", "update_conv_state", "update_recurrent_state"):
        if hasattr(cache, name):
            setattr(cache, name, refuse)


def cache_bytes(cache: DynamicCache | None) -> int:
    """Bytes of a cache's keys and values; 0 where there is no cache. The states of linear layers, which do not grow, are left out."""
    if cache is None:
        return 0
    sizes: list[int] = [layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if isinstance(layer, CacheLayerMixin)]
    return sum(sizes)
