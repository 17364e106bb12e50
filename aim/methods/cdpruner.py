"""CDPruner: keep visual tokens that are relevant to the question and unlike one another (NeurIPS 2025, arXiv 2506.10967)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.conditional_diversity import conditional_diversity_flops, diverse_and_relevant, relevance
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import tokens_of
from aim.kernels.dropping import kept_alone
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class CDPruner(Method):
    """Each frame keeps the tokens that a greedy search over relevance and diversity picks, as they are, and drops the others.

    See `aim.kernels.conditional_diversity` for the arithmetic; the repository is Theia-4869/CDPruner. It takes O(N·(C + k)) memory for N
    tokens of size C, of which a frame keeps k.

    This method deviates from the official code in what relevance is measured by. The code compares CLIP's patches with CLIP's embedding
    of the question. Most video LLMs have no text tower, so here the LLM's own input embeddings are compared: the projected visual tokens
    with the embeddings of the text behind the clip, chat markers included. The code's minus is kept: tokens of *low* cosine with the
    question count as relevant. That is a property of CLIP's patches, and nothing says that it holds for an LLM's embeddings.

    It further deviates in the count: the code takes a number of tokens for each image; here ⌊keep_ratio · T⌋ of a frame's T are kept, at
    least 1. The frames of a clip stand for the images of a batch. Under M-RoPE tokens keep their positions. More tokens than channels make
    the code divide 0 by 0; here the lowest places are then taken.
    """

    keep_ratio: float = share_kept(0.25, "Share of each frame's visual tokens that is kept.")
    relevance_over: str = knob(
        "clip",
        "Relevance is scaled over",
        "Whether the least and the largest relevance are those of the whole clip or of each frame.",
        choices=(("the clip", "clip"), ("each frame", "frame")),
        advice="The default is clip.",
        planned=False,
    )

    name = "cdpruner"
    positions = "compact"
    needs_question = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, _ = patches.shape
        if self.keep_ratio == 1:
            return None
        if question is None or not len(question):
            raise Refusal("CDPruner keeps what is relevant to a question, and none was given. Ask a question behind the clip.")
        relevant = relevance(patches, question, self.relevance_over == "clip")
        kept = diverse_and_relevant(patches, relevant, self._count(per_frame))
        return kept_alone(patches, (kept + per_frame * torch.arange(frames, device=patches.device)[:, None]).flatten())

    def _count(self, tokens_per_frame: int) -> int:
        return max(1, tokens_of(self.keep_ratio, tokens_per_frame))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return frames * self._count(tokens_per_frame)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        if self.keep_ratio == 1:
            return 0
        return conditional_diversity_flops(shape.hidden_size, frames, tokens_per_frame, merged_tokens // frames)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
