"""What differs between model families: how a video's tokens lie in the prompt and how frames become the model's inputs.

Everything else, the engine reads off the uniform shape transformers gives its multimodal models. A new family is one entry in `FAMILIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling


@dataclass(frozen=True)
class Layout:
    """A video's placeholders in a prompt: frames · rows · columns patches in raster order, then `separators` tokens that are no patches."""

    frames: int
    rows: int
    columns: int
    separators: int

    @property
    def tokens_per_frame(self) -> int:
        return self.rows * self.columns

    @property
    def placeholders(self) -> int:
        return self.frames * self.tokens_per_frame + self.separators


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        title: its name for people.
        grid: (config) → (rows, columns) of visual tokens on one frame.
        separators: tokens after a video's patches that carry no patch (LLaVA-OneVision: one newline).
        pixel_values: (frames uint8 [F, H, W, 3], preprocessor settings) → what the vision tower takes.
        encode: (model, pixel values) → the `mm_encoder_outputs` entry of one video, run once a clip.
        video_token: (config) → id of the video placeholder.
        image_token: (config) → id of the image placeholder.
    """

    title: str
    grid: Callable[..., tuple[int, int]]
    separators: int
    pixel_values: Callable[[np.ndarray, dict], Tensor]
    encode: Callable[..., BaseModelOutputWithPooling]
    video_token: Callable[..., int]
    image_token: Callable[..., int]

    def layout(self, config, placeholders: int) -> Layout:
        """The layout that so many placeholders of one video stand for.

        Raises:
            ValueError: the count does not come out in whole frames.
        """
        rows, columns = self.grid(config)
        frames, rest = divmod(placeholders - self.separators, rows * columns)
        if frames < 1 or rest:
            raise ValueError(
                f"The prompt holds {placeholders} video placeholders; a {self.title} clip has {rows * columns} a frame "
                f"and {self.separators} more. Give one whole video."
            )
        return Layout(frames, rows, columns, self.separators)


def _llava_onevision_grid(config) -> tuple[int, int]:
    """The tower's patch grid, pooled to half its side, rounded up: 27 x 27 → 14 x 14."""
    side = math.ceil(config.vision_config.image_size // config.vision_config.patch_size / 2)
    return side, side


def _llava_onevision_pixels(frames: np.ndarray, settings: dict) -> Tensor:
    """Resize (not keeping the aspect ratio, as the checkpoint's own processor), rescale, normalise → float32 [1, F, 3, height, width]."""
    size = (settings["size"]["width"], settings["size"]["height"])
    resample = Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC))
    resized = frames
    if frames.shape[1:3] != (size[1], size[0]):
        resized = np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in frames])
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).permute(0, 3, 1, 2).float().mul_(settings.get("rescale_factor", 1 / 255))
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    return pixels.sub_(mean).div_(std)[None]


def _llava_onevision_encode(model, pixels: Tensor) -> BaseModelOutputWithPooling:
    """Projected, pooled tokens with the newline: pooler_output [1, F·T + 1, hidden]. Keeps nothing else of the tower's output alive."""
    output = model.model.get_video_features(pixels.to(model.device, model.dtype), return_dict=True)
    return BaseModelOutputWithPooling(pooler_output=output.pooler_output)


FAMILIES: dict[str, Family] = {
    "llava_onevision": Family(
        title="LLaVA-OneVision",
        grid=_llava_onevision_grid,
        separators=1,
        pixel_values=_llava_onevision_pixels,
        encode=_llava_onevision_encode,
        video_token=lambda config: config.video_token_id,
        image_token=lambda config: config.image_token_id,
    ),
}


def family_of(config) -> Family:
    """The entry for a model's config.

    Raises:
        ValueError: the family is not supported.
    """
    if config.model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"The model is of type {config.model_type!r}; supported are: {known}. Load a checkpoint of one of these.")
    return FAMILIES[config.model_type]
