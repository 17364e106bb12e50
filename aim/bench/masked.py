"""Dropping by masks alone, as the method's published code does it: every layer computes every token, and attends to those that are left.

It is a reference to measure against. The tokens it hides are those that `aim.reduce` would remove, by its own bookkeeping, so the answer is
the same but neither time nor memory is saved. It takes one prompt, and merges nothing. A layer of linear attention knows no masks that hide
a token wholly. So it is given the tokens in view alone, and what it makes of them is put back in their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aim.engine import caches, seams
from aim.engine.features import taking_features
from aim.engine.places import flagged, picture_numbers
from aim.engine.prompt import read_prompts
from aim.engine.sights import Sight, sights
from aim.families import family_of
from aim.methods import Method


@contextmanager
def masked(model: PreTrainedModel, method: Method) -> Iterator[list[int]]:
    """Hide what `method` would drop for as long as the block lasts.

    Yields:
        The visual tokens each layer attends to, filled at the prefill.

    Raises:
        ValueError: a method that merges.
        Refusal: at the prefill, whatever `aim.engine.prompt.read_prompts` refuses.
    """
    parts = seams.parts_of(model)
    fitted = family_of(model.config).fit(method, len(parts.layers))
    session = _Masks(model.config, fitted, sights(parts))
    hooks = []
    with seams.attending(parts), taking_features(parts.core):
        try:
            hooks.append(parts.core.register_forward_pre_hook(session.on_prompt, with_kwargs=True))
            for index, layer in enumerate(parts.layers):
                if not seams.attends(layer):
                    linear = seams.linear_attention(layer)
                    hooks.append(linear.register_forward_pre_hook(session.on_linear, with_kwargs=True))
                    hooks.append(linear.register_forward_hook(session.after_linear))
                hooks.append(layer.register_forward_pre_hook(partial(session.on_layer, index), with_kwargs=True))
            yield session.attended
        finally:
            for hook in hooks:
                hook.remove()


class _Masks:
    def __init__(self, config, method: Method, sights: list[Sight]):
        if method.merged_tokens(1, 100) != 100:
            raise ValueError("Masks cannot merge tokens; give a method that only drops, such as AIM(merge_ratio=1).")
        self.config, self.method, self.sights = config, method, sights
        self.attends = [sight.attends for sight in sights]
        self.attended: list[int] = []
        self.visible: list[Tensor] = []
        self.score: Tensor  # of the visual tokens in view, since the first layer that attends

    def on_prompt(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        kwargs = seams.named(module, args, kwargs)
        ids = kwargs[seams.IDS]
        self.prefilling = ids.shape[1] > 1
        if not self.prefilling:
            return
        [prompt] = read_prompts(ids, kwargs.get(seams.MASK), kwargs, self.config, family_of(self.config))
        self.text = prompt.text.to(ids.device)
        self.question = torch.zeros(prompt.length, dtype=torch.bool, device=ids.device)
        self.question[self.text] = prompt.question.to(ids.device)
        self.alive = torch.cat([block.places for block in prompt.blocks]).to(ids.device)
        self.targets = self.method.runs_on(len(self.attends), len(self.alive), self.attends.index(True))
        self.attended.clear()
        self.visible = []
        told = next((kwargs[name] for name in seams.TOKEN_TYPES if kwargs.get(name) is not None), torch.zeros_like(ids))
        across = any(sight.across for sight in self.sights)
        self.numbers = flagged(told[0], ids.device) if across else picture_numbers(prompt, ids.device)

    def on_layer(self, index: int, _module: nn.Module, args: tuple, kwargs: dict):
        attends = self.attends[index]
        if not self.prefilling:
            return args, {**kwargs, seams.MASK: self._decoding_mask(index, kwargs[seams.CACHE]) if attends else None}
        length = len(self.question)
        if self.targets[index] < len(self.alive):
            self._hide(self.targets[index])
        visible = torch.zeros(length, dtype=torch.bool, device=self.text.device)
        visible[torch.cat([self.text, self.alive])] = True
        self.visible.append(visible)
        self.attended.append(len(self.alive))
        kwargs = {**kwargs, seams.MASK: self._prefill_mask(index, visible) if attends else None}
        later = self.attends[index + 1 :]
        until = index + 2 + later.index(True) if True in later else None
        if attends and any(0 < target < len(self.alive) for target in self.targets[index + 1 : until]):
            kwargs["observe"] = self._observe
        return args, kwargs

    def on_linear(self, _module: nn.Module, args: tuple, kwargs: dict):
        if self.prefilling:
            kwargs = {**kwargs, seams.HIDDEN: kwargs[seams.HIDDEN][:, self.visible[-1]]}
        return args, kwargs

    def after_linear(self, _module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        if not self.prefilling:
            return output
        whole = output.new_zeros(output.shape[0], len(self.visible[-1]), output.shape[2])
        whole[:, self.visible[-1]] = output
        return whole

    def _hide(self, target: int) -> None:
        """Keep `target` visual tokens in view."""
        if target:
            chosen = self.score.argsort(descending=True, stable=True)[:target].sort().values
            self.alive, self.score = self.alive[chosen], self.score[chosen]
        else:
            self.alive = self.alive[:0]

    def _prefill_mask(self, index: int, visible: Tensor) -> Tensor | None:
        """What each token sees in a layer, bool [1, 1, n, n]. A hidden token sees itself, since an empty row would give NaN."""
        sight, place = self.sights[index], torch.arange(len(visible), device=visible.device)
        if len(self.alive) == self.attended[0] and sight == Sight():
            return None
        seen = place[:, None] >= place
        if sight.pictures:
            seen = seen | (self.numbers[:, None] == self.numbers) & (self.numbers > 0)
        if sight.window is not None:
            seen = seen & (place[:, None] - place < sight.window)
        return (seen & visible | (place[:, None] == place))[None, None]

    def _observe(self, query: Tensor, key: Tensor, scaling: float) -> None:
        there = torch.cat([self.text, self.alive]).sort().values
        score = self.method.score(query[0][:, there], key[0][:, there], scaling, self.question[there])
        if score is not None:  # methods that never choose among tokens have none
            self.score = score[torch.searchsorted(there, self.alive)]

    def _decoding_mask(self, index: int, cache) -> Tensor:
        """What one new token sees in a layer: [1, 1, 1, entries]. A layer with a window has forgotten those before it."""
        visible, window = self.visible[index], self.sights[index].window
        total = caches.tokens_in(cache, index) + 1
        seen = nn.functional.pad(visible, (0, total - len(visible)), value=True)
        if window is not None:
            seen[: max(0, total - window)] = False
        return seen[None, None, None, -caches.held_in(cache, index) - 1 :]
