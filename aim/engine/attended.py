"""What each generated token looked at: the attention of the token before it, layer by layer, over the visual tokens that are still there.

The token that a forward ends with is the one whose hidden state becomes the next token. Its row of attention is computed from the queries
and keys that our attention function sees, once more and alone, so no layer makes a map. Only `aim.reduce(..., attention=True)` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from torch import Tensor

from aim.engine.copies import moved, on_cpu
from aim.engine.timing import Stopwatch
from aim.kernels.row_attention import row_attention
from aim.kernels.trace import Trace

# Bytes of a run's rows, on the CPU. 64 tokens of an unmerged clip of 32 frames (6,272 visual tokens in 28 layers, float16) take 22 MB.
MEMORY_BUDGET = 64 * 2**20
OBSERVE = "observe"


class Attended:
    """The rows of one prompt, added to `trace.attention` forward by forward.

    The first forward is the prefill, which tells where each layer's visual tokens stand. They stand there until the run ends.

    Args:
        trace: of this prompt.
        watch: the prefill's; the time of its rows counts as "inspection".
        without: layers that get no row, because their window has forgotten some of the tokens.
        memory_budget: bytes of all rows together. When they are full, later tokens get none.
    """

    def __init__(self, trace: Trace, watch: Stopwatch, without: Container[int] = (), memory_budget: int = MEMORY_BUDGET):
        self._trace, self._watch, self._without, self._left = trace, watch, without, memory_budget
        self._places: list[Tensor] = []
        self._rows: dict[int, Tensor] = {}

    def in_prefill(self, index: int, places: Tensor, kwargs: dict, attends: bool) -> dict:
        """A layer's arguments in the prefill, in which its visual tokens stand at `places`, long [visual]. The last row is noted too, where
        the layer attends to keys."""
        self._places.append(places)
        return self._observed(index, kwargs, self._timed) if attends else kwargs

    def in_step(self, index: int, kwargs: dict) -> dict:
        """The arguments of a layer that attends to keys in a decoding step, so that its row is noted."""
        return self._observed(index, kwargs, self._note) if self._left > 0 else kwargs

    def end(self) -> None:
        """After a forward: move its rows to the CPU in one copy, and add them to the record."""
        if self._left <= 0:
            return
        rows = dict(zip(self._rows, on_cpu(list(self._rows.values())), strict=True))
        self._rows = {}
        self._left -= sum(row.nbytes for row in rows.values())
        if self._left >= 0:
            self._trace.attention.append([rows.get(layer) for layer in range(len(self._places))])

    def _observed(self, index: int, kwargs: dict, note: Callable[..., None]) -> dict:
        """The arguments with `note` as observer, behind the one that is there already."""
        if index in self._without:
            return kwargs
        first = kwargs.get(OBSERVE)

        def observe(query: Tensor, key: Tensor, scaling: float) -> None:
            if first is not None:
                first(query, key, scaling)
            note(index, query, key, scaling)

        return {**kwargs, OBSERVE: observe}

    def _timed(self, index: int, query: Tensor, key: Tensor, scaling: float) -> None:
        with self._watch.measure("inspection", query.device):
            self._note(index, query, key, scaling)

    def _note(self, index: int, query: Tensor, key: Tensor, scaling: float) -> None:
        """query [1, H, n, d] of which the last token's counts, key [1, KV, n, d]."""
        row = row_attention(query[0, :, -1], key[0], scaling)
        self._rows[index] = row[moved(self._places[index], row.device)].half()
