"""`aim.reduce`: hooks on a stock model, a trace out, hooks off.

What is hooked, and why there: `model.model` sees the prompt's ids, which tell where the video is; its `language_model` receives the
embeddings, in which the projected video features stand at the placeholders, so merging needs no per-model code; each decoder layer
receives the hidden states, so pruning is slicing; and our own attention function sees queries and keys after RoPE, so importance needs no
attention map from the model. Everything a run knows lives in one `_Run`, made at each prefill. Covered: batch 1, one video a prompt,
a growing cache. Not covered: padding, static caches, beams.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from aim.families import Family, Layout, family_of
from aim.methods import Method
from aim.timing import Stopwatch
from aim.trace import Trace

ATTENTION = "aim"


def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, observe=None, **kwargs):
    """SDPA exactly; a layer whose hook passed `observe` also hands over its queries and keys. query [1, H, n, d], key [1, KV, n, d]."""
    if observe is not None:
        observe(query, key, kwargs["scaling"])
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


# Registration has no inverse, so it is done once and under a name of our own: no other model in the process is touched. Without the
# mask entry transformers would silently drop the causal mask.
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextmanager
def reduce(model: nn.Module, method: Method, scores: str = "pruning") -> Iterator[Trace]:
    """Run a stock multimodal model with fewer visual tokens, for as long as the block lasts.

    Inside the block use `model.generate(...)` or a plain forward as ever; each prefill fills the yielded trace anew. On exit, by whatever
    way, the model is as it was before.

    Args:
        model: a supported `...ForConditionalGeneration` (see `aim.families.FAMILIES`), on any device, not in use by another `reduce`.
        method: what to merge and prune, for example `aim.AIM(merge_ratio=0.25, l1=14, l2=22)`.
        scores: "pruning" scores only the layers whose scores decide something; "all" scores every layer that still has visual tokens,
            to be looked at; the time that takes is reported apart, as `inspection`.

    Raises:
        ValueError: unsupported family; model already being reduced; and at the prefill: batch > 1, no or several videos in the
            prompt, an image beside the video, padding, a cache that already holds tokens or cannot grow.
    """
    if scores not in ("pruning", "all"):
        raise ValueError(f'scores is {scores!r}; use "pruning" or "all".')
    family = family_of(model.config)
    core, language_model = model.model, model.model.language_model
    before = language_model.config._attn_implementation
    if before == ATTENTION:
        raise ValueError("The model is already inside `aim.reduce`; leave that block first, or load a second model.")
    method = method.for_depth(len(language_model.layers))
    trace = Trace(num_layers=len(language_model.layers))
    session = _Session(model.config, family, method, trace, score_all=scores == "all")
    hooks = []
    try:
        model.set_attn_implementation({"text_config": ATTENTION})
        hooks.append(core.register_forward_pre_hook(session.on_prompt, with_kwargs=True))
        hooks.append(language_model.register_forward_pre_hook(session.on_embeddings, with_kwargs=True))
        hooks.append(language_model.register_forward_hook(session.on_output, with_kwargs=True))
        for index, layer in enumerate(language_model.layers):
            hooks.append(layer.register_forward_pre_hook(partial(session.on_layer, index), with_kwargs=True))
        yield trace
    finally:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation({"text_config": before})


class _Session:
    """The hooks of one `reduce` block. Tells prefills from decoding steps and keeps the present `_Run`."""

    def __init__(self, config, family: Family, method: Method, trace: Trace, score_all: bool):
        self.config, self.family, self.method, self.trace, self.score_all = config, family, method, trace, score_all
        self.prompt: Tensor | None = None
        self.run: _Run | None = None
        self.prefilling = False

    def on_prompt(self, _module: nn.Module, args: tuple, kwargs: dict):
        self.prompt = kwargs.get("input_ids", args[0] if args else None)

    def on_embeddings(self, module: nn.Module, args: tuple, kwargs: dict):
        cache, embeddings = kwargs.get("past_key_values"), kwargs["inputs_embeds"]
        if cache is not None and not isinstance(cache, DynamicCache):
            raise ValueError(
                f"The cache is a {type(cache).__name__}; layers of different length need a DynamicCache. Drop cache_implementation."
            )
        filled = cache is not None and cache.get_seq_length() > 0
        self.prefilling = not filled
        if not filled:
            start, layout = _find_video(self.prompt, kwargs.get("attention_mask"), self.config, self.family)
            self.run = _Run(self.method, self.trace, self.score_all, start, layout, embeddings, cache)
            return args, self.run.enter(kwargs)
        if self.run is None or self.run.cache is not cache:
            raise ValueError("The cache already holds tokens from elsewhere; start from an empty one inside `aim.reduce`.")
        if embeddings.shape[1] != 1:
            raise ValueError(
                f"A decoding step brings {embeddings.shape[1]} tokens; under `aim.reduce` it is one at a time. Use plain decoding."
            )
        return args, self.run.decode(kwargs)

    def on_layer(self, index: int, _module: nn.Module, args: tuple, kwargs: dict):
        if not self.prefilling:
            return args, kwargs
        hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
        hidden, kwargs = self.run.layer(index, hidden, kwargs)
        return (hidden, *rest), kwargs

    def on_output(self, _module: nn.Module, _args: tuple, _kwargs: dict, output):
        if self.prefilling:
            self.run.leave()
            self.prefilling = False


def _find_video(prompt: Tensor | None, mask: Tensor | None, config, family: Family) -> tuple[int, Layout]:
    """Where the prompt's one video starts, and its layout. prompt [1, n], mask [1, n] or None."""
    if prompt is None:
        raise ValueError("The prompt came as embeddings; give `input_ids`, in which the video's placeholders can be found.")
    if prompt.shape[0] != 1:
        raise ValueError(f"The batch has {prompt.shape[0]} rows (beams and several return sequences count too); give one prompt at a time.")
    if mask is not None and mask.dim() == 2 and not bool(mask.all()):
        raise ValueError("The prompt is padded; a single prompt needs no padding. Tokenize it without.")
    if bool((prompt == family.image_token(config)).any()):
        raise ValueError("The prompt holds an image; only video is reduced. Give the video alone.")
    places = (prompt[0] == family.video_token(config)).nonzero().flatten()
    if len(places) == 0:
        raise ValueError("The prompt holds no video, so there is nothing to reduce. Add one, or run the model without `aim.reduce`.")
    if int(places[-1] - places[0]) + 1 != len(places):
        raise ValueError("The prompt holds several videos; give one at a time.")
    return int(places[0]), family.layout(config, len(places))


