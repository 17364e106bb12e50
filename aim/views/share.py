"""A run as one captioned picture that people send each other: question, both answers, what the model saw, cost, setting and address."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from aim.views.fates import fates, telling_layer, tokens_by_frame
from aim.views.frames import VIEWS, Stack, clock, first_of
from aim.views.lettering import write
from aim.views.mosaic import most_divided
from aim.views.patterns import LOOKS, image
from aim.views.shared_words import SharedWords
from aim.views.sheet import FAINT, INK, PAPER, draw_keys, keys_height
from aim.views.units import counted

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.runtime.answer import Answer
    from aim.views.shown_run import ShownRun

WIDTH, MARGIN, BETWEEN = 1200, 40, 20
PICTURE = (WIDTH - 2 * MARGIN - 2 * BETWEEN) // 3
TALLEST = 2400
BRAND = "AIM Explorer: which visual tokens does the language model need?"
GOOD, BAD = (22, 110, 70), (170, 40, 70)
BAR, AXIS, PALE = (47, 131, 197), (120, 126, 136), (222, 226, 232)


def share_picture(run: ShownRun, answer: Answer, question: str, full: Answer | None = None, address: str = "") -> bytes:
    """The picture as a PNG, 1200 pixels wide.

    The frame on which merging shows best is drawn three times: as it is, as the language model gets it, and with what is left of it in the
    layer where dropping shows best; below it are the tokens of every layer.

    Args:
        run: the frames and the trace of the finished answer.
        full: the full model's answer to the same question, to be shown beside.
        address: a link to the run, written at the bottom.

    Raises:
        ValueError: the answer is not finished.
    """
    if answer.trace is None or not run.trace.tokens_per_layer:
        raise ValueError("The answer is not finished, so there is nothing to share. Let the run end first.")
    words = SharedWords.of(answer, question, full, address)
    canvas = Image.new("RGB", (WIDTH, TALLEST), PAPER)
    draw, inner = ImageDraw.Draw(canvas), WIDTH - 2 * MARGIN
    top = write(draw, (MARGIN, MARGIN // 2), BRAND, 15, FAINT, inner) + 6
    top = write(draw, (MARGIN, top), question, 32, INK, inner, lines=3) + 10
    top = draw_answers(draw, (MARGIN, top), inner, words, 24) + 16
    top = _three_pictures(canvas, draw, run, top) + 14
    visual = [count for count, _ in run.trace.tokens_per_layer]
    told = f"Visual tokens in each of {len(visual)} layers: {visual[0]:,} in the first, {visual[-1]:,} in the last. Line: the full model."
    top = write(draw, (MARGIN, top), told, 17, FAINT, inner) + 4
    draw_bars(draw, (MARGIN, top, WIDTH - MARGIN, top + 90), run.trace)
    top += 90 + 18
    top = write(draw, (MARGIN, top), words.cost, 19, INK, inner, lines=2) + 2
    top = write(draw, (MARGIN, top), f"{words.method}: {words.setting}", 17, FAINT, inner, lines=2)
    for line in filter(None, (address, words.unwritten)):
        top = write(draw, (MARGIN, top), line, 17, FAINT, inner, lines=3)
    data = io.BytesIO()
    canvas.crop((0, 0, WIDTH, top + MARGIN // 2)).save(data, "PNG", compress_level=6)
    return data.getvalue()


def draw_answers(draw: ImageDraw.ImageDraw, place: tuple[float, float], width: float, words: SharedWords, size: int) -> int:
    """Both answers side by side under their names, and below them whether they agree. Returns where the next text may begin."""
    (left, top), half = place, (width - BETWEEN) / 2
    said = [(words.method, words.answer)] + ([("Full model", words.full_answer)] if words.full_answer is not None else [])
    below = round(top)
    for column, (name, text) in enumerate(said):
        across = left + column * (half + BETWEEN)
        wide = half if len(said) > 1 else width
        under = write(draw, (across, top), name, round(0.65 * size), FAINT, wide)
        below = max(below, write(draw, (across, under), text, size, INK, wide, lines=3))
    if words.verdict:
        below = write(draw, (left, below), words.verdict, round(0.75 * size), GOOD if words.agrees else BAD, width)
    return below


def draw_bars(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], trace: Trace, layers: range = range(0)) -> None:
    """Visual tokens of every layer as bars on the full model's scale, which a line marks; `layers` have a frame around them."""
    left, top, right, bottom = box
    visual = [count for count, _ in trace.tokens_per_layer]
    step, highest = (right - left) / len(visual), max(trace.visual_tokens, *visual, 1)
    if layers:
        draw.rectangle((left + layers.start * step, top, left + layers.stop * step - 1, bottom), PALE, INK)
    for number, count in enumerate(visual):
        x, y = left + number * step, bottom - (bottom - top) * count / highest
        if count:
            draw.rectangle((x + 0.13 * step, min(y, bottom - 2), x + 0.87 * step, bottom), BAR)
    draw.line((left, bottom, right, bottom), AXIS, 1)
    for dash in range(round(left), round(right), 8):
        draw.line((dash, top, dash + 4, top), AXIS, 1)


def _three_pictures(canvas: Image.Image, draw: ImageDraw.ImageDraw, run: ShownRun, top: int) -> int:
    trace, layer = run.trace, telling_layer(run.trace)
    everywhere = Stack.of(run.frames, trace, 64)
    shown = most_divided(trace, everywhere.colours)
    tall, wide = run.frames.shape[1:3]
    size = round(PICTURE * max(1, tall / wide)) if tall <= 1.4 * wide else round(1.4 * PICTURE)
    stack = Stack.of(run.frames, trace, size, [shown])
    entered, left = (int(tokens_by_frame(trace, at)[shown]) for at in (None, layer))
    time = clock(float(first_of(run.timestamps, trace.frames)[shown]))
    named = [
        (stack.pixels, f"Frame {shown + 1} of {trace.frames}, at {time}"),
        (VIEWS["Merged regions"].paint(stack, trace, layer), f"What the language model gets: {counted(entered)}"),
        (VIEWS["Survival"].paint(stack, trace, layer), f"What layer {layer} still sees: {counted(left)}"),
    ]
    below = top
    for column, (pixels, words) in enumerate(named):
        picture = image(pixels[0])
        across = MARGIN + column * (PICTURE + BETWEEN)
        canvas.paste(picture, (across + (PICTURE - picture.width) // 2, top))
        below = write(draw, (across, top + picture.height + 6), words, 17, INK, PICTURE, lines=2)
    keys = [fate for fate in VIEWS["Survival"].keys if fate in fates(trace, layer)[shown]]
    legend, width = {fate: LOOKS[fate].words for fate in keys}, WIDTH - 2 * MARGIN
    draw_keys(canvas, (MARGIN, below + 4), legend, width)
    return below + keys_height(legend, width)
