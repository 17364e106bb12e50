"""What a question is asked under: a method with its knobs, a number of frames, and how the vision tower is reduced."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace

from aim.kernels.bounds import Bounds
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods import Full, Method
from aim.methods.tower import Tower
from aim.video.intake.limits import MAX_FRAMES_READ

FRAMES = Bounds(1, MAX_FRAMES_READ, whole=True)
MAIN_KNOBS = ("merge_ratio", "l1", "l2")


@dataclass(frozen=True)
class Setting:
    """A method with every knob filled in (`Method.for_depth`), on `frames` frames.

    Attributes:
        tower: with everything filled in (`Tower.for_depth`); None where the vision tower runs in full.
    """

    method: Method
    frames: int
    tower: Tower | None = None

    @property
    def key(self) -> str:
        """The setting as one line of JSON, under which results are filed."""
        tower = {} if self.tower is None else {"tower": self.tower.params()}
        return json.dumps({"frames": self.frames, "method": self.method.name, **self.method.params(), **tower}, sort_keys=True)

    @property
    def label(self) -> str:
        """For people: frames, method, its main knobs, and the others where they are not at their defaults."""
        told = [
            f"{field.name} {getattr(self.method, field.name)}"
            for field in fields(self.method)
            if field.name in MAIN_KNOBS or getattr(self.method, field.name) != field.default
        ]
        tower = "" if self.tower is None else f", {self.tower.words}"
        return f"{self.frames} frames, {', '.join([self.method.name, *told])}{tower}"

    @property
    def reference(self) -> Setting:
        """The full model on the same frames, with its full tower."""
        return Setting(Full(), self.frames)

    @property
    def with_full_tower(self) -> Setting:
        """The same method on the same frames, with a full tower."""
        return replace(self, tower=None)


def combine(
    methods: list[Method], frames: list[int], num_layers: int, ramp: StatedRamp = PAPER_RAMP, tower: Tower | None = None
) -> list[Setting]:
    """Every method on every number of frames, each frame count led by the full model, against which the others are compared.

    For `ramp` see `Method.for_depth`. With a `tower`, which has everything filled in, each method and the full model are there twice: with
    their full vision tower and with that one.

    Raises:
        Refusal: a number of frames below 1, or more than any clip is read with.
    """
    for count in frames:
        FRAMES.check("frames", count, "Use 8, for example.")
    fitted = [method.for_depth(num_layers, ramp) for method in (Full(), *methods)]
    return list(dict.fromkeys(Setting(method, count, kind) for count in frames for method in fitted for kind in (None, tower)))
