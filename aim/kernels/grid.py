"""How visual tokens lie on frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Visual tokens of one image or clip: `frames` grids of rows · columns tokens, frame by frame in raster order.

    Attributes:
        is_image: it is a picture that goes in through the model's own image prompt. The frames of a clip do not, even where there is one.
    """

    frames: int
    rows: int
    columns: int
    is_image: bool = False

    @property
    def tokens_per_frame(self) -> int:
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        return self.frames * self.rows * self.columns
