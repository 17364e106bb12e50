"""Painted frames put together on one picture: all of a run's in a grid, or the same few of several runs in rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageDraw

from aim.views.fates import Fate
from aim.views.lettering import length, write
from aim.views.patterns import LOOKS, covered, image, packed

# Pixels: of the grid, and of the rows.
CELL, GAP, CAPTION = 240, 12, 26
KEY, KEY_WORDS, KEY_GAP = 18, 42, 8
ROW_CELL, ROW_GAP, ROW_CAPTION, ROW_LABEL = 112, 6, 22, 104
PAPER, INK, FAINT = (255, 255, 255), (25, 30, 40), (90, 98, 110)


def contact_sheet(pictures: list[tuple[Image.Image, str]], title: str, lines: list[str], keys: Sequence[Fate] = ()) -> Image.Image:
    """Pictures with their captions in a grid about twice as wide as high, under a title of up to two lines and further lines.

    Args:
        keys: the fates whose patterns a line below the pictures explains.

    Raises:
        ValueError: no pictures.
    """
    if not pictures:
        raise ValueError("There are no pictures to put on a sheet. Run a clip first.")
    columns = min(len(pictures), max(3, ceil(sqrt(2 * len(pictures)))))
    thumbs = [(picture.resize((CELL, max(1, round(CELL * picture.height / picture.width)))), text) for picture, text in pictures]
    tall = max(thumb.height for thumb, _ in thumbs) + CAPTION
    width = columns * (CELL + GAP) + GAP
    head, draw = _blank(width, 400)
    top = write(draw, (GAP, GAP), title, 19, INK, width - 2 * GAP, lines=2)
    for line in lines:
        top = write(draw, (GAP, top), line, 13, FAINT, width - 2 * GAP, lines=2)
    top += GAP
    below = top + ceil(len(thumbs) / columns) * (tall + GAP)
    legend = {fate: LOOKS[fate].words for fate in keys}
    sheet, draw = _blank(width, below + keys_height(legend, width - 2 * GAP))
    sheet.paste(head.crop((0, 0, width, top)), (0, 0))
    for place, (thumb, text) in enumerate(thumbs):
        row, column = divmod(place, columns)
        left, upper = GAP + column * (CELL + GAP), top + row * (tall + GAP)
        sheet.paste(thumb, (left, upper))
        write(draw, (left, upper + thumb.height + 5), text, 13, FAINT, CELL)
    draw_keys(sheet, (GAP, below), legend, width - 2 * GAP)
    return sheet


def draw_keys(sheet: Image.Image, place: tuple[float, float], keys: Mapping[Fate, str], width: float) -> None:
    """Small pictures of fates' patterns and what they mean, drawn from `place` to the right in as many lines as `width` asks for."""
    draw = ImageDraw.Draw(sheet)
    for (fate, words), (right, down) in zip(keys.items(), _key_places(keys, width), strict=True):
        left, top = round(place[0] + right), round(place[1] + down)
        sheet.paste(pattern_key(fate), (left, top))
        write(draw, (left + KEY_WORDS, top + 1), words, 13, FAINT, 400)


def keys_height(keys: Mapping[Fate, str], width: float) -> int:
    """Pixels that `draw_keys` takes downwards, with the gap below; 0 without keys."""
    return max((down + KEY + KEY_GAP for _, down in _key_places(keys, width)), default=0)


def _key_places(keys: Mapping[Fate, str], width: float) -> list[tuple[int, int]]:
    """How far right and down of the first key each key stands."""
    places, right, down = [], 0, 0
    for words in keys.values():
        takes = KEY_WORDS + round(length(words, 13))
        if right and right + takes > width:
            right, down = 0, down + KEY + KEY_GAP
        places.append((right, down))
        right += takes + 20
    return places


def pattern_key(fate: Fate) -> Image.Image:
    """A small picture of a fate's pattern, 34 x `KEY` pixels."""
    return image(covered(packed(np.full((1, KEY, 34, 3), 150, np.uint8)), fate)[0])


def row_sheet(captions: list[str], rows: list[tuple[str, str, list[Image.Image]]], keys: Mapping[Fate, str]) -> Image.Image:
    """Pictures in rows of equally many, each row under the same captions and behind its own (title, detail). Keys as in `draw_keys`."""
    height = rows[0][2][0].height
    left = [ROW_LABEL + column * (ROW_CELL + ROW_GAP) for column in range(len(captions))]
    below = ROW_CAPTION + len(rows) * (height + ROW_GAP)
    width = left[-1] + ROW_CELL + ROW_GAP
    sheet, draw = _blank(width, below + keys_height(keys, width - 8))
    for place, text in zip(left, captions, strict=True):
        write(draw, (place, 4), text, 11, FAINT, ROW_CELL)
    for number, (title, detail, pictures) in enumerate(rows):
        top = ROW_CAPTION + number * (height + ROW_GAP)
        write(draw, (4, top + height / 2 - 17), title, 13, INK, ROW_LABEL - 8)
        write(draw, (4, top + height / 2 + 1), detail, 11, FAINT, ROW_LABEL - 8)
        for place, picture in zip(left, pictures, strict=True):
            sheet.paste(picture, (place, top))
    draw_keys(sheet, (4, below), keys, width - 8)
    return sheet


def _blank(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), PAPER)
    return sheet, ImageDraw.Draw(sheet)


def jpeg_url(picture: Image.Image, quality: int) -> str:
    """A picture as a JPEG data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
