"""One prefill under `aim.reduce`: merged and pruned on the way in, counted on while decoding.

`Prefill` is a batch, each prompt of it an `aim.engine.sequence.Sequence`; those of different length are padded on the left. How many
tokens a layer runs on is the method's to say; which of them, the scores'.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial

import torch
from torch import Tensor, nn

from aim.engine.prompt import Prompt
from aim.engine.sequence import Sequence
from aim.engine.timing import Stopwatch
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method


class Prefill:
    """A batch of B prompts: what each layer keeps of it, and where decoding goes on."""

    def __init__(self, method: Method, trace: Trace, score_all: bool, prompts: list[Prompt], embeddings: Tensor, cache, rotary: nn.Module):
        self.method, self.score_all, self.cache, self.rotary = method, score_all, cache, rotary
        self.watch = Stopwatch(embeddings.device)
        self.started = self.watch.now()
        for item in fields(Trace):
            if item.name != "num_layers":
                setattr(trace, item.name, getattr(Trace(), item.name))
        trace.further = [Trace(num_layers=trace.num_layers) for _ in prompts[1:]]
        self.rows = [Sequence(prompt, one, embeddings.device) for prompt, one in zip(prompts, trace.prompts, strict=True)]
        self.changed: dict = {}
        self.paddings: list[list[int]] = []
        self.shifts: list[list[int]] = []
        self.masks: dict[tuple[int, ...], Tensor] = {}
        self.next_position: Tensor | None = None

    def enter(self, kwargs: dict, tower: dict[str, TowerAttention]) -> dict:
        """Before layer 0: merge, and give every remaining token its position. The mask given on is all ones, or gaps in the positions
        would be taken for several packed prompts; padding is masked in every layer, where it differs."""
        embeddings = kwargs["inputs_embeds"]
        tower = {kind: seen for kind, seen in tower.items() if seen.received.numel() == self._encoded(kind)}
        with self.watch.measure("merge"):
            entered, origins = [], []
            for row, patches in zip(self.rows, embeddings, strict=True):
                padding = row.prompt.padding
                merged = row.merge(self.method, patches[padding:], tower)
                if merged is None:
                    merged = patches[padding:], torch.arange(row.prompt.length, device=patches.device)
                entered.append(merged[0])
                origins.append(merged[1])
                row.targets = self.method.kept(row.trace.num_layers, len(row.alive))
            untouched = len(self.rows) == 1 and entered[0].shape[0] == embeddings.shape[1]
            embeddings = embeddings if untouched else _padded(entered, dim=0)
        self.entry = [row.length for row in self.rows]
        positions = self._positions(kwargs.get("position_ids"), origins, embeddings.device)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        return {**kwargs, "inputs_embeds": embeddings, "position_ids": positions, "attention_mask": mask}

    def _encoded(self, kind: str) -> int:
        """Visual tokens of one kind of picture in the whole batch."""
        spans = [span for row in self.rows for span in row.prompt.tower_tokens]
        return max((last for name, _, last in spans if name == kind), default=0)

    def _positions(self, given: Tensor | None, origins: list[Tensor], device: torch.device) -> Tensor:
        """Positions of the tokens that enter layer 0, [B, n] or [axes, B, n]; notes where decoding goes on, [B, 1] or [axes, B, 1]."""
        if given is not None and given.shape[-2] == 1 < len(self.rows):
            given = given.expand(*given.shape[:-2], len(self.rows), -1)
        parts = []
        for number, (row, origin) in enumerate(zip(self.rows, origins, strict=True)):
            if self._renumbers(given):
                own = torch.arange(len(origin), device=device)
            elif given is None:
                own = origin
            else:
                own = given[..., number, row.prompt.padding :][..., origin.to(given.device)]
            parts.append(own)
            row.trace.positions = own[..., row.visual.to(own.device)] if own.dim() == 1 else own[-3:, row.visual.to(own.device)]
        self.several_axes = parts[0].dim() > 1
        self.next_position = torch.stack([part[..., -1:] + 1 for part in parts], dim=-2)
        return _padded(parts, dim=-1)

    def _renumbers(self, given: Tensor | None) -> bool:
        """Whether positions count the kept tokens; several axes are places in a picture, and always stay."""
        return self.method.positions in ("compact", "renumbered") and (given is None or given.dim() == 2)

    def layer(self, index: int, module: nn.Module, hidden: Tensor, kwargs: dict) -> tuple[Tensor, dict]:
        """Before a layer: drop what the schedule drops. hidden [B, n, C], padded on the left."""
        kwargs = {**kwargs, **self.changed}
        falling = [row for row in self.rows if row.targets[index] < len(row.alive)]
        if falling:
            if self.method.looks_ahead and any(row.targets[index] for row in falling):
                self._probe(module, hidden, kwargs)
            hidden, kwargs = self._cut(index, hidden, kwargs)
        self._record(hidden)
        mask = self._mask(tuple(self.paddings[-1]), hidden) if any(self.paddings[-1]) else None
        if mask is not None:
            kwargs = {**kwargs, "attention_mask": mask}
        stage = self._wants_score(index)
        if stage:
            kwargs = {**kwargs, "observe": partial(self.observe, stage)}
        return hidden, kwargs

    def _cut(self, index: int, hidden: Tensor, kwargs: dict) -> tuple[Tensor, dict]:
        """Drop tokens of every row, and cut positions to match, which the layers that follow are given too."""
        kept = []
        for row in self.rows:
            padding = hidden.shape[1] - row.length
            kept.append(row.cut(row.targets[index]).to(hidden.device) + padding)
        here = _padded(kept, dim=-1)
        hidden = _taken(hidden, here, dim=1)
        renumber = self.method.positions == "renumbered" and not self.several_axes
        if renumber:
            positions = _padded([torch.arange(row.length, device=hidden.device) for row in self.rows], dim=-1)
            tables = self.rotary(hidden, positions)
        else:
            tables = tuple(_taken(table, here, dim=-2) for table in kwargs["position_embeddings"])
        self.changed = {"position_embeddings": tables}
        if kwargs.get("position_ids") is not None:
            self.changed["position_ids"] = _taken(kwargs["position_ids"], here, dim=-1)
        self.masks = {}
        return hidden, {**kwargs, **self.changed}

    def _record(self, hidden: Tensor) -> None:
        self.paddings.append([hidden.shape[1] - row.length for row in self.rows])
        self.shifts.append([entered - row.length for entered, row in zip(self.entry, self.rows, strict=True)])
        for row in self.rows:
            row.trace.tokens_per_layer.append((len(row.alive), len(row.text)))
            row.trace.survivors.append(row.alive)
            row.trace.scores.append(None)

    def _wants_score(self, index: int) -> str | None:
        """The stage a layer's scores count towards: "importance" where they decide, "inspection" where they are only looked at."""
        if index + 1 < self.rows[0].trace.num_layers and not self.method.looks_ahead:
            following = [(row.targets[index + 1], len(row.alive)) for row in self.rows]
            if any(0 < target < alive for target, alive in following):
                return "importance"
        return "inspection" if self.score_all and any(len(row.alive) for row in self.rows) else None

    def observe(self, stage: str, query: Tensor, key: Tensor, scaling: float) -> None:
        """Inside a layer's attention: score its tokens, timed under `stage`. query [B, H, n, d], key [B, KV, n, d]."""
        with self.watch.measure(stage, query.device):
            for number, row in enumerate(self.rows):
                if len(row.alive):
                    padding = query.shape[2] - row.length
                    row.observe(self.method, query[number, :, padding:], key[number, :, padding:], scaling)
                    if row.trace.scores:
                        row.trace.scores[-1] = row.score

    def _probe(self, module: nn.Module, hidden: Tensor, kwargs: dict) -> None:
        """Score by the projections of the layer that is about to run; the scores count as those of the layer before."""
        given = {"attention_mask": None, "past_key_values": None, "position_embeddings": kwargs["position_embeddings"]}
        observe = partial(self.observe, "importance")
        module.self_attn(hidden_states=module.input_layernorm(hidden), **given, observe=observe, probe=True)

    def _mask(self, paddings: tuple[int, ...], hidden: Tensor) -> Tensor:
        """Causal, without the padding, bool [B, 1, n, n]. Padding sees itself, since a row that sees nothing gives no number."""
        if paddings not in self.masks:
            place = torch.arange(hidden.shape[1], device=hidden.device)
            shown = place >= torch.tensor(paddings, device=hidden.device)[:, None]  # [B, n]
            causal = place[:, None] >= place
            self.masks[paddings] = (causal & shown[:, None, :] | (place[:, None] == place))[:, None]
        return self.masks[paddings].to(hidden.device)

    def leave(self) -> None:
        """After the last layer: close the record."""
        self.watch.add("llm_prefill", self.started)
        seconds = {"merge": 0.0, "importance": 0.0, **self.watch.seconds()}
        seconds["llm_prefill"] -= seconds["merge"] + seconds["importance"] + seconds.get("inspection", 0.0)
        layers = [] if self.cache is None else self.cache.layers
        for number, row in enumerate(self.rows):
            row.finish(seconds, layers, [padding[number] for padding in self.paddings])
        self.changed, self.masks = {}, {}

    def decode(self, kwargs: dict) -> dict:
        """A decoding step: count on from where the prefill's positions ended; layers differ in length, so no mask can fit them all."""
        positions = self.next_position.to(kwargs["inputs_embeds"].device)
        self.next_position = positions + 1
        self.tables: dict = {}
        self.position = positions
        return {**kwargs, "position_ids": positions, "attention_mask": None}

    def decode_layer(self, index: int, kwargs: dict) -> dict:
        """Before a layer in a decoding step: mask its padding, and where positions were renumbered count on from its own."""
        paddings = self.paddings[index]
        if any(paddings):
            device = kwargs["position_embeddings"][0].device
            place = torch.arange(self.cache.layers[index].get_seq_length() + 1, device=device)
            shown = place >= torch.tensor(paddings, device=device)[:, None]
            kwargs = {**kwargs, "attention_mask": shown[:, None, None, :]}
        if self.method.positions == "renumbered" and not self.several_axes and any(self.shifts[index]):
            shifts = tuple(self.shifts[index])
            if shifts not in self.tables:
                positions = self.position - torch.tensor(shifts, device=self.position.device)[:, None]
                self.tables[shifts] = self.rotary(kwargs["position_embeddings"][0], positions)
            kwargs = {**kwargs, "position_embeddings": self.tables[shifts]}
        return kwargs


def _padded(rows: list[Tensor], dim: int) -> Tensor:
    """Stack rows of different length, zeros on the left of `dim`: 0 for [n, C] → [B, n, C], -1 for [n] or [axes, n] → [..., B, n]."""
    longest = max(row.shape[dim] for row in rows)
    if dim == 0:
        return torch.stack(
            [row if len(row) == longest else torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows]
        )
    return torch.stack([nn.functional.pad(row, (longest - row.shape[-1], 0)) for row in rows], dim=-2)


def _taken(table: Tensor, here: Tensor, dim: int) -> Tensor:
    """Of a table with the batch just before the tokens, along `dim` (negative or 1), the tokens at `here` [B, n]."""
    here = here.to(table.device)
    rows = torch.arange(len(here), device=table.device)[:, None]
    if dim == -1:
        return table.expand(*table.shape[:-2], len(here), -1)[..., rows, here]
    return table.expand(*table.shape[:-3], len(here), *table.shape[-2:])[..., rows, here, :]
