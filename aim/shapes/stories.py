"""The example clips as stories: what is asked, under which settings the answer must be right and under which wrong, and what that shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aim.methods.presets import preset
from aim.shapes.questions import NUMBERS, Question
from aim.shapes.scenes import Scene, frame_times

FEW, MANY = 8, 32  # frames
PAPER, FULL, AGGRESSIVE, MERGE_ONLY = "Paper", "Full model", "Aggressive", "Merge only"
EARLY = "Early dropping"
# Beside the presets: nothing is merged, and all visual tokens are dropped over the first layers.
EARLY_KNOBS = {"merge_ratio": 1.0, "l1": 0, "l2": 4}


@dataclass(frozen=True)
class Story:
    """One example.

    Attributes:
        ask: the question about a scene, with its answer; None where the scene does not suit.
        right, wrong: (name of a setting, frames) under which the answer must be right, or wrong.
        shows: the line beside the example.
    """

    ask: Callable[[Scene], Question | None]
    right: tuple[tuple[str, int], ...]
    wrong: tuple[tuple[str, int], ...]
    shows: str

    @property
    def frames(self) -> int:
        """How many frames the example is shown with: those of the first setting that must be right."""
        return self.right[0][1]


def knobs(setting: str, num_layers: int) -> dict[str, Any]:
    """The knobs of AIM that a setting's name stands for in a model with that many layers."""
    if setting == EARLY:
        return EARLY_KNOBS
    return dict(zip(("merge_ratio", "l1", "l2"), preset(setting, num_layers), strict=True))


def _colour(scene: Scene) -> Question | None:
    if len(scene.items) < 3 or any(item.becomes for item in scene.items):
        return None
    item = scene.items[0]
    return Question("colour", f"What color is the {item.shape}?", item.colour) if item.moment == "always" else None


def _count(scene: Scene) -> Question | None:
    if len(scene.items) != 4 or any(item.moment == "needle" for item in scene.items):
        return None
    return Question("count", "How many shapes are there?", NUMBERS[3])


def _order(scene: Scene) -> Question | None:
    late = [item for item in scene.items if item.moment == "late"]
    steady = [item for item in scene.items if item.moment == "always"]
    if not late or not steady:
        return None
    return Question("order", f"Which appears first, the {late[0].shape} or the {steady[0].shape}?", steady[0].shape)


def _direction(scene: Scene) -> Question | None:
    moving = [item for item in scene.items if item.direction != "nowhere" and item.moment == "always" and not item.bounces]
    if len(scene.items) < 3 or len({item.direction for item in moving}) < 2:
        return None
    return Question("direction", f"Which way does the {moving[0].shape} move?", moving[0].direction)


def _change(scene: Scene) -> Question | None:
    changing = [item for item in scene.items if item.becomes]
    if not changing or len(scene.items) < 2:
        return None
    return Question("change", f"What color does the {changing[0].shape} become?", changing[0].becomes or "")


def _largest(scene: Scene) -> Question | None:
    if len(scene.items) < 3 or any(item.growth > 1 or item.moment == "needle" for item in scene.items):
        return None
    return Question("size", "Which shape is the largest?", max(scene.items, key=lambda item: item.radius).shape)


def _needle(scene: Scene) -> Question | None:
    flashes = [item for item in scene.items if item.moment == "needle"]
    if not flashes or any(flashes[0].is_visible(time) for time in frame_times(FEW)):
        return None
    return Question("needle", f"What color is the {flashes[0].shape} that flashes?", flashes[0].colour)


def _when(scene: Scene) -> Question | None:
    brief = [item for item in scene.items if item.moment == "end"]
    return Question("when", f"When does the {brief[0].shape} appear?", "end") if brief else None


SURVIVES = ((PAPER, FEW), (FULL, FEW))
BREAKS = {"right": SURVIVES, "wrong": ((AGGRESSIVE, FEW),)}
STORIES = {  # The page opens on the first.
    "change": Story(_change, **BREAKS, shows="Two moments must be compared: right with the paper's setting, wrong with Aggressive."),
    "colour": Story(_colour, SURVIVES, (), "A color is told by any of its tokens, so the answer survives the paper's setting."),
    "count": Story(_count, SURVIVES, (), "Four shapes stay four shapes: the answer survives the paper's setting."),
    "direction": Story(
        _direction, **BREAKS, shows="A direction needs places compared: right with the paper's setting, wrong with Aggressive."
    ),
    "order": Story(_order, SURVIVES, (), "Merging keeps the order of the frames, so the answer survives the paper's setting."),
    "when": Story(
        _when,
        (*SURVIVES, (MERGE_ONLY, FEW)),
        ((EARLY, FEW),),
        "Merging is harmless and early dropping is fatal: set the merge ratio to 1, l1 to 0 and l2 to 4.",
    ),
    "largest": Story(_largest, **BREAKS, shows="Sizes must be compared: right with the paper's setting, wrong with Aggressive."),
    "needle": Story(
        _needle, ((PAPER, MANY), (FULL, MANY)), ((PAPER, FEW), (FULL, FEW)), "The flash falls between 8 frames. Only 32 frames show it."
    ),
}
