"""Small tensors moved between host and device. The host never waits on the way to the device, and waits once on the way back."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor moved to `device`. From the CPU it is copied without waiting for that device."""
    return tensor.to(device, non_blocking=True) if tensor.device.type == "cpu" else tensor.to(device)


def on_cpu(vectors: list[Tensor]) -> list[Tensor]:
    """Vectors of any lengths and one dtype, moved to the CPU in one copy, because the host waits for each copy from a GPU."""
    if not vectors:
        return []
    joined = torch.cat([vector.to(vectors[0].device) for vector in vectors]).cpu()
    return list(joined.split([len(vector) for vector in vectors]))
