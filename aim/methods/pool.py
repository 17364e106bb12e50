"""Pool: average pooling of every frame's grid to a smaller grid. Every clever merger has to beat this control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import tokens_of
from aim.kernels.grid import Grid
from aim.kernels.merging import MergedClip
from aim.kernels.pooling import pool_clip, pool_flops, pooled_sides, squarest
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class Pool(Method):
    """Each frame's grid becomes a smaller grid, in which a token is the mean of a cell. It is a control, not a method of a paper.

    A frame keeps at most ⌊keep_ratio · T⌋ tokens, at least 1, because a grid has whole rows and columns. See
    `aim.kernels.pooling.pooled_sides` for the grid that is taken: of 14 x 14 it is 7 x 7 at 0.25, and of 7 x 7 it is 3 x 4. Where the sides
    divide, this is plain average pooling. Elsewhere cells differ by a row or column, and they do not overlap. Pooled tokens are numbered
    0, 1, 2…, and under M-RoPE they stand at the middle of their cells.

    A plan knows how many tokens a frame has, not its rows and columns. It takes the grid that is most nearly square, so a run on another
    grid may count a few tokens more or less.

    Memory is O(F·T·C) for the tokens in float32. No vision tower is read.
    """

    keep_ratio: float = share_kept(0.25, "Share of each frame's visual tokens that pooling leaves, or a little less.")

    name = "pool"
    positions = "compact"

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        raise Refusal(
            f"Pool averages over the rows and columns of a frame, and only the number of its tokens, {patches.shape[1]}, was given. "
            "Give the grid too, with Pool.merge_on."
        )

    def merge_on(
        self,
        grid: Grid,
        patches: Tensor,
        tower: TowerAttention | None = None,
        question: Tensor | None = None,
        change: Tensor | None = None,
    ) -> MergedClip | None:
        sides = self._sides(grid.rows, grid.columns)
        return None if sides == (grid.rows, grid.columns) else pool_clip(patches, grid.rows, grid.columns, *sides)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        rows, columns = self._sides(*squarest(tokens_per_frame))
        return frames * rows * columns

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        tokens = frames * tokens_per_frame
        return 0 if merged_tokens == tokens else pool_flops(shape.hidden_size, tokens, merged_tokens)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)

    def _sides(self, rows: int, columns: int) -> tuple[int, int]:
        return pooled_sides(rows, columns, max(1, tokens_of(self.keep_ratio, rows * columns)))
