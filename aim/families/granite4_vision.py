"""Granite 4 Vision: SigLIP 2 in front of Granite. It knows images only, so the frames of a clip go in as images, one on each line.

Its visual tokens enter the LLM as zeros and get their features before several of its layers, each from a window Q-Former of its own
(`aim.engine.deepstack`). A newline ends a picture. It is a feature too, and is kept as text is.

Its processor shows every image whole and in tiles, and the model's own encoder takes none without. But the LLM takes ready features, so
`encode` runs the tower and the projectors on whole views alone and packs them as the model packs an image of one view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import Granite4VisionConfig
from transformers.models.granite4_vision.modeling_granite4_vision import Granite4VisionImageFeaturesOutput

from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import SELECTS, encode_batches
from aim.families.clips_and_images import watch_clips_and_images
from aim.families.llava_onevision_images import featured_picture, tile_grid, tiled_picture, tower_side
from aim.families.pixels import normalised_frames
from aim.families.published import Published
from aim.families.reduced_tower import TowerLayers
from aim.families.towers import block_means, siglip_or_clip, watch_projections
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal

# A level of features: the LLM's layer before which they are added, and the tokens of each view, [F, T, hidden].
Level = tuple[int, Tensor]


@dataclass
class WholeViews(Granite4VisionImageFeaturesOutput):
    """Features of pictures that are shown as a whole and in no tiles. A level's list holds all pictures of a clip as one tensor, because
    for beams `generate` repeats the entries of the list one by one."""


def _joined(config) -> int:
    """Patches along a side of a token: windows of 8 x 8 patches become 4 x 4 tokens."""
    return Fraction(config.downsample_rate).denominator


def _side(config) -> int:
    """Tokens along a side of a view: 24 patches → 12."""
    return tower_side(config) // _joined(config)


def _grid(config, _picture_settings: dict, frames: int, _height: int, _width: int) -> Grid:
    """12 x 12 tokens a frame, whatever the clip's size."""
    return Grid(frames, _side(config), _side(config))


def _are_whole(inputs: dict) -> bool:
    """Whether a forward call's pictures are whole views. What is no tensor in place of pixels stands for features that we made."""
    made, pixels = (inputs.get("mm_encoder_outputs") or {}).get("image"), inputs.get("pixel_values")
    if made is not None or not isinstance(pixels, Tensor):
        return made is None or isinstance(made, WholeViews)
    sizes = inputs.get("image_sizes")
    return pixels.shape[1] == 1 if pixels.dim() == 5 else sizes is not None and len(pixels) == len(sizes)


def _pictures(config, inputs: dict) -> Iterator[Picture]:
    """Pictures in tiles, or whole ones that the model's own encoder made."""
    made = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if made is not None:
        for tokens in made.deepstack_features[0][1]:
            yield featured_picture(_side(config), tokens)
        return
    sizes = inputs.get("image_sizes")
    for size in [] if sizes is None else sizes.tolist():
        yield tiled_picture(_side(config), *tile_grid(config, _side(config), *size))


def _images(config, inputs: dict) -> Reader:
    """The whole view of an image, and where it has tiles the rows of its enlarged copy, each with a newline behind it."""
    if _are_whole(inputs):
        return lambda _placeholders: plain_picture(1, _side(config), _side(config), separators=1)
    pictures = _pictures(config, inputs)

    def read(_placeholders: int) -> Picture:
        picture = next(pictures, None)
        if picture is None:
            raise Refusal("The prompt holds more images than were given. Pass the image inputs of the processor, `image_sizes` too.")
        return picture

    return read


def _has_tiles(config, inputs: dict) -> bool:
    if _are_whole(inputs):
        return False
    return any(len(picture.grids) > 1 for picture in _pictures(config, inputs))


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    """Frames resized without keeping the aspect ratio, as the whole view of an image is: float32 [F, 3, side, side], and their own size."""
    side = config.vision_config.image_size
    sizes = torch.tensor([frames.shape[1:3]] * len(frames))
    return {"pixel_values": normalised_frames(frames, picture_settings, side, side), "image_sizes": sizes}


def _first(config) -> int:
    """How many tokens of the tower in front of the patches are none (CLS)."""
    return int(config.vision_feature_select_strategy == "default")


def _read_states(config) -> list[int]:
    """Which of the tower's hidden states the projectors see, one for each projector; `hidden_states[k]` is the output of layer k - 1."""
    return [*(state for state, _ in config.deepstack_layer_map), *[config.spatial_vision_layer] * len(config.spatial_target_layers)]


def _seen_layers(config) -> frozenset[int]:
    """Indices of the layers of the tower whose output the projectors see; -1 stands for what enters the first layer."""
    return frozenset(state % (config.vision_config.num_hidden_layers + 1) - 1 for state in _read_states(config))


def _watch_patches(model, callback: Callable) -> list:
    """What the patches of a token receive in the last layer that a projector sees, or what CLS pays them in the very last one."""
    config, tower = model.config, model.model.vision_tower
    has_cls = hasattr(tower.embeddings, "class_embedding")
    attention = tower.encoder.layers[-1 if has_cls else max(0, *_seen_layers(config))].self_attn
    pool = partial(block_means, rows=tower_side(config), columns=tower_side(config), factor=_joined(config))
    return watch_projections(attention, attention.q_proj, attention.k_proj, callback, pool, first=_first(config), by_cls=has_cls)


