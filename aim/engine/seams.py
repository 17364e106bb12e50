"""Every internal of transformers that the engine depends on, except those of the KV cache, which `aim.engine.caches` has, and the function
that a layer attends by, which `aim.engine.attention` has. The rest of the engine asks these three and names none of them itself.

Each has a test in tests/engine/test_seams.py, which says in one line what broke when transformers changed it. Code that differs between
releases of transformers belongs here too (`aim.kernels.versions` names the range); it asks what a release has, and not which one it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast

from aim.engine.attention import ATTENTION, Observe

# Keyword arguments of the forwards: of the whole model and of the model without its head...
IDS = "input_ids"
FEATURES = "mm_encoder_outputs"  # since transformers 5.18; see `aim.engine.features`
PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
LABELS = "labels"
TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")  # which say where pictures are
LOGITS_TO_KEEP = "logits_to_keep"
ATTENTION_MAPS = "output_attentions"
# ... of these two, the text model and its layers...
MASK = "attention_mask"
POSITIONS = "position_ids"
OLD_CACHE = "past_key_values"
CACHE = "cache" if "cache" in {item.name for item in fields(BaseModelOutputWithPast)} else OLD_CACHE  # "cache" since transformers 5.24
# ... of the text model, some of which add further visual features (DeepStack) to the tokens that a mask names: a list, behind the first
# layers, or a table, before the layers that it names. With the table the visual tokens themselves enter as zeros...
EMBEDDINGS = "inputs_embeds"
DEEPSTACK, DEEPSTACK_MASK = "deepstack_visual_embeds", "visual_pos_masks"
DEEPSTACK_TABLE, DEEPSTACK_TABLE_MASK = "deepstack_features", "vision_mask"
# ... and of its layers: hidden states [B, n, C], and the cosines and sines [B, n, d] of the rotary embedding.
HIDDEN = "hidden_states"
TABLES = "position_embeddings"
SHARED_KEYS = "shared_kv_states"  # a table in which some text models' attention layers leave keys and values for later ones

WHOLE_PROMPT, WINDOW, LINEAR = "full_attention", "sliding_attention", "linear_attention"
UNSCALED = "unscaled"  # the rotary embedding of layers that a text model leaves out where it scales the others'
APART = ("audio_tower", "qformer")  # encodes sounds, which AIM never gives; joins patches behind the vision tower


@dataclass(frozen=True)
class Parts:
    """A multimodal model, taken apart.

    Attributes:
        whole: the `...ForConditionalGeneration`.
        core: the same without its head. It sees the ids of the prompt.
        language_model: the text model. It receives the embeddings, visual features among them.
        layers: the text model's.
        rotary: (hidden states, positions) → cosines and sines; see `tables`.
    """

    whole: PreTrainedModel
    core: nn.Module
    language_model: PreTrainedModel
    layers: nn.ModuleList
    rotary: nn.Module

    def tables(self, layer: int, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The cosines and sines that a layer is given for these positions; some text models have others for each kind of layer."""
        text: Any = self.language_model
        if hasattr(text, "rope_types") and text.rope_types[layer] == UNSCALED:
            return text.rotary_emb_unscaled(hidden, positions)
        if "layer_type" in inspect.signature(type(self.rotary).forward).parameters:
            return self.rotary(hidden, positions, self.text_config.layer_types[layer])
        return self.rotary(hidden, positions)

    @property
    def text_config(self) -> Any:
        return self.language_model.config

    @property
    def attention(self) -> str:
        """The name of the attention function that the text model runs on."""
        return self.text_config._attn_implementation


