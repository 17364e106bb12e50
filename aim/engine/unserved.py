"""What `aim.reduce` cannot serve: some text models, compiled models, some arguments of a forward. It is refused before anything runs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from aim.engine import caches, seams
from aim.engine.attention import ATTENTION
from aim.kernels.refusal import Refusal
from aim.kernels.versions import advice

INSTEAD = "or run it without `aim.reduce`."


def plain_model(model: nn.Module) -> seams.PreTrainedModel:
    """The transformers model that `aim.reduce` was given, taken out of PEFT's wrapper where it is in one.

    Raises:
        Refusal: it is compiled, or wrapped by something else than PEFT.
    """
    model = seams.inside_adapters(model)
    if isinstance(model, nn.Module) and seams.is_compiled(model):
        raise Refusal(_compiled("The model"))
    if not isinstance(model, seams.PreTrainedModel):
        raise Refusal(
            f"The model is a {type(model).__name__}; `aim.reduce` takes a transformers model, also one with PEFT adapters. "
            "Pass the model inside it."
        )
    if not seams.is_whole(model):
        raise Refusal(
            f"The model is a {type(model).__name__}, a part of a multimodal model; `aim.reduce` takes the whole one, such as a "
            "...ForConditionalGeneration. Pass that one."
        )
    return model


def refuse_model(parts: seams.Parts, with_tower: bool) -> None:
    """Refuse a model that runs as compiled graphs, or whose text layers attend in a way that dropping tokens would break.

    Args:
        with_tower: whether the vision tower is hooked too, so that it may not be compiled either.

    Raises:
        Refusal: the model is one of these, or this release of transformers has changed what the engine stands on.
    """
    # A compiled module's forward names no arguments, so this is looked at before them.
    hooked = parts.whole.modules() if with_tower else [parts.core, *parts.language_model.modules()]
    if any(seams.is_compiled(module) for module in hooked):
        raise Refusal(_compiled("A part of the model"))
    missing = seams.missing(parts)
    if missing:
        raise Refusal(f"The forwards of {type(parts.whole).__name__} have no argument {missing[0]!r}, which `aim.reduce` needs. {advice()}")
    reasons = _attention_of(parts)
    if reasons:
        raise Refusal(
            f"The text model ({parts.text_config.model_type}) has {' and '.join(reasons)}; `aim.reduce` takes text models whose layers "
            f"all attend to keys, by a plain softmax. Choose another checkpoint, {INSTEAD}"
        )


def _attention_of(parts: seams.Parts) -> list[str]:
    """What in the text model's attention does not allow dropped tokens, as parts of a sentence; empty where nothing does."""
    kinds = seams.other_layer_kinds(parts)
    if kinds:
        return [f"layers of the kind {kind!r}" for kind in kinds]
    if not any(map(seams.attends, parts.layers)):
        return ["no layer that attends to keys"]
    total, reasons = len(parts.layers), []
    sinks = sum(seams.has_sinks(layer) for layer in parts.layers)
    if sinks:
        reasons.append(f"attention sinks in {sinks} of its {total} layers")
    cap = seams.soft_cap(parts)
    if cap is not None:
        reasons.append(f"attention logits soft-capped at {cap:g}")
    return reasons


def _compiled(subject: str) -> str:
    return (
        f"{subject} is compiled by torch.compile, whose graphs do not fit layers of changing length; `aim.reduce` takes the model as it "
        f"was before. Pass that one, {INSTEAD}"
    )


def refuse_outputs(given: dict) -> None:
    """Refuse arguments of the whole model's forward that need one logit for each token of the prompt.

    Raises:
        Refusal: `labels` are given, or `logits_to_keep` is a tensor.
    """
    if given.get(seams.LABELS) is not None:
        raise Refusal(
            "The forward was given `labels`, one a token of the prompt; under `aim.reduce` visual tokens are dropped, and only the tokens "
            f"that are left have logits. Leave `labels` out and take the loss of the last words' logits, {INSTEAD}"
        )
    if isinstance(given.get(seams.LOGITS_TO_KEEP), Tensor):
        raise Refusal(
            "`logits_to_keep` is a tensor of places in the prompt; under `aim.reduce` visual tokens are dropped, and places change. "
            f"Give the number of last logits to keep, {INSTEAD}"
        )


def refuse_forward(parts: seams.Parts, given: dict) -> None:
    """Refuse a forward that asks for what cannot be had on fewer tokens.

    Raises:
        Refusal: the attention was changed inside the block, attention maps are asked for, layers would run again in the backward pass, or
            the cache cannot grow.
    """
    if parts.attention != ATTENTION:
        raise Refusal(
            f"The text model's attention was set to {parts.attention!r} inside the block; `aim.reduce` sees queries and keys through its "
            "own, which is SDPA. Call `set_attn_implementation` before the block, or leave it out."
        )
    if seams.wants_attention_maps(parts.text_config, given):
        raise Refusal(
            "The forward is asked for its attention maps (`output_attentions`); under `aim.reduce` the text model runs on SDPA, which "
            f'makes none. Leave it out and look at `trace.scores`, which `scores="all"` fills for every layer, {INSTEAD}'
        )
    if any(seams.runs_twice(layer) for layer in parts.layers):
        raise Refusal(
            "The model trains with gradient checkpointing, which runs every layer again in the backward pass; under `aim.reduce` a layer "
            f"runs once a forward. Call `model.gradient_checkpointing_disable()` or `model.eval()`, {INSTEAD}"
        )
    refuse_cache(given.get(seams.CACHE))


def refuse_cache(cache: Any) -> None:
    """Refuse a cache whose layers all have one length.

    Raises:
        Refusal: the cache is no DynamicCache.
    """
    if cache is not None and not caches.grows(cache):
        raise Refusal(
            f"The cache is a {type(cache).__name__}; layers of different length need a DynamicCache. Pass one, or leave out "
            "`cache_implementation`."
        )


def refuse_left_cache(*_args: Any, **_kwargs: Any) -> None:
    """What `update` of a cache becomes that holds a shortened prompt and is used after the block.

    Raises:
        Refusal: always. Positions would go on from the shortened prompt, and masks would fit one of its layers at most.
    """
    raise Refusal(
        "The cache was filled inside `aim.reduce` and holds fewer tokens than the prompt had, so the model outside the block would go on "
        "from it wrongly. Decode inside the block, or run the prompt again with a new cache."
    )
