"""A run as a short animation that walks the layers: the clip, the mosaic that the language model gets, what each layer still sees."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from aim.views.frames import VIEWS, Stack
from aim.views.lettering import write
from aim.views.mosaic import most_divided
from aim.views.patterns import image
from aim.views.share import BRAND, draw_answers, draw_bars
from aim.views.shared_words import SharedWords
from aim.views.sheet import FAINT, INK, PAPER
from aim.views.units import counted

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.runtime.answer import Answer
    from aim.views.shown_run import ShownRun

WIDTH, MARGIN, GAP = 640, 20, 6
MOST_FRAMES, MOST_STEPS = 8, 30
LARGEST = 2_000_000  # bytes
# Milliseconds: the clip as it is, the mosaic, each layer, and the last of them.
CLIP, MOSAIC, LAYER, END = 1400, 2000, 600, 2600
# How the animation is written until it is small enough: scale and quality.
ATTEMPTS = ((1, 80), (1, 60), (0.75, 60), (0.5, 50), (0.35, 40))


@dataclass(frozen=True)
class Step:
    """One picture of the walk: the view (None is the clip itself), the layers, what is told, and for how many milliseconds."""

    view: str | None
    layers: range
    told: str
    lasts: int


def share_animation(
    run: ShownRun, answer: Answer, question: str, full: Answer | None = None, address: str = "", kind: str = "WEBP", largest: int = LARGEST
) -> bytes:
    """The walk as an animated picture that repeats, 640 pixels wide or, where it would be too large, less.

    Args:
        run, full, address: as in `share_picture`.
        kind: "WEBP" or "GIF".
        largest: bytes that it may have.

    Raises:
        ValueError: the answer is not finished, the kind is another, or it does not get as small as asked for.
    """
    if answer.trace is None or not run.trace.tokens_per_layer:
        raise ValueError("The answer is not finished, so there is nothing to share. Let the run end first.")
    if kind not in ("WEBP", "GIF"):
        raise ValueError(f'The animation was asked for as "{kind}"; "WEBP" and "GIF" can be written.')
    steps = walk(run.trace)
    pictures = _pictures(run, SharedWords.of(answer, question, full, address), steps)
    for scale, quality in ATTEMPTS:
        data = _written(pictures, [step.lasts for step in steps], kind, scale, quality)
        if len(data) <= largest:
            return data
    raise ValueError(f"The animation takes {len(data):,} bytes at its smallest, and {largest:,} were allowed. Allow more of them.")


def walk(trace: Trace) -> list[Step]:
    """The clip, the mosaic, and one step for every stretch of layers that run on the same tokens, at most 30 of them."""
    alive = [len(tokens) for tokens in trace.survivors]
    first = [layer for layer in range(len(alive)) if layer == 0 or alive[layer] != alive[layer - 1]]
    stretches = list(zip(first, [*first[1:], len(alive)], strict=True))
    if len(stretches) > MOST_STEPS:
        stretches = [stretches[round(place)] for place in np.linspace(0, len(stretches) - 1, MOST_STEPS)]
    steps = [
        Step(None, range(0), f"The clip: {counted(trace.visual_tokens)} of the vision tower", CLIP),
        Step("Merged regions", range(0), f"What the language model gets: {counted(trace.merged_tokens)}", MOSAIC),
    ]
    for start, end in stretches:
        layers = f"Layer {start} sees" if end - start == 1 else f"Layers {start} to {end - 1} see"
        last = start == stretches[-1][0]
        told = counted(alive[start]) if alive[start] else "no visual token; by then the text has absorbed them"
        steps.append(Step("Survival", range(start, end), f"{layers} {told}", END if last else LAYER))
    return steps


def _pictures(run: ShownRun, words: SharedWords, steps: Sequence[Step]) -> list[Image.Image]:
    """All steps drawn at full size, under one head and over one foot."""
    trace, inner = run.trace, WIDTH - 2 * MARGIN
    stack, columns = _stack(run, inner)
    height, width = stack.pixels.shape[1:]
    blank = Image.new("RGB", (WIDTH, 1600), PAPER)
    draw = ImageDraw.Draw(blank)
    top = write(draw, (MARGIN, 12), BRAND, 13, FAINT, inner) + 4
    top = write(draw, (MARGIN, top), words.question, 21, INK, inner, lines=2) + 4
    top = round(draw_answers(draw, (MARGIN, top), inner, words, 19)) + 10
    told_at = top + ceil(len(stack.shown) / columns) * (height + GAP) + 2
    bars = (MARGIN, told_at + 30, WIDTH - MARGIN, told_at + 84)
    below = write(draw, (MARGIN, bars[3] + 10), f"{words.method}: {words.setting}", 13, FAINT, inner, lines=2)
    for line in filter(None, (words.cost, words.address, words.unwritten)):
        below = write(draw, (MARGIN, below), line, 13, FAINT, inner, lines=2)
    blank = blank.crop((0, 0, WIDTH, round(below) + 12))

    pictures = []
    for step in steps:
        picture = blank.copy()
        pixels = stack.pixels if step.view is None else VIEWS[step.view].paint(stack, trace, step.layers.start)
        for place, painted in enumerate(pixels):
            row, column = divmod(place, columns)
            picture.paste(image(painted), (MARGIN + column * (width + GAP), top + row * (height + GAP)))
        canvas = ImageDraw.Draw(picture)
        write(canvas, (MARGIN, told_at), step.told, 19, INK, inner)
        draw_bars(canvas, bars, trace, step.layers)
        pictures.append(picture)
    return pictures


def _stack(run: ShownRun, inner: int) -> tuple[Stack, int]:
    """At most eight frames spread over the clip, the one most divided among them, and in how many columns they stand."""
    trace = run.trace
    best = most_divided(trace, Stack.of(run.frames, trace, 64, [0]).colours)
    shown = np.round(np.linspace(0, trace.frames - 1, min(MOST_FRAMES, trace.frames))).astype(int)
    shown[np.argmin(np.abs(shown - best))] = best
    tall, wide = run.frames.shape[1:3]
    columns = max(1, min(len(shown), round(sqrt(2 * len(shown) * max(1, tall / wide)))))
    width = min((inner - (columns - 1) * GAP) // columns, round(420 * wide / tall))
    return Stack.of(run.frames, trace, max(8, round(width * max(1, tall / wide))), shown.tolist()), columns


def _written(pictures: Sequence[Image.Image], lasts: Sequence[int], kind: str, scale: float, quality: int) -> bytes:
    size = round(scale * pictures[0].width), round(scale * pictures[0].height)
    first, *others = pictures if scale == 1 else [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    options = {"quality": quality, "method": 2} if kind == "WEBP" else {"optimize": False, "disposal": 1}
    data = io.BytesIO()
    first.save(data, kind, save_all=True, append_images=others, duration=list(lasts), loop=0, **options)
    return data.getvalue()
