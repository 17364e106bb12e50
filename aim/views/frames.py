"""Trace and frames to one picture a frame, with its caption: where tokens were merged, how far they got, what they scored.

Every view paints one frame:

    picture: the frame at display size, RGB
    grid:    int [rows, columns], the merged token each of its patches belongs to
    layer:   the LLM layer whose scores to show (only "PageRank" looks at it)

`VIEWS` is the table the app offers for its sheets; a new view is a function and a line in that table. Colours are computed patch by patch
and pillow turns them into pixels, so that 64 frames redraw at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from aim.kernels.trace import Trace
from aim.views.colour import GREY, LUMINANCE, Scale, colour_map
from aim.views.units import counted

SMALLEST, LARGEST = 384, 640  # pixels of a picture's long side
SCORE_DECADES = 8
TINT, HEAT = 0.6, 0.7
# A patch dropped first keeps this share of its picture under a hatched veil, which also shows on frames that are dark themselves.
DARKEST, VEIL, HATCHING = 0.15, (26, 28, 36), (74, 78, 92)


def merged_regions(picture: Image.Image, grid: np.ndarray, trace: Trace, layer: int | None = None) -> Image.Image:
    """Each merged token's patches tinted with their common mean colour, thin lines between patches of different tokens."""
    means, areas = patch_means(picture, grid.shape)
    _, region = np.unique(grid, return_inverse=True)
    region = region.ravel()
    weights = np.bincount(region, weights=areas.ravel())
    colours = [np.bincount(region, weights=(means[..., channel] * areas).ravel()) / weights for channel in range(3)]
    tint = np.stack(colours, axis=1)[region].reshape(means.shape)
    tinted = Image.blend(picture, patches(tint, picture.size), TINT)
    return draw_borders(tinted, grid, TINT * tint + (1 - TINT) * means, opacity=0.75)


def group_size(picture: Image.Image, grid: np.ndarray, trace: Trace, layer: int | None = None) -> Image.Image:
    """How many patches share each patch's token, on a logarithmic colour scale."""
    colours = colour_map(_group_scale(trace)(np.asarray(trace.group_sizes)))[grid]
    return draw_borders(_heat(picture, colours), grid, colours, opacity=0.4)


def survival(picture: Image.Image, grid: np.ndarray, trace: Trace, layer: int | None = None) -> Image.Image:
    """Each patch is the darker, the earlier its token left; where tokens stay longest, the picture is clear."""
    last = np.asarray(trace.last_layer())
    faded = veiled(picture, Scale.over(last)(last)[grid])
    return draw_borders(faded, last[grid], np.zeros((*grid.shape, 3)), opacity=0.4)


def page_rank(picture: Image.Image, grid: np.ndarray, trace: Trace, layer: int | None = None) -> Image.Image:
    """Importance of each patch's token in that layer, on a logarithmic colour scale; tokens dropped before it are grey."""
    layer = scored_layer(trace, layer)
    colours = np.tile(np.array(GREY, np.float32), (trace.merged_tokens, 1))
    if layer is not None:
        colours[np.asarray(trace.survivors[layer])] = colour_map(score_scale(trace, layer)(np.asarray(trace.scores[layer])))
    return _heat(picture, colours[grid])


@dataclass(frozen=True)
class View:
    """One way to look at the frames: how to paint one, and how to read it."""

    paint: Callable[[Image.Image, np.ndarray, Trace, int | None], Image.Image]
    reading: str


VIEWS = {
    "Merged regions": View(merged_regions, "Patches that became one token share one flat colour; lines separate different tokens."),
    "Group size": View(group_size, "How many patches each token stands for: dark violet few, yellow many."),
    "Survival": View(survival, "Dark and hatched: dropped early inside the language model. Clear: among the last to go."),
    "PageRank": View(
        page_rank, "Attention flowing to each token in the last scored layer: yellow much, dark violet little, grey dropped before."
    ),
}


def draw_frames(
    frames: np.ndarray, timestamps: np.ndarray, trace: Trace, view: str, layer: int | None = None
) -> list[tuple[Image.Image, str]]:
    """One (picture, caption) for every frame of the trace.

    Args:
        frames: uint8 [N, H, W, 3]. Where the model joins frames in time, the trace has fewer, each of which shows the first it joined.
        timestamps: [N] seconds.
        view: a key of `VIEWS`.
        layer: for views of one layer; None is the last layer that has scores.
    """
    pictures = []
    for source, assignment in zip(sources(len(frames), trace.frames), np.asarray(trace.assignment), strict=True):
        painted = VIEWS[view].paint(enlarge(frames[source]), assignment.reshape(trace.rows, trace.columns), trace, layer)
        pictures.append((painted, caption(float(timestamps[source]), len(np.unique(assignment)))))
    return pictures


