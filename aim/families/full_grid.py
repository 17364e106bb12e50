"""Who watches an attention layer of a reduced vision tower asks here for the full grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor, nn

from aim.kernels.refusal import Refusal


class Spreading(Protocol):
    """A pass of a reduced tower, which knows how its full grid comes back."""

    def spread(self, values: Tensor) -> Tensor:
        """Values of the tokens that are computed → those of the full grid."""
        ...

    def whole_bounds(self, bounds: Tensor) -> Tensor:
        """Where frames or windows begin in the tower's row of tokens → where they begin in the full grid's."""
        ...


_REDUCED: dict[object, Spreading] = {}


def full_grid(attention: object, values: Tensor) -> Tensor:
    """What a projection of an attention layer has just made for the tokens that it runs on, for all tokens of the tower's grid.

    Where the tower is reduced each patch gets its merged patch's, or its own from the frame where it was computed. Elsewhere these are
    `values` themselves.
    """
    reduced = _REDUCED.get(attention)
    return values if reduced is None else reduced.spread(values)


def full_bounds(attention: object, bounds: Tensor) -> Tensor:
    """Where frames or windows begin in the row of tokens that an attention layer runs on → where they begin in the full grid's."""
    reduced = _REDUCED.get(attention)
    return bounds if reduced is None else reduced.whole_bounds(bounds)


@contextmanager
def reducing(attentions: Sequence[nn.Module], state: Spreading) -> Iterator[None]:
    """A block in which these attention layers run on fewer tokens.

    Raises:
        Refusal: they do so already.
    """
    if any(attention in _REDUCED for attention in attentions):
        raise Refusal("The vision tower is being reduced already; leave that block first, or load a second model.")
    _REDUCED.update(dict.fromkeys(attentions, state))
    try:
        yield
    finally:
        for attention in attentions:
            del _REDUCED[attention]
