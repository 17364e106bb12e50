"""What families without videos share: the frames of a clip go in as images, and every image has the same number of tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aim.families.base import Encoded, Family, Picture, Reader, plain_picture
from aim.families.batches import encode_batches, features


def image_frames(
    grid: Callable, vision_shape: Callable, watch_tower: Callable, joined: Callable[[list], Tensor | list[Tensor]] = torch.cat, **rest
) -> Family:
    """The entry of a family without videos.

    Args:
        grid, vision_shape, watch_tower, rest: see `Family`; `grid` is called without picture settings and size.
        joined: features of the parts of a clip → those of all F frames, as the model's own `get_image_features` gives them:
            [F, T, hidden], or a list of F [T, hidden].
    """

    def images(config, _inputs: dict) -> Reader:
        one = grid(config, {}, 1, 0, 0)

        def read(_placeholders: int) -> Picture:
            return plain_picture(1, one.rows, one.columns)

        return read

    def encode(model, pixels: dict[str, Tensor]) -> Encoded:
        """Projected tokens, [T, hidden] a frame. Nothing else of the tower's output is kept alive."""
        frames = pixels["pixel_values"]
        clip = grid(model.config, {}, len(frames), 0, 0)

        def run(part: Tensor) -> Tensor | list[Tensor]:
            return model.model.get_image_features(part, return_dict=True).pooler_output

        outputs, seen = encode_batches(model, watch_tower, frames, vision_shape(model.config, clip), run)
        return Encoded({"image": features(joined(outputs), seen)}, {}, clip)

    return Family(
        image_token=lambda config: config.image_token_id,
        video_token=lambda _config: None,
        images=images,
        videos=None,
        grid=grid,
        encode=encode,
        vision_shape=vision_shape,
        watch_tower=watch_tower,
        **rest,
    )
