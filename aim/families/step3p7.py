"""Step 3.7: a ViT whose patches two convolutions join, in front of an LLM of experts. Frames go in as images.

Three of four LLM layers have a window and more heads than the others. The first layers have one MLP in place of experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.step3p7.configuration_step3p7 import Step3p7Config
from transformers.models.step3p7.modeling_step3p7 import Step3p7VisionRotaryEmbedding, apply_rotary_pos_emb_vision

from aim.families.base import Picture, Reader, plain_picture
from aim.families.image_frames import image_frames
from aim.families.language import WINDOW, dense
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.towers import Notes, block_means, pooled, received
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.shape import Heads, ModelShape, VisionShape

JOINED = 4  # patches along a side of a token: each of two convolutions takes every second one
LARGEST = 3024  # pixels along a side; a larger picture is first made as large
# A head's first numbers are turned by the column of a patch, as the checkpoints were trained. Releases before 5.23 turn them by its row.
IS_UNIFORM = bool(Step3p7VisionRotaryEmbedding.recomposition_frequencies(None, torch.tensor([[[0.0], [1.0]]]))[0, 0] == 1)  # type: ignore[arg-type]


def _side(config) -> int:
    """Patches along a side of a frame."""
    return config.vision_config.image_size // config.vision_config.patch_size


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """16 patches to a token, whatever the clip's size: 52 x 52 → 13 x 13."""
    side = _side(config) // JOINED
    return Grid(frames, side, side)


def _images(config, _inputs: dict) -> Reader:
    """The whole view of an image, or one of its tiles, which are squares of another size and stand between markers."""
    whole = _grid(config, {}, 1, 0, 0)

    def read(placeholders: int) -> Picture:
        side = whole.rows if placeholders % whole.tokens == 0 else math.isqrt(placeholders)
        if placeholders % side**2:
            raise Refusal(
                f"The prompt holds {placeholders} image placeholders in a row; Step 3.7 has {whole.tokens} for a whole picture, and a "
                "square number for a tile. Give the prompt as its processor writes it."
            )
        return plain_picture(1, side, side)

    return read


