"""Ending a model's work early: before its next layer, whether the vision tower is at it, the prefill or a decoding step.

Part of the engine as far as hooks go: they are on for as long as the block lasts, and off by whatever way it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from aim.engine.seams import transformer_layers


class Stopped(Exception):
    """The work was asked to end. Not an error: whoever asked does not want the rest."""


@contextmanager
def stoppable(model: nn.Module, ended: Callable[[], bool]) -> Iterator[None]:
    """Inside the block every transformer layer of `model`, in tower and LLM, raises `Stopped` instead of running once `ended()` is true."""

    def check(_module: nn.Module, _args: tuple) -> None:
        if ended():
            raise Stopped

    hooks = [layer.register_forward_pre_hook(check) for layer in transformer_layers(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
