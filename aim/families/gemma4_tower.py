"""The vision tower of Gemma 4: what it attends to, and how large its pictures are, which the prompt does not tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.gemma4.modeling_gemma4 import Gemma4Model, apply_multidimensional_rope

from aim.families.base import Reader
from aim.families.sized import Size, repeated, sized_reader
from aim.families.towers import Notes, block_means, pooled, received
from aim.kernels.tower_attention import TowerAttention

# Since transformers 5.19 the frames of all videos are one axis; before, the videos had one of their own.
ONE_AXIS = "num_frames_per_video" in inspect.signature(Gemma4Model.get_video_features).parameters
PAD = -1  # the place of a patch that is none


@dataclass
class PlacedFeatures(BaseModelOutputWithPooling):
    """Features that say where in its picture each patch stands.

    Attributes:
        positions: long [pictures, P, 2], column and row; -1 for padding.
    """

    positions: Tensor | None = None


def sizes_of(config, positions: Tensor) -> list[Size]:
    """The size of each picture in tokens, from its patches' columns and rows, [..., P, 2]."""
    joined = config.vision_config.pooling_kernel_size
    last = positions.flatten(0, -3).amax(1).cpu()
    return [(1, (row + 1) // joined, (column + 1) // joined) for column, row in last.tolist()]


def reader(kind: str) -> Callable[..., Reader]:
    """The family's `images` or `videos`. Every image and every frame of a clip is a picture of its own."""

    def read(config, inputs: dict) -> Reader:
        return sized_reader(kind, _sizes(config, kind, inputs), "the positions")

    return read


def _sizes(config, kind: str, inputs: dict) -> Iterable[Size] | None:
    """The sizes of a forward's pictures in order. None where they are not known."""
    positions = inputs.get(f"{kind}_position_ids")
    if positions is not None:
        return sizes_of(config, positions)
    made = (inputs.get("mm_encoder_outputs") or {}).get(kind)
    positions = getattr(made, "positions", None)
    return None if made is None or positions is None else repeated(sizes_of(config, positions), made.pooler_output)


def keeping_sizes(model) -> list:
    """Hooks that hand the patches' places on with the tower's output. `generate` encodes pixels before the forward, and drops them."""

    def keep(_module, _args: tuple, kwargs: dict, output) -> PlacedFeatures:
        return PlacedFeatures(last_hidden_state=output.last_hidden_state, positions=kwargs["pixel_position_ids"])

    return [model.model.vision_tower.register_forward_hook(keep, with_kwargs=True)]


def watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what the last layer attends to. Padding neither asks nor receives. Keys are those before the rotary embedding."""
    attention, joined = model.model.vision_tower.encoder.layers[-1].self_attn, model.config.vision_config.pooling_kernel_size
    notes = Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, output)

    def on_attention(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["rotary"], notes.seen["positions"] = kwargs["position_embeddings"], kwargs["position_ids"]

    def report(_module, _args: tuple, _output) -> None:
        queries, keys, positions = (notes.seen.pop(name) for name in ("queries", "keys", "positions"))
        rotary, found = notes.seen.pop("rotary"), []
        cosines, sines = rotary
        turned = [apply_multidimensional_rope(part, cosines, sines, positions).transpose(1, 2) for part in (queries, keys)]
        for number, (_, rows, columns) in enumerate(sizes_of(model.config, positions)):
            real = (positions[number] != PAD).all(-1)
            query, key = (part[number : number + 1, :, real] for part in turned)

            def pool(values: Tensor, rows=rows, columns=columns) -> Tensor:
                return block_means(values, rows * joined, columns * joined, joined)

            found.append(pooled(received(query, key, attention.scaling), keys[number, real].flatten(1)[None], keys.shape[2], pool))
        # Pictures of several sizes cannot be the rows of one table, so they become one long row.
        axis = 0 if len({seen.received.shape for seen in found}) == 1 else 1
        means, keys = (torch.cat([getattr(seen, name) for seen in found], axis) for name in ("received", "keys"))
        callback(TowerAttention(means, keys, found[0].heads))

    return [
        attention.register_forward_pre_hook(on_attention, with_kwargs=True),
        attention.q_norm.register_forward_hook(note("queries")),
        attention.k_norm.register_forward_hook(note("keys")),
        attention.register_forward_hook(report),
    ]
