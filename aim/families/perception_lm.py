"""Perception LM: the Perception Encoder in front of Llama. The tokens of a frame are pooled to half its side and stand in one run.

The published models' tower comes from the package timm, which needs torchvision, and neither is installed with AIM: `pip install timm
torchvision` beside it. The LLM, and all that is reduced, is transformers' own. Any other tower that gives one token a patch does as well.
Its processor shows an image whole and in tiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PerceptionLMConfig
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import encode_batches, features
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.towers import Notes, block_means, pooled, received, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention

# Releases before 5.20 build it with no tower but timm's, which AIM has not been tried with there.
IS_UNIFORM = hasattr(PerceptionLMConfig, "sub_configs_defaults")
# Where a config says nothing of the MLP, timm's models have one four times as wide, and the largest has another.
MLP_RATIO, LARGEST_MLP_RATIO = 4.0, 8960 / 1536


def _patch(config) -> int:
    """Pixels along a side of a patch: timm says it in the name of the tower."""
    given = config.vision_config.model_args.get("patch_size")
    return given or int(re.findall(r"patch(\d+)", config.vision_config.architecture)[0])


def _pixels(config) -> int:
    """Pixels along a side of a frame, or of a tile."""
    return config.vision_config.model_args["img_size"][0]


def _patches(config) -> int:
    return _pixels(config) // _patch(config)


def _side(config) -> int:
    """Tokens along a side of a frame: 32 patches → 16."""
    return _patches(config) // config.projector_pooling_ratio


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """16 x 16 tokens a frame, whatever the clip's size."""
    return Grid(frames, _side(config), _side(config))


def _images(config, _inputs: dict) -> Reader:
    """The whole view and each tile of an image are pictures of their own."""
    return lambda _placeholders: plain_picture(1, _side(config), _side(config))


def _videos(config, _inputs: dict) -> Reader:
    side = _side(config)

    def read(placeholders: int) -> Picture:
        frames, rest = divmod(placeholders, side * side)
        if frames < 1 or rest:
            raise Refusal(
                f"The prompt holds {placeholders} video placeholders in a row; a Perception LM clip has {side * side} a frame. "
                "Give one whole video, and text between two."
            )
        return plain_picture(frames, side, side)

    return read


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio: float32 [1, F, 3, side, side]."""
    return {"pixel_values_videos": normalised_frames(frames, picture_settings, _pixels(config), _pixels(config))[None]}


def _watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what CLS pays the patches in the last layer, or what these receive where there is no CLS."""
    config, tower = model.config, model.model.vision_tower
    first = int(config.vision_use_cls_token)

    def pool(values: Tensor) -> Tensor:
        return block_means(values, _patches(config), _patches(config), config.projector_pooling_ratio)

    if hasattr(tower, "timm_model"):
        return _watch_timm(tower.timm_model.blocks[-1].attn, callback, pool, first)
    attention = tower.encoder.layers[-1].self_attn
    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool, first, by_cls=bool(first))


