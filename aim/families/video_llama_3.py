"""VideoLLaMA3: SigLIP for pictures of any size in front of Qwen2.5. Every frame of a clip stands behind its time.

Its processor compresses clips by itself: it leaves out the tokens of a frame whose pixels hardly differ from those of the frame before.
That is left off here, and prompts that were compressed so are refused, because their frames are no grids. `aim.DiffFP` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import VideoLlama3Config
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import smart_resize

from aim.families.base import Encoded, Family, Reader
from aim.families.batches import encode_batches
from aim.families.patch_tokens import by_tokens
from aim.families.published import Published
from aim.families.qwen2_sizes import QWEN2_1_5B, ROPE
from aim.families.qwen_pixels import gridder, no_ribbon, pixel_maker
from aim.families.sized import Size, SizedFeatures, repeated, sized_reader
from aim.families.towers import Notes
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention

# What its processors do where a checkpoint's settings do not say: pixels of all frames of a clip together, of a single picture, and how
# many patches along a side are one token.
CLIP_SIZE = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
IMAGE_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28}
CLIP_MERGE, IMAGE_MERGE = 2, 1


def _frame_size(config, picture_settings: dict, frames: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) to which frames are resized, by transformers' own rule.

    Raises:
        Refusal: one side is more than 200 times the other.
    """
    vision, size = config.vision_config, {**CLIP_SIZE, **picture_settings.get("size", {})}
    side = vision.patch_size * vision.spatial_merge_size
    with no_ribbon(height, width):
        return smart_resize(height, width, side, size["shortest_edge"], size["longest_edge"] // frames)


def _joining(config, picture_settings: dict) -> SimpleNamespace:
    """The tower's numbers as Qwen2-VL's config names them. How many patches are one token is a setting of the processor."""
    vision, merge = config.vision_config, picture_settings.get("merge_size") or CLIP_MERGE
    return SimpleNamespace(vision_config=SimpleNamespace(patch_size=vision.patch_size, spatial_merge_size=merge, temporal_patch_size=1))


def _grid(config, picture_settings: dict, frames: int, height: int, width: int) -> Grid:
    return gridder(_frame_size)(_joining(config, picture_settings), picture_settings, frames, height, width)


def _pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
    joining = _joining(config, picture_settings)
    made = pixel_maker(_frame_size)(joining, frames, picture_settings)
    return {**made, "video_merge_sizes": torch.tensor([joining.vision_config.spatial_merge_size])}


def _reader(kind: str) -> Callable[..., Reader]:
    """The family's `images` or `videos`. Every image and every frame of a clip is a picture of its own."""

    def read(config, inputs: dict) -> Reader:
        kept = inputs.get("video_compression_mask") if kind == "video" else None
        if kept is not None and not bool(kept.all()):
            raise Refusal(
                "The clip comes compressed by the model's own processor, and its frames are no whole grids. "
                "Call the processor with `use_token_compression=False`, and choose a method here instead, such as difffp."
            )
        given, merges = inputs.get(f"{kind}_grid_thw"), inputs.get(f"{kind}_merge_sizes")
        made = (inputs.get("mm_encoder_outputs") or {}).get(kind)
        sizes = None
        if given is not None and merges is not None:
            sizes = iter(_frames_of(torch.cat([given, merges[:, None]], dim=1)))
        elif getattr(made, "sizes", None) is not None:
            sizes = repeated(_frames_of(made.sizes), made.pooler_output)

        return sized_reader(kind, sizes, "the merge sizes")

    return read


def _frames_of(sizes: Tensor) -> list[Size]:
    """The size of every frame of every picture."""
    return [(1, rows // merge, columns // merge) for frames, rows, columns, merge in sizes.tolist() for _ in range(frames)]


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [F · T, hidden]. No frame attends to another."""
    [(frames, rows, columns)], [merge] = pixels["video_grid_thw"].tolist(), pixels["video_merge_sizes"].tolist()
    grid = Grid(frames, rows // merge, columns // merge)

    def run(part: Tensor) -> Tensor:
        size = torch.tensor([[len(part), rows, columns]], device=model.device)
        merges = torch.tensor([merge], device=model.device)
        return torch.cat(list(model.model.get_video_features(part.flatten(0, 1), size, merges, return_dict=True).pooler_output))

    patches = pixels["pixel_values_videos"].unflatten(0, (frames, -1))
    outputs, seen = encode_batches(model, _watch_tower, patches, _vision_shape(model.config, grid, merge), run)
    sizes = torch.tensor([[frames, rows, columns, merge]])
    features = SizedFeatures(pooler_output=[torch.cat(outputs)], attentions=seen, sizes=sizes)  # type: ignore[arg-type]
    return Encoded({"video": features}, {name: value for name, value in pixels.items() if "pixel" not in name}, grid)


def _watch_tower(model, callback: Callable[[TowerAttention], None]) -> list:
    """Report what the last layer attends to. Keys are those before the rotary embedding."""
    tower = model.model.vision_model
    attention, notes = tower.encoder.layers[-1].self_attn, Notes()

    def note(name: str) -> Callable:
        return lambda _module, _args, output: notes.seen.__setitem__(name, output.unflatten(-1, (attention.num_heads, -1)))

    def on_tower(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["sizes"], notes.seen["merges"] = kwargs["grid_thw"], kwargs["merge_sizes"]

    def on_attention(_module, _args: tuple, kwargs: dict) -> None:
        notes.seen["bounds"], notes.seen["rotary"] = kwargs["cu_seqlens"], kwargs["position_embeddings"]

    def report(_module, _args: tuple, _output) -> None:
        queries, keys, rotary, bounds, sizes, merges = (
            notes.seen.pop(name) for name in ("queries", "keys", "rotary", "bounds", "sizes", "merges")
        )
        [merge] = set(merges.tolist())
        callback(by_tokens(queries, keys, rotary, bounds.diff().tolist(), attention.scaling, sizes.tolist(), merge**2))

    return [
        tower.register_forward_pre_hook(on_tower, with_kwargs=True),
        attention.register_forward_pre_hook(on_attention, with_kwargs=True),
        attention.q_proj.register_forward_hook(note("queries")),
        attention.k_proj.register_forward_hook(note("keys")),
        attention.register_forward_hook(report),
    ]


def _keeping_sizes(model) -> list:
    """Hooks that hand the sizes of pictures on with the tower's output. `generate` encodes pixels before the forward, and drops them."""

    def keep(_module, _args: tuple, kwargs: dict, output) -> SizedFeatures:
        sizes = torch.cat([kwargs["grid_thw"], kwargs["merge_sizes"][:, None]], dim=1)
        return SizedFeatures(last_hidden_state=output.last_hidden_state, sizes=sizes)

    return [model.model.vision_model.register_forward_hook(keep, with_kwargs=True)]


def _prompt(grid: Grid, times: Sequence[float]) -> list[str | int]:
    """The frames, each behind its second. Where the times are not known, one frame a second."""
    parts: list[str | int] = []
    for number, second in enumerate(list(times) or range(grid.frames)):
        comma = "," if number else ""
        parts += [f"{comma}Time {second:.1f}s:", grid.tokens_per_frame]
    return parts


# What the processor calls a picture's inputs, and what it calls the same of a clip.
IMAGE_INPUTS = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw", "image_merge_sizes": "video_merge_sizes"}


def _for_images(family: Family) -> Family:
    """A single picture is a clip of one frame under an image's names; every patch of it is a token."""

    def settings_of(picture_settings: dict) -> dict:
        given = {**picture_settings, "size": {**IMAGE_SIZE, **picture_settings.get("size", {})}}
        return {**given, "merge_size": picture_settings.get("merge_size") or IMAGE_MERGE}

    def pixel_values(config, frames: np.ndarray, picture_settings: dict) -> dict[str, Tensor]:
        clip = _pixel_values(config, frames[:1], settings_of(picture_settings))
        return {name: clip[same] for name, same in IMAGE_INPUTS.items()}

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        encoded = _encode(model, {same: pixels[name] for name, same in IMAGE_INPUTS.items()})
        return Encoded({"image": encoded.features["video"]}, {name: pixels[name] for name in list(IMAGE_INPUTS)[1:]}, encoded.grid)

    return replace(
        family,
        video_token=lambda _config: None,
        grid=lambda config, picture_settings, *size: _grid(config, settings_of(picture_settings), *size),
        pixel_values=pixel_values,
        encode=encode,
        clip_text="<|image_pad|>",
        clip_type="image",
        prompt=lambda grid, *_further: [grid.tokens],
        vision_shape=lambda config, grid: _vision_shape(config, grid, IMAGE_MERGE),
        picture_settings={name: value for name, value in family.picture_settings.items() if name != "size"},
    )


def _vision_shape(config, grid: Grid, merge: int = CLIP_MERGE) -> VisionShape:
    """The projector takes the mean of the patches of a token."""
    vision = config.vision_config
    return VisionShape(
        num_layers=vision.num_hidden_layers,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        patches_per_frame=grid.tokens_per_frame * merge**2,
        patch_pixels=vision.num_channels * vision.patch_size**2,
        projector_size=config.text_config.hidden_size,
        projector_patches=merge**2,
        projector_means=True,
    )


def _published(size: str, llm: dict[str, Any]) -> Published:
    """A Qwen2.5 behind SigLIP so400m."""
    tower = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14}
    text = {"model_type": "qwen2", **llm, "vocab_size": 151936, "rope_parameters": ROPE}
    return Published(
        name=f"videollama3-{size.lower()}",
        hub_ids=(f"lkhl/VideoLLaMA3-{size}-Image-HF",),
        config_class=VideoLlama3Config,
        parts={"text_config": text, "vision_config": tower, "tie_word_embeddings": True},
    )


FAMILY = Family(
    title="VideoLLaMA3",
    good_for="Clips, each frame of which stands behind its time.",
    image_token=lambda config: config.image_token_id,
    video_token=lambda config: config.video_token_id,
    images=_reader("image"),
    videos=_reader("video"),
    grid=_grid,
    pixel_values=_pixel_values,
    encode=_encode,
    clip_text="<|video_pad|>",
    prompt=_prompt,
    vision_shape=_vision_shape,
    watch_tower=_watch_tower,
    keeping_sizes=_keeping_sizes,
    published=(_published("2B", QWEN2_1_5B),),
    picture_settings={"size": CLIP_SIZE, "image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD},
    unquantised=("model.vision_model", "model.projector", "lm_head"),
    suggested_for_video=True,
    for_images=_for_images,
)
