"""Ending a model's work early, before its next layer: in the vision tower, in the prefill, or in a decoding step.

This needs hooks, so it belongs to the engine. They are removed however the block is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from aim.engine.seams import transformer_layers


class Stopped(Exception):
    """The work was asked to end. This is no error, because whoever asked does not want the rest."""


@contextmanager
def stoppable(model: nn.Module, ended: Callable[[], bool]) -> Iterator[None]:
    """A block in which every transformer layer of `model`, in tower and LLM, raises `Stopped` instead of running once `ended()` is true.

    Raises:
        Stopped: a layer was about to run when `ended()` was true.
    """

    def check(_module: nn.Module, _args: tuple) -> None:
        if ended():
            raise Stopped

    hooks = [layer.register_forward_pre_hook(check) for layer in transformer_layers(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
