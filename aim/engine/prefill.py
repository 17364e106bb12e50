"""One prefill under `aim.reduce`: it is merged before the first layer, and tokens are dropped inside the LLM.

`Prefill` is a batch, and each prompt in it is an `aim.engine.sequence.Sequence`. Prompts of different length are padded on the left. The
method says how many visual tokens a layer runs on, and the scores say which.

Some text models have layers of linear attention between those that attend to keys. Such a layer keeps a state that it makes of its own
input, token by token, and a convolution over the last few. So tokens that are sliced away before it are tokens that its state has never
met, and the rest follow one another as in a shorter prompt. That is what the layer computes here, and it is not what a mask would give: a
masked token enters as zeros, which still stand in the convolution and let the state decay. Such layers give no scores. A cut goes by those
of the last layer before it that attends to keys, or looks ahead to the next one, and several cuts may share them.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from aim.engine import seams
from aim.engine.copies import moved
from aim.engine.decoding import Continuation, Decoding
from aim.engine.deepstack import DeepStack
from aim.engine.finite import FiniteCheck
from aim.engine.places import Places, padded, taken
from aim.engine.prompt import Prompt
from aim.engine.sequence import Sequence
from aim.engine.timing import Stopwatch
from aim.families.pixel_change import Change
from aim.kernels.products import exact_products
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method


class Prefill:
    """A batch of B prompts, and what each layer keeps of it."""

    def __init__(
        self,
        method: Method,
        trace: Trace,
        score_all: bool,
        prompts: list[Prompt],
        embeddings: Tensor,
        parts: seams.Parts,
        told: Tensor | None,
    ):
        """`told`: [B, N], 0 for text, as the model was told where pictures are, without which their tokens do not see one another."""
        self.method, self.score_all, self.parts, self.told = method, score_all, parts, told
        self.attending = [index for index, layer in enumerate(parts.layers) if seams.attends(layer)]
        self.watch = Stopwatch(embeddings.device)
        self.started = self.watch.now()
        for item in fields(Trace):
            if item.name != "num_layers":
                setattr(trace, item.name, getattr(Trace(), item.name))
        trace.further = [Trace(num_layers=trace.num_layers) for _ in prompts[1:]]
        self.finite = FiniteCheck()
        self.rows = [Sequence(prompt, one, embeddings.device) for prompt, one in zip(prompts, trace.prompts, strict=True)]
        self.paddings: list[list[int]] = []
        self.lengths: list[list[int]] = []
        self.seen: list[Tensor] = []

    def enter(self, kwargs: dict, tower: dict[str, TowerAttention], changes: dict[str, Change]) -> dict:
        """Before layer 0: merge, and give every remaining token its position.

        The mask that is passed on is all ones, because without a mask transformers would take gaps in the positions for several packed
        prompts. Padding is masked layer by layer, since layers differ in it.

        Args:
            kwargs: the arguments of the text model, with embeddings [B, N, C].
            tower: what the vision tower attended to, by kind of picture.
            changes: what is known of the change of pixels, by kind of picture.

        Returns:
            The same arguments with embeddings [B, n, C], positions and mask for n ≤ N tokens.

        Raises:
            Refusal: as `Sequence.merge`.
        """
        kwargs, self.deepstack = DeepStack.taken(kwargs, self.rows, seams.word_scale(self.parts))
        embeddings = kwargs[seams.EMBEDDINGS]
        tower = {kind: seen for kind, seen in tower.items() if seen.received.numel() == self._encoded(kind)}
        known = {kind: partial(change.of, self._encoded(kind)) for kind, change in changes.items()}
        with self.watch.measure("merge"), exact_products():
            entered, origins = [], []
            for row, patches in zip(self.rows, self.deepstack.shown(embeddings), strict=True):
                padding = row.prompt.padding
                merged = row.merge(self.method, patches[padding:], tower, known, self.finite)
                if merged is None:
                    merged = patches[padding:], torch.arange(row.prompt.length, device=patches.device)
                entered.append(merged[0])
                origins.append(merged[1])
                row.targets = self.method.runs_on(row.trace.num_layers, len(row.alive), self.attending[0])
            entered = self.deepstack.entering(embeddings, entered, origins)
            untouched = len(self.rows) == 1 and entered[0].shape[0] == embeddings.shape[1]
            embeddings = embeddings if untouched else padded(entered, dim=0)
        self.entry = [row.length for row in self.rows]
        positions = self._positions(kwargs.get(seams.POSITIONS), origins, kwargs[seams.EMBEDDINGS])
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        masks = seams.layer_masks(self.parts, mask)
        return {**kwargs, seams.EMBEDDINGS: embeddings, seams.POSITIONS: positions, seams.MASK: masks}

    def _encoded(self, kind: str) -> int:
        """How many visual tokens pictures of one kind have in the whole batch."""
        spans = [span for row in self.rows for span in row.prompt.tower_tokens]
        return max((last for name, _, last in spans if name == kind), default=0)

    def _positions(self, given: Tensor | None, origins: list[Tensor], prompts: Tensor) -> Tensor:
        """The positions of the tokens that enter layer 0, [B, n] or [axes, B, n]. prompts [B, N, C]. Notes where decoding goes on."""
        if given is not None and given.shape[-2] == 1 < len(self.rows):
            given = given.expand(*given.shape[:-2], len(self.rows), -1)
        parts, largest = [], []
        for number, (row, origin) in enumerate(zip(self.rows, origins, strict=True)):
            before = None if given is None else given[..., number, row.prompt.padding :]
            if self._renumbers(given):
                own = torch.arange(len(origin), device=prompts.device)
            elif before is None:
                own = origin
            else:
                own = before[..., moved(origin, before.device)]
            parts.append(own)
            largest.append(own[-1:] if before is None or own.dim() == 1 else before[-3:].amax().expand(3, 1))
            row.trace.positions = own[..., row.visual.to(own.device)] if own.dim() == 1 else own[-3:, row.visual.to(own.device)]
        self.several_axes = parts[0].dim() > 1
        dropped = None
        if not self.several_axes and (given is None or self._renumbers(given)):
            last = prompts.shape[1] - 1 if given is None else given[..., -1:]
            dropped = last - torch.stack([part[-1:] for part in parts])
        self.continuation = Continuation(dropped, torch.stack(largest, dim=-2) + 1)
        places = [own if own.dim() == 1 else origin for own, origin in zip(parts, origins, strict=True)]
        self.places = Places([row.prompt for row in self.rows], origins, places, self.parts, self.told)
        return padded(parts, dim=-1)

    def _renumbers(self, given: Tensor | None) -> bool:
        """Whether positions number the kept tokens. Positions of several axes are places in a picture, so they always stay."""
        return self.method.positions in ("compact", "renumbered") and (given is None or given.dim() == 2)

    def layer(self, index: int, module: nn.Module, hidden: Tensor, kwargs: dict) -> tuple[Tensor, dict]:
        """Before layer `index`: drop what the schedule drops there. hidden [B, n, C], padded on the left.

        Returns:
            The hidden states of the tokens that stay, and the layer's other arguments cut to match.
        """
        given, hidden = kwargs, self.deepstack.before(index, hidden)
        kwargs = self.places.cut_to_match(index, given)
        for row in self.rows if self.method.decides else ():
            row.plan(self.method, index)
        falling = [row for row in self.rows if row.targets[index] < len(row.alive)]
        if falling:
            if self.method.looks_ahead and any(row.targets[index] for row in falling):
                self._look_ahead(index, hidden, kwargs)
            hidden = self._cut(index, hidden)
            kwargs = self.places.cut_to_match(index, given)
        self._record(hidden)
        mask = self.places.mask(index, self.paddings[-1], hidden.device)
        if mask is not None:
            kwargs = {**kwargs, seams.MASK: mask}
        stage = self._wants_score(index)
        if stage:
            kwargs = {**kwargs, "observe": partial(self.observe, index, stage)}
        return hidden, kwargs

    def _look_ahead(self, index: int, hidden: Tensor, kwargs: dict) -> None:
        """Score the tokens by the first layer from `index` on that attends to keys; they are recorded as scores of the layer before."""
        probed = next((after for after in self.attending if after >= index), self.attending[-1])
        tables = kwargs[seams.TABLES]
        seams.look_ahead(self.parts.layers[probed], hidden, tables, partial(self.observe, probed, "importance"))

    def _cut(self, index: int, hidden: Tensor) -> Tensor:
        """Drop tokens of every row, and note which stay."""
        norm = partial(seams.final_norm, self.parts)
        kept: list[Tensor] = []
        states: list[Tensor | None] = []
        for row in self.rows:
            padding = hidden.shape[1] - row.length
            with exact_products():
                stay, own = row.cut(self.method, index, hidden[len(kept), padding:], norm)
            kept.append(stay.to(hidden.device) + padding)
            states.append(own)
        here = padded(kept, dim=-1)
        lengths = [row.length for row in self.rows]
        self.places.cut(here, lengths, renumber=self.method.positions == "renumbered" and not self.several_axes)
        hidden = taken(hidden, here, dim=1)
        for number, (row, own) in enumerate(zip(self.rows, states, strict=True)):
            if own is not None:
                hidden[number, (row.visual + hidden.shape[1] - row.length).to(hidden.device)] = own.to(hidden.dtype)
        return hidden

    def _record(self, hidden: Tensor) -> None:
        self.paddings.append([hidden.shape[1] - row.length for row in self.rows])
        self.lengths.append([row.length for row in self.rows])
        self.seen.append(self.places.now)
        for row in self.rows:
            row.trace.tokens_per_layer.append((len(row.alive), len(row.text)))
            row.trace.survivors.append(row.alive)
            row.trace.scores.append(None)

    def _wants_score(self, index: int) -> str | None:
        """The stage that the time for a layer's scores counts towards; None where it is not scored.

        It is "importance" where the scores decide which tokens stay, and "inspection" where they are only looked at.
        """
        if index not in self.attending:
            return None
        if self.method.decides:
            coming = [(self.method.decided(row.counts, row.trace.num_layers), len(row.alive)) for row in self.rows]
            if any(target is not None and 0 < target < alive for target, alive in coming):
                return "importance"
        elif not self.method.looks_ahead:
            following = next((after + 1 for after in self.attending if after > index), None)
            if any(0 < target < len(row.alive) for row in self.rows for target in row.targets[index + 1 : following]):
                return "importance"
        return "inspection" if self.score_all and any(len(row.alive) for row in self.rows) else None

    def observe(self, index: int, stage: str, query: Tensor, key: Tensor, scaling: float) -> None:
        """Inside a layer's attention: score its tokens, and time that under `stage`. query [B, H, n, d], key [B, KV, n, d]."""
        with self.watch.measure(stage, query.device), exact_products():
            self.finite.note(f"The queries of layer {index}", query)
            self.finite.note(f"The keys of layer {index}", key)
            for number, row in enumerate(self.rows):
                if len(row.alive):
                    padding = query.shape[2] - row.length
                    row.observe(self.method, query[number, :, padding:], key[number, :, padding:], scaling)
                    if row.trace.scores:
                        row.trace.scores[-1] = row.score

    @property
    def shortened(self) -> bool:
        """Whether a layer ran on fewer tokens than its prompt has."""
        return any(length < row.prompt.length for lengths in self.lengths for row, length in zip(self.rows, lengths, strict=True))

    def leave(self, cache: Any) -> Decoding:
        """After the last layer: complete the record, and prepare the decoding. `cache` is the KV cache, or None where none is kept.

        Raises:
            NotFinite: a tensor that tokens were merged or scored by was not finite.
        """
        self.watch.add("llm_prefill", self.started)
        seconds = {"merge": 0.0, "importance": 0.0, **self.watch.seconds()}
        seconds["llm_prefill"] -= seconds["merge"] + seconds["importance"] + seconds.get("inspection", 0.0)
        # A layer without keys has no padding among them.
        paddings = [padding if layer in self.attending else [0] * len(self.rows) for layer, padding in enumerate(self.paddings)]
        for number, row in enumerate(self.rows):
            row.finish(seconds, cache, [padding[number] for padding in paddings])
        self.finite.settle()
        renumbered = self.method.positions == "renumbered" and not self.several_axes
        behind = [[(before - row) * renumbered for before, row in zip(self.entry, lengths, strict=True)] for lengths in self.lengths]
        return Decoding(cache, self.parts, self.continuation, paddings, behind, self.seen, self.places.longest)
