"""What families share that know no videos: a clip's frames go in as so many images, each with as many tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from aim.cost import VisionShape
from aim.families.base import Encoded, Picture, Reader, plain_picture
from aim.families.batches import encode_batches
from aim.grid import Grid


@dataclass(frozen=True)
class ImageFrames:
    """`images` and `encode` of such a family.

    Attributes:
        grid, vision_shape, watch_tower: the family's, whose grid no clip's size changes.
        joined: the features of the parts of a clip, laid end to end as the family's own `get_image_features` gives them.
    """

    grid: Callable[..., Grid]
    vision_shape: Callable[[object, Grid], VisionShape]
    watch_tower: Callable[..., list]
    joined: Callable[[list], Tensor | list[Tensor]] = torch.cat

    def images(self, config, _inputs: dict) -> Reader:
        """Every image is one frame."""
        grid = self.grid(config, {}, 1, 0, 0)

        def read(_placeholders: int) -> Picture:
            return plain_picture(1, grid.rows, grid.columns)

        return read

    def encode(self, model, pixels: dict[str, Tensor]) -> Encoded:
        """Projected tokens, [T, hidden] a frame. Keeps nothing else of the tower's output alive."""
        frames = pixels["pixel_values"]
        grid = self.grid(model.config, {}, len(frames), 0, 0)

        def run(part: Tensor) -> Tensor:
            return model.model.get_image_features(part, return_dict=True).pooler_output

        outputs, seen = encode_batches(model, self.watch_tower, frames, self.vision_shape(model.config, grid), run)
        return Encoded({"image": BaseModelOutputWithPooling(pooler_output=self.joined(outputs), attentions=seen)}, {}, grid)
