"""Trace and frames to painted frames: where tokens were merged, how far they got, how important they were.

Every view paints all frames of a stack at once:

    stack: the frames at display size, made once a clip
    trace: of a run on that clip
    layer: the LLM layer to show; the views of what merging did do not look at it

and returns new pixels, RGBA packed in uint32 [F, height, width]. `VIEWS` is the table of them; a new view is a function and a line in that
table. What is shown is worked out patch by patch and only then stretched to pixels, all frames in one stroke.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from aim.kernels.grid import Grid
from aim.kernels.trace import Trace
from aim.views.colour import LUMINANCE, Scale, colour_map
from aim.views.fates import Fate, fates, holders, places, spread, telling_layer, tokens_by_frame
from aim.views.mosaic import patch_colours, token_colours
from aim.views.patterns import covered, draw_borders, draw_dots, image, inked, mixed, packed, stretched, unpacked
from aim.views.units import counted

SMALLEST, LARGEST = 384, 640  # pixels of a picture's long side
SCORE_DECADES = 8
HEAT = 0.78
UNSCORED = (110, 110, 110)


@dataclass(frozen=True)
class Stack:
    """Frames at display size with all that stays the same while knobs turn, so that painting them again takes milliseconds.

    Attributes:
        pixels: uint32 [S, height, width], the S frames to be painted, packed as `aim.views.patterns` says.
        shown: [S], their places among the trace's F frames.
        colours: mean colour of every patch of all frames, uint8 [F, rows, columns, 3].
    """

    pixels: np.ndarray
    shown: np.ndarray
    colours: np.ndarray
    _gone: dict[Fate, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, frames: np.ndarray, grid: Grid | Trace, size: int | None = None, shown: Sequence[int] | None = None) -> Stack:
        """The frames a model with this grid sees, scaled in proportion.

        Args:
            frames: uint8 [N, H, W, 3]. Where the model joins frames in time, the grid has fewer, each of which shows the first it joined.
            grid: or a trace, which says frames, rows and columns too.
            size: pixels of the longer side. None keeps the frames' own within 384 to 640.
            shown: which of the grid's frames; None is all of them.
        """
        own = first_of(frames, grid.frames)
        picked = np.arange(grid.frames) if shown is None else np.asarray(shown, int)
        longest = max(own.shape[1:3])
        scale = (size or min(max(longest, SMALLEST), LARGEST)) / longest
        height, width = (max(1, round(side * scale)) for side in own.shape[1:3])
        pixels = [np.asarray(Image.fromarray(own[frame]).resize((width, height), Image.Resampling.BICUBIC)) for frame in picked]
        return cls(packed(np.stack(pixels)), picked, patch_colours(own, grid.rows, grid.columns))

    def grids(self, values: np.ndarray) -> np.ndarray:
        """Values of all patches [F, T, ...] as those of the shown frames, [S, rows, columns, ...]."""
        return values[self.shown].reshape(len(self.shown), *self.colours.shape[1:3], *values.shape[2:])

    def stretched(self, values: np.ndarray) -> np.ndarray:
        """`grids` stretched to pixels, [S, height, width, ...]."""
        return stretched(self.grids(values), self.pixels.shape[2], self.pixels.shape[1])

    @cached_property
    def grey(self) -> np.ndarray:
        """The frames without their colours, which would be mistaken for values."""
        light = np.round(unpacked(self.pixels) @ LUMINANCE.astype(np.float32)).astype(np.uint8)
        return packed(np.broadcast_to(light[..., None], (*light.shape, 3)))

    def cover(self, painted: np.ndarray, fate: np.ndarray, *kinds: Fate) -> None:
        """Lay veil and pattern of these kinds over `painted`, in place, where the patches [F, T] are of that fate."""
        for kind in kinds:
            if not (fate[self.shown] == kind).any():
                continue
            if kind not in self._gone:
                self._gone[kind] = covered(self.pixels, kind)
            np.copyto(painted, self._gone[kind], where=self.stretched(fate == kind))


def merged_regions(stack: Stack, trace: Trace, layer: int) -> np.ndarray:
    """The mosaic that the language model gets: a token's patches have their mean colour, with lines around and a dot at its place."""
    assignment = np.asarray(trace.assignment)
    painted = stack.stretched(spread(packed(token_colours(stack.colours, trace)), assignment, 0))
    stack.cover(painted, fates(trace, 0), Fate.LEFT_OUT)
    draw_borders(painted, stack.grids(assignment))
    draw_dots(painted, stack.grids(_stands_for_many(trace, assignment)))
    return painted


def group_size(stack: Stack, trace: Trace, layer: int) -> np.ndarray:
    """How many patches share each patch's token, on a logarithmic colour scale."""
    sizes, assignment = np.asarray(trace.group_sizes), np.asarray(trace.assignment)
    painted = _heat(stack, spread(colour_map(Scale.over(sizes, log=True)(sizes)), assignment, 0))
    stack.cover(painted, fates(trace, 0), Fate.LEFT_OUT)
    draw_borders(painted, stack.grids(assignment))
    return painted


def survival(stack: Stack, trace: Trace, layer: int) -> np.ndarray:
    """What the layer still sees is clear, with lines between its tokens; what is gone lies under the pattern of how it went.

    What was averaged into a token of the layer has that token's line around it, and a pattern of its own.
    """
    fate, token = fates(trace, layer), holders(trace, layer)
    painted = stack.pixels.copy()
    stack.cover(painted, fate, *VIEWS["Survival"].keys)
    draw_borders(painted, stack.grids(np.where(token >= 0, token, -1 - fate.astype(int))))
    draw_dots(painted, stack.grids((fate == Fate.STANDS) & _stands_for_many(trace, token)))
    return painted