def sources(count: int, traced: int) -> list[int]:
    """For each of a trace's `traced` frames, the index of the frame it shows among the clip's `count`: the first of those it joined."""
    joined = -(-count // traced)  # the last step may hold fewer
    return [index * joined for index in range(traced)]


def caption(seconds: float, tokens: int) -> str:
    """For example "0:01.3 · 9 tokens"."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f} · {counted(tokens)}"


def scored_layer(trace: Trace, layer: int | None) -> int | None:
    """`layer` if it has scores, otherwise the last layer that has them; None where no layer has."""
    layers = trace.scored_layers
    return layer if layer in layers else (layers[-1] if layers else None)


def enlarge(frame: np.ndarray) -> Image.Image:
    """The frame scaled so that its long side is at least 384 and at most 640 pixels; proportions are kept."""
    picture = Image.fromarray(frame)
    scale = min(max(1.0, SMALLEST / max(picture.size)), LARGEST / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture if (width, height) == picture.size else picture.resize((width, height), Image.Resampling.BICUBIC)


def starts(count: int, length: int) -> np.ndarray:
    """The first pixel of each of `count` patches along `length` pixels."""
    return -(-np.arange(count) * length // count)


def patches(values: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A picture of (width, height) in which each patch has one colour [rows, columns, 3] or grey value [rows, columns] (0 to 255)."""
    width, height = size
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8)[rows][:, columns])


def patch_means(picture: Image.Image, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour [rows, columns, 3] and area in pixels [rows, columns] of each patch."""
    pixels = np.asarray(picture, dtype=np.float32)
    edges = [starts(count, length) for count, length in zip(shape, pixels.shape[:2], strict=True)]
    sums = np.add.reduceat(np.add.reduceat(pixels, edges[0], axis=0), edges[1], axis=1)
    heights, widths = (np.diff(edge, append=length) for edge, length in zip(edges, pixels.shape[:2], strict=True))
    areas = np.outer(heights, widths)
    return sums / areas[..., None], areas


def draw_borders(picture: Image.Image, grid: np.ndarray, colours: np.ndarray, opacity: float) -> Image.Image:
    """A copy with lines between neighbouring patches whose `grid` values differ, one pixel wide for every 180 of the long side.

    Lines are white beside dark colours [rows, columns, 3] and black beside light ones, so that they show on any frame.
    """
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn, "RGBA")
    (width, height), thick = picture.size, max(1, max(picture.size) // 180)
    top, left = (starts(count, length).tolist() for count, length in zip(grid.shape, (height, width), strict=True))
    bottom, right = [*top[1:], height], [*left[1:], width]
    light = colours @ LUMINANCE > 150
    white, black = ((ink,) * 3 + (round(255 * opacity),) for ink in (255, 0))
    half = thick // 2
    for row, column in np.argwhere(grid[:, 1:] != grid[:, :-1]):
        ink = black if light[row, column] and light[row, column + 1] else white
        x = left[column + 1] - half
        canvas.rectangle((x, top[row], x + thick - 1, bottom[row] - 1), fill=ink)
    for row, column in np.argwhere(grid[1:] != grid[:-1]):
        ink = black if light[row, column] and light[row + 1, column] else white
        y = top[row + 1] - half
        canvas.rectangle((left[column], y, right[column] - 1, y + thick - 1), fill=ink)
    return drawn


def veiled(picture: Image.Image, clear: np.ndarray) -> Image.Image:
    """The picture under a hatched veil where `clear` [rows, columns] is 0 or False, without it where 1 or True, and in part in between."""
    hidden = Image.blend(picture, _veil(picture.size), 1 - DARKEST)
    return Image.composite(picture, hidden, patches(255 * clear.astype(np.float64), picture.size))


def _veil(size: tuple[int, int]) -> Image.Image:
    width, height = size
    hatched = (np.arange(height)[:, None] + np.arange(width)) % 12 < 2
    return Image.fromarray(np.where(hatched[..., None], np.array(HATCHING, np.uint8), np.array(VEIL, np.uint8)))


def _heat(picture: Image.Image, colours: np.ndarray) -> Image.Image:
    # The frame is turned grey, because its own colours would be mistaken for values.
    return Image.blend(picture.convert("L").convert("RGB"), patches(colours, picture.size), HEAT)


def _group_scale(trace: Trace) -> Scale:
    return Scale.over(np.asarray(trace.group_sizes), log=True)


def score_scale(trace: Trace, layer: int) -> Scale:
    """The logarithmic scale of a scored layer's importance."""
    return Scale.over(np.asarray(trace.scores[layer]), log=True, decades=SCORE_DECADES)
