"""Dropped tokens averaged into kept ones inside the LLM, one after the other (the inner half of HoliTom, arXiv 2505.21334)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize


def halve_into_nearest(states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Average each dropped token into the kept one that is most like it: kept = (kept + dropped) / 2, in the order of places.

    So a token that comes later weighs more: the last of m that go into one kept token weighs 1/2, the one before it 1/4, and the kept token
    itself 2^-m. Likeness is the cosine of the states as they came in; of equal ones the lower place is taken. It takes O(k·v) memory.

    Args:
        states: [v, C], floating.
        chosen: long [k], ascending, the tokens that are kept, k ≥ 1.

    Returns:
        Their new states [k, C], float32; and long [v], which of the chosen each token went into, the chosen into themselves.
    """
    tokens, kept, device = len(states), len(chosen), states.device
    unit = normalize(states.float(), dim=-1)
    own = torch.arange(kept, device=device)
    into = (unit @ unit[chosen].T).argmax(dim=1).scatter(0, chosen, own)
    is_dropped = torch.ones(tokens, dtype=torch.long, device=device).scatter_(0, chosen, 0)
    order = (2 * into + is_dropped).argsort(stable=True)  # group by group, the kept token first and then those it takes in
    sizes = torch.zeros(kept, dtype=torch.long, device=device).scatter_add_(0, into, torch.ones_like(into))
    starts, group = sizes.cumsum(0) - sizes, into[order]
    place = torch.arange(tokens, device=device) - starts[group]
    weights = torch.exp2(-(sizes[group] - place.clamp(min=1)).float())
    # A bag is summed in its own sequence, whatever the number of threads.
    return embedding_bag(order, states.float(), starts, mode="sum", per_sample_weights=weights), into


def halving_flops(hidden: int, tokens: int, kept: int) -> int:
    """FLOPs of `halve_into_nearest` on states of size C = `hidden`: 3·C a token (unit vectors) + 2·k·C (cosines) + 2·C (weighted sum)."""
    return tokens * (5 + 2 * kept) * hidden
