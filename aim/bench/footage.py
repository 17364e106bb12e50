"""What stands before the LLM in a run from end to end: frames are read or made, prepared, and encoded by the vision tower."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from aim.bench.workload import HEIGHT, WIDTH
from aim.engine.features import feature_inputs
from aim.families import family_of
from aim.families.batches import watching
from aim.families.pixel_change import note_change
from aim.kernels.refusal import Refusal
from aim.methods.tower import Tower
from aim.planning.plan import TERA
from aim.runtime.gpus import gpus_of, wait_for
from aim.video.clip import read_video

STAGES = ("read", "preprocess", "tower")  # in this order


@dataclass(frozen=True)
class Footage:
    """Frames for runs from end to end.

    Attributes:
        pictures: the model's picture settings.
        frames: how many frames a run takes.
        file: the video that every run reads anew. None stands for frames of noise, which nobody reads.
        height, width: the frames of noise, in pixels.
        still: the share of each frame of noise that stands still, its lower part, 0 to 1.
    """

    pictures: dict[str, Any]
    frames: int
    file: Path | None = None
    height: int = HEIGHT
    width: int = WIDTH
    still: float = 0.0

    @cached_property
    def example(self) -> np.ndarray:
        """The frames, uint8 [frames, H, W, 3].

        Raises:
            Refusal: the file cannot be read, or has fewer frames than are asked for.
        """
        if self.file is None:
            noise = np.random.default_rng(0).integers(0, 256, (self.frames, self.height, self.width, 3), np.uint8)
            moving = round((1 - self.still) * self.height)
            noise[:, moving:] = noise[:1, moving:]
            return noise
        return self._read(self.file)[0]

    def _read(self, file: Path) -> tuple[np.ndarray, float]:
        clip = read_video(file, self.frames)
        if len(clip.frames) != self.frames:
            raise Refusal(f"{file.name} has {len(clip.frames)} frames, and {self.frames} are to be measured. Give a longer video.")
        return clip.frames, clip.decode_seconds

    def encode(
        self, model: PreTrainedModel, tower: Tower | None, watched: bool = False, compared: bool = False
    ) -> tuple[dict[str, Any], dict[str, float], float | None]:
        """Run everything before the LLM.

        Args:
            tower: how the vision tower is reduced; None runs it in full.
            watched: whether the method reads what the vision tower attends to.
            compared: whether it reads how pixels change from frame to frame.

        Returns:
            (what `generate` takes in place of pixels, seconds by stage: those of `STAGES` that ran, modelled TFLOP of a reduced tower as
            it ran or None)

        Raises:
            Refusal: the tower cannot be reduced, or as `example`.
        """
        family, stages = family_of(model.config), dict[str, float]()
        if self.file is None:
            frames = self.example
        else:
            frames, stages["read"] = self._read(self.file)
        start = time.perf_counter()
        pixels = family.pixel_values(model.config, frames, self.pictures)
        stages["preprocess"] = time.perf_counter() - start
        start = time.perf_counter()
        with watching(watched), family.reducing(model, tower) as lengths:
            encoded = family.encode(model, pixels)
        if compared:
            note_change(family, model.config, pixels, encoded)
        wait_for(gpus_of(model))
        stages["tower"] = time.perf_counter() - start
        vision = family.vision_shape(model.config, encoded.grid)
        tflops = tower.flops(vision, encoded.grid.frames, lengths) / TERA if tower and lengths else None
        sizes = {name: value.to(model.device) for name, value in encoded.inputs.items()}
        return feature_inputs(model, encoded.features) | sizes, stages, tflops
