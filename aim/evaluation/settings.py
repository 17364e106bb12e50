"""What a question is asked under: a method with its knobs, a number of frames, and how the vision tower is reduced."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        shrunk: the side in pixels to which the frames are shrunk before they are asked about (`aim.evaluation.shrunken`); 0 is not at all.
    """

    method: Method
    frames: int
    tower: Tower | None = None
    shrunk: int = 0

    @property
    def key(self) -> str:
        """The setting as one line of JSON, under which results are filed."""
        before = ({} if self.tower is None else {"tower": self.tower.params()}) | ({"shrunk": self.shrunk} if self.shrunk else {})
        return json.dumps({"frames": self.frames, "method": self.method.name, **self.method.params(), **before}, sort_keys=True)

    @property
    def label(self) -> str:
        """For people: frames, method, its main knobs, and the others where they are not at their defaults."""
        told = [
            f"{field.name} {getattr(self.method, field.name)}"
            for field in fields(self.method)
            if field.name in MAIN_KNOBS or getattr(self.method, field.name) != field.default
        ]
        before = [] if self.tower is None else [self.tower.words]
        before += [f"frames shrunk to {self.shrunk} pixels a side"] if self.shrunk else []
        return f"{self.frames} frames, {', '.join([self.method.name, *told, *before])}"

    @property
    def reference(self) -> Setting:
        """The full model on the same frames in full size, with its full tower."""
        return Setting(Full(), self.frames)

    @property
    def with_full_tower(self) -> Setting:
        """The same method on the same frames in full size, with a full tower."""
        return replace(self, tower=None, shrunk=0)


def combine(
    methods: list[Method],
    frames: list[int],
    num_layers: int,
    ramp: StatedRamp = PAPER_RAMP,
    towers: Sequence[Tower] = (),
    shrunk: int = 0,
) -> list[Setting]:
    """Every method on every number of frames, each frame count led by the full model, against which the others are compared.

    For `ramp` see `Method.for_depth`. Each method and the full model are there once more with each of the `towers`, which have everything
    filled in, and once more with frames `shrunk` to that side, unless it is 0.

    Raises:
        Refusal: a number of frames below 1, or more than any clip is read with.
    """
    for count in frames:
        FRAMES.check("frames", count, "Use 8, for example.")
    fitted = [method.for_depth(num_layers, ramp) for method in (Full(), *methods)]
    before = [(None, 0), *((tower, 0) for tower in towers), *([(None, shrunk)] if shrunk else [])]
    return list(dict.fromkeys(Setting(method, count, *kind) for count in frames for method in fitted for kind in before))