def _watch_tower(model, callback: Callable) -> list:
    """Of images in tiles nothing is reported."""
    return watch_clips_and_images(model, callback, _watch_patches, tiled=_has_tiles)


def _tower_layers(model) -> TowerLayers:
    return siglip_or_clip(model.model.vision_tower, _seen_layers(model.config))


def _levels(model, views: Tensor) -> list[Level]:
    """The levels of whole views [F, 3, side, side], as the model's `get_image_features` makes those of views and tiles."""
    config, core = model.config, model.model
    read = _read_states(config)
    states = core.vision_tower(views, output_hidden_states=read if SELECTS else True).hidden_states
    projectors = [*core.layerwise_projectors, *core.spatial_projectors[: len(config.spatial_target_layers)]]
    layers = [*(layer for _, layer in config.deepstack_layer_map), *config.spatial_target_layers]
    first = _first(config)
    made = (projector(states[state][:, first:]) for projector, state in zip(projectors, read, strict=True))
    return list(zip(layers, made, strict=True))


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """The levels of a clip, [F · (T + 1), hidden] each, with the newline behind each frame."""
    frames = pixels["pixel_values"].flatten(0, -4)
    grid = _grid(model.config, {}, len(frames), 0, 0)
    outputs, seen = encode_batches(model, _watch_patches, frames, _vision_shape(model.config, grid), partial(_levels, model))
    newline = model.model.image_newline.expand(len(frames), 1, -1)
    levels = []
    for parts in zip(*outputs, strict=True):
        tokens = torch.cat([part for _, part in parts])
        levels.append((parts[0][0], [torch.cat([tokens, newline.to(tokens)], dim=1).flatten(0, 1)]))
    return Encoded({"image": WholeViews(deepstack_features=levels, attentions=seen)}, {}, grid)  # type: ignore[arg-type]


def _prompt(grid: Grid, _times: Sequence[float]) -> list[str | int]:
    """The frames, each with its newline's placeholder, on lines of their own."""
    each = grid.tokens_per_frame + 1
    further: list[str | int] = ["\n", each]
    return [each, *further * (grid.frames - 1)]


def _vision_shape(config, grid: Grid) -> VisionShape:
    """A projector is a window Q-Former: the mean of a token's patches asks the other tokens of its window, and then the window's patches.

    It is counted as a matrix on the means and one to the LLM's size, and the rest of its matrices and products a token.
    """
    vision, joiner = config.vision_config, config.qformer_config
    width, together = vision.hidden_size, _joined(config) ** 2
    asking, asked = (int(side) ** 2 for side in config.downsample_rate.split("/"))
    crossing = math.ceil(joiner.num_hidden_layers / joiner.cross_attention_frequency)
    own = 4 * width**2 + 2 * width * asking + 2 * width * joiner.intermediate_size
    crossed = (2 + 2 * together) * width**2 + 2 * width * asked
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=width,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * together,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=together,
        projector_middle=width,
        other_tokens=_first(config),
        projectors=len(_read_states(config)),
        projector_means=True,
        projector_further=joiner.num_hidden_layers * own + crossing * crossed - width**2,
    )


def _refuses(config) -> str:
    if not config.deepstack_layer_map or config.downsample_rate is None:
        return "Its config names no projectors."
    rate = Fraction(config.downsample_rate)
    if rate.numerator != 1 or tower_side(config) % int(config.downsample_rate.split("/")[1]):
        return "Its projectors join patches otherwise than in whole blocks."
    return ""


def _published() -> Published:
    """Granite 4.1 3B behind SigLIP 2 so400m. Features of four depths of the tower reach its first layers, and four samples of the last one
    the layers behind."""
    return Published(
        name="granite-vision-4.1-4b",
        hub_ids=("ibm-granite/granite-vision-4.1-4b",),
        config_class=Granite4VisionConfig,
        parts={
            "text_config": {
                "vocab_size": 100353,
                "hidden_size": 2560,
                "intermediate_size": 8192,
                "num_hidden_layers": 40,
                "num_attention_heads": 40,
                "num_key_value_heads": 8,
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-5,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e7},
                "embedding_multiplier": 12.0,
                "attention_multiplier": 1 / 64,
                "residual_multiplier": 0.22,
                "logits_scaling": 10.0,
                "tie_word_embeddings": True,
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "image_size": 384,
                "patch_size": 16,
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
            },
            "image_token_index": 100352,
            "vision_feature_select_strategy": "full",
            "downsample_rate": "4/8",
            "deepstack_layer_map": [[-19, 9], [-13, 6], [-7, 3], [-1, 0]],
            "tie_word_embeddings": True,
        },
    )


FAMILY = Family(
    title="Granite 4 Vision",
    good_for="Charts, tables and forms in pictures. It was not trained on videos and takes the frames as pictures.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda _config: None,
    images=_images,
    videos=None,
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<image>",
    clip_type="image",
    prompt=_prompt,
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    tower_layers=_tower_layers,
    unquantised=("model.vision_tower", "model.layerwise_projectors", "model.spatial_projectors", "lm_head"),
    published=(_published(),),
    picture_settings={"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    for_images=lambda family: family,  # a clip of one frame is an image already
    tiles=True,
    refuses=_refuses,
)
