"""`aim.reduce`: hooks on a stock model, a trace out, hooks off.

What is hooked, and why there: `model.model` sees the prompt's ids, which tell where the pictures are; its `language_model` receives the
embeddings, in which the projected visual features stand at the placeholders, so merging needs no per-model code; each decoder layer
receives the hidden states, so pruning is slicing; and our own attention function sees queries and keys after RoPE, so importance needs no
attention map from the model. The hooks belong to one `aim.engine.session.Session`; what a run knows lives in a
`aim.engine.prefill.Prefill`, made at each prefill, and then in a `aim.engine.decoding.Decoding`.

Covered: images and videos, batches padded on the left, beams, a growing cache, PEFT adapters, decoding forward by forward. Not covered,
and refused in words (`aim.engine.unserved`): text models with windows, sinks or capped logits; compiled models; prefills in chunks and
several decoding tokens at once; static caches; labels and attention maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

from aim.engine import seams
from aim.engine.session import Session
from aim.engine.unserved import refuse_model, refuse_wrapped
from aim.families import family_of
from aim.kernels.refusal import Refusal
from aim.kernels.trace import Trace
from aim.methods import Method


@contextmanager
def reduce(model: nn.Module, method: Method, scores: str = "pruning") -> Iterator[Trace]:
    """Run a stock multimodal model with fewer visual tokens, for as long as the block lasts.

    Inside the block use `model.generate(...)` or a plain forward as ever, with one prompt or a batch; each prefill fills the yielded trace
    anew. On exit, by whatever way, the model is as it was before.

    Args:
        model: a supported `...ForConditionalGeneration` (see `aim.families.FAMILIES`), on any device, not in use by another `reduce`; or
            one that PEFT has put adapters on.
        method: what to merge and prune, for example `aim.AIM(merge_ratio=0.25, l1=14, l2=22)`.
        scores: "pruning" scores only the layers whose scores decide something; "all" scores every layer that still has visual tokens,
            to be looked at; the time that takes is reported apart, as `inspection`.

    Raises:
        Refusal: unsupported family, or a text model in it that SDPA cannot serve on fewer tokens; a compiled model; one that is being
            reduced already. At a forward: a prompt without a picture or not whole, padding elsewhere than on the left, a cache that
            already holds tokens or cannot grow, several tokens after the prompt, labels, attention maps, layers that run again in the
            backward pass, a method that needs what the vision tower attended to where that is not known.
        aim.engine.finite.NotFinite: a Refusal; NaN or infinity in what tokens are merged or scored by.
    """
    if scores not in ("pruning", "all"):
        raise Refusal(f'scores is {scores!r}; use "pruning" or "all".')
    model = seams.inside_adapters(model)
    refuse_wrapped(model)
    family, parts = family_of(model.config), seams.parts_of(model)
    if parts.attention == seams.ATTENTION:
        raise Refusal("The model is already inside `aim.reduce`; leave that block first, or load a second model.")
    watched = method.needs_tower and family.watch_tower is not None
    refuse_model(parts, with_tower=watched)
    method = method.for_depth(len(parts.layers))
    trace = Trace(num_layers=len(parts.layers))
    session = Session(parts, family, method, trace, score_all=scores == "all")
    hooks = []
    with seams.attending(parts):
        try:
            if watched:
                hooks += family.watch_tower(model, session.on_tower)
            hooks.append(model.register_forward_pre_hook(session.on_forward, with_kwargs=True))
            hooks.append(parts.core.register_forward_pre_hook(session.on_prompt, with_kwargs=True))
            hooks.append(parts.language_model.register_forward_pre_hook(session.on_embeddings, with_kwargs=True))
            hooks.append(parts.language_model.register_forward_hook(session.on_output))
            for index, layer in enumerate(parts.layers):
                hooks.append(layer.register_forward_pre_hook(partial(session.on_layer, index), with_kwargs=True))
            yield trace
        finally:
            for hook in hooks:
                hook.remove()
