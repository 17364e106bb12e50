"""What the benchmarks do with one model: rounds of all variants on one clip, and growing clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from aim.bench.footage import Footage
from aim.bench.growth import grow
from aim.bench.measure import Measurement, attempt, interleave, measure_vision, run_once
from aim.bench.summary import planned, summarise
from aim.bench.variants import Variant
from aim.bench.workload import HEIGHT, WIDTH, Workload, workload


@dataclass(frozen=True, eq=False)
class Bench:
    """One model, and how prompts for it are made and run.

    Attributes:
        pictures: the model's picture settings.
        text_tokens: tokens of each prompt beside the patches.
        new_tokens: tokens of each answer.
        memory: bytes that a run may hold; None is no limit.
        end_to_end: whether a run begins with the frames. Otherwise it begins with the prefill, on random visual tokens.
        file: the video that runs from end to end read; None stands for frames of noise.
        height, width: the frames of noise, in pixels.
        still: the share of each frame of noise that stands still, 0 to 1.
        progress: receives a line of text after each run.
        stop: why no further run may start, such as a lack of time; "" while it may.
    """

    model: PreTrainedModel
    pictures: dict[str, Any]
    text_tokens: int
    new_tokens: int
    memory: int | None = None
    end_to_end: bool = False
    file: Path | None = None
    height: int = HEIGHT
    width: int = WIDTH
    still: float = 0.0
    progress: Callable[[str], None] = lambda _text: None
    stop: Callable[[], str] = lambda: ""

    @property
    def on_gpu(self) -> bool:
        return self.model.device.type == "cuda"

    @lru_cache(maxsize=2)  # noqa: B019  # a clip of noise takes much memory, and a benchmark lives as long as its command
    def prompt(self, frames: int) -> tuple[Workload, Footage | None]:
        """A prompt with so many frames, and where they come from in a run from end to end.

        Raises:
            Refusal: too few text tokens, or as `Footage.example`.
        """
        if not self.end_to_end:
            return workload(self.model, self.pictures, frames, self.text_tokens, self.height, self.width), None
        footage = Footage(self.pictures, frames, self.file, self.height, self.width, self.still)
        height, width = footage.example.shape[1:3]
        return workload(self.model, self.pictures, frames, self.text_tokens, height, width), footage

    def run(self, variant: Variant, frames: int, new_tokens: int | None = None) -> Measurement | str:
        """Run a variant once, or say why it did not run."""
        if reason := self.stop():
            return reason
        work, footage = self.prompt(frames)
        return attempt(lambda: run_once(self.model, variant, work, new_tokens or self.new_tokens, footage), self.model.device, self.memory)

    def plan(self, variant: Variant, frames: int):
        """The modelled cost of what a variant computes, as an `aim.planning.plan.Plan`."""
        return planned(self.model.config, variant, self.prompt(frames)[0], self.model.dtype.itemsize)

    def rounds(self, variants: dict[str, Variant], frames: int, rounds: int, vision_frames: int = 0) -> dict[str, Any]:
        """All variants in turns on one clip.

        Args:
            vision_frames: how many frames the vision tower is timed on by itself; 0 for none.

        Returns:
            `frames`, `visual_tokens`, `runs`, `vision`, `variants` (`aim.bench.summary.summarise`) and `measurements`, of every run.
        """
        # A GPU picks kernels by size and so warms up on the whole clip. A CPU need only have touched the code.
        for variant in variants.values():
            self.run(variant, frames if self.on_gpu else 1, 2)
        shown = min(vision_frames, frames)
        timed = partial(measure_vision, self.model, self.pictures, shown)
        vision = attempt(timed, self.model.device, self.memory) if shown else None
        measured = interleave(lambda name: self.run(variants[name], frames), variants, rounds, self.progress)
        return {
            "frames": frames,
            "visual_tokens": self.prompt(frames)[0].grid.tokens,
            "runs": rounds,
            "vision": {"frames": shown, "ended": vision} if isinstance(vision, str) else vision and asdict(vision),
            "variants": [summarise(name, variant, measured, self.plan(variant, frames)) for name, variant in variants.items()],
            "measurements": {name: {number: asdict(run) for number, run in one.runs.items()} for name, one in measured.items()},
        }

    def growth(self, variants: dict[str, Variant], frames: Sequence[int], seconds_limit: float) -> dict[str, Any]:
        """All variants on longer and longer clips.

        Returns:
            `titles` of the variants by name, and `growth`, the points (`aim.bench.growth.grow`).
        """
        for variant in variants.values():
            self.run(variant, 1, 2)

        def run(name: str, number: int) -> Measurement | str:
            if self.on_gpu:  # the first run of a size pays for choosing kernels and for memory from the driver
                self.run(variants[name], number, 1)
            return self.run(variants[name], number)

        points = grow(
            run,
            lambda name, number: self.plan(variants[name], number).prefill_tflops,
            list(variants),
            frames,
            seconds_limit,
            self.progress,
        )
        return {"titles": {name: variant.title for name, variant in variants.items()}, "growth": points}
