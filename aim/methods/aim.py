"""AIM: merge similar visual tokens frame by frame, then prune by PageRank on a linear ramp (ICCV 2025, arXiv 2412.03248)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from aim.kernels.cost import ModelShape, VisionShape, merge_flops, pagerank_flops
from aim.kernels.importance import pagerank
from aim.kernels.merging import MERGE_ORDERS, MergedClip, TowerAttention, merge_clip
from aim.kernels.schedule import frame_windows, merged_per_clip, merged_per_frame, ramp, scale_to_depth
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial

PAPER_L1, PAPER_L2, PAPER_LAYERS = 14, 22, 28


@dataclass(frozen=True)
class AIM(Method):
    """Adaptive inference by merging and pruning.

    Deviations from the official code, which masks tokens and computes them all the same: tokens are removed, merged tokens stay in raster
    order, and layer i runs on int(keep(i) · N) visual tokens as the paper's FLOPs table counts them (the code drops one layer later).

    Args:
        merge_ratio: share of a frame's visual tokens kept by merging, in (0, 1]; 1 merges nothing.
        l1: first layer whose input is pruned. With 0 pruning starts at layer 1, since before layer 0 there is nothing to score with;
            with l1 ≥ the number of layers nothing is pruned. None: the paper's 14 of 28, scaled to the model's depth.
        l2: where the ramp would reach zero; layers ≥ l2 - 1 see no visual token. None: the paper's 22 of 28, scaled.
        positions: "compact" (the paper's: kept tokens are numbered 0, 1, 2...) or "original" (each keeps its place).
        temperature: of the softmax that PageRank walks on, > 0. The official code's is 0.1.
        iterations: PageRank steps, at least 1. The official code's are 5.
        damping: chance in [0, 1) that the walk restarts at every step. The paper has none.
        restart: where a damped walk restarts, "uniform" or "question" (the question's tokens; beyond the paper, needs damping > 0).
        merge_window: frames merged together, at least 1. The paper merges frame by frame.
        merge_order: order of the merged tokens, "raster" (of the place each keeps) or "similarity" (as the official code lays them).

    Raises:
        ValueError: a knob is out of range.
    """

    merge_ratio: float = 0.25
    l1: int | None = None
    l2: int | None = None
    positions: str = "compact"
    temperature: float = 0.1
    iterations: int = 5
    damping: float = 0.0
    restart: str = "uniform"
    merge_window: int = 1
    merge_order: str = "raster"

    name = "aim"

    def __post_init__(self) -> None:
        if not 0 < self.merge_ratio <= 1:
            raise ValueError(
                f"merge_ratio is {self.merge_ratio}; it is the share of visual tokens kept, above 0 and up to 1. Use 1 to merge nothing."
            )
        if self.l1 is not None and self.l1 < 0:
            raise ValueError(f"l1 is {self.l1}; layers are counted from 0. Use 0 or more.")
        if self.l2 is not None and self.l2 < 1:
            raise ValueError(f"l2 is {self.l2}; it must be at least 1. Use a layer after l1.")
        if self.l1 is not None and self.l2 is not None and self.l1 >= self.l2:
            raise ValueError(f"l1 is {self.l1} and l2 is {self.l2}; pruning ends after it starts, so l1 < l2. Raise l2 or lower l1.")
        if self.positions not in ("compact", "original"):
            raise ValueError(f'positions is {self.positions!r}; use "compact" or "original".')
        if self.restart not in ("uniform", "question"):
            raise ValueError(f'restart is {self.restart!r}; use "uniform" or "question".')
        if self.restart == "question" and self.damping == 0:
            raise ValueError('restart="question" has no effect with damping 0; set damping above 0, for example 0.15.')
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0. The paper's code uses 0.1.")
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}; PageRank needs at least 1. The paper's code uses 5.")
        if not 0 <= self.damping < 1:
            raise ValueError(f"damping is {self.damping}; use 0 (the paper's) or a share below 1.")
        if self.merge_window < 1:
            raise ValueError(f"merge_window is {self.merge_window}; use 1 (frame by frame, the paper's) or a few frames.")
        if self.merge_order not in MERGE_ORDERS:
            raise ValueError(f"merge_order is {self.merge_order!r}; use one of {', '.join(MERGE_ORDERS)}.")

    def for_depth(self, num_layers: int) -> AIM:
        if self.l1 is not None and self.l2 is not None:
            return self
        l1, l2 = scale_to_depth(PAPER_L1, PAPER_L2, num_layers, PAPER_LAYERS)
        if self.l1 is not None:
            l1, l2 = self.l1, max(l2, self.l1 + 1)
        elif self.l2 is not None:
            l1, l2 = min(l1, self.l2 - 1), self.l2
        return replace(self, l1=l1, l2=l2)

    def merge(self, patches: Tensor, tower: TowerAttention | None = None) -> MergedClip | None:
        return None if self.merge_ratio == 1 else merge_clip(patches, self.merge_ratio, self.merge_window, self.merge_order)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return merged_per_clip(self.merge_ratio, frames, tokens_per_frame, self.merge_window)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        windows = [(count, length * tokens_per_frame) for count, length in frame_windows(frames, self.merge_window)]
        return sum(merge_flops(shape.hidden_size, count, tokens, merged_per_frame(self.merge_ratio, tokens)) for count, tokens in windows)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return pagerank_flops(shape, lengths, self.iterations)

    def keep(self, num_layers: int) -> list[float]:
        resolved = self.for_depth(num_layers)
        return ramp(num_layers, resolved.l1, resolved.l2)

    def settings(self, num_layers: int) -> Iterator[Dial]:
        """Every merge ratio; then, since merging moves by whole tokens a frame, the same with a ramp ever further from this one.

        An l1 or l2 that was given stays; the other, or both, move by up to a quarter of the depth, l2 first.
        """
        planned, reach = self.for_depth(num_layers), range(-(num_layers // 4), num_layers // 4 + 1)
        shifts = product(reach if self.l1 is None else [0], reach if self.l2 is None else [0])
        for first, last in sorted(shifts, key=lambda shift: (abs(shift[0]) + abs(shift[1]), abs(shift[0]), shift)):
            l1, l2 = planned.l1 + first, planned.l2 + last
            if 0 <= l1 < l2:
                yield Dial(replace(planned, l1=l1, l2=l2), "merge_ratio", RATIOS)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        restart = is_question.float() if self.restart == "question" else None
        return pagerank(query, key, scaling, self.temperature, self.iterations, self.damping, restart)
