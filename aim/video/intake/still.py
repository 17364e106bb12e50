"""A single picture, decoded with Pillow. This module runs in the decoding process only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from aim.video.intake.limits import MAX_PICTURE_MEGAPIXELS
from aim.video.intake.refusals import Refused
from aim.video.intake.shape import reduced

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# What Pillow raises on broken files.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError)
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # sixteen bits of grey


def read(file: str, kind: str, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames uint8 [1, H, W, 3], timestamps [0], duration 0) of a picture of the format `kind`, one of `FORMATS`.

    Raises:
        Refused: it is damaged, moves, or has too many pixels.
    """
    Image.MAX_IMAGE_PIXELS = None  # the limit below holds in its place, and is told in our own words
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # a long text beside the pixels is no damage
    try:
        with Image.open(file, formats=[kind]) as opened:
            if opened.width * opened.height > MAX_PICTURE_MEGAPIXELS * 1e6:
                raise Refused("picture megapixels", opened.width * opened.height / 1e6)
            if getattr(opened, "n_frames", 1) > 1 and kind != "JPEG":  # in a JPEG these are previews and depth maps
                raise Refused("moving picture")
            opened.draft("RGB", (2 * max_side, 2 * max_side))  # a huge JPEG is decoded at a fraction of its size
            opened.load()
            picture = _on_white(_upright(opened))
    except _BROKEN:
        raise Refused("damaged") from None
    size = reduced(*picture.size, max_side)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
    return np.asarray(picture)[None], np.zeros(1), 0.0


def _upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF entry says, or as it is where that entry cannot be read, as browsers show it."""
    try:
        return ImageOps.exif_transpose(picture)
    except _BROKEN:
        return picture


def _on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB of eight bits; what is transparent shows white."""
    if picture.mode in _DEEP:
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