def _watch_timm(attention: Any, callback: Callable[[TowerAttention], None], pool: Callable[[Tensor], Tensor], first: int) -> list:
    """The same of a layer of timm's, which makes queries, keys and values by one matrix and turns all but CLS by their places."""
    notes = Notes()

    def on_attention(_module, args: tuple, kwargs: dict) -> None:
        notes.seen["rotary"] = kwargs["rope"] if "rope" in kwargs else args[1]

    def report(_module, _args: tuple, _output) -> None:
        from timm.layers import apply_rot_embed_cat

        made, rotary = notes.seen.pop("qkv"), notes.seen.pop("rotary")
        queries, keys, _ = made.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        turned = [
            torch.cat([part[:, :, :first], apply_rot_embed_cat(part[:, :, first:], rotary, half=attention.rotate_half)], dim=2)
            for part in (queries, keys)
        ]
        asking = turned[0][:, :, :1] if first else turned[0]
        before = keys.transpose(1, 2).flatten(2)
        callback(pooled(received(asking, turned[1], attention.scale)[:, first:], before[:, first:], attention.num_heads, pool))

    return [
        attention.register_forward_pre_hook(on_attention, with_kwargs=True),
        attention.qkv.register_forward_hook(lambda _module, _args, output: notes.seen.__setitem__("qkv", output)),
        attention.register_forward_hook(report),
    ]


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected, pooled tokens, [F, T, hidden]."""
    [frames] = pixels["pixel_values_videos"]
    grid = _grid(model.config, {}, len(frames), 0, 0)

    def run(part: Tensor) -> Tensor:
        return model.model.get_image_features(part[None], return_dict=True).pooler_output

    outputs, seen = encode_batches(model, _watch_tower, frames, _vision_shape(model.config, grid), run)
    return Encoded({"video": features(torch.cat(outputs), seen)}, {}, grid)


def _for_images(family: Family) -> Family:
    """A single picture is a clip of one frame under an image's name."""

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        return {"pixel_values": _pixel_values(config, frames[:1], picture_settings)["pixel_values_videos"]}

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        encoded = _encode(model, {"pixel_values_videos": pixels["pixel_values"]})
        return replace(encoded, features={"image": encoded.features["video"]})

    return replace(
        family,
        video_token=lambda _config: None,
        pixel_values=pixel_values,
        encode=encode,
        clip_text="<|image|>",
        clip_type="image",
    )


def _vision_shape(config, grid: Grid) -> VisionShape:
    """The projector takes each patch, and its outputs are pooled."""
    args, largest = config.vision_config.model_args, "gigantic" in getattr(config.vision_config, "architecture", "")
    return VisionShape(
        num_layers=args["depth"],
        hidden_size=args["embed_dim"],
        intermediate_size=int(args["embed_dim"] * args.get("mlp_ratio", LARGEST_MLP_RATIO if largest else MLP_RATIO)),
        patches_per_frame=_patches(config) ** 2,
        patch_pixels=3 * _patch(config) ** 2,
        projector_size=config.text_config.hidden_size,
        other_tokens=int(config.vision_use_cls_token),
    )


def _refuses(config) -> str:
    """A side that the pooling cuts off."""
    return "It pools its frames in blocks that do not fill them." if _patches(config) % config.projector_pooling_ratio else ""


LARGE = ("vit_pe_core_large_patch14_336", 1024, 23)
LARGEST = ("vit_pe_core_gigantic_patch14_448", 1536, 47)


def _published(size: str, tower: tuple[str, int, int], layers: int, hidden: int, intermediate: int, heads: int, tied: bool) -> Published:
    """A Llama 3 behind a Perception Encoder, the largest of which has no CLS."""
    architecture, width, depth = tower
    return Published(
        name=f"perception-lm-{size.lower()}",
        hub_ids=(f"facebook/Perception-LM-{size}",),
        config_class=PerceptionLMConfig,
        parts={
            "text_config": {
                "model_type": "llama",
                "vocab_size": 128256,
                "num_hidden_layers": layers,
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_attention_heads": heads,
                "num_key_value_heads": 8,
                "max_position_embeddings": 11520,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": tied,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
            },
            "vision_config": {
                "model_type": "timm_wrapper",
                "architecture": architecture,
                "model_args": {
                    "embed_dim": width,
                    "depth": depth,
                    "img_size": [448, 448],
                    "global_pool": "",
                    "use_post_transformer_norm": False,
                    "init_values": 0.1,
                    "ref_feat_shape": [32, 32],
                },
            },
            "vision_use_cls_token": tower == LARGE,
            "projector_pooling_ratio": 2,
            "tie_word_embeddings": tied,
        },
    )


FAMILY = Family(
    title="Perception LM",
    good_for="Clips, and pictures looked at closely. It needs the packages timm and torchvision.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=_images,
    videos=_videos,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<|video|>",
    prompt=lambda grid, _times: [grid.tokens],
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    published=(
        _published("1B", LARGE, 16, 2048, 8192, 32, tied=True),
        _published("3B", LARGEST, 28, 3072, 8192, 24, tied=True),
        _published("8B", LARGEST, 32, 4096, 14336, 32, tied=False),
    ),
    picture_settings={"image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD},
    for_images=_for_images,
    tiles=True,
    refuses=_refuses,
)
