"""The control beside merging inside the vision tower: frames shrunk so far that the tower would cost as much, or a little less.

The frames lose pixels and are enlarged again to the size that the tower takes, so the tower sees the grid that it was trained with. On a
smaller grid its position embeddings would be interpolated, which a tower such as the bundled one has never seen, and the control would then
lose for that reason. Its cost is modelled as if the layers had run on the patches of the smaller frame, and the projector on all.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from aim.kernels.cost import vision_flops
from aim.kernels.shape import VisionShape
from aim.methods.tower import Tower
from aim.planning.plan import grid_of, shape_of
from aim.shapes.model import IMAGE_SIZE


def vision_of(config) -> VisionShape:
    """The vision tower's shape for a frame of the held-out clips, from the model's transformers config."""
    return shape_of(config, grid_of(config, 1, height=IMAGE_SIZE, width=IMAGE_SIZE))[1]


def frame_flops(vision: VisionShape, side: int) -> int:
    """Modelled FLOPs of the tower on one frame that is shrunk to `side` pixels a side."""
    tokens = round(vision.patches_per_frame * (side / IMAGE_SIZE) ** 2) + vision.other_tokens
    return vision_flops(vision, 1, [(tokens, tokens)] * vision.num_layers)


def side_of(tower: Tower, vision: VisionShape) -> int:
    """The longest side in pixels at which a held-out frame costs at most what the reduced tower takes for one of full size.

    What a tower reuses depends on the clip, and nothing of it counts here.
    """
    most = tower.flops(vision, 1)
    return next((side for side in range(IMAGE_SIZE, 1, -1) if frame_flops(vision, side) <= most), 1)


def shrunken(pictures: np.ndarray, side: int) -> np.ndarray:
    """Square frames, uint8 [F, H, H, 3], shrunk to [F, side, side, 3] by bicubic filters."""
    return np.stack([np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures])
