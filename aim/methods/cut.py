"""A cut inside the LLM: what a method knows where a layer is to run on fewer visual tokens, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """What is known before a layer that runs on fewer visual tokens than there are. Of the prompt's n tokens v are visual.

    Attributes:
        layer: the layer that the cut is made before.
        target: how many visual tokens it is to run on, 0 to v - 1.
        layers: how many layers the LLM has.
        counts: how many visual tokens entered the LLM, and then how many each layer before this one ran on.
        hidden: [n, C], the states that enter the layer.
        visual, question: long, the places of the v visual tokens and of the question's, ascending.
        score: float32 [n], the importance of all tokens as the last scored layer gave it; None where none was scored.
        spots: long [v], equal for tokens at the same place of different frames.
        norm: the text model's final norm.
    """

    layer: int
    target: int
    layers: int
    counts: list[int]
    hidden: Tensor
    visual: Tensor
    question: Tensor
    score: Tensor | None
    spots: Tensor
    norm: Callable[[Tensor], Tensor]

    @property
    def merged(self) -> int:
        """How many visual tokens entered the LLM."""
        return self.counts[0]


@dataclass(frozen=True)
class Kept:
    """What stays of v visual tokens.

    Attributes:
        chosen: long [target], ascending, which of them (0...v-1).
        hidden: [target, C], their new states; None where they stay as they are.
        into: long [v], which of the chosen (0...target-1) each token is in, -1 for none. The chosen are in themselves. None where no token
            went into another.
    """

    chosen: Tensor
    hidden: Tensor | None = None
    into: Tensor | None = None


def highest(cut: Cut) -> Kept:
    """The tokens with the highest scores. Of equal scores the earlier token wins, on every device.

    Raises:
        ValueError: some tokens are to stay, and nothing was scored.
    """
    if not cut.target:
        return Kept(cut.visual[:0])
    if cut.score is None:
        raise ValueError(f"{cut.target} tokens are to stay before layer {cut.layer}, and no score says which; give the method a `score`.")
    ranked = cut.score[cut.visual].argsort(descending=True, stable=True)
    return Kept(ranked[: cut.target].sort().values)


def places_in(chosen: Tensor, tokens: int) -> Tensor:
    """For each of v = `tokens` tokens, which of the chosen it is, long [v]; -1 for the others."""
    own = torch.arange(len(chosen), device=chosen.device)
    return torch.full((tokens,), -1, device=chosen.device).scatter_(0, chosen, own)
