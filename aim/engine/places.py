"""Where the tokens of a batch stand, and which of them a layer's tokens see.

Tokens see those before them. In some text models they see no further back than a window, and in some the tokens of one picture, or of all
pictures, see one another in both directions. Both are told by the places that tokens entered the LLM with: a compact prompt is a shorter
prompt, and what is dropped inside the LLM leaves a gap, as if it had been masked. With "renumbered" positions every cut closes the gaps.

The scores of a layer come from its queries and keys as if it had no window, so that the question can score the whole clip, and as if its
tokens saw only those before them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aim.engine import seams
from aim.engine.copies import moved
from aim.engine.prompt import Prompt
from aim.engine.sights import sights

# The place of padding, before every window.
NOWHERE = -(2**30)
# What tokens are told that belong to pictures, where all of a prompt's pictures count as one.
FLAG = 1


class Places:
    """The places of a prefill's tokens, now.

    Attributes:
        now: long [B, n], padded on the left.
        longest: how many places the longest prompt has.
        sights: what the tokens of each layer see.
    """

    def __init__(self, prompts: list[Prompt], origins: list[Tensor], places: list[Tensor], parts: seams.Parts, told: Tensor | None):
        """
        Args:
            origins: for each prompt long [n], where the tokens that enter layer 0 stood in it.
            places: for each prompt long [n], ascending, where they stand now.
            told: [B, N], 0 for text and padding, as the model was told where pictures are; None where it was not.
        """
        self._parts, self.sights = parts, sights(parts)
        self.longest = max(prompt.length for prompt in prompts)
        self.now = padded(places, dim=-1, value=NOWHERE)
        self._pictures = None
        if told is not None and any(sight.pictures for sight in self.sights):
            across = any(sight.across for sight in self.sights)
            numbers = [
                (flagged(row[prompt.padding :], origin.device) if across else picture_numbers(prompt, origin.device))[origin]
                for prompt, origin, row in zip(prompts, origins, told, strict=True)
            ]
            self._pictures = padded(numbers, dim=-1)
        self._here: Tensor | None = None
        self._renumbered = False
        self._masks: dict[tuple, Tensor] = {}
        self._tables: dict[int, tuple] = {}

    def cut(self, here: Tensor, lengths: list[int], renumber: bool) -> None:
        """Keep the tokens at `here` [B, n], the last `lengths` of each row; with `renumber` they then stand side by side."""
        index = torch.arange(here.shape[-1], device=here.device)
        padding = index < moved(torch.tensor([here.shape[-1] - length for length in lengths]), here.device)[:, None]
        now = (index - len(index)).expand(here.shape) if renumber else taken(self.now.to(here.device), here, dim=-1)
        self.now = now.masked_fill(padding, NOWHERE)
        self._renumbered |= renumber
        if self._pictures is not None:
            self._pictures = taken(self._pictures.to(here.device), here, dim=-1).masked_fill(padding, 0)
        self._here = here if self._here is None else taken(self._here.to(here.device), here, dim=-1)
        self._lengths, self._masks, self._tables = lengths, {}, {}

    def cut_to_match(self, index: int, kwargs: dict) -> dict:
        """A layer's arguments, of which those that belong to tokens are cut to the tokens that are left. Layers are given all of them."""
        if self._here is None:
            return kwargs
        given = kwargs[seams.TABLES]
        if id(given[0]) not in self._tables:
            if self._renumbered:
                device = given[0].device
                positions = padded([torch.arange(length, device=device) for length in self._lengths], dim=-1)
                tables: tuple[Tensor, ...] = self._parts.tables(index, given[0], positions)
            else:
                tables = tuple(taken(table, self._here, dim=-2) for table in given)
            self._tables[id(given[0])] = given, tables  # what was given is kept too, so that no other tensor gets its id
        kwargs = {**kwargs, seams.TABLES: self._tables[id(given[0])][1]}
        if kwargs.get(seams.POSITIONS) is not None:
            kwargs[seams.POSITIONS] = taken(kwargs[seams.POSITIONS], self._here, dim=-1)
        return kwargs

    def mask(self, index: int, paddings: list[int], device: torch.device) -> Tensor | None:
        """What each token sees in a layer, bool [B, 1, n, n]; None where that is all before it. A layer of linear attention is told which
        tokens are no padding, bool [B, n].

        Padding sees itself, because a row that sees nothing would give NaN.
        """
        sight = self.sights[index]
        window = sight.window if sight.window is not None and sight.window < self.longest else None
        pictures = self._pictures if sight.pictures else None
        if window is None and pictures is None and not any(paddings):
            return None
        now = self.now.to(device)
        if not sight.attends:
            return now != NOWHERE
        if (window, sight.pictures) not in self._masks:
            order = torch.arange(now.shape[-1], device=device)
            seen = (order[:, None] >= order).expand(len(now), -1, -1)
            if pictures is not None:
                number = pictures.to(device)
                seen = seen | (number[:, :, None] == number[:, None, :]) & (number > 0)[:, None, :]
            if window is not None:
                seen = seen & (now[:, :, None] - now[:, None, :] < window)
            seen = seen & (now != NOWHERE)[:, None, :] | (order[:, None] == order)
            self._masks[window, sight.pictures] = seen[:, None]
        return self._masks[window, sight.pictures].to(device)


def picture_numbers(prompt: Prompt, device: torch.device) -> Tensor:
    """Which picture or frame each token of a prompt belongs to, long [length], from 1 on; 0 for text."""
    numbers, before = torch.zeros(prompt.length, dtype=torch.long), 1
    for block in prompt.blocks:
        numbers.index_copy_(0, block.places, before + torch.arange(block.grid.tokens) // block.grid.tokens_per_frame)
        before += block.grid.frames
    return moved(numbers, device)


def flagged(told: Tensor, device: torch.device) -> Tensor:
    """Which tokens of a prompt the model was told to be pictures, markers among them: long [length], 1 for these and 0 for the others."""
    return (moved(told, device) == FLAG).long()


def padded(rows: list[Tensor], dim: int, value: int = 0) -> Tensor:
    """Rows of different length, stacked and padded with `value` on the left of `dim`.

    With `dim` 0, rows [n, C] become [B, n, C]. With -1, rows [n] or [axes, n] become [B, n] or [axes, B, n].
    """
    longest = max(row.shape[dim] for row in rows)
    if dim == 0:
        return torch.stack(
            [row if len(row) == longest else torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows]
        )
    return torch.stack([nn.functional.pad(row, (longest - row.shape[-1], 0), value=value) for row in rows], dim=-2)


def taken(table: Tensor, here: Tensor, dim: int) -> Tensor:
    """The tokens at `here` [B, n] of a table, along `dim`: -1 for [..., B, N], and -2 or 1 for [..., B, N, C]."""
    here = here.to(table.device)
    if len(here) == 1:  # in one operation, since a GPU may wait for the host to hand them over
        return table.index_select(dim, here[0])
    rows = torch.arange(len(here), device=table.device)[:, None]
    if dim == -1:
        return table.expand(*table.shape[:-2], len(here), -1)[..., rows, here]
    return table.expand(*table.shape[:-3], len(here), *table.shape[-2:])[..., rows, here, :]
