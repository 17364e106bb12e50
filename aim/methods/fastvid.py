"""FastVID: cut a clip into segments of frames that are alike, and merge each segment into salient and dense tokens (arXiv 2503.11187)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from aim.kernels.anchor_budget import FrameBudget, budget_by_frame, budget_by_segment
from aim.kernels.anchor_merging import anchor_merge_flops, merge_around_anchors
from aim.kernels.bounds import FROM_1, Bounds
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, spread_evenly
from aim.kernels.segments import segment_lengths
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept

ONEVISION, QWEN = "onevision", "qwen"
_THRESHOLD = {ONEVISION: 0.9, QWEN: 0.84}
_USUAL_SEGMENTS = 8


@dataclass(frozen=True)
class FastVID(Method):
    """Frames that are alike form a segment. Of each frame the most attended tokens stay, and the segment's others go into dense anchors.

    See `aim.kernels.anchor_merging.merge_around_anchors` for the arithmetic. The official repository (LunarShen/FastVID) has two codes, and
    `fastvid_code` chooses: "onevision" is the one for LLaVA-OneVision (`aim.kernels.anchor_budget.budget_by_frame`), and "qwen" the one for
    Qwen2.5-VL (`budget_by_segment`), which also leaves out frames that are very like the next and whose own default keep_ratio is
    0.27. Tokens keep their positions.

    keep_ratio leaves m = ⌊keep_ratio · T⌋ tokens of a frame, at least one, so m · F of a clip. That is what is planned. What divisions do
    not give out is lost, up to a token for each frame with anchors. With "qwen" frames that are very like the next can cost more of it. The
    engine counts what came out. Where the segments end depends on the clip, so a run waits until the frames' likeness is read (twice
    with "qwen"). Memory is O(F·T·(C + A) + T²), with A anchors in a frame.

    This method deviates from the official code: a frame is compared by the mean of its tokens in both codes, where the one for
    LLaVA-OneVision takes the output of SigLIP's pooling head; a token's attention is what CLS pays it where the tower has a CLS token, and
    else the mean that the frame's tokens pay it, where that code takes the pooling head's; without a number of segments, a clip of
    fewer than 8 frames has as many segments as frames, where the official code fails; where a frame of "onevision" has too few tokens for
    its anchors, frames with anchors stand closer together, where the official code fails.
    """

    keep_ratio: float = share_kept(0.1)

    fastvid_code: str = knob(
        ONEVISION,
        "FastVID's code",
        "Which of the two official codes is followed.",
        choices=(("for LLaVA-OneVision", ONEVISION), ("for Qwen2.5-VL", QWEN)),
        advice="The default is onevision.",
        planned=False,
    )

    least_segments: int | None = knob(
        None,
        "Fewest segments",
        "How many segments the clip is cut into at least.",
        bounds=FROM_1,
        step=1,
        slider_high=32,
        unset="8, or the frames where there are fewer",
        advice="Use 1 to cut by likeness alone.",
        planned=False,
    )

    segment_threshold: float | None = knob(
        None,
        "Similarity within a segment",
        "Cosine of neighbouring frames below which the clip is cut into segments.",
        bounds=Bounds(-1, 1),
        step=0.05,
        unset="0.9, or 0.84 with the code for Qwen2.5-VL",
        advice="Use -1 for no further cuts.",
        planned=False,
    )

    alike_from: float = knob(
        0.95,
        "Similarity of equal frames",
        "With the code for Qwen2.5-VL, a frame whose cosine with the next is at least this keeps no tokens of its own.",
        bounds=Bounds(0, 1),
        step=0.01,
        advice="The default is 0.95.",
        planned=False,
    )

    context_share: float = knob(
        0.4,
        "Anchors",
        "Share of what is left that are anchors, which take in other tokens.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.4.",
        planned=False,
    )

    anchor_step: int = knob(
        4,
        "Frames between anchors",
        "Of a segment, the last frame and every one this many before it have anchors.",
        bounds=FROM_1,
        step=1,
        slider_high=16,
        advice="Use 1 for anchors in every frame.",
        planned=False,
    )

    anchor_weight: float = knob(
        0.6,
        "Weight of an anchor",
        "What an anchor keeps of itself where other tokens go into it.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.6.",
        planned=False,
    )

    name = "fastvid"
    positions = "original"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, _ = patches.shape
        count = self._segments(frames)
        if self.keep_ratio == 1:
            return None
        if tower is None:
            raise Refusal("FastVID ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        means = patches.float().mean(dim=1)
        lengths = segment_lengths(means, _THRESHOLD[self.fastvid_code] if self.segment_threshold is None else self.segment_threshold, count)
        budgets = self._budgets(lengths, per_frame, means)
        return merge_around_anchors(patches, tower.received, budgets, self.anchor_weight, anchors_join=self.fastvid_code == ONEVISION)

    def _budgets(self, lengths: list[int], per_frame: int, means: Tensor | None = None) -> list[list[FrameBudget]]:
        """The budgets of each segment's frames, whose tokens have the means [F, C]. Without means no two frames are alike."""
        given = (lengths, per_frame, self._left(per_frame), self.context_share, self.anchor_step)
        if self.fastvid_code == ONEVISION:
            return budget_by_frame(*given)
        alike = None if means is None else (cosine_similarity(means[:-1], means[1:], dim=-1) >= self.alike_from).tolist()
        return budget_by_segment(*given, alike)

    def _left(self, per_frame: int) -> int:
        """Tokens a frame that the budget has."""
        return max(1, tokens_of(self.keep_ratio, per_frame))

    def _segments(self, frames: int) -> int:
        """The least number of segments of a clip.

        Raises:
            Refusal: the clip has fewer frames.
        """
        if self.least_segments is None:
            return min(_USUAL_SEGMENTS, frames)
        if self.least_segments > frames:
            raise Refusal(
                f"least_segments is {self.least_segments}; the model has {frames} frame{'s' * (frames > 1)} of this clip, and a segment "
                f"has at least one; accepted: 1 to {frames}. Use fewer segments, or more frames."
            )
        return self.least_segments

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        self._segments(frames)
        return frames * self._left(tokens_per_frame)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        """As `anchor_merge_flops`, for segments of equal length, no two of whose frames are alike."""
        if self.keep_ratio == 1:
            return 0
        budgets = self._budgets(spread_evenly(frames, self._segments(frames)), tokens_per_frame)
        return anchor_merge_flops(shape.hidden_size, vision, tokens_per_frame, budgets)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
