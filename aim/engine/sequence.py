"""One prompt inside the LLM: which of its tokens are text, which merged tokens are still in it, and where both stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from aim.engine import caches
from aim.engine.copies import moved, on_cpu
from aim.engine.finite import FiniteCheck
from aim.engine.prompt import Prompt
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.methods.cut import Cut, places_in

# (first, last + 1 of the tokens of one kind, their grid) → the change of their pixels, float32 [F - 1, T]; None where it is not known.
Changes = Callable[[int, int, Grid], Tensor | None]


class Sequence:
    """The text and visual tokens of one prompt, in any order. Places count from the first token behind the padding.

    Attributes:
        text: long [t], the places of the text tokens now.
        question: bool [t], which of them are the question.
        visual: long [v], the places of the visual tokens now.
        alive: long [v], which merged tokens these are.
        targets: for each layer, how many visual tokens it runs on.
        deciding: whether it is for the method's states to say how many that are in the coming layer.
        spots: long [merged], equal for merged tokens at the same place of different frames.
        importance: float32 [length], the importance of all tokens now, by the last layer that was scored; None before.
        untouched: whether merging left every visual token as it was.
        raters: bool [q], which tokens of the question score; None for all tokens.
        holders: long [merged], the merged token that each is in now, -1 for none; None as long as none went into another.
    """

    def __init__(self, prompt: Prompt, trace: Trace, device: torch.device):
        self.prompt, self.trace = prompt, trace
        self.text, self.question = moved(prompt.text, device), moved(prompt.question, device)
        self.visual = self.alive = self.text[:0]
        self.targets: list[int] = []
        self.deciding = False
        self.importance: Tensor | None = None
        self.untouched = True
        self.holders: Tensor | None = None
        self.raters: Tensor | None = None

    @property
    def length(self) -> int:
        return len(self.text) + len(self.visual)

    def merge(
        self, method: Method, patches: Tensor, tower: dict[str, TowerAttention], changes: Mapping[str, Changes], finite: FiniteCheck
    ) -> tuple[Tensor, Tensor] | None:
        """Merge this prompt's embeddings [n, C], and begin its record. `tower` and `changes` are as in `Prefill.enter`.

        Returns:
            The shorter embeddings [length, C], and long [length], for each of them the place it had in the prompt. None where nothing
            changes.

        Raises:
            Refusal: the method needs what the vision tower attended to, or how pixels change, and it is not known; it needs the question,
                and there is none; or it cannot merge this grid.
        """
        device, assignments, tokens, origins, all_anchors, sizes, spots = patches.device, [], [], [], [], [], []
        merged, before, changed = 0, 0, False
        question = self._question(patches, finite) if method.needs_question else None
        for block, span in zip(self.prompt.blocks, self.prompt.tower_tokens, strict=True):
            grid, places = block.grid, moved(block.places, device)
            visual = _taken(patches, block.places).view(grid.frames, grid.tokens_per_frame, -1)
            finite.note("The visual tokens that the vision tower made", visual)
            seen = _tower_of(tower, span, grid) if method.needs_tower else None
            change = _change_of(changes, span, grid) if method.needs_pixels and grid.frames > 1 else None
            result = method.merge_on(grid, visual, seen, question, change)
            if result is None:
                own = torch.arange(grid.tokens, device=device)
                assignment, size, anchors, kept = own.view(grid.frames, -1), torch.ones_like(own), own, visual.flatten(0, 1)
            else:
                assignment, size, anchors, kept, changed = result.assignment, result.sizes, result.anchors, result.tokens, True
            assignments.append(torch.where(assignment < 0, assignment, assignment + merged))
            sizes.append(size)
            tokens.append(kept)
            origins.append(places[anchors])
            all_anchors.append(anchors + before)
            spots.append(anchors.remainder(grid.tokens_per_frame) + before)
            merged += len(anchors)
            before += grid.tokens
        grids = [block.grid for block in self.prompt.blocks]
        self.trace.grids = [(grid.frames, grid.rows, grid.columns) for grid in grids]
        self.trace.frames = sum(grid.frames for grid in grids)
        if len(grids) == 1:
            self.trace.rows, self.trace.columns, self.trace.assignment = grids[0].rows, grids[0].columns, assignments[0]
        else:
            self.trace.assignment = torch.cat([part.flatten() for part in assignments])
        self.trace.group_sizes, self.trace.anchors = torch.cat(sizes), torch.cat(all_anchors)
        self.spots = torch.cat(spots)
        self.raters = None if question is None else method.raters(question, torch.cat(tokens))
        self.alive = torch.arange(merged, device=device)
        origin = torch.cat(origins)
        self.untouched = not changed
        if self.untouched:
            self.visual = origin
            return None
        # A merged token stands where its anchor stood.
        order = self._settle(self.text, origin.sort().values)
        text = moved(self.prompt.text, device)
        return torch.cat([patches[text], *tokens])[order], torch.cat([text, origin])[order]

    def _question(self, embeddings: Tensor, finite: FiniteCheck) -> Tensor:
        """The rows of this prompt's embeddings [n, C] that are the question, chat markers included.

        Raises:
            Refusal: no text stands behind the pictures.
        """
        places = self.prompt.text[self.prompt.question]
        if not len(places):
            raise Refusal(
                "This method weighs visual tokens by the question, and the prompt has no text behind its pictures. "
                "Put the question behind them, or choose a method that does not read it."
            )
        question = embeddings[moved(places, embeddings.device)]
        finite.note("The embeddings of the question", question)
        return question

    def _settle(self, text: Tensor, visual: Tensor) -> Tensor:
        """Number text and visual tokens at these places anew, without gaps and in the same order.

        Returns:
            The order of [text, visual] by place, long [text + visual].
        """
        order = torch.cat([text, visual]).argsort(stable=True)  # several merged tokens may stand at one place
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        self.text, self.visual = rank[: len(text)], rank[len(text) :]
        return order

    @property
    def score(self) -> Tensor | None:
        """The importance of the visual tokens now, float32 [v]; None before any layer was scored."""
        return None if self.importance is None else self.importance[self.visual.to(self.importance.device)]

    @property
    def counts(self) -> list[int]:
        """How many visual tokens entered the LLM, and then how many each layer so far ran on."""
        return [len(self.trace.group_sizes), *(visual for visual, _ in self.trace.tokens_per_layer)]

    def plan(self, method: Method, layer: int) -> None:
        """Ask a method that decides as it goes how many tokens a layer is to run on. Without a score all tokens stay."""
        target = method.decided(self.counts, self.trace.num_layers)
        self.deciding = target is None
        self.targets[layer] = 0 if target is None else target if self.importance is not None else len(self.alive)

    def cut(self, method: Method, layer: int, hidden: Tensor, norm: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Drop what layer `layer` does not run on. hidden [length, C], the states that enter it; `norm` is the text model's final one.

        Returns:
            The places of all tokens that stay, text included, ascending; and the new states of the visual ones among them, [v, C], or None
            where they stay as they were.
        """
        device, target = self.alive.device, self.targets[layer]
        if target >= len(self.alive):
            return torch.arange(self.length, device=device), None
        here, asked = hidden.device, self.text[len(self.text) - int(self.prompt.question.sum()) :]
        score = None if self.importance is None else self.importance.to(here)
        cut = Cut(
            layer=layer,
            target=target,
            layers=self.trace.num_layers,
            counts=self.counts,
            hidden=hidden,
            visual=self.visual.to(here),
            question=asked.to(here),
            score=score,
            spots=self.spots[self.alive].to(here),
            norm=norm,
        )
        kept = method.decide(cut) if self.deciding else method.cut(cut)
        chosen = kept.chosen.to(device)
        if kept.into is not None or self.holders is not None:
            self._hold(layer, chosen, places_in(chosen, len(self.alive)) if kept.into is None else kept.into.to(device))
        before = torch.cat([self.text, self.visual[chosen]])
        self.alive = self.alive[chosen]
        stay = before[self._settle(self.text, self.visual[chosen])]
        if self.importance is not None:  # a layer of linear attention scores nothing, so the next cut may go by the same scores
            self.importance = self.importance[stay.to(self.importance.device)]
        return stay, kept.hidden

    def _hold(self, layer: int, chosen: Tensor, into: Tensor) -> None:
        """Note which merged token each is in from `layer` on. `into` says which of the `chosen` each of the tokens now alive is in."""
        merged = torch.arange(len(self.trace.group_sizes), device=chosen.device)
        holders = merged if self.holders is None else self.holders
        # What was in no token before stays in none: the last entry stands for those.
        now = torch.full((len(merged) + 1,), -1, device=chosen.device)
        # So here; nothing at all may have been chosen.
        now.index_copy_(0, self.alive, torch.cat([self.alive[chosen], now[-1:]])[into])
        self.holders = self.trace.holders[layer] = now[holders]

    def observe(self, method: Method, query: Tensor, key: Tensor, scaling: float) -> None:
        """Score the tokens by a layer's attention. query [H, n, d], key [KV, n, d], without padding."""
        question = torch.zeros(self.length, dtype=torch.bool, device=query.device)
        question.scatter_(0, self.text.to(query.device), self.question.to(query.device))
        if self.raters is not None:  # the question's tokens are the prompt's last
            asked = len(self.raters)
            query, question[-asked:] = query[:, -asked:], self.raters.to(query.device)
        self.importance = method.score(query, key, scaling, question)

    def finish(self, seconds: dict[str, float], cache: Any, paddings: list[int]) -> None:
        """After the last layer: move the record to the CPU, and complete it.

        Args:
            seconds: by stage.
            cache: the KV cache, or None.
            paddings: how many padding tokens each layer had before this prompt.
        """
        trace = self.trace
        names = ("assignment", "group_sizes", "anchors", "positions")
        parts = [getattr(trace, name) for name in names]
        copies = on_cpu([*(part.flatten() for part in parts), *trace.survivors, *trace.holders.values()])
        for name, part, copy in zip(names, parts, copies, strict=False):
            setattr(trace, name, copy.view(part.shape))
        end = len(names) + len(trace.survivors)
        trace.survivors, trace.holders = copies[len(names) : end], dict(zip(trace.holders, copies[end:], strict=True))
        scored = [layer for layer, score in enumerate(trace.scores) if score is not None]
        for layer, score in zip(scored, on_cpu([trace.scores[layer].float() for layer in scored]), strict=True):
            trace.scores[layer] = score
        trace.key_value_lengths = caches.held_by_layer(cache, paddings)
        trace.key_value_bytes = caches.cache_bytes(cache)
        trace.timings = dict(seconds)
        self.importance = self.holders = None