def importance(stack: Stack, trace: Trace, layer: int) -> np.ndarray:
    """Importance of each patch's token in that layer, on a logarithmic colour scale; grey where the layer has no scores.

    What was averaged into a token of the layer has that token's colour, under a pattern.
    """
    colours = np.tile(np.array(UNSCORED, np.float32), (trace.merged_tokens, 1))
    if layer in trace.scored_layers:
        colours[np.asarray(trace.survivors[layer])] = colour_map(score_scale(trace, layer)(np.asarray(trace.scores[layer])))
    painted = _heat(stack, spread(colours, holders(trace, layer), 0))
    fate = fates(trace, layer, just=False)  # a crossing would draw the eye from the scores
    stack.cover(painted, fate, Fate.DROPPED, Fate.LEFT_OUT)
    inside = fate == Fate.MERGED_INSIDE
    if inside.any():
        np.copyto(painted, inked(painted, Fate.MERGED_INSIDE), where=stack.stretched(inside))
    draw_borders(painted, stack.grids(fate > Fate.MERGED_INSIDE))
    return painted


def kept_places(stack: Stack, trace: Trace, layer: int) -> np.ndarray:
    """Only the places at which tokens of the layer stand are clear; merged away, dropped and left out have a pattern each."""
    fate = fates(trace, layer, just=False)
    painted = stack.pixels.copy()
    stack.cover(painted, fate, Fate.MERGED, Fate.MERGED_INSIDE, Fate.DROPPED, Fate.LEFT_OUT)
    return painted


@dataclass(frozen=True)
class View:
    """One way to look at the frames: how to paint them, how to read that, which fates it shows, and whether it follows the layers."""

    paint: Callable[[Stack, Trace, int], np.ndarray]
    reading: str
    keys: tuple[Fate, ...]
    layered: bool = False


VIEWS = {
    "Merged regions": View(
        merged_regions, "Patches that became one token have their mean colour. A dot: where the token stands.", (Fate.LEFT_OUT,)
    ),
    "Group size": View(group_size, "How many patches each token stands for: dark violet few, yellow many.", (Fate.LEFT_OUT,)),
    "Survival": View(
        survival,
        "Clear: what this layer still sees.",
        (Fate.MERGED_INSIDE, Fate.JUST_DROPPED, Fate.DROPPED, Fate.LEFT_OUT),
        layered=True,
    ),
    "Importance": View(
        importance,
        "Importance of each token, by which the method drops: yellow much, dark violet little.",
        (Fate.MERGED_INSIDE, Fate.DROPPED, Fate.LEFT_OUT),
        layered=True,
    ),
}


def shown_layer(trace: Trace, view: str, layer: int | None = None) -> int:
    """`layer`, or where there is none the one that shows the view best: what dropping has left, or the last one with scores."""
    if layer is not None:
        return layer
    return trace.scored_layers[-1] if view == "Importance" and trace.scored_layers else telling_layer(trace)


def keys_of(trace: Trace, view: str, layer: int | None = None) -> list[Fate]:
    """The fates among a view's that there are to see in this run and layer; see `shown_layer` for None."""
    keys = VIEWS[view].keys
    seen = fates(trace, shown_layer(trace, view, layer) if VIEWS[view].layered else 0, just=Fate.JUST_DROPPED in keys)
    return [fate for fate in keys if fate in seen]


def draw_frames(
    frames: np.ndarray, timestamps: np.ndarray, trace: Trace, view: str, layer: int | None = None
) -> list[tuple[Image.Image, str]]:
    """One (picture, caption) for every frame of the trace.

    Args:
        frames: uint8 [N, H, W, 3], see `Stack.of`.
        timestamps: [N] seconds.
        view: a key of `VIEWS`.
        layer: for views that follow the layers; see `shown_layer` for None.
    """
    layer, shown = shown_layer(trace, view, layer), VIEWS[view]
    painted = shown.paint(Stack.of(frames, trace), trace, layer)
    counts = tokens_by_frame(trace, layer if shown.layered else None)
    times = first_of(timestamps, trace.frames)
    return [(image(pixels), caption(float(time), int(count))) for pixels, time, count in zip(painted, times, counts, strict=True)]


def first_of(values: np.ndarray, traced: int) -> np.ndarray:
    """Of a clip's frames or times [N, ...] those that a trace's `traced` frames show: each the first of those it joined. No copy."""
    joined = -(-len(values) // traced)  # the last step may hold fewer
    return values[::joined]


def caption(seconds: float, tokens: int) -> str:
    """For example "0:01.3 · 9 tokens"."""
    return f"{clock(seconds)} · {counted(tokens)}"


def clock(seconds: float) -> str:
    """For example "0:01.3"."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def score_scale(trace: Trace, layer: int) -> Scale:
    """The logarithmic scale of a scored layer's importance."""
    return Scale.over(np.asarray(trace.scores[layer]), log=True, decades=SCORE_DECADES)


def _stands_for_many(trace: Trace, token: np.ndarray) -> np.ndarray:
    """Where a token that stands for more than one patch has its place, bool [F, T]. `token` [F, T]: which each patch is in, -1 for none."""
    counts = np.bincount(np.asarray(token).reshape(-1) + 1, minlength=trace.merged_tokens + 1)[1:]
    stands = np.zeros(trace.visual_tokens, bool)
    stands[places(trace)[counts > 1]] = True
    return stands.reshape(tuple(trace.assignment.shape))


def _heat(stack: Stack, colours: np.ndarray) -> np.ndarray:
    """Colours of patches [F, T, 3] over the grey frames."""
    return mixed(stack.grey, stack.stretched(packed(np.round(colours).astype(np.uint8))), HEAT)