def _is_ribbon(height: int, width: int) -> bool:
    """Whether its processor pads such a picture to a square."""
    return min(height, width) < 32 and max(height, width) > 4 * min(height, width)


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized to a square without keeping the aspect ratio: float32 [F, 3, side, side]. A ribbon is padded to a square first."""
    settings = {"resample": Image.Resampling.BILINEAR, "max_image_size": LARGEST, **picture_settings}
    height, width = frames.shape[1:3]
    longest = max(height, width)
    if _is_ribbon(height, width):
        frames = np.pad(frames, ((0, 0), (0, longest - height), (0, longest - width), (0, 0)))
        height = width = longest
    if longest > settings["max_image_size"]:
        size = [int(side * (settings["max_image_size"] / longest)) for side in (width, height)]
        frames = np.stack([np.asarray(Image.fromarray(frame).resize(size, settings["resample"])) for frame in frames])
    side = config.vision_config.image_size
    return {"pixel_values": normalised_frames(frames, settings, side, side)}


def _shown(_picture_settings: dict, height: int, width: int) -> tuple[float, float, float, float]:
    """The whole frame, or the square that a ribbon is padded to."""
    return (0, 0, max(height, width), max(height, width)) if _is_ribbon(height, width) else (0, 0, width, height)


def _watch_tower(model, callback: Callable) -> list:
    """Report what the last layer attends to in whole views. Keys are those before the rotary embedding.

    A token stands for 4 x 4 patches, although its convolutions also reach into those beside them. Tiles are encoded behind the whole views
    and stand before them in the prompt, so they are not reported.
    """
    attention, side, notes = model.model.vision_model.layers[-1].self_attn, _side(model.config), Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, output)

    def on_attention(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["rotary"] = kwargs["position_embeddings"]

    def pool(values: Tensor) -> Tensor:
        return block_means(values, side, side, JOINED)

    def report(_module, _args: tuple, _output) -> None:
        queries, keys, rotary = (notes.seen.pop(name) for name in ("queries", "keys", "rotary"))
        if keys.shape[1] != side**2:
            return
        heads = (part.unflatten(-1, (attention.num_heads, -1)) for part in (queries, keys))
        asking, asked = (part.transpose(1, 2) for part in apply_rotary_pos_emb_vision(*heads, *rotary))
        callback(pooled(received(asking, asked, attention.scale), keys, attention.num_heads, pool))

    return [
        attention.register_forward_pre_hook(on_attention, with_kwargs=True),
        attention.q_proj.register_forward_hook(note("queries")),
        attention.k_proj.register_forward_hook(note("keys")),
        attention.register_forward_hook(report),
    ]


def _prompt(grid: Grid, _times: Sequence[float] = ()) -> list[str | int]:
    """One image after the other, as the processor writes several."""
    return ["<im_start>", grid.tokens_per_frame, "<im_end>"] * grid.frames


def _vision_shape(config, grid: Grid) -> VisionShape:
    """Two convolutions of 3 x 3 to twice and to four times the width, the first of which makes four times as many tokens, and a matrix.

    They are counted as a projector of 16 patches to four times the width, and what they have beyond that.
    """
    vision, together = config.vision_config, JOINED**2
    convolutions = 4 * 9 * 2 * vision.hidden_size**2 + 9 * 2 * 4 * vision.hidden_size**2
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_middle=4 * vision.hidden_size,
        projector_further=convolutions - together * 4 * vision.hidden_size**2,
    )


def _language_shape(text: Any) -> ModelShape:
    """The LLM's numbers: those of its first layer's heads, what others have in their place, and its experts."""
    layers = [text.per_layer_config[layer] for layer in range(text.num_hidden_layers)]
    shape = dense(layers[0])
    others = tuple(index for index, layer in enumerate(layers) if layer.num_attention_heads != shape.num_heads)
    if others:
        heads = Heads(shape.num_key_value_heads, shape.head_dim, num_heads=layers[others[0]].num_attention_heads)
        shape = replace(shape, other_heads=heads, other_layers=others)
    used = text.num_experts_per_tok * text.moe_intermediate_size
    return replace(
        shape,
        intermediate_size=used + text.share_expert_dim,
        router=text.n_routed_experts,
        unused_size=text.n_routed_experts * text.moe_intermediate_size - used,
        head_gate=True,
        dense_size=text.intermediate_size,
        dense_layers=tuple(layer for layer, kind in enumerate(text.mlp_layer_types) if kind == "dense"),
    )


def _refuses(config) -> str:
    if config.text_config.use_bidirectional_attention:
        return "The tokens of its prompt attend to one another in both directions, by a mask that AIM cannot yet reduce."
    return "Its tower joins patches in blocks of 4 x 4, which do not fill a frame." if _side(config) % JOINED else ""


def _published() -> Published:
    """45 layers, of which every fourth sees the whole prompt. Layers that guess words ahead are not loaded."""
    full, window = "full_attention", WINDOW
    limits = [0.0] * 43
    return Published(
        name="step-3.7-flash",
        hub_ids=("stepfun-ai/Step-3.7-Flash", "stepfun-ai/Step-3.7-Flash-FP8"),
        config_class=Step3p7Config,
        parts={
            "text_config": {
                "vocab_size": 128896,
                "max_position_embeddings": 262144,
                "layer_types": [window if layer % 4 else full for layer in range(45)],
                "sliding_window": 512,
                "num_sliding_attention_heads": 96,
                "moe_router_scaling_factor": 3.0,
                "swiglu_limits": [*limits, 7.0, 7.0],
                "swiglu_limits_shared": [*limits, 16.0, 16.0],
                "rope_parameters": {
                    full: {"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5},
                    window: {"rope_type": "default", "rope_theta": 1e4},
                },
            },
            "image_token_id": 128001,
        },
    )


FAMILY = replace(
    image_frames(
        title="Step 3.7",
        good_for="Pictures, and answers that are thought through first. It takes the frames as pictures, and needs several large GPUs.",
        grid=_grid,
        pixel_values=_pixel_values,
        clip_text="<im_patch>",
        clip_type="image",
        prompt=_prompt,
        vision_shape=_vision_shape,
        watch_tower=_watch_tower,
        language_shape=_language_shape,
        published=(_published(),),
        for_images=lambda family: family,
        tiles=True,
        refuses=_refuses,
        shown=_shown,
        unquantised=("model.vision_model", "model.multi_modal_projector", "lm_head"),
        picture_settings={"resample": 2, "image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD},
        settings_in_code=True,
        joined=lambda parts: [tokens for part in parts for tokens in part],
    ),
    images=_images,
)
