"""One prompt inside the LLM: which of its tokens are text, which merged tokens are still there, and where they stand."""

from __future__ import annotations

import torch
from torch import Tensor

from aim.engine import seams
from aim.engine.copies import moved, on_cpu
from aim.engine.finite import FiniteCheck
from aim.engine.prompt import Prompt
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method


class Sequence:
    """Text and visual tokens in any order; places count from the first one behind the padding. `alive` are merged tokens still in it."""

    def __init__(self, prompt: Prompt, trace: Trace, device: torch.device):
        self.prompt, self.trace = prompt, trace
        self.text, self.question = moved(prompt.text, device), moved(prompt.question, device)
        self.visual = self.alive = self.text[:0]
        self.targets: list[int] = []
        self.score: Tensor | None = None

    @property
    def length(self) -> int:
        return len(self.text) + len(self.visual)

    def merge(self, method: Method, patches: Tensor, tower: dict[str, TowerAttention], finite: FiniteCheck) -> tuple[Tensor, Tensor] | None:
        """Merge this prompt's embeddings [n, C]; None where nothing changes.

        Returns:
            The shorter embeddings [length, C], and for each of them the place it had in the prompt.
        """
        device, assignments, tokens, origins, all_anchors, sizes = patches.device, [], [], [], [], []
        merged, before, changed = 0, 0, False
        for block, span in zip(self.prompt.blocks, self.prompt.tower_tokens, strict=True):
            grid, places = block.grid, moved(block.places, device)
            visual = _taken(patches, block.places).view(grid.frames, grid.tokens_per_frame, -1)
            finite.note("The visual tokens that the vision tower made", visual)
            result = method.merge(visual, _tower_of(tower, span, grid)) if method.needs_tower else method.merge(visual)
            if result is None:
                own = torch.arange(grid.tokens, device=device)
                assignment, size, anchors, kept = own.view(grid.frames, -1), torch.ones_like(own), own, visual.flatten(0, 1)
            else:
                assignment, size, anchors, kept, changed = result.assignment, result.sizes, result.anchors, result.tokens, True
            assignments.append(assignment + merged)
            sizes.append(size)
            tokens.append(kept)
            origins.append(places[anchors])
            all_anchors.append(anchors + before)
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
        self.alive = torch.arange(merged, device=device)
        origin = torch.cat(origins)
        if not changed:
            self.visual = origin
            return None
        # Merged tokens stand where their anchors stood, in the order the method gave them.
        order = self._settle(self.text, origin.sort().values)
        text = moved(self.prompt.text, device)
        return torch.cat([patches[text], *tokens])[order], torch.cat([text, origin])[order]

    def _settle(self, text: Tensor, visual: Tensor) -> Tensor:
        """Close the ranks: text and visual tokens at these places stay in this order; returns the order of [text, visual]."""
        order = torch.cat([text, visual]).argsort()
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        self.text, self.visual = rank[: len(text)], rank[len(text) :]
        return order

    def cut(self, target: int) -> Tensor:
        """Drop all but `target` visual tokens, the highest scores; equal scores fall to the earlier token on every device.

        Returns:
            The places that stay, ascending.
        """
        chosen = self.alive[:0]
        if target:
            chosen = self.score.argsort(descending=True, stable=True)[:target].sort().values.to(self.alive.device)
        before = torch.cat([self.text, self.visual[chosen]])
        self.alive = self.alive[chosen]
        return before[self._settle(self.text, self.visual[chosen])]

    def observe(self, method: Method, query: Tensor, key: Tensor, scaling: float) -> None:
        """Score the tokens of a layer. query [H, n, d], key [KV, n, d], without padding."""
        question = torch.zeros(self.length, dtype=torch.bool, device=query.device)
        question.scatter_(0, self.text.to(query.device), self.question.to(query.device))
        score = method.score(query, key, scaling, question)
        self.score = None if score is None else score[self.visual.to(score.device)]

    def finish(self, seconds: dict[str, float], cache, paddings: list[int]) -> None:
        """After the last layer: move the record to the CPU."""
        trace = self.trace
        names = ("assignment", "group_sizes", "anchors", "positions")
        parts = [getattr(trace, name) for name in names]
        copies = on_cpu([*(part.flatten() for part in parts), *trace.survivors])
        for name, part, copy in zip(names, parts, copies, strict=False):
            setattr(trace, name, copy.view(part.shape))
        trace.survivors = copies[len(names) :]
        scored = [layer for layer, score in enumerate(trace.scores) if score is not None]
        for layer, score in zip(scored, on_cpu([trace.scores[layer].float() for layer in scored]), strict=True):
            trace.scores[layer] = score
        trace.key_value_lengths = [tokens - padding for tokens, padding in zip(seams.tokens_by_layer(cache), paddings, strict=False)]
        trace.key_value_bytes = seams.cache_bytes(cache)
        trace.timings = dict(seconds)
        self.score = None


def _taken(embeddings: Tensor, places: Tensor) -> Tensor:
    """The rows at ascending places of [n, C], without a copy where they lie side by side, as a clip's do."""
    first, last = int(places[0]), int(places[-1])
    return embeddings[first : last + 1] if last - first + 1 == len(places) else embeddings[moved(places, embeddings.device)]


def _tower_of(tower: dict[str, TowerAttention], span: tuple[str, int, int], grid: Grid) -> TowerAttention:
    """What the tower attended to in one block's tokens.

    Raises:
        Refusal: it is not known, or the tower saw other patches than the LLM gets.
    """
    kind, first, last = span
    if kind not in tower:
        raise Refusal(
            "This method needs what the vision tower attended to, patch by patch, and that is not known for this prompt's pictures. "
            "Give clips, or images without tiles, and let the model encode them; or choose a method that does without."
        )
    seen = tower[kind]
    frames, keys = (grid.frames, grid.tokens_per_frame), seen.keys.flatten(0, 1)[first:last]
    return TowerAttention(seen.received.flatten()[first:last].view(frames), keys.view(*frames, -1))
