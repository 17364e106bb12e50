"""The GPUs that a model lies on, and which of them is current while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def gpus_of(model: nn.Module) -> list[torch.device]:
    """The GPUs that hold a part of the model, by number; empty on a CPU."""
    devices = {parameter.device for parameter in model.parameters()}
    return sorted((device for device in devices if device.type == "cuda"), key=lambda device: device.index)


def wait_for(gpus: Iterable[torch.device]) -> None:
    """Wait until these GPUs have done what they were handed."""
    for gpu in gpus:
        torch.cuda.synchronize(gpu)


def running_on(device: torch.device) -> AbstractContextManager:
    """A block in which `device` is this thread's current GPU; on a CPU nothing happens. A fresh thread's current GPU is the first one,
    wherever the model lies, and kernels that are not torch's own (bitsandbytes, Triton) go there unless told."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