class _Run:
    """One prompt: merged and pruned on the way in, counted on while decoding.

    The sequence is always [text before | visual | text after and separators]; `alive` are the merged tokens still in it.
    """

    def __init__(self, method: Method, trace: Trace, score_all: bool, start: int, layout: Layout, embeddings: Tensor, cache):
        self.method, self.trace, self.score_all, self.cache = method, trace, score_all, cache
        self.start, self.layout = start, layout
        self.watch = Stopwatch(embeddings.device)
        self.started = self.watch.now()
        for item in fields(Trace):
            if item.name != "num_layers":
                setattr(trace, item.name, getattr(Trace(), item.name))
        self.visual_per_layer = method.visual_per_layer(trace.num_layers, layout.frames, layout.tokens_per_frame)
        self.score: Tensor | None = None
        self.sliced: dict | None = None

    def enter(self, kwargs: dict) -> dict:
        """Before layer 0: merge, and give every remaining token its position."""
        embeddings, layout, start = kwargs["inputs_embeds"], self.layout, self.start
        device, patches = embeddings.device, layout.frames * layout.tokens_per_frame
        with self.watch.measure("merge"):
            visual = embeddings[0, start : start + patches]
            merged = self.method.merge(visual.view(layout.frames, layout.tokens_per_frame, -1))
            if merged is None:
                anchors = torch.arange(patches, device=device)
                assignment, sizes = anchors.view(layout.frames, -1), torch.ones_like(anchors)
            else:
                anchors, assignment, sizes = merged.anchors, merged.assignment, merged.sizes
                embeddings = torch.cat([embeddings[:, :start], merged.tokens[None], embeddings[:, start + patches :]], dim=1)
        self.alive = torch.arange(len(anchors), device=device)
        self.trace.assignment, self.trace.group_sizes = assignment, sizes
        total = embeddings.shape[1]
        unmerged = total + patches - len(anchors)
        kept = torch.cat([torch.arange(start, device=device), start + anchors, torch.arange(start + patches, unmerged, device=device)])
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(unmerged, device=device)[None]
        one_axis = positions.dim() == 2
        compact = self.method.positions == "compact" and one_axis
        positions = torch.arange(total, device=device)[None] if compact else positions[..., kept]
        self.next_position = int(positions[0, -1]) + 1 if one_axis else None
        self.trace.positions = positions[0, start : start + len(anchors)] if one_axis else positions[:, 0, start : start + len(anchors)]
        self.trace.frames, self.trace.rows, self.trace.columns = layout.frames, layout.rows, layout.columns
        # The mask stays a real one: without it, gaps in the positions would be taken for several packed prompts.
        mask = torch.ones(1, total, dtype=torch.long, device=device)
        return {**kwargs, "inputs_embeds": embeddings, "position_ids": positions, "attention_mask": mask}

    def layer(self, index: int, hidden: Tensor, kwargs: dict) -> tuple[Tensor, dict]:
        """Before a layer: drop what the schedule drops, by the scores of the layer before. hidden [1, n, C]."""
        target = self.visual_per_layer[index]
        if target < len(self.alive):
            chosen, device = self._choose(target), hidden.device
            after = torch.arange(self.start + len(self.alive), hidden.shape[1], device=device)
            here = torch.cat([torch.arange(self.start, device=device), self.start + chosen.to(device), after])
            self.alive = self.alive[chosen.to(self.alive.device)]
            hidden = hidden[:, here]
            kwargs = self._slice(kwargs if self.sliced is None else {**kwargs, **self.sliced}, here)
        elif self.sliced is not None:
            kwargs = {**kwargs, **self.sliced}
        self.trace.tokens_per_layer.append((len(self.alive), hidden.shape[1] - len(self.alive)))
        self.trace.survivors.append(self.alive)
        self.trace.scores.append(None)
        following = self.visual_per_layer[index + 1] if index + 1 < len(self.visual_per_layer) else target
        decides = 0 < following < len(self.alive)
        if len(self.alive) and (self.score_all or decides):
            kwargs = {**kwargs, "observe": partial(self.observe, "importance" if decides else "inspection")}
        return hidden, kwargs

    def _choose(self, target: int) -> Tensor:
        """Which of the tokens still alive go on, ascending: those the layer before scored highest."""
        if target == 0:
            return self.alive.new_zeros(0)
        # A stable sort rather than topk: equal scores fall to the earlier token on every device.
        return self.score.argsort(descending=True, stable=True)[:target].sort().values

    def _slice(self, kwargs: dict, here: Tensor) -> dict:
        """Cut positions and mask to the tokens at `here`, and remember the cut for the layers that follow."""
        self.sliced = {"position_embeddings": tuple(table[..., here.to(table.device), :] for table in kwargs["position_embeddings"])}
        if kwargs.get("position_ids") is not None:
            self.sliced["position_ids"] = kwargs["position_ids"][..., here.to(kwargs["position_ids"].device)]
        if kwargs.get("attention_mask") is not None:
            self.sliced["attention_mask"] = kwargs["attention_mask"][..., here, :][..., here]
        return {**kwargs, **self.sliced}

    def observe(self, stage: str, query: Tensor, key: Tensor, scaling: float) -> None:
        """Inside a layer's attention: score its tokens, timed under `stage`. query [1, H, n, d], key [1, KV, n, d]."""
        with self.watch.measure(stage):
            is_question = torch.zeros(query.shape[2], dtype=torch.bool, device=query.device)
            is_question[self.start + len(self.alive) + self.layout.separators :] = True
            score = self.method.score(query[0], key[0], scaling, is_question)
            if score is not None:
                self.score = score[self.start : self.start + len(self.alive)]
                self.trace.scores[-1] = self.score

    def leave(self) -> None:
        """After the last layer: move the record to the CPU."""
        self.watch.add("llm_prefill", self.started)
        trace = self.trace
        trace.assignment, trace.group_sizes, trace.positions = trace.assignment.cpu(), trace.group_sizes.cpu(), trace.positions.cpu()
        trace.survivors = [alive.cpu() for alive in trace.survivors]
        trace.scores = [None if score is None else score.float().cpu() for score in trace.scores]
        cached = [] if self.cache is None else self.cache.layers
        trace.key_value_lengths = [layer.get_seq_length() for layer in cached]
        trace.key_value_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cached)
        seconds = {"merge": 0.0, "importance": 0.0, **self.watch.seconds()}
        seconds["llm_prefill"] -= seconds["merge"] + seconds["importance"] + seconds.get("inspection", 0.0)
        trace.timings = seconds
        self.score = self.sliced = None

    def decode(self, kwargs: dict) -> dict:
        """A decoding step: count on from where the prefill's positions ended; layers differ in length, so no mask can fit them all."""
        if self.next_position is None:
            return {**kwargs, "attention_mask": None}
        position = torch.full((1, 1), self.next_position, device=kwargs["inputs_embeds"].device)
        self.next_position += 1
        return {**kwargs, "position_ids": position, "attention_mask": None}
