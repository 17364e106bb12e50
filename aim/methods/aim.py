"""AIM: merge similar visual tokens frame by frame, then drop by PageRank on a linear ramp (ICCV 2025, arXiv 2412.03248)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from torch import Tensor

from aim.kernels.bounds import ABOVE_0, CHANCE, FROM_0, FROM_1, SHARE, Bounds
from aim.kernels.cost import ModelShape, VisionShape, merge_flops, pagerank_flops
from aim.kernels.importance import pagerank
from aim.kernels.merging import MergedClip, merge_clip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, check_ramp, frame_windows, merged_per_clip, merged_per_frame
from aim.kernels.schedule import ramp as shares_of_ramp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class AIM(Method):
    """In each frame similar tokens are merged. Over layers l1 to l2, what PageRank on attention ranks lowest is dropped, in equal steps.

    Where l1 and l2 are left out, they are the paper's, scaled to the model's depth: 13 and 21 of 32 layers for LLaVA-1.5, and the 14 and 22
    of 28 of LLaVA-OneVision-7B for every other family.

    The official code masks tokens and computes them all the same; here they are removed. Merging differs from it as follows, and each point
    but the last has a knob. The overlaps are intersection over union.

    - Counts: a frame keeps ⌊merge_ratio · T⌋ tokens, as the paper's FLOPs table counts (196 → 24, 12, 6, 3 below 25 %); the code, whose
      step k removes ⌊T / 2^k⌋, keeps 25, 13, 7, 4, and at 50 % of 7 x 7 it keeps 25, not 24. `merge_order="official"` does so, and its
      plans count so.
    - Order: tokens go on by their places; the code goes on with [unlinked A from the most to the least similar; B]. At 50 and 25 % of 196
      the result is the same, order included. On odd grids and below it is not: pairs of patches that share a token overlap by 0.61 at 13 of
      196, 0.42 at 7, and 0.45 to 0.84 on 13 x 23. `merge_order="official"` does so. What that costs the bundled model
      at equal counts is finding 7 of aim/evaluation/README.md.
    - LLaVA-1.5: tokens are compared by their projected embeddings; the code compares the keys of CLIP's last layer, and pairs overlap by
      0.15 to 0.30. `metric="keys"` does so.
    - Qwen2-VL: the code shrinks the grid to half its sides and merges down to 66 tokens of 13 x 23, and their positions with them; here 74
      are left (76 with "official"), each at a position it had. As published its script never drops any, since it loads SDPA.

    Dropping differs as follows, without a knob.

    - Layer: layer i runs on ⌊keep(i) · N⌋ visual tokens, as the FLOPs table counts; the code drops one layer later (14/22 then executes
      15.53 TFLOP, not the table's 14.76).
    - Votes: a dropped token is gone; the code's masked tokens keep voting in PageRank. The first cut is the same, and later ones overlap by
      0.97 to 0.83.
    - Newline: the token that ends a LLaVA-OneVision clip is text, which is never dropped; the code counts it as visual and may drop it, so
      counts differ by 1.
    """

    merge_ratio: float = knob(
        0.25,
        "Tokens kept after merging (merge ratio)",
        "Share of each frame's visual tokens that merging leaves.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to merge nothing.",
        advanced=False,
    )
    l1: int | None = knob(
        None,
        "Dropping starts at layer (l1)",
        "Layers before this one see every merged token; from it on the least important tokens are dropped layer by layer. Layer 0 always "
        "sees every token, so with 0 dropping starts at layer 1.",
        bounds=FROM_0,
        step=1,
        slider_high=lambda layers: layers,
        advice="Use 0 or more; with the model's number of layers nothing is dropped.",
        unset="the paper's for the model's family, scaled to its depth: 14 of 28, and 13 of 32 for LLaVA-1.5",
        advanced=False,
    )
    l2: int | None = knob(
        None,
        "Dropping ends before layer (l2)",
        "The last visual tokens are dropped just before layer l2 - 1, so no later layer sees any. It must be above l1.",
        bounds=FROM_1,
        step=1,
        slider_high=lambda layers: layers + 1,
        advice="Use a layer after l1.",
        unset="the paper's for the model's family, scaled to its depth: 22 of 28, and 21 of 32 for LLaVA-1.5",
        advanced=False,
    )
    positions: str = knob(
        "compact",
        "Positions of merged tokens",
        "Positions of the merged tokens: 0, 1, 2… as in the paper (compact), or of the place that each token keeps, with gaps (original).",
        choices=(("compact", "compact"), ("original", "original")),
        advice="The paper uses compact.",
        planned=False,
    )
    temperature: float = knob(
        0.1,
        "PageRank temperature",
        "Sharpness of the attention that PageRank follows; a lower value follows only the strongest attention.",
        bounds=ABOVE_0,
        step=0.01,
        slider_high=1,
        advice="The official code uses 0.1.",
        planned=False,
    )
    iterations: int = knob(
        5,
        "PageRank iterations",
        "Steps of PageRank in each layer that drops tokens.",
        bounds=Bounds(1, 1000, whole=True),
        step=1,
        slider_high=20,
        advice="The official code uses 5.",
        planned=False,
    )
    damping: float = knob(
        0.0,
        "Damping",
        "Chance that PageRank starts again at each step. The paper has none.",
        bounds=CHANCE,
        step=0.05,
        advice="The paper uses 0.",
        planned=False,
    )
    restart: str = knob(
        "uniform",
        "Where PageRank starts again",
        "Where PageRank starts again: anywhere (uniform), or on the question, which favours what the question attends to. The question is "
        "not in the paper and needs damping above 0.",
        choices=(("anywhere", "uniform"), ("on the question", "question")),
        advice="The default is uniform.",
        planned=False,
    )
    merge_window: int = knob(
        1,
        "Merge within",
        "Frames that are merged together. A window of several frames also merges what stays the same over time. The paper uses 1.",
        bounds=FROM_1,
        choices=(("each frame alone", 1), ("2 frames", 2), ("4 frames", 4)),
        advice="Use 1 (frame by frame, as the paper does) or a few frames.",
    )
    merge_order: str = knob(
        "raster",
        "Order of merged tokens",
        "Order in which tokens go from one merging step to the next, and to the LLM: by their places in the frame (raster), or as in the "
        "official code (official), which also leaves a token more of some frames.",
        choices=(("by place", "raster"), ("as the official code", "official")),
        advice="The default is raster.",
    )

    metric: str = knob(
        "embeddings",
        "What tokens are compared by",
        "What merging compares tokens by: the projected tokens themselves (embeddings), or the keys of the vision tower's last layer "
        "(keys), as the official code does for LLaVA-1.5.",
        choices=(("the tokens themselves", "embeddings"), ("the vision tower's keys", "keys")),
        advice="The default is embeddings.",
        planned=False,
    )

    name = "aim"

    @property
    def needs_tower(self) -> bool:  # type: ignore[override]  # of AIM alone it depends on a knob
        return self.metric == "keys" and self.merge_ratio < 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1 is not None and self.l2 is not None:
            check_ramp(self.l1, self.l2)
        if self.restart == "question" and self.damping == 0:
            raise Refusal('restart is "question" and damping is 0; accepted: a damping above 0. Set it to 0.15, for example.')

    def ramp_layers(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> tuple[int, int]:
        """(l1, l2) for a model of this depth, 0 ≤ l1 < l2: those that were given, and those of `ramp`, scaled, where they were left out."""
        if self.l1 is not None and self.l2 is not None:
            return self.l1, self.l2
        l1, l2 = ramp.at(num_layers)
        if self.l1 is not None:
            return self.l1, max(l2, self.l1 + 1)
        return (l1, l2) if self.l2 is None else (min(l1, self.l2 - 1), self.l2)

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> AIM:
        l1, l2 = self.ramp_layers(num_layers, ramp)
        return self if (self.l1, self.l2) == (l1, l2) else replace(self, l1=l1, l2=l2)

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        if self.merge_ratio == 1:
            return None
        if self.metric == "keys" and tower is None:
            raise Refusal('metric is "keys", and the vision tower\'s keys were not given. Give them, or use the metric "embeddings".')
        keys = tower.keys if tower is not None and self.metric == "keys" else None
        return merge_clip(patches, self.merge_ratio, self.merge_window, self.merge_order, keys=keys)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return merged_per_clip(self.merge_ratio, frames, tokens_per_frame, self.merge_window, self.merge_order)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        flops = 0
        for windows, length in frame_windows(frames, self.merge_window):
            tokens = length * tokens_per_frame
            target = merged_per_frame(self.merge_ratio, tokens, self.merge_order)
            key_size = vision.hidden_size if self.metric == "keys" else 0
            flops += merge_flops(shape.hidden_size, windows, tokens, target, merge_order=self.merge_order, key_size=key_size)
        return flops

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return pagerank_flops(shape, lengths, self.iterations)

    def keep(self, num_layers: int) -> list[Fraction]:
        return shares_of_ramp(num_layers, *self.ramp_layers(num_layers))

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """A row of every merge ratio, and then the same rows with ramps ever further from this one, since merging alone moves in steps of
        whole tokens a frame.

        An l1 or l2 that was given stays. The other one, or both, move by up to a quarter of the depth, l2 first.
        """
        (planned_l1, planned_l2), reach = self.ramp_layers(num_layers, ramp), range(-(num_layers // 4), num_layers // 4 + 1)
        shifts = product(reach if self.l1 is None else [0], reach if self.l2 is None else [0])
        for first, last in sorted(shifts, key=lambda shift: (abs(shift[0]) + abs(shift[1]), abs(shift[0]), shift)):
            l1, l2 = planned_l1 + first, planned_l2 + last
            if 0 <= l1 < l2:
                yield Dial(replace(self, l1=l1, l2=l2), "merge_ratio", RATIOS)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        restart = is_question if self.restart == "question" else None
        return pagerank(query, key, scaling, self.temperature, self.iterations, self.damping, restart)
