"""HoliTom: merge what stands still in the windows that save the most tokens (NeurIPS 2025, arXiv 2505.21334)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from torch import Tensor

from aim.kernels.absorbing import halve_into_nearest, halving_flops
from aim.kernels.bounds import SHARE, Bounds
from aim.kernels.cost import ModelShape, VisionShape, last_token_flops
from aim.kernels.counts import exact
from aim.kernels.importance import last_token_attention
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once, layer_at_depth
from aim.kernels.still_merging import merge_what_stands_still, still_merge_flops
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.cut import Cut, Kept, highest
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import layer_of_cut, share_kept


@dataclass(frozen=True)
class HoliTom(Method):
    """Places that stand still in a window of frames become one token each, and alike ones merge. Of what moves, the most attended stays.

    The clip is cut into the windows whose still places save the most tokens (section 3.2 of the paper), and what that saves raises the
    share that is kept. The still tokens of a window are clustered by density peaks, around that share of them. Each frame keeps that share
    of its other tokens, those that the vision tower attends to most (section 3.3).
    `aim.kernels.still_merging.merge_what_stands_still` has the rules, and says what the record holds.

    Inside the LLM, one cut before layer `inner_layer` keeps round(inner_keep_ratio · N) of the N tokens that entered: those that the last
    token of the prompt attends to most in the layer before, by the mean over heads. Each token that is dropped is averaged into the kept
    one that is most like it, one after the other (`aim.kernels.absorbing.halve_into_nearest`). Tokens keep their positions.

    The official code is cokeshao/HoliTom (e9b2972). The layer of the cut is that of its README; the code alone says 3.

    `merged_tokens` is exact for a clip in which nothing stands still. Elsewhere the number differs by the rounding of each frame and
    window. It is smaller where so much stands still that all the rest is kept.

    It deviates from the official code:
    - Counts are the exact numbers, and among equals the lower index wins. There noise decides among centres.
    - Still places of which not one is to be left are dropped.
    - With a keep_ratio of 1 nothing is merged, neither what stands still nor inside the LLM.
    - A window may be longer than 1,024 frames.
    - Where the depth is not 28, the layer of the cut inside the LLM is scaled. At least one token stays.
    - Its switch D, which is off by default and merges tokens that move, is left out.
    - On towers with a CLS token, attention is what CLS pays. Elsewhere it is the mean that the frame's tokens pay, as there.

    It takes O(F² + T² + F·T·C) memory, and inside the LLM O(N²). The windows depend on the clip, so the host waits for the GPU once.
    """

    keep_ratio: float = share_kept(0.1)
    still_threshold: float = knob(
        0.8,
        "Similarity of what stands still",
        "Cosine with the next frame above which a place stands still.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.8. The authors take 0.65 where a tenth is kept.",
        planned=False,
    )
    centre_weight: float = knob(
        0.6,
        "Weight of a cluster's centre",
        "What a centre counts in its cluster. The others' mean counts the rest.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.6.",
        planned=False,
    )

    inner_layer: int | None = layer_of_cut(
        None,
        "Layer of the cut inside the LLM",
        "First layer that runs without the tokens that are merged inside the LLM.",
        unset="18 of 28, scaled to the model's depth",
    )
    inner_keep_ratio: float = knob(
        0.5,
        "Tokens kept inside the LLM",
        "Share of the tokens that entered the LLM which the cut inside it keeps.",
        bounds=SHARE,
        step=0.05,
        advice="The default is 0.5. Use 1 to keep all.",
    )

    name = "holitom"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        if self.keep_ratio == 1:
            return None
        if tower is None:
            raise Refusal("HoliTom ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        return merge_what_stands_still(patches, tower.received, self.keep_ratio, self.still_threshold, self.centre_weight)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return frames * ceil(exact(self.keep_ratio) * tokens_per_frame)

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> HoliTom:
        return self if self.inner_layer is not None else replace(self, inner_layer=self._cut(num_layers))

    def _cut(self, num_layers: int) -> int:
        """The layer of the cut inside a model of this depth."""
        return max(1, layer_at_depth(18, num_layers, 28)) if self.inner_layer is None else self.inner_layer

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self._cut(num_layers), 1.0, 1.0 if self.keep_ratio == 1 else self.inner_keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        left = merged_tokens if self.keep_ratio == 1 else max(1, round(exact(self.inner_keep_ratio) * merged_tokens))
        return drop_once(num_layers, self._cut(num_layers), merged_tokens, left)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def cut(self, cut: Cut) -> Kept:
        kept = highest(cut)
        if not len(kept.chosen):
            return kept
        states, into = halve_into_nearest(cut.hidden[cut.visual], kept.chosen)
        return Kept(kept.chosen, states, into)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        """See `Method.score_flops`. How much of n is text is not known here, so merging is counted as if all were visual tokens."""
        merging = sum(halving_flops(shape.hidden_size, tokens, round(exact(self.inner_keep_ratio) * tokens)) for tokens in lengths)
        return last_token_flops(shape, lengths) + merging

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        return 0 if self.keep_ratio == 1 else still_merge_flops(shape.hidden_size, vision, frames, tokens_per_frame)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
