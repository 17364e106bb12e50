"""Small tensors moved between host and device. The host never waits on the way to the device, and waits once on the way back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor moved to `device`. From the CPU it is copied without waiting for that device."""
    return tensor.to(device, non_blocking=True) if tensor.device.type == "cpu" else tensor.to(device)


def on_cpu(vectors: list[Tensor]) -> list[Tensor]:
    """Vectors of any lengths, moved to the CPU in one copy for each dtype, because the host waits for each copy from a GPU."""
    found: dict[torch.dtype, Iterator[Tensor]] = {}
    for dtype in dict.fromkeys(vector.dtype for vector in vectors):
        alike = [vector for vector in vectors if vector.dtype == dtype]
        joined = torch.cat([vector.to(alike[0].device) for vector in alike]).cpu()
        found[dtype] = iter(joined.split([len(vector) for vector in alike]))
    return [next(found[vector.dtype]) for vector in vectors]
