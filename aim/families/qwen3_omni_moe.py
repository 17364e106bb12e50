"""Qwen3-Omni's thinker: Qwen3-VL with experts, whose clips stand in one run, with positions that know seconds. Sounds stay as they are.

The whole model stands the thinker beside a part that speaks, and has no forward of its own. Of its checkpoints the thinker alone is loaded.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from transformers.models.qwen3_omni_moe import modeling_qwen3_omni_moe
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeThinkerConfig

from aim.families import qwen2_vl, qwen3_vl, qwen3_vl_moe
from aim.families.base import Encoded
from aim.families.published import Published
from aim.families.qwen3_sizes import LARGE_TOWER, MROPE, QWEN3_30B_A3B
from aim.families.qwen_pixels import gridder, pixel_maker

# Since transformers 5.21 the thinker is built as the other families are.
IS_UNIFORM = hasattr(modeling_qwen3_omni_moe, "Qwen3OmniMoeThinkerModel")


def _timing(seconds: float) -> dict[str, Tensor]:
    """Seconds from one step in time, of two frames, to the next."""
    return {"video_second_per_grid": torch.tensor([2 * seconds])}


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """As Qwen3-VL. The model insists on being told the seconds, so where they are not known, a frame a second stands for them."""
    encoded = qwen3_vl.FAMILY.encode(model, pixels)
    return replace(encoded, inputs=_timing(1.0) | encoded.inputs)


def _published(size: str, llm: dict) -> Published:
    """A Qwen3 with experts, behind the tower of Qwen3-VL and an encoder of sounds."""
    return Published(
        name=f"qwen3-omni-{size.lower()}",
        hub_ids=(f"Qwen/Qwen3-Omni-{size}-Instruct", f"Qwen/Qwen3-Omni-{size}-Thinking"),
        config_class=Qwen3OmniMoeThinkerConfig,
        parts={
            "text_config": {**llm, "vocab_size": 152064, "max_position_embeddings": 65536, "rope_parameters": {**MROPE, "rope_theta": 1e6}},
            "vision_config": {**LARGE_TOWER, "out_hidden_size": llm["hidden_size"], "deepstack_visual_indexes": [8, 16, 24]},
            "audio_config": {"output_dim": llm["hidden_size"]},
            "vision_start_token_id": 151652,
        },
    )


FAMILY = replace(
    qwen3_vl_moe.FAMILY,
    title="Qwen3-Omni's thinker",
    videos=qwen2_vl.reader("video"),
    grid=gridder(qwen2_vl.frame_size),
    pixel_values=pixel_maker(qwen2_vl.frame_size),
    encode=_encode,
    prompt=lambda grid, _times: [grid.tokens],
    token_types="",
    timing=_timing,
    published=(_published("30B-A3B", QWEN3_30B_A3B),),
    picture_settings={name: value for name, value in qwen3_vl.FAMILY.picture_settings.items() if name != "size"},
    unquantised=("model.visual", "model.audio_tower", "lm_head"),
)
