"""AIM with other importances, for PageRank to beat. Only the benchmark uses them, so they are not in the table of methods."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from aim.kernels.cost import ModelShape, last_token_flops
from aim.kernels.importance import last_token_attention
from aim.methods import AIM


@dataclass(frozen=True)
class LastToken(AIM):
    """A token's importance is the attention the prompt's last token pays it, mean over the heads (FastV, arXiv 2403.06764)."""

    name = "last-token attention"

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return last_token_flops(shape, lengths)


@dataclass(frozen=True)
class RandomScore(AIM):
    """Random importance. The last token's query seeds it, so that the same question about the same clip gets the same numbers."""

    name = "random importance"

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        content = query[:, -1].float().cpu().numpy().tobytes()
        generator = torch.Generator().manual_seed(int.from_bytes(blake2b(content, digest_size=7).digest()))
        return torch.rand(query.shape[1], generator=generator).to(query.device)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return 0
