"""All frames of a run on one picture, to be kept or shown around."""

from __future__ import annotations

from bisect import bisect_right
from math import ceil, sqrt

from PIL import Image, ImageDraw, ImageFont

CELL, GAP, CAPTION, HEADING = 240, 12, 26, 84  # pixels
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


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    return text[: bisect_right(range(len(text)), width, key=lambda count: font.getlength(text[:count] + "…")) - 1] + "…"
