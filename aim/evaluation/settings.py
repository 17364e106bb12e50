"""What a question is asked under: a method with its knobs, and a number of frames."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

from aim.kernels.bounds import Bounds
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods import Full, Method
from aim.video.intake.limits import MAX_FRAMES_READ

FRAMES = Bounds(1, MAX_FRAMES_READ, whole=True)
MAIN_KNOBS = ("merge_ratio", "l1", "l2")


@dataclass(frozen=True)
class Setting:
    """A method with every knob filled in (`Method.for_depth`), on `frames` frames."""

    method: Method
    frames: int

    @property
    def key(self) -> str:
        """The setting as one line of JSON, under which results are filed."""
        return json.dumps({"frames": self.frames, "method": self.method.name, **self.method.params()}, sort_keys=True)

    @property
    def label(self) -> str:
        """For people: frames, method, its main knobs, and the others where they are not at their defaults."""
        told = [
            f"{field.name} {getattr(self.method, field.name)}"
            for field in fields(self.method)
            if field.name in MAIN_KNOBS or getattr(self.method, field.name) != field.default
        ]
        return f"{self.frames} frames, {', '.join([self.method.name, *told])}"

    @property
    def reference(self) -> Setting:
        """The full model on the same frames."""
        return Setting(Full(), self.frames)


def combine(methods: list[Method], frames: list[int], num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> list[Setting]:
    """Every method on every number of frames, each frame count led by the full model, against which the others are compared.

    For `ramp` see `Method.for_depth`.

    Raises:
        Refusal: a number of frames below 1, or more than any clip is read with.
    """
    for count in frames:
        FRAMES.check("frames", count, "Use 8, for example.")
    settings = [Setting(method.for_depth(num_layers, ramp), count) for count in frames for method in (Full(), *methods)]
    return list(dict.fromkeys(settings))
