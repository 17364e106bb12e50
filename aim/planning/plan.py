"""What a run would cost, from a model's shape alone: no weights, no video.

Models come from what the families have published (`aim.families.PUBLISHED`), from the bundled checkpoint or from a folder with a
config.json. Where the tokens of a frame depend on the video's size, as Qwen2-VL's do, a video of 640 x 360 pixels is planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from aim.families import FAMILIES, PUBLISHED, Family, family_of, find_published, reduced_part
from aim.families.names import locate
from aim.kernels.bounds import FROM_1, Kind
from aim.kernels.cost import (
    ModelShape,
    VisionShape,
    causal_prefill_flops,
    decode_flops,
    kv_bytes,
    lm_head_flops,
    prefill_flops,
    vision_flops,
)
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.methods import AIM, Method
from aim.methods.base import METHOD
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.methods.tower import FrameLengths, Tower

TERA = 1e12
MODEL = Kind((str, PretrainedConfig), "a name, a folder or a transformers config", 'Use "bundled", for example.')


@dataclass(frozen=True)
class PlannedModel:
    """A model's shapes, and the visual tokens of one video frame, or of the `frames_joined` frames that it takes together."""

    shape: ModelShape
    vision: VisionShape
    tokens_per_frame: int
    frames_joined: int = 1
    family: Family = field(default=FAMILIES["llava_onevision"], compare=False)

    def fit(self, method: Method) -> Method:
        """See `aim.families.Family.fit`."""
        return self.family.fit(method, self.shape.num_layers)

    def steps(self, num_frames: int) -> int:
        """How often it has `tokens_per_frame` visual tokens for so many frames of a video."""
        return -(-num_frames // self.frames_joined)


@dataclass(frozen=True)
class Plan:
    """The modelled cost of one prefill.

    Attributes:
        prefill_tflops: the LLM's layers on the tokens the method leaves, as the paper counts them (see `aim.kernels.cost.layer_flops`).
        baseline_tflops: the same with every visual token in every layer.
        speedup: baseline_tflops / prefill_tflops, a ratio of FLOPs and not of times.
        causal_speedup: the same ratio of what causal kernels compute (`aim.kernels.cost.causal_prefill_flops`). It is the lower of the two,
            since the paper's account counts the whole attention, which causal kernels halve, and attention weighs most in the full model.
        kv_bytes, baseline_kv_bytes: bytes of the KV cache after the prefill.
        vision_tflops, merge_tflops, importance_tflops, lm_head_tflops: what the paper's figure leaves out, each by itself. The vision
            tower's is of the frames that the method needs (`Method.frames_seen`), and with what merging inside it saves and takes.
        baseline_vision_tflops: the vision tower's on all frames, unreduced.
        tokens_per_layer: (visual, text) tokens each layer runs on.
    """

    prefill_tflops: float
    baseline_tflops: float
    speedup: float
    causal_speedup: float
    kv_bytes: int
    baseline_kv_bytes: int
    vision_tflops: float
    baseline_vision_tflops: float
    merge_tflops: float
    importance_tflops: float
    lm_head_tflops: float
    tokens_per_layer: list[tuple[int, int]]

    def to_dict(self) -> dict:
        """Plain numbers and lists, unrounded."""
        return {**asdict(self), "tokens_per_layer": [list(pair) for pair in self.tokens_per_layer]}


def plan(
    model: str, num_frames: int = 32, text_tokens: int = PAPER_TEXT_TOKENS, method: Method | None = None, tower: Tower | None = None
) -> Plan:
    """Plan one prefill of a video and a question.

    Args:
        model: a name in `PUBLISHED` (or its Hub id), "bundled", or a checkpoint folder.
        num_frames: frames of the video, ≥ 1.
        text_tokens: everything in the prompt that is not a patch: words, chat markers, separators; ≥ 1. Default 100, the paper's.
        method: default `aim.AIM()`, the paper's setting for the model's family, scaled to its depth.
        tower: what is merged inside the vision tower, for example `aim.Tower(merge=0.3)`; default nothing. What it could reuse depends on
            the clip, so a plan counts every patch as changed.

    Raises:
        Refusal: an unknown model, a folder without a usable config.json, numbers out of range, a method whose count of tokens depends on
            the clip, or one that reads a vision tower which cannot be watched, or a tower that cannot be reduced.
    """
    _check_frames(num_frames)
    return _plan(look_up(model, num_frames), num_frames, text_tokens, method, tower=tower)


def plan_for(
    config: PretrainedConfig,
    num_frames: int,
    text_tokens: int,
    method: Method | None = None,
    bytes_per_value: int = 2,
    grid: Grid | None = None,
    tower: Tower | None = None,
) -> Plan:
    """As `plan`, for a model's transformers config.

    Args:
        bytes_per_value: bytes of one value of the KV cache.
        grid: the clip's; None stands for that of `num_frames` frames of 640 x 360 pixels.

    Raises:
        Refusal: a model family that is not supported, or as `plan`.
    """
    _check_frames(num_frames)
    grid = grid or grid_of(config, num_frames)
    shape, vision = shape_of(config, grid)
    return _plan(
        PlannedModel(shape, vision, grid.tokens_per_frame, family=family_of(config)),
        grid.frames,
        text_tokens,
        method,
        bytes_per_value,
        tower,
    )


def look_up(model: str | PretrainedConfig, num_frames: int = 2) -> PlannedModel:
    """The shapes of a model: a name in `PUBLISHED` (or its Hub id), "bundled", a checkpoint folder, or a transformers config.

    The frames are those of a video of `num_frames`. A few families make them smaller in a very long one.

    Raises:
        Refusal: an unknown model, a folder without a usable config.json, or a family that is not supported.
    """
    MODEL.check("model", model)
    if isinstance(model, str):
        published = find_published(model)
        model = published.config() if published else _config_of(model)
    grid = grid_of(model, num_frames)
    return PlannedModel(*shape_of(model, grid), grid.tokens_per_frame, 2 // grid_of(model, 2).frames, family_of(model))


def cost_of(
    config: PretrainedConfig,
    tokens_per_layer: list[tuple[int, int]],
    frames: int,
    visual_tokens: int,
    method: Method,
    bytes_per_value: int = 2,
    new_tokens: int = 1,
    grid: Grid | None = None,
    tower: Tower | None = None,
    tower_lengths: Sequence[FrameLengths] = (),
) -> dict[str, float]:
    """The modelled cost of a run that has taken place, from the (visual, text) tokens its layers executed.

    Layers that are scored for display alone (`scores="all"`) are not counted in `importance_tflops`.

    Args:
        visual_tokens: what the vision tower made of all `frames` frames, before merging.
        bytes_per_value: bytes of one value of the KV cache.
        new_tokens: tokens that the answer has, of which the prefill gives the first.
        grid: the clip's, where the tower's cost depends on more than the number of tokens.
        tower: as the run had it; None is the unreduced vision tower.
        tower_lengths: for each frame the (queries, keys) of each layer of the reduced tower, as it ran; left out, as planned.

    Returns:
        `Plan.to_dict()` without `tokens_per_layer`, and `decode_tflops`, of the tokens after the first.
    """
    shape, vision = shape_of(config, grid or Grid(frames, 1, visual_tokens // frames))
    cost = _cost(shape, vision, tokens_per_layer, frames, visual_tokens // frames, method, bytes_per_value, tower, tower_lengths).to_dict()
    del cost["tokens_per_layer"]
    return {**cost, "decode_tflops": decode_flops(shape, [sum(pair) for pair in tokens_per_layer], new_tokens - 1) / TERA}


def shape_of(config: PretrainedConfig, grid: Grid | None = None) -> tuple[ModelShape, VisionShape]:
    """The numbers that `aim.kernels.cost` needs, from a multimodal model's transformers config and a clip's grid.

    Without a grid it is that of one frame of 640 x 360 pixels.

    Raises:
        Refusal: a model family that is not supported.
    """
    family = family_of(config)
    return family.language_shape(config.text_config), family.vision_shape(config, grid or grid_of(config, 1))


def grid_of(config: PretrainedConfig, num_frames: int, picture_settings: dict | None = None, height: int = 360, width: int = 640) -> Grid:
    """The grid of visual tokens that the model makes of `num_frames` frames of height x width pixels, before any merging.

    `picture_settings` are the checkpoint's; without them the family's own limits hold.

    Raises:
        Refusal: a model family that is not supported, or frames of a shape that it does not take.
    """
    return family_of(config).grid(config, picture_settings or {}, num_frames, height, width)


def tokens_per_frame(config: PretrainedConfig) -> int:
    """Visual tokens of one frame of 640 x 360 pixels; see `grid_of`."""
    return grid_of(config, 1).tokens_per_frame


def _plan(
    model: PlannedModel, num_frames: int, text_tokens: int, method: Method | None, bytes_per_value: int = 2, tower: Tower | None = None
) -> Plan:
    FROM_1.check("text_tokens", text_tokens, f"Use {PAPER_TEXT_TOKENS}, for example.")
    method = AIM() if method is None else method
    METHOD.check("method", method)
    method, tower = model.fit(method), model.family.fit_tower(tower, model.vision.num_layers)
    frames = model.steps(num_frames)
    visual = method.visual_per_layer(model.shape.num_layers, frames, model.tokens_per_frame, model.shape.scored_from)
    tokens_per_layer = [(kept, text_tokens) for kept in visual]
    return _cost(model.shape, model.vision, tokens_per_layer, frames, model.tokens_per_frame, method, bytes_per_value, tower)


def _check_frames(num_frames: int) -> None:
    FROM_1.check("num_frames", num_frames, "Use 32, for example.")


def _cost(
    shape: ModelShape,
    vision: VisionShape,
    tokens_per_layer: list[tuple[int, int]],
    frames: int,
    per_frame: int,
    method: Method,
    bytes_per_value: int,
    tower: Tower | None,
    tower_lengths: Sequence[FrameLengths] = (),
) -> Plan:
    lengths, needed = [visual + text for visual, text in tokens_per_layer], method.frames_seen(frames)
    in_tower = vision_flops(vision, needed) if tower is None else tower.flops(vision, needed, tower_lengths)
    unreduced = [frames * per_frame + text for _, text in tokens_per_layer]
    prefill, baseline = prefill_flops(shape, lengths), prefill_flops(shape, unreduced)
    return Plan(
        prefill_tflops=prefill / TERA,
        baseline_tflops=baseline / TERA,
        speedup=baseline / prefill,
        causal_speedup=causal_prefill_flops(shape, unreduced) / causal_prefill_flops(shape, lengths),
        kv_bytes=kv_bytes(shape, lengths, bytes_per_value),
        baseline_kv_bytes=kv_bytes(shape, unreduced, bytes_per_value),
        vision_tflops=in_tower / TERA,
        baseline_vision_tflops=vision_flops(vision, frames) / TERA,
        # Layer 0 runs on all that merging left, in every method.
        merge_tflops=method.merge_flops(shape, vision, frames, per_frame, tokens_per_layer[0][0]) / TERA,
        importance_tflops=sum(method.score_flops(own, [tokens]) for own, tokens in _scored(shape, method, tokens_per_layer)) / TERA,
        lm_head_tflops=lm_head_flops(shape) / TERA,
        tokens_per_layer=[(visual, text) for visual, text in tokens_per_layer],
    )


def _scored(shape: ModelShape, method: Method, tokens_per_layer: list[tuple[int, int]]) -> list[tuple[ModelShape, int]]:
    """The numbers of each layer that scores tokens to decide what a layer keeps, and how many tokens it scores.

    It is the layer before, or the last one before it that attends to keys, which may decide for several.
    """
    visual = [pair[0] for pair in tokens_per_layer]
    cuts = [layer for layer in range(1, len(visual)) if 0 < visual[layer] < visual[layer - 1]]
    if method.looks_ahead:
        return [(shape.of(layer), sum(tokens_per_layer[layer - 1])) for layer in cuts]
    scored = {max(before for before in range(layer) if before not in shape.linear_layers) for layer in cuts}
    return [(shape.of(layer), sum(tokens_per_layer[layer])) for layer in sorted(scored)]


def _config_of(model: str) -> PretrainedConfig:
    """The config of the bundled model or of a checkpoint folder; nothing is fetched."""
    folder = Path(locate(model))
    if not (folder / "config.json").is_file():
        raise Refusal(
            f'"{model}" is not a model that can be planned; give one of {", ".join(PUBLISHED)}, "bundled", '
            "or a checkpoint folder with a config.json."
        )
    try:
        return reduced_part(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(
            f'The config.json of "{model}" cannot be read as a transformers model\'s. Give a checkpoint folder that loads.'
        ) from error
