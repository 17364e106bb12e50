"""`aim.reduce`: hooks on a stock model, a trace out, hooks off.

Four places are hooked. `model.model` sees the prompt's ids, which tell where the pictures are. Its `language_model` receives the
embeddings, in which the projected visual features stand at the placeholders, so that merging needs no code for each model. Each decoder
layer receives the hidden states, so that dropping is slicing. Our own attention function sees queries and keys after RoPE, so that
importance needs no attention map from the model. The hooks belong to one `aim.engine.session.Session`. The state of a run lives in an
`aim.engine.prefill.Prefill`, made at each prefill, and after that in an `aim.engine.decoding.Decoding`.

These work: images and videos, sliding windows, batches padded on the left, beams, a growing cache, PEFT adapters, decoding forward by
forward.
A model that is compiled inside the block gives the same numbers, in and after it, and is no quicker, since its graphs break at every hook.
These are refused with a sentence (`aim.engine.unserved`): text models with sinks or capped logits, compiled models, prefills in
chunks, several decoding tokens at once, static caches, labels, and attention maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock

from torch import nn
from torch.utils.hooks import RemovableHandle

from aim.engine import seams
from aim.engine.attention import ATTENTION
from aim.engine.features import taking_features
from aim.engine.session import Session
from aim.engine.unserved import plain_model, refuse_model
from aim.families import family_of
from aim.families.pixel_change import keeping_pixels
from aim.kernels.bounds import check_choice
from aim.kernels.refusal import Refusal
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.methods.base import METHOD
from aim.methods.tower import Tower

# Two threads that enter at the same moment must not both find the model free: the second would note our attention as the one to put back.
_ENTERING = Lock()


@contextmanager
def reduce(
    model: nn.Module, method: Method, scores: str = "pruning", attention: bool = False, tower: Tower | None = None
) -> Iterator[Trace]:
    """Run a stock multimodal model with fewer visual tokens, for as long as the block lasts.

    Inside the block use `model.generate(...)` or a plain forward as usual, with one prompt or a batch. Each prefill fills the yielded
    trace anew. However the block is left, the model is then as it was before. Decode inside the block as well: a cache that was filled
    in it holds fewer tokens than the model outside expects, and refuses more of them after the block. Any thread may run the model, one
    at a time.

    Args:
        model: a supported `...ForConditionalGeneration` (see `aim.families.FAMILIES`), also one with PEFT adapters, on any device. No other
            `reduce` may be using it.
        method: what to merge and drop, for example `aim.AIM(merge_ratio=0.25, l1=14, l2=22)`.
        scores: "pruning" scores only the layers whose scores decide something. "all" scores every layer that still has visual tokens, so
            that the scores can be looked at; the time this takes is reported apart, as `inspection`.
        attention: record for each generated token what it looked at, in `trace.attention` (`aim.engine.attended`). It costs one row of
            attention a layer and token, and nothing where it is left out.
        tower: merge patches inside the vision tower too, or reuse what stands still, for example `aim.Tower(merge=0.3)` or
            `aim.Tower(reuse=8/255)`. The prompt and the method find as many visual tokens as without it. Features that were encoded before
            stay as they are. Colours are compared as if the frames were normalised like those of the family's published checkpoints. Each
            picture of a forward is compared with the one before it.

    Yields:
        The record of the latest prefill; it is empty before the first one.

    Raises:
        Refusal: `scores` is neither; `method` is no method; the family is not supported, or the method reads its vision tower and that
            cannot be watched; SDPA cannot serve the text model on fewer tokens; the model is compiled, or being reduced already; or the
            tower cannot be reduced. At a forward: another thread's forward runs, a prompt without a picture or not whole, padding elsewhere
            than on the left, a cache that already holds tokens or cannot grow, several tokens after the prompt, labels, attention maps,
            layers that run again in the backward pass, several rows with `attention`, or a method that needs what the vision tower attended
            to where that is not known, the pixels where these are not, or the question where no text stands behind the pictures.
        aim.engine.finite.NotFinite: a Refusal; NaN or infinity in what tokens are merged or scored by.
    """
    check_choice("scores", scores, ("pruning", "all"), 'Use "pruning" where only the answer matters.')
    METHOD.check("method", method)
    whole = plain_model(model)
    family, parts = family_of(whole.config), seams.parts_of(whole)
    method = family.fit(method, len(parts.layers))
    watch_tower = family.watch_tower if method.needs_tower else None
    tower_block = family.reducing(whole, tower)
    refuse_model(parts, with_tower=watch_tower is not None)
    trace = Trace(num_layers=len(parts.layers))
    session = Session(parts, family, method, trace, score_all=scores == "all", attention=attention)
    hooks: list[RemovableHandle] = []
    with ExitStack() as block:
        with _ENTERING:
            if parts.attention == ATTENTION:
                raise Refusal(
                    "The model, or another one that was made from the same config object, is already inside `aim.reduce`; leave that "
                    "block first, or load a second model."
                )
            block.enter_context(seams.attending(parts))
        block.enter_context(tower_block)
        block.enter_context(taking_features(parts.core))
        block.enter_context(seams.counting_on(parts))
        if method.needs_pixels:
            block.enter_context(keeping_pixels(parts.core, family, whole.config, seams.PIXELS))
        try:
            if watch_tower is not None:
                hooks += watch_tower(whole, session.on_tower)
            if family.keeping_sizes is not None:
                hooks += family.keeping_sizes(whole)
            hooks.append(whole.register_forward_pre_hook(session.on_forward, with_kwargs=True))
            hooks.append(parts.core.register_forward_pre_hook(session.on_prompt, with_kwargs=True))
            hooks.append(parts.core.register_forward_hook(session.on_end, always_call=True))
            hooks.append(parts.language_model.register_forward_pre_hook(session.on_embeddings, with_kwargs=True))
            hooks.append(parts.language_model.register_forward_hook(session.on_output))
            for index, layer in enumerate(parts.layers):
                hooks.append(layer.register_forward_pre_hook(partial(session.on_layer, index), with_kwargs=True))
            yield trace
        finally:
            for hook in hooks:
                hook.remove()
            session.close()
