"""Which of the published models fit into a machine's memory. Their shapes alone tell."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from aim.families import FAMILIES
from aim.planning.plan import PlannedModel, look_up

ROOM = 1.3  # memory for weights and a run, as a multiple of the weights
_MEMORY = Path("/proc/meminfo")


def memory() -> int | None:
    """Bytes for weights and runs; None where nothing tells.

    It is the GPU's memory, else what the host grants (the variable `MEMORY` of a Space, such as 16Gi), else what Linux says is available.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    if (host := granted()) is not None:
        return host
    lines = _MEMORY.read_text().splitlines() if _MEMORY.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def granted() -> int | None:
    """Bytes that the host grants this process by the variable `MEMORY`, as a Space does with "16Gi"; None where it says nothing."""
    amount = os.environ.get("MEMORY", "").removesuffix("Gi")
    return int(amount) * 2**30 if amount.isdigit() else None


def fitting(memory_bytes: int, bytes_per_value: int) -> list[str]:
    """Hub ids of the models suggested for videos whose weights and a run fit into `memory_bytes`, the largest last."""
    suggested = [model for family in FAMILIES.values() if family.suggested_for_video for model in family.published]
    values = {model.hub_ids[0]: weights(look_up(model.name)) for model in suggested}
    return [hub_id for hub_id in sorted(values, key=values.__getitem__) if ROOM * values[hub_id] * bytes_per_value <= memory_bytes]


def weights(model: PlannedModel) -> int:
    """How many values a model's matrices hold. Embeddings and output head both count, as in models that do not share them."""
    shape, vision = model.shape, model.vision
    tower = vision.num_layers * vision.hidden_size * (4 * vision.hidden_size + 2 * vision.intermediate_size)
    projector = (vision.hidden_size + vision.projector_size) * vision.projector_size + vision.projector_further
    patches = vision.hidden_size * vision.patch_pixels
    return shape.weights + 2 * shape.vocab_size * shape.hidden_size + tower + vision.projectors * projector + patches
