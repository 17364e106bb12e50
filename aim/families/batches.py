"""How many frames a vision tower takes at once, so that long clips do not need more memory than short ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from aim.families.towers import recorded
from aim.kernels.cost import VisionShape
from aim.kernels.tower_attention import TowerAttention

try:
    from transformers.utils.output_capturing import select_hidden_states
except ImportError:  # versions that keep every layer's output
    select_hidden_states = None  # type: ignore[assignment]

MEMORY_BUDGET = 2**30
# Whether transformers keeps only those layers' outputs that a model's feature layer names.
SELECTS = select_hidden_states is not None
Output = TypeVar("Output")
# Whether what the tower attends to is recorded. It is of the thread that encodes, since two may encode at once.
_WATCHED: ContextVar[bool] = ContextVar("watched", default=True)


@contextmanager
def watching(wanted: bool) -> Iterator[None]:
    """A block in which `encode_batches` records what the vision tower attends to, or does not. Outside of any block it does."""
    before = _WATCHED.set(wanted)
    try:
        yield
    finally:
        _WATCHED.reset(before)


def encode_batches(
    model: PreTrainedModel, watch: Callable, frames: Tensor, vision: VisionShape, run: Callable[[Tensor], Output]
) -> tuple[list[Output], tuple[TowerAttention, ...]]:
    """Encode frames part by part, as many at once as `MEMORY_BUDGET` holds.

    Args:
        watch: the family's `watch_tower`, or one like it.
        frames: pixel values [F, ...], or [steps, ...] where several frames are one step, on any device, of any floating dtype.
        vision: the tower's shape, with the patches of one frame or step.
        run: a part on the model's device and in its dtype → the model's features for it.

    Returns:
        What `run` gave for each part, in order, and what the tower attended to, one `TowerAttention` [F, T] or nothing where it is not
        watched; see `features` and `watching`.
    """
    parts = batches(frames, vision, model.dtype.itemsize)

    def run_all() -> list[Output]:
        return [run(part.to(model.device, model.dtype)) for part in parts]

    if not _WATCHED.get():
        return run_all(), ()
    outputs, seen = recorded(watch, model, run_all)
    received, keys = (torch.cat([getattr(one, name) for one in seen]) for name in ("received", "keys"))
    return outputs, (TowerAttention(received, keys, seen[0].heads),)


def features(tokens: Tensor | list[Tensor], seen: tuple[TowerAttention, ...]) -> BaseModelOutputWithPooling:
    """An entry of `Encoded.features`: the projected tokens of a clip, and what the tower attended to in place of its attention maps."""
    return BaseModelOutputWithPooling(pooler_output=tokens, attentions=seen)  # type: ignore[arg-type]  # some models give lists of tokens


def batches(frames: Tensor, vision: VisionShape, bytes_per_value: int, memory_budget: int = MEMORY_BUDGET) -> Iterator[Tensor]:
    """Cut [F, ...] into parts of as many frames as `memory_budget` bytes can hold the activations of, at least one frame a part.

    A frame of P patches is counted as P · (hidden · (kept + 8) + 2 · intermediate) values: a layer at work holds its input, norm, queries,
    keys, values, the attention's output and the MLP's two sides, and transformers keeps 2 layers' outputs, the selected one and the last.
    Its versions that cannot select keep all of them.
    """
    kept = 2 if SELECTS else vision.num_layers + 1
    values = vision.hidden_size * (kept + 8) + 2 * vision.intermediate_size
    at_once = max(1, memory_budget // (vision.patches_per_frame * values * bytes_per_value))
    yield from frames.split(at_once)
