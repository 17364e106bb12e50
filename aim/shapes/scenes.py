"""Scenes of moving shapes: what is in a clip, and how it is drawn at any size and any number of frames.

Coordinates and radii are fractions of the picture's side, times are fractions of the clip, so one scene can be rendered at
96 pixels for training and at 336 for an example clip. Every scene is a function of (split, index) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

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
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = ("left", "right", "up", "down", "nowhere")
MOMENTS = ("start", "middle", "end", "always")
RADII = (0.083, 0.12, 0.161)
SPLITS = {"train": 1, "pretrain": 2, "validation": 3, "test": 4}


@dataclass(frozen=True)
class Item:
    """One shape of a scene. `path` is (x0, y0, x1, y1), its centre at the clip's first and last moment."""

    shape: str
    colour: str
    rgb: tuple[int, int, int]
    radius: float
    size: int
    direction: str
    path: tuple[float, float, float, float]
    moment: str
    visible: tuple[float, float]

    def centre(self, time: float) -> tuple[float, float]:
        """Centre at `time` (0 to 1), as fractions of the picture's side."""
        x0, y0, x1, y1 = self.path
        return x0 + (x1 - x0) * time, y0 + (y1 - y0) * time

    def is_visible(self, time: float) -> bool:
        return self.visible[0] <= time <= self.visible[1]


@dataclass(frozen=True)
class Scene:
    """One to three items, no two alike in shape, colour or size, on a plain or mottled background."""

    items: tuple[Item, ...]
    background: np.ndarray  # uint8 [cells, cells, 3], enlarged smoothly when drawn


def frame_times(num_frames: int) -> np.ndarray:
    """Centres of `num_frames` equal stretches of the clip, as fractions: the moments `aim.read_video` samples too."""
    return (np.arange(num_frames) + 0.5) / num_frames


def make_scene(split: str, index: int, brief_items: bool = True) -> Scene:
    """The scene number `index` of a split ("train", "pretrain", "validation" or "test"), always the same one.

    With `brief_items`, about half of the scenes with two or more items have one that is there for a quarter of the clip only.
    """
    rng = np.random.default_rng([SPLITS[split], index])
    while True:
        scene = _draw_lots(rng, brief_items)
        if _everything_can_be_seen(scene):
            return scene


def render(scene: Scene, times: np.ndarray, size: int, supersample: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [len(times), size, size, 3] and masks uint8 [len(times), size, size] at these moments (0 to 1).

    A mask's value is 1 + the index of the topmost item at that pixel, 0 for background. `supersample` draws at a multiple of the size
    and averages down, which smooths the edges as a camera does.
    """
    side = size * supersample
    background = Image.fromarray(scene.background).resize((side, side), Image.Resampling.BICUBIC)
    frames = np.empty((len(times), size, size, 3), np.uint8)
    masks = np.empty((len(times), size, size), np.uint8)
    for index, time in enumerate(times):
        picture, mask = background.copy(), Image.new("L", (size, size), 0)
        for number, item in enumerate(scene.items):
            if item.is_visible(time):
                _draw(ImageDraw.Draw(picture), item, time, side, item.rgb)
                _draw(ImageDraw.Draw(mask), item, time, size, number + 1)
        frames[index] = picture.reduce(supersample) if supersample > 1 else picture
        masks[index] = mask
    return frames, masks


def _draw(canvas: ImageDraw.ImageDraw, item: Item, time: float, side: int, fill) -> None:
    x, y = item.centre(time)
    x, y, r = x * side, y * side, item.radius * side
    if item.shape == "circle":
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif item.shape == "square":
        canvas.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=fill)
    elif item.shape == "triangle":
        canvas.polygon([(x, y - 1.1 * r), (x + 1.05 * r, y + 0.85 * r), (x - 1.05 * r, y + 0.85 * r)], fill=fill)
    else:
        points = []
        for corner in range(10):
            length = r * (1.2 if corner % 2 == 0 else 0.5)
            angle = -math.pi / 2 + corner * math.pi / 5
            points.append((x + length * math.cos(angle), y + length * math.sin(angle)))
        canvas.polygon(points, fill=fill)


def _draw_lots(rng: np.random.Generator, brief_items: bool) -> Scene:
    count = int(rng.choice([1, 2, 2, 3, 3]))
    colours = rng.choice(list(COLOURS), count, replace=False)
    shapes = rng.choice(SHAPES, count, replace=False)
    sizes = rng.choice(len(RADII), count, replace=False)
    brief = int(rng.integers(count)) if brief_items and count >= 2 and rng.random() < 0.55 else None
    items = []
    for number in range(count):
        radius = RADII[sizes[number]] * rng.uniform(0.95, 1.05)
        moment = str(rng.choice(MOMENTS[:3])) if number == brief else "always"
        direction = "nowhere" if number == brief else str(rng.choice(DIRECTIONS))
        rgb = tuple(int(v) for v in np.clip(np.array(COLOURS[colours[number]]) + rng.integers(-10, 11, 3), 0, 255))
        items.append(
            Item(
                shape=str(shapes[number]),
                colour=str(colours[number]),
                rgb=rgb,
                radius=radius,
                size=int(sizes[number]),
                direction=direction,
                path=_path(rng, direction, radius),
                moment=moment,
                visible=_window(rng, moment),
            )
        )
    return Scene(tuple(items), _background(rng))


def _path(rng: np.random.Generator, direction: str, radius: float) -> tuple[float, float, float, float]:
    low, high = 1.2 * radius + 0.01, 1 - 1.2 * radius - 0.01
    across = rng.uniform(low, high)
    if direction == "nowhere":
        along = rng.uniform(low, high)
        return along, across, along, across
    span = rng.uniform(0.5, 1.0) * (high - low)
    first = low + rng.uniform(0, high - low - span)
    last = first + span
    if direction in ("left", "up"):
        first, last = last, first
    return (first, across, last, across) if direction in ("left", "right") else (across, first, across, last)


def _window(rng: np.random.Generator, moment: str) -> tuple[float, float]:
    # Wide enough that one of four sampled frames always falls inside.
    length, half = rng.uniform(0.19, 0.3), rng.uniform(0.13, 0.17)
    windows = {"start": (0.0, length), "middle": (0.5 - half, 0.5 + half), "end": (1 - length, 1.0), "always": (0.0, 1.0)}
    return windows[moment]


def _background(rng: np.random.Generator) -> np.ndarray:
    base = rng.integers(20, 111, 3).astype(np.float32)
    mottle = rng.normal(0, 16, (8, 8, 3)) if rng.random() < 0.5 else np.zeros((8, 8, 3))
    return np.clip(base + mottle, 0, 150).astype(np.uint8)


def _everything_can_be_seen(scene: Scene) -> bool:
    times = frame_times(8)
    _, masks = render(scene, times, size=56)
    for number, item in enumerate(scene.items):
        area = (masks == number + 1).sum((1, 2)) / (1.2 * (item.radius * 56) ** 2)
        shown = np.array([item.is_visible(t) for t in times])
        if item.moment != "always":
            if (area[shown] < 0.6).any():
                return False
        elif (area >= 0.6).sum() < 5 or area[0] < 0.5 or area[-1] < 0.5:
            return False
    return True
