"""What a model itself gives for the next token, before `generate` changes it by penalties, temperatures or lists of forbidden words.

This needs a hook, so it belongs to the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class NextLogits:
    """The logits of the latest forward.

    Attributes:
        latest: float32 [vocabulary], on the device of the model's head; unset before the first forward. It is of the batch's first row.
    """

    latest: Tensor

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """A block in which the forwards of `model`, a whole one with its head, are noted."""

        def note(_module: nn.Module, _args: tuple, output: Any) -> None:
            # A copy, so that the logits of a whole prompt can be freed.
            self.latest = output.logits[0, -1].detach().to(torch.float32, copy=True)

        hook = model.register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()
