"""The attention function that a reduced model's text layers run on, and the mask of its whole prompts, registered with transformers.

Their tests are in tests/engine/test_seams.py, with those of the other internals of transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from aim.kernels.refusal import Refusal

# (query [B, H, n, d], key [B, KV, n, d], scaling) of a layer's attention.
Observe = Callable[[Tensor, Tensor, float], None]

ATTENTION = "aim"  # the name it is registered under
# Arguments that an attention layer may hand to its attention function, and that SDPA would silently ignore.
UNSERVED_ARGUMENTS = {"s_aux": "attention sinks", "softcap": "soft-capping"}


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    observe: Observe | None = None,
    probe: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function of the text model: exactly SDPA, which may also show its queries and keys.

    Args:
        query: [B, H, n, d], after RoPE.
        key: [B, KV, n, d], after RoPE.
        observe: called with query, key and scaling, where the layer's hook passed it.
        probe: whether only queries and keys are wanted. The output is then zeros, and no attention is computed.

    Raises:
        Refusal: the layer needs what SDPA does not do.
    """
    for name, title in UNSERVED_ARGUMENTS.items():
        if kwargs.get(name) is not None:
            raise Refusal(
                f"The text model attends with {title}, and SDPA, which `aim.reduce` runs on, has none. Choose a checkpoint without, "
                "or run this one without `aim.reduce`."
            )
    if observe is not None:
        observe(query, key, kwargs["scaling"])
    if probe:
        return query.new_zeros(()).expand(query.transpose(1, 2).shape), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


_THREAD = threading.local()


def note_forward(is_running: bool) -> None:
    """Note whether this thread runs a forward of a reduced model, whose layers get their masks from their hooks."""
    _THREAD.reduced = is_running


def prompt_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """In a reduced model the mask of a whole prompt is None, because SDPA's own causal mask is enough.

    The mask function that comes with SDPA would read the padding back from the device, and the host would wait for it. That one is left to
    models that are not reduced and were made from the same config object, which names our attention to them too.
    """
    return None if getattr(_THREAD, "reduced", False) else sdpa_mask(*args, **kwargs)


# Registration cannot be undone. So it is done once, under a name of our own, and changes no other model in the process.
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, prompt_mask)
