"""A check that tensors are finite. In merging, one patch that is not would spoil half a frame, and one such key spoils every score.

The check runs on the tensor's device during the prefill. Its result is read when the record is copied to the CPU.
"""

from __future__ import annotations

from torch import Tensor

from aim.engine.copies import on_cpu
from aim.kernels.refusal import Refusal


class NotFinite(Refusal):
    """A tensor that tokens are merged or scored by holds NaN or infinite values."""


class FiniteCheck:
    """Notes tensors while a prefill runs, and names the first one that was not finite."""

    def __init__(self) -> None:
        self._noted: list[tuple[str, Tensor]] = []

    def note(self, title: str, tensor: Tensor) -> None:
        """Check a tensor of any shape without waiting for its device.

        Args:
            title: the name that people read, in the plural and as the beginning of a sentence.
        """
        self._noted.append((title, tensor.isfinite().all().view(1)))

    def settle(self) -> None:
        """Wait once for the device, and read what the checks gave.

        Raises:
            NotFinite: one of the tensors was not finite.
        """
        flags = on_cpu([flag for _, flag in self._noted])
        broken = [title for (title, _), flag in zip(self._noted, flags, strict=True) if not flag]
        if broken:
            raise NotFinite(
                f"{broken[0]} hold values that are not finite (NaN or infinity), and tokens can only be merged and scored by finite ones. "
                "Check the pictures, or load the model in bfloat16 or float32 where it runs in float16."
            )
