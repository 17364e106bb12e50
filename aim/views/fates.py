"""What became of every patch by the time a layer runs, as numbers: no colours and no pixels here."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from aim.kernels.trace import Trace


class Fate(IntEnum):
    """What a layer still has of a patch."""

    STANDS = 0  # a token of the layer stands at its place
    MERGED = 1  # its token is in the layer and stands at another patch's place
    MERGED_INSIDE = 2  # inside the language model its token was averaged into another, which is in the layer
    JUST_DROPPED = 3  # its token was in the layer before, alone or in another, and no longer is
    DROPPED = 4  # its token was dropped earlier inside the language model
    LEFT_OUT = 5  # it was dropped before the language model and belongs to no token


def spread(values: np.ndarray, assignment: np.ndarray, absent: float) -> np.ndarray:
    """One value [M, ...] a merged token as one a patch, `assignment.shape` + [...]; `absent` where a patch belongs to no token."""
    tail = np.full((1, *values.shape[1:]), absent, values.dtype)
    return np.concatenate([values, tail])[assignment]  # -1 reads the tail


def fates(trace: Trace, layer: int, just: bool = True) -> np.ndarray:
    """The `Fate` of every patch in a layer, uint8 [F, T].

    Args:
        just: whether what was dropped just before the layer is told apart from what was dropped earlier.

    Raises:
        ValueError: the run has no such layer.
    """
    if not 0 <= layer < len(trace.tokens_per_layer):
        raise ValueError(f"Layer {layer} was asked for, and the run has layers 0 to {len(trace.tokens_per_layer) - 1}.")
    assignment = np.asarray(trace.assignment)
    holder, before = holders(trace, layer), holders(trace, max(0, layer - 1)) >= 0
    stands = np.zeros(assignment.size, bool)
    stands[places(trace)[np.asarray(trace.survivors[layer])]] = True  # several tokens may stand at one place
    merged = np.where(holder == assignment, Fate.MERGED, Fate.MERGED_INSIDE)
    dropped = np.where(just & before, Fate.JUST_DROPPED, Fate.DROPPED)
    gone = np.where(assignment < 0, Fate.LEFT_OUT, np.where(holder >= 0, merged, dropped))
    return np.where(stands.reshape(assignment.shape), Fate.STANDS, gone).astype(np.uint8)


def holders(trace: Trace, layer: int) -> np.ndarray:
    """The merged token of the layer that every patch is in, long [F, T]; -1 where it is in none."""
    return spread(np.asarray(trace.held_in(layer)), np.asarray(trace.assignment), -1)


def places(trace: Trace) -> np.ndarray:
    """The patch at whose place each merged token stands, long [M]: its anchor, or its first patch where a trace records no anchors."""
    if len(trace.anchors) == trace.merged_tokens:
        return np.asarray(trace.anchors)
    tokens, first = np.unique(np.asarray(trace.assignment).reshape(-1), return_index=True)
    return first[tokens >= 0]


def telling_layer(trace: Trace) -> int:
    """Where dropping shows best: the last layer that has some tokens and not all; without one, the last layer."""
    alive = [len(tokens) for tokens in trace.survivors]
    partly = [layer for layer, count in enumerate(alive) if layer and 0 < count < trace.merged_tokens]
    return partly[-1] if partly else len(alive) - 1


def tokens_by_frame(trace: Trace, layer: int | None = None) -> np.ndarray:
    """How many different tokens have patches in each frame, int [F]: of all that entered layer 0, or of those alive in `layer`.

    A token has the patches of what was averaged into it, too.
    """
    shown = np.asarray(trace.assignment) if layer is None else holders(trace, layer)
    ordered = np.sort(shown, axis=1)
    new = np.concatenate([np.ones((len(ordered), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    return (new & (ordered >= 0)).sum(axis=1)
