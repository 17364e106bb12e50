"""`aim.reduce`: hooks on a stock model, a trace out, hooks off.

What is hooked, and why there: `model.model` sees the prompt's ids, which tell where the pictures are; its `language_model` receives the
embeddings, in which the projected visual features stand at the placeholders, so merging needs no per-model code; each decoder layer
receives the hidden states, so pruning is slicing; and our own attention function sees queries and keys after RoPE, so importance needs no
attention map from the model. Everything a run knows lives in one `aim.engine.prefill.Prefill`, made at each prefill. Covered: images and
videos, batches padded on the left, beams, a growing cache. Not covered: static caches, several decoding tokens at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from aim.engine.prefill import Prefill
from aim.engine.prompt import read_prompts
from aim.families import Family, family_of
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method

ATTENTION = "aim"


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, observe=None, probe=False, **kwargs
):
    """SDPA exactly; a layer whose hook passed `observe` also hands over its queries and keys. query [B, H, n, d], key [B, KV, n, d].

    With `probe` only queries and keys are wanted: nothing is attended to.
    """
    if observe is not None:
        observe(query, key, kwargs["scaling"])
    if probe:
        return query.new_zeros(()).expand(query.transpose(1, 2).shape), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


# Registration has no inverse, so it is done once and under a name of our own: no other model in the process is touched. Without the
# mask entry transformers would silently drop the causal mask.
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextmanager
def reduce(model: nn.Module, method: Method, scores: str = "pruning") -> Iterator[Trace]:
    """Run a stock multimodal model with fewer visual tokens, for as long as the block lasts.

    Inside the block use `model.generate(...)` or a plain forward as ever, with one prompt or a batch; each prefill fills the yielded trace
    anew. On exit, by whatever way, the model is as it was before.

    Args:
        model: a supported `...ForConditionalGeneration` (see `aim.families.FAMILIES`), on any device, not in use by another `reduce`.
        method: what to merge and prune, for example `aim.AIM(merge_ratio=0.25, l1=14, l2=22)`.
        scores: "pruning" scores only the layers whose scores decide something; "all" scores every layer that still has visual tokens,
            to be looked at; the time that takes is reported apart, as `inspection`.

    Raises:
        ValueError: unsupported family; model already being reduced; and at the prefill: a prompt without a picture, padding elsewhere than
            on the left, a cache that already holds tokens or cannot grow, a method that needs what the vision tower attended to where
            that is not known.
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
    session = _Session(model.config, family, method, trace, score_all=scores == "all", rotary=language_model.rotary_emb)
    hooks = []
    try:
        model.set_attn_implementation({"text_config": ATTENTION})
        if method.needs_tower and family.watch_tower is not None:
            hooks += family.watch_tower(model, session.on_tower)
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
    """The hooks of one `reduce` block. Tells prefills from decoding steps and keeps the present `Prefill`."""

    def __init__(self, config, family: Family, method: Method, trace: Trace, score_all: bool, rotary: nn.Module):
        self.config, self.family, self.method, self.trace, self.score_all = config, family, method, trace, score_all
        self.rotary = rotary
        self.inputs: dict = {}
        self.tower: list[TowerAttention] = []
        self.run: Prefill | None = None
        self.prefilling = False

    def on_prompt(self, _module: nn.Module, args: tuple, kwargs: dict):
        self.inputs = {**kwargs, "input_ids": kwargs.get("input_ids", args[0] if args else None)}

    def on_tower(self, seen: TowerAttention) -> None:
        self.tower.append(seen)

    def on_embeddings(self, module: nn.Module, args: tuple, kwargs: dict):
        cache, embeddings = kwargs.get("past_key_values"), kwargs["inputs_embeds"]
        if cache is not None and not isinstance(cache, DynamicCache):
            raise ValueError(
                f"The cache is a {type(cache).__name__}; layers of different length need a DynamicCache. Drop cache_implementation."
            )
        filled = cache is not None and cache.get_seq_length() > 0
        self.prefilling = not filled
        if not filled:
            ids = self.inputs["input_ids"]
            if ids is None:
                raise ValueError("The prompt came as embeddings; give `input_ids`, in which the placeholders of pictures can be found.")
            prompts = read_prompts(ids, kwargs.get("attention_mask"), self.inputs, self.config, self.family)
            self.run = Prefill(self.method, self.trace, self.score_all, prompts, embeddings, cache, self.rotary)
            inputs = self.run.enter(kwargs, self._tower_attention())
            self.inputs, self.tower = {}, []
            return args, inputs
        if self.run is None or self.run.cache is not cache:
            raise ValueError("The cache already holds tokens from elsewhere; start from an empty one inside `aim.reduce`.")
        if embeddings.shape[1] != 1:
            raise ValueError(
                f"A decoding step brings {embeddings.shape[1]} tokens; under `aim.reduce` it is one at a time. Use plain decoding."
            )
        return args, self.run.decode(kwargs)

    def _tower_attention(self) -> dict[str, TowerAttention]:
        """What the vision tower attended to, by kind of picture: from this very forward, or recorded when the features were made."""
        if not self.method.needs_tower:
            return {}
        made = self.inputs.get("mm_encoder_outputs") or {}
        known = {kind: output.attentions[0] for kind, output in made.items() if getattr(output, "attentions", None)}
        pixels = {"image": "pixel_values", "video": "pixel_values_videos"}
        # A forward encodes what it is given as pixels; `generate` has done so before, and hands on features.
        kinds = [kind for kind, name in pixels.items() if kind not in known and (kind in made or self.inputs.get(name) is not None)]
        latest = self.tower[-len(kinds) :] if kinds else []
        return known | (dict(zip(kinds, latest, strict=True)) if len(latest) == len(kinds) else {})

    def on_layer(self, index: int, module: nn.Module, args: tuple, kwargs: dict):
        if not self.prefilling:
            return args, self.run.decode_layer(index, kwargs)
        hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
        hidden, kwargs = self.run.layer(index, module, hidden, kwargs)
        return (hidden, *rest), kwargs

    def on_output(self, _module: nn.Module, _args: tuple, _kwargs: dict, output):
        if self.prefilling:
            self.run.watch.wait(output.last_hidden_state.device)  # of a model spread over several GPUs, the last one's
            self.run.leave()
            self.prefilling = False
