"""How many frames a vision tower takes at once, so that long clips do not need more memory than short ones."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from aim.cost import VisionShape

MEMORY_BUDGET = 2**30


def batches(frames: Tensor, vision: VisionShape, bytes_per_value: int, memory_budget: int = MEMORY_BUDGET) -> Iterator[Tensor]:
    """Cut [F, ...] into parts of as many frames as `memory_budget` bytes hold the activations of, at least one.

    A frame of P patches is counted as P · (hidden · (layers + 1 + 8) + 2 · intermediate) values: transformers keeps every layer's output,
    and a layer at work holds its input, norm, queries, keys, values, attention's output and the MLP's two sides.
    """
    values = vision.hidden_size * (vision.num_layers + 9) + 2 * vision.intermediate_size
    at_once = max(1, memory_budget // (vision.patches_per_frame * values * bytes_per_value))
    yield from frames.split(at_once)
