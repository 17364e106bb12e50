"""Draw scenes: frames, ground-truth masks, and what a camera adds to them."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from aim.shapes.scenes import Item, Scene, frame_times


def render(scene: Scene, times: np.ndarray, size: int, supersample: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [len(times), size, size, 3] and masks uint8 [len(times), size, size] at these moments (0 to 1).

    A mask's value is 1 + the index of the topmost item at that pixel, 0 for background. `supersample` draws at a multiple of the size
    and averages down, which smooths the edges as a camera does.
    """
    side = size * supersample
    background = np.asarray(Image.fromarray(scene.background).resize((side, side), Image.Resampling.BICUBIC))
    frames = np.empty((len(times), size, size, 3), np.uint8)
    for index, time in enumerate(times):
        shift = [round(d * time * side) for d in scene.drift]
        picture = Image.fromarray(np.roll(background, shift, (0, 1)) if any(shift) else background)
        canvas = ImageDraw.Draw(picture)
        for item in scene.items:
            if item.is_visible(time):
                _draw(canvas, item, time, side, item.rgb_at(time))
        frames[index] = np.asarray(picture.reduce(supersample) if supersample > 1 else picture)
    return frames, render_masks(scene, times, size)


def render_masks(scene: Scene, times: np.ndarray, size: int) -> np.ndarray:
    """The masks alone, as in `render`: uint8 [len(times), size, size]."""
    masks = np.empty((len(times), size, size), np.uint8)
    for index, time in enumerate(times):
        mask = Image.new("L", (size, size), 0)
        canvas = ImageDraw.Draw(mask)
        for number, item in enumerate(scene.items):
            if item.is_visible(time):
                _draw(canvas, item, time, size, number + 1)
        masks[index] = np.asarray(mask)
    return masks


def camera(scene: Scene, times: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`render` with what a camera and a video codec add: half of the clips have smooth edges, and half have a little noise."""
    frames, masks = render(scene, times, size, supersample=2 if rng.random() < 0.5 else 1)
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(1, 5), frames.shape[1:]).astype(np.float32)
        frames = np.clip(frames + noise, 0, 255).astype(np.uint8)
    return frames, masks


def owner_of_tokens(masks: np.ndarray, grid: int, share: float = 0.12) -> np.ndarray:
    """Which item fills each visual token's square most, -1 where none fills `share` of it. uint8 [F, size, size] → int [F, grid²]."""
    frames, size = len(masks), masks.shape[1]
    cell = size // grid
    cells = masks.reshape(frames, grid, cell, grid, cell).transpose(0, 1, 3, 2, 4).reshape(frames, grid * grid, -1)
    filled = np.stack([(cells == number + 1).mean(-1) for number in range(max(1, int(masks.max())))], -1)
    return np.where(filled.max(-1) > share, filled.argmax(-1), -1)


def everything_can_be_seen(scene: Scene) -> bool:
    """Whether no item is hidden by others for long.

    A lasting item must show six tenths of itself in six tenths of the frames, and half of itself when it comes and goes. A brief one must
    show six tenths of itself at three moments.
    """
    times = frame_times(8)
    masks = render_masks(scene, times, size=56)
    for number, item in enumerate(scene.items):
        first, last = item.visible
        if item.moment in ("always", "late", "gone"):
            shown = np.array([item.is_visible(t) for t in times])
            area = _share_seen(masks[shown], number, item, times[shown])
            if (area >= 0.6).sum() < 0.6 * len(area) or area[0] < 0.5 or area[-1] < 0.5:
                return False
        else:
            moments = np.array([first + 0.05 * (last - first), (first + last) / 2, last - 0.05 * (last - first)])
            if (_share_seen(render_masks(scene, moments, size=56), number, item, moments) < 0.6).any():
                return False
    return True


def _share_seen(masks: np.ndarray, number: int, item: Item, times: np.ndarray) -> np.ndarray:
    """An item's visible pixels as a share of about what it covers at its radius. The thin cross and star cover less than a disc."""
    whole = np.array([1.2 * (item.radius_at(t) * 56) ** 2 for t in times])
    return (masks == number + 1).sum((1, 2)) / whole


def _draw(canvas: ImageDraw.ImageDraw, item: Item, time: float, side: int, fill) -> None:
    x, y = item.centre(time)
    _SHAPES[item.shape](canvas, x * side, y * side, item.radius_at(time) * side, fill)


def _circle(canvas, x: float, y: float, r: float, fill) -> None:
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _square(canvas, x: float, y: float, r: float, fill) -> None:
    canvas.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=fill)


def _triangle(canvas, x: float, y: float, r: float, fill) -> None:
    canvas.polygon([(x, y - 1.1 * r), (x + 1.05 * r, y + 0.85 * r), (x - 1.05 * r, y + 0.85 * r)], fill=fill)


def _star(canvas, x: float, y: float, r: float, fill) -> None:
    points = []
    for corner in range(10):
        length = r * (1.2 if corner % 2 == 0 else 0.5)
        angle = -math.pi / 2 + corner * math.pi / 5
        points.append((x + length * math.cos(angle), y + length * math.sin(angle)))
    canvas.polygon(points, fill=fill)


def _cross(canvas, x: float, y: float, r: float, fill) -> None:
    canvas.rectangle((x - 1.1 * r, y - 0.36 * r, x + 1.1 * r, y + 0.36 * r), fill=fill)
    canvas.rectangle((x - 0.36 * r, y - 1.1 * r, x + 0.36 * r, y + 1.1 * r), fill=fill)


_SHAPES = {"circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "cross": _cross}
