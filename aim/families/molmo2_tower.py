"""The vision tower of Molmo2: what it attends to, and how large its pictures are, which the prompt does not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from torch import Tensor

from aim.families.base import Picture, Reader
from aim.families.full_grid import full_grid
from aim.families.sized import Size, repeated, sized_reader
from aim.families.towers import Notes, received
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention


def _sizes_in(sizes: Tensor) -> list[Size]:
    """Clips [n, 3] as frames, rows and columns, and images [n, 4] as rows and columns of the whole view and then of all tiles together."""
    if sizes.shape[1] == 3:
        return [(1, rows, columns) for frames, rows, columns in sizes.tolist() for _ in range(frames)]
    return [(1, rows, columns) for image in sizes.tolist() for rows, columns in (image[:2], image[2:]) if rows * columns]


def _sizes(inputs: dict) -> Iterable[Size] | None:
    """The sizes of a forward's frames, whole views and tiles, in order. None where they are not known."""
    for kind in ("image", "video"):
        if inputs.get(f"{kind}_grids") is not None:
            return _sizes_in(inputs[f"{kind}_grids"])
        made = (inputs.get("mm_encoder_outputs") or {}).get(kind)
        if getattr(made, "sizes", None) is not None:
            return repeated(_sizes_in(made.sizes), made.pooler_output)
    return None


def images(_config, inputs: dict) -> Reader:
    """Frames of clips, and images in a whole view and tiles. All stand at the same placeholder, and markers between them."""
    read = sized_reader("image", _sizes(inputs), "the grids")

    def next_picture(placeholders: int) -> Picture:
        picture = read(placeholders)
        if picture.length > placeholders == picture.grids[0].columns:
            raise Refusal(
                "The rows of a picture stand apart in this prompt, with a token of another kind behind each, and AIM reads a picture as "
                "one run of placeholders. Give a clip, whose frames have no such tokens, or choose another model."
            )
        return picture

    return next_picture


class _Keeping:
    """The sizes of pictures, kept with what the model makes of them. It can be removed like the handle of a hook."""

    def __init__(self, core: Any, encoder: str, grids: str):
        self._core, self._encoder, self._own = core, encoder, core.__dict__.get(encoder)
        encode = getattr(core, encoder)

        @wraps(encode)  # `generate` reads its arguments
        def keep(*args: Any, **kwargs: Any) -> Any:
            output = encode(*args, **kwargs)
            if not isinstance(output, tuple):
                output.sizes = args[2] if len(args) > 2 else kwargs[grids]
            return output

        setattr(core, encoder, keep)

    def remove(self) -> None:
        if self._own is None:
            delattr(self._core, self._encoder)
        else:
            setattr(self._core, self._encoder, self._own)


def keeping_sizes(model) -> list:
    """Handles by which features say how large their pictures are. `generate` encodes pixels before the forward, and drops the sizes."""
    return [_Keeping(model.model, f"get_{kind}_features", f"{kind}_grids") for kind in ("image", "video")]


def watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what the last layer that the projector sees attends to: sums over the patches of a token, and means of their keys.

    Which patches a token has the projector is told, so that holds for images in tiles too.
    """
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    last = max(layer % len(tower.layers) for layer in model.config.adapter_config.vision_feature_layer)
    attention, notes = tower.layers[last].self_attn, Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, full_grid(attention, output))

    def report(_module, args: tuple, kwargs: dict) -> None:
        given = kwargs["pooled_patches_idx"] if "pooled_patches_idx" in kwargs else args[1]
        queries, keys = notes.seen.pop("queries"), notes.seen.pop("keys")
        windows = given[(given >= 0).any(-1)]
        real, windows = windows >= 0, windows.clamp(min=0)
        asking, asked = (part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in (queries, keys))
        asked = asked.repeat_interleave(attention.num_key_value_groups, dim=1)
        sums = (received(asking, asked, attention.scaling).flatten()[windows] * real).sum(-1)
        means = (keys.flatten(0, 1)[windows] * real[..., None]).sum(1) / real.sum(-1, keepdim=True)
        # Views of several sizes cannot be the rows of one table, so they become one long row.
        frames = len(queries) if len(sums) % len(queries) == 0 else 1
        heads = keys.shape[-1] // attention.head_dim
        callback(TowerAttention(sums.view(frames, -1), means.to(keys.dtype).view(frames, -1, keys.shape[-1]), heads))

    return [
        attention.q_proj.register_forward_hook(note("queries")),
        attention.k_proj.register_forward_hook(note("keys")),
        projector.register_forward_pre_hook(report, with_kwargs=True),
    ]