def _taken(embeddings: Tensor, places: Tensor) -> Tensor:
    """The rows of [n, C] at ascending places. Rows that lie side by side, as those of a clip do, are not copied."""
    first, last = int(places[0]), int(places[-1])
    return embeddings[first : last + 1] if last - first + 1 == len(places) else embeddings[moved(places, embeddings.device)]


def _change_of(changes: Mapping[str, Changes], span: tuple[str, int, int], grid: Grid) -> Tensor:
    """How the pixels of one block's tokens change from frame to frame, float32 [F - 1, T].

    Raises:
        Refusal: it is not known, for example because rows of the batch share a clip.
    """
    kind, first, last = span
    change = changes[kind](first, last, grid) if kind in changes else None
    if change is None:
        raise Refusal(
            "This method compares the pixels of frames, and those of this prompt's pictures are not known. Let the model encode clips from "
            "their pixels, without beams; or choose a method that does not need them."
        )
    return change


def _tower_of(tower: dict[str, TowerAttention], span: tuple[str, int, int], grid: Grid) -> TowerAttention:
    """What the tower attended to in one block's tokens.

    Raises:
        Refusal: it is not known, for example because the tower saw other patches than the LLM gets.
    """
    kind, first, last = span
    if kind not in tower:
        raise Refusal(
            "This method needs what the vision tower attended to, patch by patch, and that is not known for this prompt's pictures. "
            "Give clips, or images without tiles, and let the model encode them; or choose a method that does not need it."
        )
    seen = tower[kind]
    frames, keys = (grid.frames, grid.tokens_per_frame), seen.keys.flatten(0, 1)[first:last]
    return TowerAttention(seen.received.flatten()[first:last].view(frames), keys.view(*frames, -1), seen.heads)
