"""Moving small tensors between host and device, so that the host seldom waits: never on the way there, once on the way back."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device; the host does not wait for that device."""
    return tensor.to(device, non_blocking=True) if tensor.device.type == "cpu" else tensor.to(device)


def on_cpu(vectors: list[Tensor]) -> list[Tensor]:
    """Vectors of any lengths and one dtype moved to the CPU in one copy, since each copy from a GPU is waited for."""
    if not vectors:
        return []
    joined = torch.cat([vector.to(vectors[0].device) for vector in vectors]).cpu()
    return list(joined.split([len(vector) for vector in vectors]))
