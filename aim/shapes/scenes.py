"""What a scene of moving shapes is. `drawing` draws scenes, and `world` says which ones there are.

Coordinates and radii are fractions of the picture's side, times are fractions of the clip, so one scene can be rendered at
112 pixels for training and at 336 for an example clip, with 4 frames or with 64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 225),
    "yellow": (240, 220, 50),
    "purple": (150, 50, 190),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "cyan": (60, 215, 225),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
DIRECTIONS = ("left", "right", "up", "down", "nowhere")


@dataclass(frozen=True)
class Item:
    """One shape of a scene. Every `time` is a fraction of the clip, 0 to 1.

    `path` is (x0, y0, x1, y1), its centre when it is first and last visible; with `bounces` it is back at the first by the end.
    `moment` is "start", "middle" or "end" for a quarter of the clip, "needle" for a flash of at most a sixteenth of it,
    "late" and "gone" for appearing and disappearing in between, and "always". At `change_time` its colour becomes `becomes`.
    """

    shape: str
    colour: str
    rgb: tuple[int, int, int]
    radius: float
    size: int
    direction: str
    path: tuple[float, float, float, float]
    moment: str
    visible: tuple[float, float]
    bounces: bool = False
    growth: float = 1.0
    becomes: str | None = None
    rgb_after: tuple[int, int, int] | None = None
    change_time: float = 1.0

    def is_visible(self, time: float) -> bool:
        return self.visible[0] <= time <= self.visible[1]

    def progress(self, time: float) -> float:
        """How much of its visible time has passed, 0 to 1."""
        first, last = self.visible
        return float(np.clip((time - first) / (last - first), 0, 1))

    def centre(self, time: float) -> tuple[float, float]:
        """Its centre (x, y), as fractions of the picture's side."""
        x0, y0, x1, y1 = self.path
        way = self.progress(time)
        if self.bounces:
            way = 1 - abs(2 * way - 1)
        return x0 + (x1 - x0) * way, y0 + (y1 - y0) * way

    def radius_at(self, time: float) -> float:
        return self.radius * (1 + (self.growth - 1) * self.progress(time))

    def rgb_at(self, time: float) -> tuple[int, int, int]:
        return self.rgb_after if self.rgb_after and time >= self.change_time else self.rgb

    def colour_at(self, time: float) -> str:
        return self.becomes if self.becomes and time >= self.change_time else self.colour


@dataclass(frozen=True)
class Scene:
    """One to four items, no two alike in shape, colour or size, on a background that may be textured and may drift.

    `background` is uint8 [cells, cells, 3], enlarged smoothly when drawn; `drift` how far it moves over the clip, in picture sides.
    """

    items: tuple[Item, ...]
    background: np.ndarray
    drift: tuple[float, float]


def frame_times(num_frames: int) -> np.ndarray:
    """Centres of `num_frames` equal stretches of the clip, as fractions: the moments `aim.read_video` samples too."""
    return (np.arange(num_frames) + 0.5) / num_frames
