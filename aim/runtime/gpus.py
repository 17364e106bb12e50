"""The GPUs that a model lies on, and which of them is current while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from aim.kernels.products import faster_products


def gpus_of(model: nn.Module) -> list[torch.device]:
    """The GPUs that hold a part of the model, by number; empty on a CPU."""
    devices = {parameter.device for parameter in model.parameters()}
    return sorted((device for device in devices if device.type == "cuda"), key=lambda device: device.index)


def wait_for(gpus: Iterable[torch.device]) -> None:
    """Wait until these GPUs have done all the work that they were given."""
    for gpu in gpus:
        torch.cuda.synchronize(gpu)


def running_on(device: torch.device) -> AbstractContextManager:
    """A block in which `device` is this thread's current GPU. On a CPU it is one of `aim.kernels.products.faster_products`.

    In a fresh thread the first GPU is current, wherever the model lies. Kernels that are not torch's own (bitsandbytes, Triton) run on the
    current GPU.
    """
    if device.type == "cuda":
        return torch.cuda.device(device)
    return faster_products() if device.type == "cpu" else nullcontext()
