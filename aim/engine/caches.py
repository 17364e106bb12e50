"""What the engine asks of a KV cache of transformers, whose layers may differ in length.

As `aim.engine.seams` does for the model, this file names the cache's internals, so that the rest of the engine names none of them.
tests/engine/test_seams.py says in one line what broke when transformers changed one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn
from weakref import WeakSet, ref

from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from aim.kernels.refusal import Refusal

_FOLLOWED = "_followed"


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


class _Follower:
    """An attribute of a cache, which `copy.deepcopy` takes along, so that it adds the copy to the same set."""

    def __init__(self, cache: DynamicCache, known: WeakSet):
        self._cache, self._known = ref(cache), known

    def __deepcopy__(self, memo: dict[int, Any]) -> _Follower:
        copied = memo.get(id(self._cache()))  # it is noted there before its attributes are copied
        if copied is None:
            return self
        self._known.add(copied)
        return _Follower(copied, self._known)

    def __reduce__(self) -> NoReturn:
        raise Refusal(
            "The cache was filled inside `aim.reduce` and holds fewer tokens than the prompt had, so what is pickled of it could go on "
            "wrongly elsewhere. Pickle it after the block, when it can be read and takes no more tokens."
        )


def follow(cache: DynamicCache, known: WeakSet) -> None:
    """Add a cache to a set, and every deep copy that is made of it before `close_cache`."""
    known.add(cache)
    setattr(cache, _FOLLOWED, _Follower(cache, known))


def close_cache(cache: DynamicCache, refuse: Callable[..., Any]) -> None:
    """Let `refuse` answer whoever brings a cache new keys and values, or a layer that asks for its state. What it holds can still be read,
    layer by layer. The layers refuse too, because a plain copy of a cache shares them."""
    for part in (cache, *cache.layers):
        for name in ("update", "get_conv_state", "update_conv_state", "update_recurrent_state"):
            if hasattr(part, name):
                setattr(part, name, refuse)
    vars(cache).pop(_FOLLOWED, None)


def cache_bytes(cache: DynamicCache | None) -> int:
    """Bytes of a cache's keys and values; 0 where there is no cache. The states of linear layers, which do not grow, are left out."""
    if cache is None:
        return 0
    sizes: list[int] = [layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if isinstance(layer, CacheLayerMixin)]
    return sum(sizes)
