"""How visual tokens lie on frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Visual tokens of one image or clip: `frames` grids of rows · columns tokens, frame by frame in raster order."""

    frames: int
    rows: int
    columns: int

    @property
    def tokens_per_frame(self) -> int:
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        return self.frames * self.rows * self.columns
