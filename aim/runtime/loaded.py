"""What is known of a loaded model before it runs: its shape, its grids, and what a setting would cost on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from aim.families.regions import Region, places_in
from aim.kernels.grid import Grid
from aim.kernels.schedule import StatedRamp
from aim.methods import Method
from aim.planning.plan import Plan, plan_for
from aim.runtime.checkpoints import Checkpoint
from aim.runtime.limits import MAX_FRAMES_OFFERED
from aim.video.clip import Clip


class LoadedModel:
    """A loaded model. `aim.runtime.vlm.VLM` runs it.

    Attributes:
        checkpoint: what was loaded.
        name: the one it was loaded by.
        model: the transformers model, in evaluation mode.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.name, self.model = checkpoint.name, checkpoint.model

    @property
    def device(self) -> torch.device:
        """The device of the model's first weights."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number type that the model computes in."""
        return self.model.dtype

    @property
    def is_bundled(self) -> bool:
        """Whether it is the small model that comes with this project."""
        return self.name == "bundled"

    @property
    def num_layers(self) -> int:
        """How many layers the LLM has."""
        return self.model.config.text_config.num_hidden_layers

    @property
    def ramp(self) -> StatedRamp:
        """AIM's l1 and l2 that the paper has for the model's family."""
        return self.checkpoint.family.ramp

    def fit(self, method: Method) -> Method:
        """A method with every knob filled in that depends on this model. Refused where it reads a vision tower that cannot be watched."""
        return self.checkpoint.family.fit(method, self.num_layers)

    @property
    def tokens_per_frame(self) -> int:
        """Visual tokens of a frame. Where they depend on its size, it is a frame of 640 x 360 pixels."""
        return self.grid(1).tokens

    @property
    def max_frames(self) -> int:
        """The most frames whose unmerged tokens fit the trained context with room for a question, 1 to `MAX_FRAMES_OFFERED`."""
        room = self.model.config.text_config.max_position_embeddings - 512
        fitting = (frames for frames in range(MAX_FRAMES_OFFERED, 1, -1) if self.grid(frames).tokens <= room)
        return next(fitting, 1)

    def grid(self, num_frames: int, height: int = 360, width: int = 640, is_image: bool = False) -> Grid:
        """The grid of visual tokens, before merging, of so many frames of that size in pixels, or of a single picture.

        Raises Refusal for a size that the family does not take, and for a picture where it takes none.
        """
        checkpoint = self.checkpoint.taking(is_image)
        grid = checkpoint.family.grid(self.model.config, checkpoint.pictures, num_frames, height, width)
        return replace(grid, is_image=is_image)

    def grid_of(self, clip: Clip) -> Grid:
        """The grid of a clip's or a picture's visual tokens, before merging. It refuses what `grid` refuses."""
        frames, height, width = clip.frames.shape[:3]
        return self.grid(frames, height, width, clip.is_image)

    def places_in(self, clip: Clip, regions: Iterable[Region]) -> tuple[int, ...]:
        """The places of the visual tokens that show a part of any of the regions, for `aim.Mask`; see `aim.places_in`."""
        return places_in(self.model.config, self.grid_of(clip), clip, regions, self.checkpoint.taking(clip.is_image).pictures)

    def plan(self, num_frames: int, text_tokens: int, method: Method, grid: Grid | None = None) -> Plan:
        """What a run would cost, in the model's own bytes per value. Nothing is run; see `aim.plan`.

        `grid` is the clip's; None is that of frames of 640 x 360 pixels. A number below 1 is refused.
        """
        return plan_for(self.model.config, num_frames, text_tokens, method, self.dtype.itemsize, grid or self.grid(num_frames))
