"""Which scenes there are. Each is a function of (split, index) alone.

`split_of` puts scenes that are alike into one split, so that no held-out scene has a near twin among the trained ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from aim.shapes.drawing import everything_can_be_seen
from aim.shapes.scenes import COLOURS, DIRECTIONS, SHAPES, Item, Scene

RADII = (0.075, 0.1, 0.13, 0.168)
LARGEST_GROWTH = 1.6
SPLITS = {"train": 1, "pretrain": 2, "validation": 3, "test": 4}
HELD_OUT = {0: "test", 1: "validation"}  # of ten buckets; the others are for training


def make_scene(split: str, index: int) -> Scene:
    """Scene number `index` of a split ("train", "pretrain", "validation" or "test"), which is always the same."""
    rng = np.random.default_rng([SPLITS[split], index])
    wanted = split if split in HELD_OUT.values() else "train"
    while True:
        scene = _random_scene(rng)
        if split_of(scene) == wanted and everything_can_be_seen(scene):
            return scene


def split_of(scene: Scene) -> str:
    """ "test", "validation" or "train", by what is in the scene and in which seventh of the picture; the exact place does not count."""
    facts = sorted(
        (item.shape, item.colour, item.size, item.direction, item.moment, item.bounces, item.becomes or "", *_cells(item.path))
        for item in scene.items
    )
    bucket = hashlib.sha256(repr(facts).encode()).digest()[0] % 10
    return HELD_OUT.get(bucket, "train")


def _cells(path: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(int(value * 7) for value in path)


def _random_scene(rng: np.random.Generator) -> Scene:
    count = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.25, 0.35, 0.25]))
    colours = rng.choice(list(COLOURS), min(count + 1, len(COLOURS)), replace=False)  # the last one is for an item that changes
    shapes = rng.choice(SHAPES, count, replace=False)
    sizes = rng.choice(len(RADII), count, replace=False)
    moments = _moments(rng, count)
    changing = int(rng.integers(count)) if rng.random() < 0.35 else None
    bouncing = int(rng.integers(count)) if rng.random() < 0.25 else None
    growing = int(rng.integers(count)) if rng.random() < 0.2 else None
    items = []
    for number in range(count):
        moment = moments[number]
        lasting = moment in ("always", "late", "gone")
        growth = LARGEST_GROWTH if number == growing and lasting else 1.0
        radius = RADII[sizes[number]] * rng.uniform(0.95, 1.05) / (growth if sizes[number] > 1 else 1)
        direction = str(rng.choice(DIRECTIONS)) if lasting else "nowhere"
        bounces = number == bouncing and lasting and direction != "nowhere"
        item = Item(
            shape=str(shapes[number]),
            colour=str(colours[number]),
            rgb=_shade(rng, colours[number]),
            radius=radius,
            size=int(sizes[number]),
            direction=direction,
            path=_path(rng, direction, radius * growth),
            moment=moment,
            visible=_window(rng, moment),
            bounces=bounces,
            growth=growth,
        )
        if number == changing and moment in ("always", "late"):
            first, last = item.visible
            time = first + (last - first) * rng.uniform(0.35, 0.65)
            item = replace(item, becomes=str(colours[-1]), rgb_after=_shade(rng, colours[-1]), change_time=time)
        items.append(item)
    return Scene(tuple(items), *_background(rng))


def _moments(rng: np.random.Generator, count: int) -> list[str]:
    """At most one item is brief or a needle, so that at least one is there for most of the clip; others may come late or go early."""
    moments = [str(rng.choice(("always", "late", "gone"), p=(0.74, 0.14, 0.12))) for _ in range(count)]
    luck = rng.random()
    if count >= 2 and luck < 0.65:
        special = "needle" if luck < 0.25 else str(rng.choice(("start", "middle", "end")))
        moments[int(rng.integers(count))] = special
    return moments


def _shade(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(COLOURS[colour]) + rng.integers(-10, 11, 3), 0, 255)
    return int(red), int(green), int(blue)


def _path(rng: np.random.Generator, direction: str, radius: float) -> tuple[float, float, float, float]:
    low, high = 1.2 * radius + 0.01, 1 - 1.2 * radius - 0.01
    across = rng.uniform(low, high)
    if direction == "nowhere":
        along = rng.uniform(low, high)
        return along, across, along, across
    span = rng.uniform(0.55, 1.0) * (high - low)
    first = low + rng.uniform(0, high - low - span)
    last = first + span
    if direction in ("left", "up"):
        first, last = last, first
    return (first, across, last, across) if direction in ("left", "right") else (across, first, across, last)


def _window(rng: np.random.Generator, moment: str) -> tuple[float, float]:
    # Brief ones are wide enough that one of four sampled frames always falls inside, a needle that one of 32 does.
    length, half = rng.uniform(0.19, 0.3), rng.uniform(0.13, 0.17)
    flash, turn = rng.uniform(1 / 24, 1 / 16), rng.uniform(0.3, 0.6)
    needle = rng.uniform(0, 1 - flash)
    windows = {
        "start": (0.0, length),
        "middle": (0.5 - half, 0.5 + half),
        "end": (1 - length, 1.0),
        "needle": (needle, needle + flash),
        "late": (turn, 1.0),
        "gone": (0.0, 1 - turn),
        "always": (0.0, 1.0),
    }
    return windows[moment]


def _background(rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """A background darker than any item, plain, mottled, striped or shaded, and its drift: half of the textured ones drift."""
    base, cells = rng.integers(20, 96, 3).astype(np.float32), np.arange(16)
    texture = {
        "plain": lambda: np.zeros((16, 16, 3)),
        "mottled": lambda: rng.normal(0, 16, (16, 16, 3)),
        "striped": lambda: np.where((cells // 2) % 2 == 0, -13.0, 13.0)[:, None, None] * rng.uniform(0.5, 1.2, 3) + np.zeros((16, 16, 3)),
        "shaded": lambda: np.sin((cells[:, None] + cells) * np.pi / 16)[..., None] * rng.uniform(-28, 28, 3),
    }
    kind = str(rng.choice(list(texture), p=(0.35, 0.3, 0.2, 0.15)))
    picture = texture[kind]()
    if rng.random() < 0.5:
        picture = picture.transpose(1, 0, 2)
    drift = tuple(rng.uniform(-0.5, 0.5, 2)) if kind != "plain" and rng.random() < 0.5 else (0.0, 0.0)
    return np.clip(base + picture, 0, 150).astype(np.uint8), drift
