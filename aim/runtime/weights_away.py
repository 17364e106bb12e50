"""A loaded model without its weights, so that another one has room, and its weights back again."""

from __future__ import annotations

import torch

from aim.runtime.memory import release
from aim.runtime.vlm import VLM


def take_weights_away(vlm: VLM) -> None:
    """Free the weights and kept features of a model that nobody runs. What is known from its config and its tokenizer stays."""
    vlm.features.clear()
    for weights in vlm.model.parameters():
        weights.data = weights.data.new_empty(0)
    release()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def give_weights_back(vlm: VLM, fresh: VLM) -> None:
    """Put the weights of `fresh`, which is the same checkpoint loaded again, in the place of those that were taken away."""
    for weights, own in zip(vlm.model.parameters(), fresh.model.parameters(), strict=True):
        weights.data = own.data
