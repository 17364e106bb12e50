"""Which weights a stored figure was measured with. Wherever a figure of earlier weights is told, it is said to be one."""

from __future__ import annotations

import hashlib
from functools import cache

import torch
from torch import nn

from aim.runtime.checkpoints import load_checkpoint

EARLIER = "measured with earlier weights"


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of a model's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


@cache
def bundled_digest() -> str:
    """`weights_digest` of the bundled model. The first call loads it, which takes some tenths of a second."""
    return weights_digest(load_checkpoint("bundled", "cpu", torch.float32).model)


def are_earlier(weights: str) -> bool:
    """Whether a stored figure is of other weights than the bundled model has now. `weights` is its digest, or the first digits of it."""
    return not bundled_digest().startswith(weights)
