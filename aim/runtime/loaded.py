"""What is known of a loaded model before it runs: its shape, its grids, and what a setting would cost on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from aim.families.regions import Region, places_in
from aim.kernels.grid import Grid
from aim.kernels.schedule import StatedRamp
from aim.kernels.shape import VisionShape
from aim.methods import Method
from aim.methods.tower import Tower
from aim.planning.plan import Plan, plan_for
from aim.runtime.checkpoints import Checkpoint
from aim.runtime.limits import MAX_FRAMES_OFFERED, MAX_QUESTION
from aim.runtime.question import check_context, prompt_ids
from aim.video.clip import Clip


class LoadedModel:
    """A loaded model. `aim.runtime.vlm.VLM` runs it.

    Attributes:
        checkpoint: what was loaded.
        name: the one it was loaded by.
        model: the transformers model, in evaluation mode.
        max_question: the longest question accepted, in characters; benchmarks raise it.
    """

    max_question = MAX_QUESTION

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

    def fit_tower(self, tower: Tower | None) -> Tower | None:
        """A setting of the vision tower with everything filled in that depends on this model. Refused where the tower cannot be reduced."""
        return self.checkpoint.family.fit_tower(tower, self._vision(self.grid(1)).num_layers)

    @property
    def tower_limits(self) -> dict[str, str]:
        """The settings of `aim.Tower` that this model's vision tower cannot do, each with the reason, which begins a sentence."""
        return self.checkpoint.family.tower_limits

    def tower_tokens(self, clip: Clip, tower: Tower | None = None) -> int:
        """How many tokens a layer of the vision tower takes for a clip, the mean over its layers, rounded down."""
        grid = self.grid_of(clip)
        vision = self._vision(grid, clip.is_image)
        if tower is None:
            return int(grid.frames * vision.mean_tokens)
        return grid.frames * sum(queries for queries, _ in tower.lengths(vision)) // vision.num_layers

    def _vision(self, grid: Grid, is_image: bool = False) -> VisionShape:
        return self.checkpoint.taking(is_image).family.vision_shape(self.model.config, grid)

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

    def plan(self, num_frames: int, text_tokens: int, method: Method, grid: Grid | None = None, tower: Tower | None = None) -> Plan:
        """What a run would cost, in the model's own bytes per value. Nothing is run; see `aim.plan`.

        `grid` is the clip's; None is that of frames of 640 x 360 pixels. A number below 1 is refused.
        """
        grid = grid or self.grid(num_frames)
        return plan_for(self.model.config, num_frames, text_tokens, method, self.dtype.itemsize, grid, tower)

    def check_context(self, length: int, grid: Grid, method: Method) -> None:
        """Refuse a prompt of `length` tokens whose positions would run past what the model was trained on.

        Raises:
            Refusal: the prompt is too long.
        """
        check_context(self.model.config.text_config.max_position_embeddings, length, grid, method)

    def text_tokens(self, question: str, num_frames: int = 1, grid: Grid | None = None, times: Sequence[float] = ()) -> int:
        """How many tokens of the prompt are no patches: words, chat markers, separators. `grid` is as for `plan`.

        `times` are the seconds at which the frames appear. Where a model is told them and they are not known, it may be some tokens off.
        """
        grid = grid or self.grid(num_frames)
        return len(self.prompt_ids(question, grid, times)) - grid.tokens

    def prompt_ids(self, question: str, grid: Grid, times: Sequence[float] = ()) -> list[int]:
        """The chat prompt's ids for a question about one clip of this grid. `times` are the seconds at which its frames appear, if known.

        Raises:
            Refusal: the question is empty or too long.
        """
        return prompt_ids(self.checkpoint, question, grid, self.max_question, times)
