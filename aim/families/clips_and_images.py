"""What towers attend to where one tower serves both clips, whose frames are pooled, and images, which are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from aim.families.llava_onevision_images import has_tiles
from aim.families.towers import pooled
from aim.kernels.tower_attention import TowerAttention


class _Passes(threading.local):
    """What one thread's forward says of its pictures, and the passes of the tower that wait to be told which they were."""

    def __init__(self) -> None:
        self.coming: list[str] = []
        self.waiting: list[TowerAttention] = []
        self.tiled = False


def watch_clips_and_images(
    model,
    callback: Callable,
    watch_patches: Callable,
    pool: Callable[[Tensor], Tensor] = lambda values: values,
    tiled: Callable[[Any, dict], bool] = has_tiles,
) -> list:
    """Hook a tower of which only the model's inputs tell what it saw.

    A forward call has these inputs before the tower runs. `generate` encodes first, so what is recorded waits until the inputs come. Of
    images in tiles nothing is reported: the tower sees tile by tile what the LLM gets row by row across the tiles.

    Args:
        callback: gets a `TowerAttention` for each clip or group of images.
        watch_patches: (model, callback) → hook handles; that callback gets the attention of the patches, before they are pooled.
        pool: values of the patches of a clip's frames [F, P, D] → [F, T, D].
        tiled: (config, keyword arguments of a forward) → whether these hold an image in tiles.
    """
    config, state = model.config, _Passes()

    def report(kind: str, seen: TowerAttention) -> None:
        if kind == "video":
            callback(pooled(seen.received, seen.keys, seen.heads, pool))
        elif not state.tiled:
            callback(seen)

    def on_inputs(_module, _args: tuple, kwargs: dict) -> None:
        state.tiled = tiled(config, kwargs)
        pixels = {"image": kwargs.get("pixel_values"), "video": kwargs.get("pixel_values_videos")}
        state.coming = [kind for kind, values in pixels.items() if values is not None]
        made = kwargs.get("mm_encoder_outputs") or {}
        encoded = [kind for kind in pixels if kind in made and not made[kind].attentions]
        if len(state.waiting) >= len(encoded) > 0:
            for kind, seen in zip(encoded, state.waiting[-len(encoded) :], strict=True):
                report(kind, seen)
        state.waiting = []

    def on_tower(seen: TowerAttention) -> None:
        if state.coming:
            report(state.coming.pop(0), seen)
        else:
            state.waiting.append(seen)

    return [*watch_patches(model, on_tower), model.model.register_forward_pre_hook(on_inputs, with_kwargs=True)]
