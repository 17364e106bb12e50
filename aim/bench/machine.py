"""Where a measurement was made: the device, the number type, and the releases of what ran there."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel


def machine_of(model: PreTrainedModel) -> dict[str, str]:
    """What `model` runs on and in which number type, with the releases of torch, transformers and Python."""
    return described(model.device) | {"dtype": str(model.dtype).removeprefix("torch.")}


def described(device: torch.device) -> dict[str, str]:
    """The name of a device, and the releases of torch, transformers and Python."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"{_processor()}, {torch.get_num_threads()} threads"
    return {
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "CPU")
