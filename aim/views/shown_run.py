"""What the pictures of a finished run are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from aim.kernels.trace import Trace


class ShownRun(Protocol):
    """The frames of a finished run, uint8 [N, H, W, 3], their timestamps [N] in seconds, and its trace."""

    @property
    def frames(self) -> np.ndarray: ...

    @property
    def timestamps(self) -> np.ndarray: ...

    @property
    def trace(self) -> Trace: ...