def inside_adapters(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT one, whose adapters stay active in it. Any other model comes back as it is."""
    wrapper: Any = model
    return model if isinstance(model, PreTrainedModel) or not hasattr(model, "get_base_model") else wrapper.get_base_model()


def is_whole(model: PreTrainedModel) -> bool:
    """Whether a model is a whole multimodal one or a text model with its head, and not a part of one."""
    return isinstance(getattr(model, "model", None), nn.Module)


def parts_of(model: PreTrainedModel) -> Parts:
    """The parts of a model of a supported family."""
    core: Any = model.model
    language_model = core.text_model if hasattr(core, "text_model") else core.language_model
    return Parts(model, core, language_model, language_model.layers, language_model.rotary_emb)


def word_scale(parts: Parts) -> float:
    """What the text model itself multiplies the embeddings by that it is given."""
    return float(getattr(parts.language_model, "embedding_multiplier", 1.0))


def missing(parts: Parts) -> list[str]:
    """Arguments under which the engine finds and passes on tensors, and which this release of transformers no longer has."""
    wanted = {
        parts.core: (IDS, MASK, POSITIONS, CACHE),
        parts.language_model: (EMBEDDINGS, MASK, POSITIONS, CACHE),
        parts.layers[0]: (HIDDEN, TABLES, MASK, CACHE),
    }
    return [name for module, names in wanted.items() for name in names if name not in inspect.signature(type(module).forward).parameters]


def is_compiled(module: nn.Module) -> bool:
    """Whether `torch.compile` made this module, its call or its forward."""
    forward = module.__dict__.get("forward")
    return isinstance(module, OptimizedModule) or module._compiled_call_impl is not None or hasattr(forward, "_torchdynamo_orig_callable")


@contextmanager
def attending(parts: Parts, name: str = ATTENTION) -> Iterator[None]:
    """A block in which the text model runs on the attention function `name`."""
    before = parts.attention
    try:
        parts.whole.set_attn_implementation({"text_config": name})
        yield
    finally:
        parts.whole.set_attn_implementation({"text_config": before})


@contextmanager
def counting_on(parts: Parts) -> Iterator[None]:
    """A block after which the model counts the positions of new tokens on as it would have before. M-RoPE models keep that themselves."""
    kept = {name: getattr(parts.core, name) for name in ("rope_deltas",) if hasattr(parts.core, name)}
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(parts.core, name, value)


def named(module: nn.Module, args: tuple, kwargs: dict) -> dict:
    """The arguments of a module's forward by name, including those that were given by place or by a name that transformers still takes."""
    given = {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs} if args else kwargs
    return {CACHE if name == OLD_CACHE else name: value for name, value in given.items()}


def take_hidden(args: tuple, kwargs: dict) -> tuple[Tensor, tuple, dict]:
    """(a layer's hidden states [B, n, C], its other arguments by place, its other arguments by name)."""
    if args:
        return args[0], args[1:], kwargs
    return kwargs[HIDDEN], (), {name: value for name, value in kwargs.items() if name != HIDDEN}


def attends(layer: Any) -> bool:
    """Whether a text layer attends to keys. Else it is linear attention (a gated delta net), which keeps a state instead."""
    return hasattr(layer, "self_attn")


def linear_attention(layer: Any) -> nn.Module:
    """What a layer that does not attend to keys has instead: (`HIDDEN` [B, n, C], `MASK` bool [B, n] or None) → [B, n, C]."""
    return layer.linear_attn


def layer_masks(parts: Parts, ones: Tensor) -> Any:
    """What the text model takes for "no token is masked", `ones` [B, n] telling so.

    A text model with linear layers gets no mask for each kind of layer, because it would wait for the device to see that all are ones.
    """
    kinds = set(getattr(parts.text_config, "layer_types", None) or [])
    return dict.fromkeys(kinds) if LINEAR in kinds else ones


def look_ahead(layer: Any, hidden: Tensor, tables: tuple[Tensor, Tensor], observe: Observe) -> None:
    """Hand the queries and keys that a layer makes of `hidden` [B, n, C] to `observe` before the layer runs."""
    device = next(layer.parameters()).device
    given: dict[str, Any] = {MASK: None, CACHE: None, "observe": observe, "probe": True}
    given[TABLES] = tuple(table.to(device) for table in tables)
    if SHARED_KEYS in inspect.signature(type(layer.self_attn).forward).parameters:
        given[SHARED_KEYS] = {}
    # Some have their norms behind the attention instead, and some can have the same one there.
    norm = nn.Identity() if getattr(layer, "norm_after", False) else getattr(layer, "input_layernorm", nn.Identity())
    layer.self_attn(**{HIDDEN: norm(hidden.to(device))}, **given)


def final_norm(parts: Parts, hidden: Tensor) -> Tensor:
    """The norm that follows the last layer, of hidden states [n, C]."""
    norm: Any = parts.language_model.norm
    return norm(hidden.to(norm.weight.device)).to(hidden.device)


def last_hidden(output: Any) -> Tensor:
    """What the text model gives, [B, n, C]."""
    return output.last_hidden_state


def kept_by_itself(parts: Parts, given: dict) -> int:
    """How many last tokens are wanted, where the text model itself cuts its output to them; 0 where it does not, or all are wanted."""
    told = LOGITS_TO_KEEP in inspect.signature(type(parts.language_model).forward).parameters
    return int(given.get(LOGITS_TO_KEEP) or 0) if told else 0


def keep_last(output: Any, count: int) -> None:
    """Leave the last `count` tokens in what the text model gives."""
    output.last_hidden_state = output.last_hidden_state[:, -count:]


def cache_of(output: Any) -> DynamicCache | None:
    """The cache that the text model filled. It makes one where it was given none; None where it keeps none."""
    return getattr(output, CACHE)


def transformer_layers(model: nn.Module) -> list[nn.Module]:
    """Every transformer layer of a model's text model and vision tower."""
    apart = {part for name, module in model.named_modules() if name.endswith(APART) for part in module.modules()}
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer) and module not in apart]


def runs_twice(layer: Any) -> bool:
    """Whether a layer runs again in the backward pass, which saves memory (gradient checkpointing)."""
    return bool(layer.training and layer.gradient_checkpointing)


def wants_attention_maps(config: Any, given: dict) -> bool:
    """Whether a forward with these arguments is asked for the text model's attention maps."""
    asked = given.get(ATTENTION_MAPS)
    return bool(getattr(config, ATTENTION_MAPS, False) if asked is None else asked)


def other_layer_kinds(parts: Parts) -> list[str]:
    """The kinds of text layers that are neither softmax over keys nor linear attention, such as "conv"."""
    return sorted(set(getattr(parts.text_config, "layer_types", None) or []) - {WHOLE_PROMPT, WINDOW, LINEAR})


def has_sinks(layer: nn.Module) -> bool:
    """Whether a text layer has attention sinks, which are learned logits beside those of the keys."""
    return any(getattr(module, "sinks", None) is not None for module in layer.modules())


def soft_cap(parts: Parts) -> float | None:
    """The bound that the text model's attention logits are capped at, or None."""
    return getattr(parts.text_config, "attn_logit_softcapping", None)
