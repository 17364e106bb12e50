"""The keys below a sheet: every one is whole and within the sheet, in as many lines as that takes."""

import numpy as np
import pytest
from PIL import Image

from aim.views.fates import Fate
from aim.views.patterns import LOOKS
from aim.views.sheet import KEY, contact_sheet, draw_keys, keys_height, pattern_key, row_sheet

KEYS = {fate: look.words for fate, look in LOOKS.items()}


def lines_of(pixels: np.ndarray, fate: Fate) -> list[tuple[int, int]]:
    """Where a fate's key stands in a picture, (top, left)."""
    key = np.asarray(pattern_key(fate))
    found = np.argwhere((pixels[: 1 - KEY, :-33] == key[0, 0]).all(axis=-1))
    return [(y, x) for y, x in found.tolist() if (pixels[y : y + KEY, x : x + 34] == key).all()]


@pytest.mark.parametrize(("width", "lines"), [(3000, 1), (900, 2), (440, 4)])
def test_keys_go_on_in_the_next_line_where_the_sheet_ends(width, lines):
    height = keys_height(KEYS, width)
    sheet = Image.new("RGB", (width + 100, height + 40), "white")
    draw_keys(sheet, (10, 20), KEYS, width)
    pixels = np.asarray(sheet)
    places = [lines_of(pixels, fate) for fate in KEYS]
    assert [len(place) for place in places] == [1] * len(KEYS)
    assert len({top for [(top, _)] in places}) == lines
    assert (pixels[:, width + 10 :] == 255).all() and (pixels[20 + height :] == 255).all()


def test_sheets_are_high_enough_for_all_their_keys():
    picture = Image.new("RGB", (90, 60), (9, 99, 9))
    grid = contact_sheet([(picture, "0:00.0 · 3 tokens")], "why?", [], list(KEYS))
    rows = row_sheet(["0.0 s", "1.0 s"], [("AIM", "3 tokens", [picture] * 2)], KEYS)
    for sheet in (grid, rows):
        pixels = np.asarray(sheet)
        assert all(len(lines_of(pixels, fate)) == 1 for fate in KEYS)
        assert (pixels[-3:] == 255).all()
    assert keys_height({}, 500) == 0
