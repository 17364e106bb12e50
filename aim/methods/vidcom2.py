"""VidCom2: more tokens for the frames that stand out, and in each frame those that stand out (EMNLP 2025, arXiv 2505.14454)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.bounds import SHARE
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import tokens_of
from aim.kernels.distinctness import distinct_places, distinctness_flops
from aim.kernels.dropping import kept_alone
from aim.kernels.merging import MergedClip
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class VidCom2(Method):
    """Drops the tokens that are most like the mean of their frame and of the clip, before the LLM. Frames that stand out keep more.

    The rule is that of xuyang-liu16/VidCom2 (944a17d), and with `exact` that of vLLM 0.32 (`vllm/multimodal/video_prune/vidcom2.py`). See
    `aim.kernels.distinctness.distinct_places` for the arithmetic. Nothing is merged. Kept tokens are numbered 0, 1, 2…, as the official
    code does in LLaVA. Under M-RoPE they keep their positions, as there in Qwen and as in vLLM.

    Without `exact` the rounded counts of the frames need not sum to ⌊keep_ratio · F·T⌋. The plan states that number, at least one token a
    frame, and a run counts what it really kept: within half a token a frame where no frame is full, and fewer above a ratio of about one
    half, where a frame that stands out cannot keep more than all. Nobody knows the number before the clip is seen, so the host waits for
    the device once. With `exact` it is known.

    This method deviates from the source in three points. Counts are exact floors, where vLLM multiplies in floats. A keep_ratio of 1 keeps
    all, where the official code may still drop some. "llava_ov" fixes 196 tokens a frame there, and here T is the model's.

    Memory is O(F·T·C) for the tokens in float32. No vision tower is read.
    """

    keep_ratio: float = knob(
        0.25,
        "Tokens kept (keep ratio)",
        "Share of the clip's visual tokens that is kept.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to keep all.",
        advanced=False,
    )
    exact: bool = knob(
        False,
        "Exact count",
        "Keep exactly the share that was asked for, as vLLM does. The paper's own code rounds frame by frame.",
        choices=(("off", False), ("on", True)),
        advice="The default is off.",
    )

    name = "vidcom2"
    positions = "compact"

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, _ = patches.shape
        count = self.merged_tokens(frames, per_frame)
        if count == frames * per_frame:
            return None
        return kept_alone(patches, distinct_places(patches, self.keep_ratio, count if self.exact else None))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return max(frames, tokens_of(self.keep_ratio, frames * tokens_per_frame))

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        unchanged = self.merged_tokens(frames, tokens_per_frame) == frames * tokens_per_frame
        return 0 if unchanged else distinctness_flops(shape.hidden_size, frames, tokens_per_frame)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
