"""Models of published sizes with random weights, made on the device: no download, no file."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

# Not a divisor of any layer's width, so that no two rows of a matrix are alike.
BLOCK = 2**20 + 7


def random_model(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A model of this config with random weights, made on `device`, in evaluation mode. It holds every tensor once and touches no disk.

    Matrices repeat one block of normal numbers of the config's standard deviation, since drawing billions takes a CPU minutes. Norms,
    biases and buffers are as transformers makes them.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.to_empty(device=device)
    deviation = getattr(config.text_config, "initializer_range", 0.02)
    block = torch.randn(BLOCK, generator=torch.Generator(device).manual_seed(0), device=device).mul_(deviation).to(dtype)
    for matrix in (parameter for parameter in model.parameters() if parameter.dim() > 1):
        _fill(matrix, block)
        matrix._is_hf_initialized = True  # left alone by `init_weights`
    model.init_weights()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _fill(matrix: nn.Parameter, block: torch.Tensor) -> None:
    flat = matrix.view(-1)
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        part.copy_(block[: len(part)])
