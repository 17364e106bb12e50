"""FlashVID: keep telling tokens of each frame, and merge the others along time and within frames (ICLR 2026, arXiv 2602.08024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from torch import Tensor

from aim.kernels.bounds import ABOVE_0, FROM_1, SHARE, Bounds
from aim.kernels.cost import ModelShape, VisionShape, last_token_flops
from aim.kernels.counts import exact
from aim.kernels.importance import last_token_attention
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once, layer_at_depth
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.tree_merging import merge_by_trees, tree_merge_flops
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import layer_of_cut, share_kept

COSINE = Bounds(0, 1)


@dataclass(frozen=True)
class FlashVID(Method):
    """In each frame, tokens that the tower attends to and that differ stay. The others merge along time in trees, then into clusters.

    The clip is cut into segments where neighbouring frames differ. Of the ⌈keep_ratio · expansion · T⌉ tokens a frame, the share
    `picked_share` stays as it is (section 3.2 of the paper). In a segment of several frames, every other token is linked to the most
    similar one of the frame before, and each tree of linked tokens is merged into its earliest token (section 3.3). What is left is
    clustered within each frame by density peaks. `aim.kernels.tree_merging.merge_by_trees` has the rules, and says what the record holds.

    That leaves `expansion` times the share before the LLM. Inside it, one cut before layer `inner_layer` keeps ⌈inner_keep_ratio · N⌉ of
    the N tokens that entered: those that the prompt's last token attends to most in the layer before, by the mean over heads. They keep
    their positions.

    The official code is Fanziyang-v/FlashVID (1d37422).

    `merged_tokens` is exact where every segment is one frame, as in a clip of up to `least_segments` frames. Elsewhere a segment of L
    frames may leave up to L - 1 tokens more, because each frame's share is rounded up.

    It deviates from the official code:
    - No token is picked twice. There it happens where all others point away from the mean of their segment.
    - Where `picked_share` takes all of a frame's few tokens, the others are dropped. There they all stay.
    - Where keep_ratio · expansion is 1 or more, nothing is merged. With a keep_ratio of 1 nothing is dropped inside the LLM either.
    - Where the depth is not 28, the layer of the cut is scaled.
    - Counts are the exact numbers, and among equals the lower index wins. There noise decides.
    - Levels of DeepStack are averaged over the patches of a token. There they are taken at its place.
    - On towers with a CLS token, attention is what CLS pays. Elsewhere it is the mean that the frame's tokens pay, as there.

    It takes O(F · T² + F·T·C) memory. Segments and the number of tokens depend on the clip, so the host waits for the GPU twice.
    """

    keep_ratio: float = share_kept(0.25, "Share of the clip's visual tokens that is kept, before it is multiplied by the expansion.")
    expansion: float = knob(
        1.25,
        "Expansion",
        "Factor on the share that enters the LLM. What is too much is dropped inside it.",
        bounds=ABOVE_0,
        step=0.05,
        slider_high=2,
        advice="The default is 1.25. Use 1 to keep exactly the share.",
    )
    picked_share: float = knob(
        0.7,
        "Tokens kept as they are",
        "Share of each frame's tokens that stay as they are. The rest are merged ones.",
        bounds=SHARE,
        step=0.05,
        advice="The default is 0.7.",
        planned=False,
    )
    link_threshold: float = knob(
        0.8,
        "Similarity along time",
        "Cosine above which a token is merged into one of the frame before.",
        bounds=COSINE,
        step=0.05,
        advice="The default is 0.8.",
        planned=False,
    )
    segment_threshold: float = knob(
        0.9,
        "Similarity within a segment",
        "Cosine of neighbouring frames below which the clip is cut into segments.",
        bounds=COSINE,
        step=0.05,
        advice="The default is 0.9.",
        planned=False,
    )
    least_segments: int = knob(
        8,
        "Fewest segments",
        "How many segments the clip is cut into at least, where it has as many frames.",
        bounds=FROM_1,
        step=1,
        slider_high=32,
        advice="The default is 8.",
        planned=False,
    )

    inner_layer: int | None = layer_of_cut(
        None,
        "Layer of the cut inside the LLM",
        "First layer that runs without the tokens that are dropped inside the LLM.",
        unset="20 of 28, scaled to the model's depth",
    )
    inner_keep_ratio: float = knob(
        0.3,
        "Tokens kept inside the LLM",
        "Share of the tokens that entered the LLM which the cut inside it keeps.",
        bounds=SHARE,
        step=0.05,
        advice="The default is 0.3. Use 1 to keep all.",
    )

    name = "flashvid"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        per_frame = patches.shape[1]
        left = self._left(per_frame)
        if left == per_frame:
            return None
        if tower is None:
            raise Refusal("FlashVID picks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        picked = ceil(exact(self.picked_share) * left)
        return merge_by_trees(
            patches, tower.received, picked, left - picked, self.segment_threshold, self.least_segments, self.link_threshold
        )

    def _left(self, tokens_per_frame: int) -> int:
        """How many tokens of a frame enter the LLM."""
        if self.keep_ratio == 1:
            return tokens_per_frame
        return min(tokens_per_frame, ceil(exact(self.keep_ratio) * exact(self.expansion) * tokens_per_frame))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return frames * self._left(tokens_per_frame)

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> FlashVID:
        return self if self.inner_layer is not None else replace(self, inner_layer=self._cut(num_layers))

    def _cut(self, num_layers: int) -> int:
        """The layer of the cut inside a model of this depth."""
        return max(1, layer_at_depth(20, num_layers, 28)) if self.inner_layer is None else self.inner_layer

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self._cut(num_layers), 1.0, 1.0 if self.keep_ratio == 1 else self.inner_keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        left = merged_tokens if self.keep_ratio == 1 else ceil(exact(self.inner_keep_ratio) * merged_tokens)
        return drop_once(num_layers, self._cut(num_layers), merged_tokens, left)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return last_token_flops(shape, lengths)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        if self._left(tokens_per_frame) == tokens_per_frame:
            return 0
        return tree_merge_flops(shape.hidden_size, vision, frames, tokens_per_frame)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
