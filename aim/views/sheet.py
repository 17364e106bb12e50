"""Painted frames put together on one picture: all of a run's in a grid, or the same few of several runs in rows."""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Pixels: of the grid, and of the rows.
CELL, GAP, CAPTION, HEADING = 240, 12, 26, 84
ROW_CELL, ROW_GAP, ROW_CAPTION, ROW_LABEL = 112, 6, 22, 104
PAPER, INK, FAINT = (255, 255, 255), (25, 30, 40), (90, 98, 110)


def contact_sheet(pictures: list[tuple[Image.Image, str]], title: str, lines: list[str]) -> Image.Image:
    """Pictures with their captions in a grid about twice as wide as high, under a title and two lines, cut where they do not fit.

    Raises:
        ValueError: no pictures.
    """
    if not pictures:
        raise ValueError("There are no pictures to put on a sheet. Run a clip first.")
    columns = min(len(pictures), max(3, ceil(sqrt(2 * len(pictures)))))
    thumbs = [(picture.resize((CELL, max(1, round(CELL * picture.height / picture.width)))), text) for picture, text in pictures]
    tall = max(thumb.height for thumb, _ in thumbs) + CAPTION
    width = columns * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, HEADING + ceil(len(thumbs) / columns) * (tall + GAP) + GAP), PAPER)
    draw, small, large = ImageDraw.Draw(sheet), ImageFont.load_default(14), ImageFont.load_default(20)
    draw.text((GAP, GAP), _fitting(title, large, width - 2 * GAP), INK, large)
    for number, line in enumerate(lines):
        draw.text((GAP, GAP + 28 + 20 * number), _fitting(line, small, width - 2 * GAP), FAINT, small)
    for place, (thumb, text) in enumerate(thumbs):
        row, column = divmod(place, columns)
        left, top = GAP + column * (CELL + GAP), HEADING + GAP + row * (tall + GAP)
        sheet.paste(thumb, (left, top))
        draw.text((left, top + thumb.height + 5), text, FAINT, small)
    return sheet


def row_sheet(captions: list[str], rows: list[tuple[str, str, list[Image.Image]]]) -> Image.Image:
    """Pictures in rows of equally many, each row under the same captions and behind its own (title, detail)."""
    height = rows[0][2][0].height
    left = [ROW_LABEL + column * (ROW_CELL + ROW_GAP) for column in range(len(captions))]
    sheet = Image.new("RGB", (left[-1] + ROW_CELL + ROW_GAP, ROW_CAPTION + len(rows) * (height + ROW_GAP)), PAPER)
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(13), ImageFont.load_default(11)
    for place, text in zip(left, captions, strict=True):
        draw.text((place, 6), text, FAINT, small)
    for number, (title, detail, pictures) in enumerate(rows):
        top = ROW_CAPTION + number * (height + ROW_GAP)
        draw.text((4, top + height / 2 - 16), title, INK, font)
        draw.text((4, top + height / 2 + 1), detail, FAINT, small)
        for place, picture in zip(left, pictures, strict=True):
            sheet.paste(picture, (place, top))
    return sheet


def row_picture(frame: np.ndarray) -> Image.Image:
    """A frame uint8 [H, W, 3] at the size it has in `row_sheet`."""
    return Image.fromarray(frame).resize((ROW_CELL, max(1, round(ROW_CELL * frame.shape[0] / frame.shape[1]))))


def jpeg_url(picture: Image.Image, quality: int) -> str:
    """A picture as a JPEG data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    return text[: bisect_right(range(len(text)), float(width), key=lambda count: font.getlength(text[:count] + "…")) - 1] + "…"
