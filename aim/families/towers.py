"""What a vision tower attends to, read while it runs.

It is read off the last attention layer that the projector sees. A tower with a CLS token is read off its very last layer, as PruMerge and
AIM's LLaVA-1.5 do, and there CLS's own row is what counts. Elsewhere the attention map is computed once more from the layer's queries and
keys, for a few heads of a few frames at a time, and its column means are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from aim.families.full_grid import full_grid
from aim.families.reduced_tower import TowerLayers
from aim.kernels.tower_attention import TowerAttention

MAP_BYTES = 64 * 2**20  # of attention map held at once, float32


def received(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Attention that each token receives, the mean over heads and queries, float32 [F, n]; each row sums to 1.

    query [F, H, m, d], key [F, H, n, d].
    """
    frames, heads, asking, _ = query.shape
    tokens = key.shape[2]
    query, key = query.flatten(0, 1), key.flatten(0, 1).transpose(-1, -2)
    step = max(1, MAP_BYTES // (4 * asking * tokens))
    columns = [
        torch.softmax(query[start : start + step] @ key[start : start + step] * scaling, dim=-1, dtype=torch.float32).mean(-2)
        for start in range(0, frames * heads, step)
    ]
    return torch.cat(columns).view(frames, heads, tokens).mean(1)


def seen_layer(config) -> int:
    """Index of the last layer of the tower whose output the projector sees; `hidden_states[k]` is the output of layer k - 1."""
    return max(0, max(seen_layers(config)))


def seen_layers(config) -> frozenset[int]:
    """Indices of the layers of the tower whose output the projector sees; -1 stands for what enters the first layer."""
    chosen, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
    chosen = [chosen] if isinstance(chosen, int) else chosen
    return frozenset(layer % (depth + 1) - 1 for layer in chosen)


def vision_transformer(model) -> TowerLayers:
    """The layers of a LLaVA's SigLIP or CLIP. CLIP has a CLS token in front."""
    return siglip_or_clip(model.model.vision_tower, seen_layers(model.config))


def siglip_or_clip(tower, shown: frozenset[int]) -> TowerLayers:
    """The layers of a SigLIP or CLIP, of which those with an index in `shown` are read, and the last one."""
    layers, others = tower.encoder.layers, int(hasattr(tower.embeddings, "class_embedding"))
    return TowerLayers(tower, layers, [layer.self_attn for layer in layers], others, shown, tower.config.patch_size)


class Notes(threading.local):
    """What one module's hook notes in a pass for another's. Each thread has its own `seen`, because two threads' passes may overlap."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}


class AttentionLayer(Protocol):
    """What is read of an attention layer. `scale` is the factor on the logits."""

    num_heads: int
    scale: float

    def register_forward_hook(self, hook: Callable, /) -> RemovableHandle: ...


def watch_projections(
    attention: AttentionLayer,
    query: nn.Module,
    key: nn.Module,
    callback: Callable[[TowerAttention], None],
    pool: Callable[[Tensor], Tensor] = lambda values: values,
    first: int = 0,
    by_cls: bool = False,
) -> list:
    """Hook an attention layer whose modules `query` and `key` give its queries and keys, [F, n, heads · d].

    Args:
        callback: gets a `TowerAttention` at each pass.
        pool: values of the patches [F, P, D] → their means on the LLM's grid [F, T, D]. The attention received is scaled to sums, so that
            a frame's adds up to about 1.
        first: how many tokens in front of the patches are none (CLS).
        by_cls: only the first token's query counts.

    Returns:
        The handles of the hooks.
    """
    notes = Notes()

    def note(name: str):
        return lambda _module, _args, output: notes.seen.__setitem__(name, output)

    def report(_module, _args, _output) -> None:
        queries, keys = (full_grid(attention, notes.seen.pop(name)) for name in ("query", "key"))
        query_heads, key_heads = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (queries, keys))
        asking = query_heads[:, :, :1] if by_cls else query_heads
        callback(pooled(received(asking, key_heads, attention.scale)[:, first:], keys[:, first:], attention.num_heads, pool))

    return [
        query.register_forward_hook(note("query")),
        key.register_forward_hook(note("key")),
        attention.register_forward_hook(report),
    ]


def pooled(mean: Tensor, keys: Tensor, heads: int, pool: Callable[[Tensor], Tensor]) -> TowerAttention:
    """The `TowerAttention` of patches that receive `mean` [F, P], with keys [F, P, D] of some heads; see `watch_projections` for `pool`."""
    means = pool(mean[..., None])[..., 0]
    return TowerAttention(means * (mean.shape[1] / means.shape[1]), pool(keys), heads)


def block_means(values: Tensor, rows: int, columns: int, factor: int) -> Tensor:
    """Means of blocks of factor x factor patches: [F, rows · columns, D] → [F, (rows / factor) · (columns / factor), D], raster order."""
    blocks = values.unflatten(1, (rows // factor, factor, columns // factor, factor))
    return blocks.mean((2, 4)).flatten(1, 2)


def recorded(watch: Callable, model: nn.Module, run: Callable) -> tuple:
    """(what `run` returns, what `watch` saw of the vision tower meanwhile). Afterwards the model is as before."""
    seen: list[TowerAttention] = []
    hooks = watch(model, seen.append)
    try:
        return run(), tuple(seen)
    finally:
        for hook in hooks:
            hook.remove()
