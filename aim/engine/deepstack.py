"""DeepStack: visual features of several depths of the vision tower, which the text model adds to the visual tokens between its layers.

The stock text model adds them by a mask over the whole prompt, which no longer fits once tokens are gone. So they are taken from it, merged
as the tokens were, and added before the layers that they belong to, to the tokens that are left.

Text models give them in two forms (`aim.engine.seams`). Qwen3-VL's is a list of levels, which are added behind layer 0, layer 1 and so on,
to visual tokens that entered as embeddings. Granite 4 Vision's is a table, of levels by the layer before which they are added. There visual
tokens enter as zeros, and separators (the newline behind a picture) get features too, although they are text to us.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aim.engine import seams
from aim.engine.copies import moved
from aim.engine.sequence import Sequence


@dataclass(frozen=True)
class Placeholders:
    """The tokens that features are added to, where separators are among them.

    Attributes:
        named: bool [B, N], which tokens of the padded prompts these are.
        ranks: long [B, N], which of the features is theirs; of no meaning for other tokens.
    """

    named: Tensor
    ranks: Tensor


class DeepStack:
    """The levels of one prefill.

    A level of a merged token is the plain mean over the patches in it, whatever weights the method gave them for the token itself. Patches
    that the method dropped are in no mean. A token that has no patch to itself takes the level of the patch at its place.

    Where visual tokens enter as zeros, the first level (the published models add it before layer 0) is what stands for them: methods merge
    it as they merge embeddings elsewhere, by their own weights, and what they make of it is the first level of the merged tokens. The words
    that they see beside it are as large as the text model makes them. What enters the text model are zeros, as before.

    Args:
        levels: for each layer that has some, the features [tokens, C] of all prompts in the batch, one prompt after the other.
        rows: the prompts.
        mask: bool [B, N, 1 or C], the tokens that features belong to, where visual tokens enter as zeros. None where they do not, and
            features belong to patches alone.
        scale: what the text model multiplies embeddings by.
    """

    def __init__(self, levels: dict[int, Tensor], rows: list[Sequence], mask: Tensor | None, scale: float):
        self._levels, self._rows, self._scale = levels, rows, scale
        self._placeholders: Placeholders | None = None
        if levels and mask is not None:
            named = mask[..., 0]
            self._placeholders = Placeholders(named, (named.flatten().cumsum(0) - 1).clamp(min=0).view(named.shape))
        self._first: list[Tensor] = []

    @staticmethod
    def taken(kwargs: dict, rows: list[Sequence], scale: float) -> tuple[dict, DeepStack]:
        """(the text model's arguments without DeepStack features, these features)."""
        listed, table = kwargs.get(seams.DEEPSTACK), kwargs.get(seams.DEEPSTACK_TABLE)
        if listed is not None:
            kwargs = {**kwargs, seams.DEEPSTACK: None, seams.DEEPSTACK_MASK: None}
            return kwargs, DeepStack({behind + 1: level for behind, level in enumerate(listed)}, rows, None, scale)
        if table is None:
            return kwargs, DeepStack({}, rows, None, scale)
        mask = kwargs[seams.DEEPSTACK_TABLE_MASK]
        return {**kwargs, seams.DEEPSTACK_TABLE: None, seams.DEEPSTACK_TABLE_MASK: None}, DeepStack(dict(table), rows, mask, scale)

    def shown(self, embeddings: Tensor) -> Tensor:
        """What methods merge, [B, N, C]: the embeddings that enter, or the first level where these are zeros."""
        if self._placeholders is None:
            return embeddings
        first = self._levels[min(self._levels)]
        return torch.where(self._placeholders.named[..., None], first[self._placeholders.ranks], embeddings * self._scale)

    def entering(self, given: Tensor, merged: list[Tensor], origins: list[Tensor]) -> list[Tensor]:
        """What enters the text model, [n, C] of each prompt.

        Args:
            given: the embeddings [B, N, C] that the text model was given.
            merged: for each prompt, what was made of `shown`, [n, C].
            origins: for each of these the place that it had in the prompt, long [n].
        """
        if self._placeholders is None:
            return merged
        self._first = [tokens[row.visual] for tokens, row in zip(merged, self._rows, strict=True)]
        return [own[row.prompt.padding :][origin] for own, row, origin in zip(given, self._rows, origins, strict=True)]

    def before(self, index: int, hidden: Tensor) -> Tensor:
        """The hidden states [B, n, C] that layer `index` is given: with the features that stock adds before it."""
        if index not in self._levels:
            return hidden
        hidden, start = hidden.clone(), 0
        for number, row in enumerate(self._rows):
            end = start + row.trace.assignment.numel()
            padding = hidden.shape[1] - row.length
            alive = self._of(index, number, start, end)
            places = (row.visual + padding).to(hidden.device)
            hidden[number, places] = hidden[number, places] + alive[row.alive.to(alive.device)].to(hidden.device, hidden.dtype)
            if self._placeholders is not None:
                places = (row.text + padding).to(hidden.device)
                hidden[number, places] = hidden[number, places] + self._separators(index, number).to(hidden.device, hidden.dtype)
            start = end
        return hidden

    def _of(self, index: int, number: int, start: int, end: int) -> Tensor:
        """A level of one prompt's merged tokens, [merged, C]. Its patches are those from `start` to `end` of all, without separators."""
        row, level = self._rows[number], self._levels[index]
        if self._placeholders is None:
            return _merged(level[start:end], row)
        if index == min(self._levels):
            return self._first[number]
        places = torch.cat([block.places for block in row.prompt.blocks])
        return _merged(level[self._ranks(number, places)], row)

    def _ranks(self, number: int, places: Tensor) -> Tensor:
        """Which of the features belong to the tokens at `places` of a prompt, counted behind its padding."""
        assert self._placeholders is not None
        ranks = self._placeholders.ranks[number, self._rows[number].prompt.padding :]
        return ranks[moved(places, ranks.device)]

    def _separators(self, index: int, number: int) -> Tensor:
        """A level of one prompt's text, [t, C]: features for separators, and zeros for words."""
        assert self._placeholders is not None
        row = self._rows[number]
        named = self._placeholders.named[number, row.prompt.padding :]
        features = self._levels[index][self._ranks(number, row.prompt.text)]
        return torch.where(named[moved(row.prompt.text, named.device)][:, None], features, torch.zeros_like(features))


def _merged(level: Tensor, row: Sequence) -> Tensor:
    """One prompt's features [patches, C], as [merged, C]."""
    assignment, merged = row.trace.assignment.flatten().to(level.device), len(row.trace.group_sizes)
    if row.untouched:
        return level
    # One row more takes the patches that are in no merged token, whose index is -1.
    group = assignment.remainder(merged + 1)
    sums = torch.zeros(merged + 1, level.shape[1], dtype=torch.float32, device=level.device).index_add_(0, group, level.float())
    sizes = torch.zeros(merged + 1, device=level.device).index_add_(0, group, torch.ones_like(group, dtype=torch.float32))
    there = level[row.trace.anchors.to(level.device)]
    return torch.where(sizes[:merged, None] > 0, (sums[:merged] / sizes[:merged, None]).to(level.dtype), there)
