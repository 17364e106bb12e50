"""Qwen2.5-Omni's thinker: Qwen2.5-VL with markers of its own, whose tower makes queries and keys apart. Sounds stay as they are.

The whole model stands the thinker beside a part that speaks, and has no forward of its own. Of its checkpoints the thinker alone is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniThinkerConfig
from transformers.vision_utils import get_vision_window_index

from aim.families import qwen2_5_vl, qwen2_vl
from aim.families.base import Encoded, Family
from aim.families.full_grid import full_bounds, full_grid
from aim.families.patch_tokens import by_tokens
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_3B, QWEN2_7B
from aim.families.towers import Notes
from aim.kernels.tower_attention import TowerAttention

# Since transformers 5.21 the thinker is built as the other families are.
IS_UNIFORM = hasattr(modeling_qwen2_5_omni, "Qwen2_5OmniThinkerModel")


def _timing(seconds: float) -> dict[str, Tensor]:
    """Seconds from one step in time, of two frames, to the next."""
    return {"video_second_per_grid": torch.tensor([2 * seconds])}


def _watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what the last layer attends to, in the order of the picture. Keys are those before the rotary embedding."""
    tower, vision = model.model.visual, model.config.vision_config
    attention, group, notes = tower.blocks[-1].attn, vision.spatial_merge_size**2, Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, output)

    def on_tower(_module, args: tuple, kwargs: dict) -> None:
        notes.seen["sizes"] = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]

    def on_attention(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["bounds"], notes.seen["rotary"] = kwargs["cu_seqlens"], kwargs["position_embeddings"]

    def report(_module, _args: tuple, _output) -> None:
        queries, keys, rotary, bounds, sizes = (notes.seen.pop(name) for name in ("queries", "keys", "rotary", "bounds", "sizes"))
        queries, keys = (full_grid(attention, part).unflatten(-1, (attention.num_heads, -1)) for part in (queries, keys))
        rotary = tuple(full_grid(attention, part) for part in rotary)
        lengths, sizes = full_bounds(attention, bounds).diff().tolist(), sizes.cpu()
        order, _ = get_vision_window_index(sizes, vision.spatial_merge_size, vision.window_size, vision.patch_size)
        callback(by_tokens(queries, keys, rotary, lengths, attention.scaling, sizes.tolist(), group, order.argsort()))

    return [
        tower.register_forward_pre_hook(on_tower, with_kwargs=True),
        attention.register_forward_pre_hook(on_attention, with_kwargs=True),
        attention.q.register_forward_hook(note("queries")),
        attention.k.register_forward_hook(note("keys")),
        attention.register_forward_hook(report),
    ]


_ENCODE = qwen2_vl.encoder(_watch_tower, qwen2_5_vl.vision_shape)


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """As Qwen2.5-VL. The model insists on being told the seconds, so where they are not known, a frame a second stands for them."""
    encoded = _ENCODE(model, pixels)
    return replace(encoded, inputs=_timing(1.0) | encoded.inputs)


def _for_images(family: Family) -> Family:
    """As Qwen2-VL, with the marker of this family."""
    of_qwen = replace(family, for_images=qwen2_5_vl.FAMILY.for_images)
    return replace(of_qwen.taking(is_image=True), clip_text="<|IMAGE|>")


def _published(size: str, llm: dict, vocabulary: int) -> Published:
    """The Qwen2.5 and the tower of a Qwen2.5-VL, and an encoder of sounds."""
    [tower] = [model.parts["vision_config"] for model in qwen2_5_vl.FAMILY.published if model.name.endswith(size.lower())]
    return Published(
        name=f"qwen2.5-omni-{size.lower()}",
        hub_ids=(f"Qwen/Qwen2.5-Omni-{size}",),
        config_class=Qwen2_5OmniThinkerConfig,
        parts={
            "text_config": {**llm, "vocab_size": vocabulary, "rope_parameters": qwen2_vl.MROPE},
            "vision_config": tower,
            "audio_config": {"output_dim": llm["hidden_size"]},
            "vision_start_token_id": 151652,
        },
    )


FAMILY = replace(
    qwen2_5_vl.FAMILY,
    title="Qwen2.5-Omni's thinker",
    good_for="As Qwen2.5-VL. Sounds are left out here.",
    encode=_encode,
    clip_text="<|VIDEO|>",
    token_types="",
    timing=_timing,
    watch_tower=_watch_tower,
    for_images=_for_images,
    published=(_published("3B", QWEN2_3B, 151936), _published("7B", QWEN2_7B, 152064)),
    unquantised=("model.visual", "model.audio_tower", "lm_head"),
)
