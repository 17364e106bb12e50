"""VisionZip: keep the tokens that the vision tower attends to most, and merge the others into a few (CVPR 2025, arXiv 2412.04467)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.bounds import Bounds
from aim.kernels.contextual_merging import contextual_merge_flops, merge_contextual
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import exact, tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class VisionZip(Method):
    """In each frame the most attended tokens stay as they are, and the others are merged into a few at even distances.

    A token's attention is what CLS pays it where the tower has a CLS token (LLaVA-1.5, InternVL). SigLIP and Qwen's towers have none. There
    it is the mean that the frame's tokens pay it in the last layer that the projector sees, as HoliTom's port of VisionZip to video models
    has it. The official repository (dvlab-research/VisionZip) has no answer for such towers. See
    `aim.kernels.contextual_merging.merge_contextual` for the arithmetic. A frame of T tokens leaves S = max(2, round(keep_ratio · T)), of
    which ⌊dominant_share · S⌋ stay as they are. Memory is O(F · T · (C + S)).

    The default keep_ratio is that of the port, 50 of 196 tokens. The official default for LLaVA-1.5 is 191 + 30 of 576, and its README
    also runs 54 + 10.

    This method deviates from the official code: the projected tokens are merged, where it merges what the tower gives before the projector;
    CLS is no visual token here and none of the S, where it is always one of them; a tower with CLS is read in its last layer, as PruMerge
    reads it, where the official code takes the tokens of the layer before; attention, keys and tokens are pooled alike on towers whose
    patches are pooled, as in the port. Tokens come frame by frame, the ones that stay first, and are numbered 0, 1, 2…. Under M-RoPE they
    keep their positions.
    """

    keep_ratio: float = share_kept(0.255, "Share of each frame's visual tokens that is left.")

    dominant_share: float = knob(
        0.84375,
        "Dominant tokens",
        "Share of what is left that are the most attended tokens as they are. The others are merged into the rest.",
        bounds=Bounds(0, 1),
        step=0.03125,
        advice="Use 1 to drop the others in place of merging them.",
        planned=False,
    )

    name = "visionzip"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        dominant, contextual = self._counts(patches.shape[1])
        if dominant + contextual == patches.shape[1]:
            return None
        if tower is None:
            raise Refusal("VisionZip ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        return merge_contextual(patches, tower, dominant, contextual)

    def _counts(self, tokens_per_frame: int) -> tuple[int, int]:
        """(dominant tokens, contextual tokens) of a frame."""
        left = min(tokens_per_frame, max(2, round(exact(self.keep_ratio) * tokens_per_frame)))
        dominant = tokens_of(self.dominant_share, left)
        return dominant, left - dominant

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return frames * sum(self._counts(tokens_per_frame))

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        dominant, contextual = self._counts(tokens_per_frame)
        if dominant + contextual == tokens_per_frame:
            return 0
        return contextual_merge_flops(shape.hidden_size, vision, frames, tokens_per_frame - dominant, contextual)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
