"""Text on pictures: one font that comes along, lines that wrap, scripts that run from right to left, and what happens to a missing glyph.

The font is DejaVu Sans (assets/fonts, free licence): Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian, arrows and marks. Pillow's
own has neither "×" nor "é". A text that it cannot write whole, such as one in Chinese, is written in a font of the machine where one of the
usual names is installed; else every missing glyph becomes "▯". Colour emoji are not drawn.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

BUNDLED = str(Path(__file__).resolve().parents[2] / "assets" / "fonts" / "DejaVuSans.ttf")
# Fonts with many scripts as Linux, macOS and Windows call them; Pillow looks for them where the system keeps its fonts.
INSTALLED = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "malgun.ttf", "Nirmala.ttf")
MISSING = "▯"
CONTROLS = ("Cc", "Cf", "Cs")  # categories of Unicode: controls, what formats, halves of surrogate pairs
SELECTORS = tuple(map(chr, range(0xFE00, 0xFE10)))  # they choose the look of the letter before
_NO_CHARACTER = "\U0010ffff"


def legible(text: str) -> str:
    """The text in one line as the chosen font can write it: no control characters, and `MISSING` for what has no glyph."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    plain = "".join(letter for letter in composed if unicodedata.category(letter) not in CONTROLS and letter not in SELECTORS)
    name = _face(plain)
    return "".join(letter if _has(name, letter) else MISSING for letter in plain)


def font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The font that a text is written in at this size in pixels."""
    return ImageFont.truetype(BUNDLED, size) if (own := _load(_face(text), size)) is None else own


def wrapped(text: str, size: int, width: float, lines: int) -> list[str]:
    """The text as at most so many lines of that width in pixels, at least one; a word too long is broken, and what is left out is "…"."""
    text = legible(text)
    face, rest = font(text, size), text
    done: list[str] = []
    while rest and len(done) < lines:
        count = _fitting(rest, face, width)
        if count < len(rest):
            space = rest.rfind(" ", 0, count + 1)
            count = space if space > 0 else count
        done.append(rest[:count].strip())
        rest = rest[count:].strip()
    if rest:
        last = f"{done[-1]} {rest}"
        done[-1] = last[: _fitting(last, face, width - face.getlength("…"))].rstrip() + "…"
    return done or [""]


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, ink: tuple, width: float, lines: int = 1) -> int:
    """Write a wrapped text whose top left corner is at `place`; text that runs from right to left ends at its right edge.

    Returns:
        Where the next text may begin, below.
    """
    left, top = place[0], round(place[1])
    shown = wrapped(text, size, width, lines)
    face = font("".join(shown), size)
    for line in shown:
        start = left + width - face.getlength(line) if _from_right(text) else left
        draw.text((start, top), line, ink, face)
        top += round(1.3 * size)
    return top


def length(text: str, size: int) -> float:
    """Pixels that a legible text takes."""
    return font(text, size).getlength(text)


def _fitting(text: str, face: ImageFont.FreeTypeFont, width: float) -> int:
    """How many letters of the text fit, at least one: the longest beginning of this width, found by halving."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if face.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _from_right(text: str) -> bool:
    """Whether the first letter with a direction runs from right to left."""
    directions = (unicodedata.bidirectional(letter) for letter in text)
    return next((way for way in directions if way in ("L", "R", "AL")), "L") != "L"


def _face(text: str) -> str:
    return next((name for name in (BUNDLED, *INSTALLED) if _load(name, 20) and all(_has(name, letter) for letter in set(text))), BUNDLED)


@lru_cache(maxsize=64)
def _load(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    """Whether a font has a glyph of its own for a letter: it draws it unlike what it draws for no character at all."""
    face = ImageFont.truetype(name, 20, layout_engine=ImageFont.Layout.BASIC)
    drawn, absent = (face.getmask(text) for text in (letter, _NO_CHARACTER))
    return letter.isspace() or drawn.size != absent.size or bytes(drawn) != bytes(absent)
