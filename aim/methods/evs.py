"""EVS: keep the visual tokens that changed since the frame before (Efficient Video Sampling, arXiv 2510.14624)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.change import change_flops, changed_places
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import tokens_of
from aim.kernels.dropping import kept_alone
from aim.kernels.merging import MergedClip
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class EVS(Method):
    """Drops the tokens that are most like the token at the same place in the frame before, over the whole clip and before the LLM.

    The rule is that of vLLM 0.32 (`vllm/multimodal/video_prune/evs.py`) and of transformers 5.23 (`nemotron_h_omni`). A token's change is
    1 - cosine similarity of the projected tokens. Frame 0 always stays whole, so a clip keeps max(T, ⌊keep_ratio · F·T⌋) tokens, and a
    picture or a clip of one frame keeps all. Nothing is merged.

    Kept tokens are numbered 0, 1, 2…, as in transformers. Under M-RoPE they keep their positions, as in vLLM.

    This method deviates from the source in two points. vLLM states the share that goes, q = 1 - keep_ratio, and computes the count in
    floats, so that 980 tokens at 0.1 give 97 there and 98 here. Both leave EVS off unless q is given. The default here is the q = 0.7 of
    NVIDIA's Nemotron models, which were trained with it.

    Memory is O(F·T·C) for the tokens in float32. No vision tower is read.
    """

    keep_ratio: float = share_kept(0.3, "Share of the clip's visual tokens that is kept. The first frame is always kept whole.")

    name = "evs"
    positions = "compact"

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, _ = patches.shape
        count = self.merged_tokens(frames, per_frame)
        return None if count == frames * per_frame else kept_alone(patches, changed_places(patches, count))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return max(tokens_per_frame, tokens_of(self.keep_ratio, frames * tokens_per_frame))

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        unchanged = self.merged_tokens(frames, tokens_per_frame) == frames * tokens_per_frame
        return 0 if unchanged else change_flops(shape.hidden_size, frames, tokens_per_frame)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
