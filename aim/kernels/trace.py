"""The record of one reduced run: which patch went into which merged token, and up to which layer each of these was alive."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import torch
from torch import Tensor

# The stages of `Trace.timings` that make up a prefill as the method needs it.
PREFILL_STAGES = ("merge", "importance", "llm_prefill")


@dataclass
class Trace:
    """The record of the latest prefill under `aim.reduce`, filled while the model runs.

    F frames of T = rows·columns visual tokens each are merged into M; layers are numbered from 0. All tensors are on the CPU. An image is
    a clip of one frame, and images of one size are frames of one clip. Of a batch it is the record of the first prompt; see `prompts`.

    Attributes:
        frames, rows, columns: the visual tokens' layout; before the first prefill `frames` is 0. Where a prompt mixes pictures of several
            grids, `rows` and `columns` are 0 and `grids` holds them.
        grids: (frames, rows, columns) of each grid in the prompt, in order.
        tokens_per_layer: (visual, text) tokens each layer really ran on. Text is everything that is not a patch: words, chat markers,
            and the separators some models put after a video.
        assignment: long [F, T], patch → index of its merged token, 0...M-1, or -1 where the patch was dropped before the LLM; with several
            grids long [patches], one grid after the other.
        group_sizes: long [M], patches in each merged token.
        anchors: long [M], the patch (0...F·T-1, one grid after the other) whose place each merged token keeps.
        survivors: for each layer, the merged tokens it ran on, long [visual], ascending.
        holders: for each layer before which tokens were averaged into others, long [M]: the merged token that each of them is in from there
            on, itself where it is alive, -1 where it is in none. Empty where no method did so.
        scores: for each layer, the importance of those survivors as that layer's attention gives it, float32 [visual], or None where none
            was computed. Text tokens take part in the PageRank, so a layer's scores need not sum to 1.
        attention: for each token generated so far, for each layer, the attention that the token before it paid to those survivors, float16
            [visual], the mean over heads; what is missing to 1 went to text. It is None for a layer without softmax attention. It is empty
            unless `aim.reduce(..., attention=True)` asked for it, and ends where its memory is full; see `attended`.
        key_value_lengths: entries each layer holds in the KV cache after the prefill, without padding.
        key_value_bytes: what the cache takes, read off the cache itself; of a batch, all of it.
        positions: for each merged token the position its rotary embedding was given, [M] (or [axes, M] for multi-axis models).
        timings: seconds by stage. The engine writes `merge`, `importance`, `inspection` (what is computed to be looked at, with
            `scores="all"` or `attention`), and `llm_prefill` (without the others).
        peak_memory_bytes: see `aim.runtime.memory`; None outside the runtime.
        further: of a batch, the records of the second and later prompts.
    """

    num_layers: int = 0
    frames: int = 0
    rows: int = 0
    columns: int = 0
    grids: list[tuple[int, int, int]] = field(default_factory=list)
    tokens_per_layer: list[tuple[int, int]] = field(default_factory=list)
    assignment: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    group_sizes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    anchors: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    survivors: list[Tensor] = field(default_factory=list)
    holders: dict[int, Tensor] = field(default_factory=dict)
    scores: list[Tensor | None] = field(default_factory=list)
    attention: list[list[Tensor | None]] = field(default_factory=list)
    key_value_lengths: list[int] = field(default_factory=list)
    key_value_bytes: int = 0
    positions: Tensor | None = None
    timings: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    further: list[Trace] = field(default_factory=list)

    @property
    def prompts(self) -> list[Trace]:
        """The records of all prompts of the batch, this one first."""
        return [self, *self.further]

    @property
    def visual_tokens(self) -> int:
        """Visual tokens the vision tower made, F·T."""
        return self.assignment.numel()

    @property
    def merged_tokens(self) -> int:
        """Visual tokens that entered layer 0, M."""
        return len(self.group_sizes)

    @property
    def prefill_seconds(self) -> float:
        """Seconds of the prefill with merging and importance, without `inspection`; 0 before the first prefill."""
        return sum(self.timings.get(stage, 0.0) for stage in PREFILL_STAGES)

    def kept_patches(self, layer: int) -> Tensor:
        """Patches whose places the visual tokens of a layer hold, long [visual], in the order of `survivors`."""
        return self.anchors[self.survivors[layer]]

    def attended(self, token: int, layer: int) -> Tensor:
        """What a generated token looked at in a layer, place by place, float32 in the shape of `assignment`.

        The attention that a visual token was paid is shared out evenly over the patches that are in it, so that the sum over all places is
        what the layer's visual tokens were paid. A token that has no patch to itself gives what it was paid to the place where it
        stands. Patches that are not in the layer any more have 0.

        Raises:
            IndexError: the token has no record.
            ValueError: the layer has no attention to show.
        """
        row = self.attention[token][layer]
        if row is None:
            raise ValueError(f"Layer {layer} does not attend to the whole prompt, so there is nothing to show; choose another layer.")
        paid = torch.zeros(self.merged_tokens)
        paid[self.survivors[layer]] = row.float()
        holders = self.held_in(layer)
        sizes = torch.zeros(self.merged_tokens).index_add_(0, holders.clamp(min=0), torch.where(holders < 0, 0, self.group_sizes).float())
        shares = torch.where(holders < 0, 0.0, (paid / sizes.clamp(min=1))[holders])
        shown = torch.where(self.assignment >= 0, shares[self.assignment.clamp(min=0)], 0.0)
        alone = self.survivors[layer][sizes[self.survivors[layer]] == 0]
        return shown.flatten().index_add(0, self.anchors[alone], paid[alone]).view(shown.shape)

    def held_in(self, layer: int) -> Tensor:
        """The merged token that each merged token is in at a layer, long [M]: itself where it is alive, -1 where it is in none."""
        cuts = [cut for cut in self.holders if cut <= layer]
        if cuts:
            return self.holders[max(cuts)]
        alive = self.survivors[layer]
        return torch.full((self.merged_tokens,), -1).scatter_(0, alive, alive)

    @property
    def scored_layers(self) -> list[int]:
        """The layers that have scores, ascending."""
        return [layer for layer, scores in enumerate(self.scores) if scores is not None and len(scores)]

    def last_layer(self) -> Tensor:
        """The last layer in which each merged token was alive, long [M]; -1 for one that no layer ran on."""
        last = torch.full((self.merged_tokens,), -1, dtype=torch.long)
        for layer, alive in enumerate(self.survivors):
            last.index_fill_(0, alive, layer)
        return last

    def to_dict(self) -> dict:
        """The whole trace as plain numbers and lists, for JSON."""
        return {
            "frames": self.frames,
            "rows": self.rows,
            "columns": self.columns,
            "grids": [list(grid) for grid in self.grids],
            "visual_tokens": self.visual_tokens,
            "merged_tokens": self.merged_tokens,
            "tokens_per_layer": [list(pair) for pair in self.tokens_per_layer],
            "assignment": self.assignment.tolist(),
            "group_sizes": self.group_sizes.tolist(),
            "anchors": self.anchors.tolist(),
            "survivors": [alive.tolist() for alive in self.survivors],
            "holders": {layer: held.tolist() for layer, held in self.holders.items()},
            "scores": [None if score is None else score.tolist() for score in self.scores],
            "attention": [[None if row is None else rounded(row) for row in rows] for rows in self.attention],
            "key_value_lengths": self.key_value_lengths,
            "key_value_bytes": self.key_value_bytes,
            "positions": None if self.positions is None else self.positions.tolist(),
            "timings": self.timings,
            "peak_memory_bytes": self.peak_memory_bytes,
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict())


def rounded(values: Tensor) -> list[float]:
    """Numbers with three digits, for JSON: as many as a float16 tells."""
    return [float(f"{value:.3g}") for value in values.tolist()]
