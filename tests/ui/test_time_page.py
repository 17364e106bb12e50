"""The Moments tab as a visitor meets it: its map and bars are compared with counts made from the trace."""

from __future__ import annotations

import numpy as np
import pytest

from aim.views.colour import colour_map
from tests.explorer_page import ASSIGNMENT, RUN, pixels
from tests.visitor import needs_browser

pytestmark = needs_browser


def test_the_time_map_counts_the_tokens_of_every_frame_in_every_layer(explore):
    explorer = explore().show()
    explorer.tab.get_by_role("tab", name="Moments").click()
    explorer.time.locator("[data-ready]").wait_for()
    heat = explorer.time.locator(".aim-x-heat")
    counts = np.array([[len(set(row) & set(alive.tolist())) for row in ASSIGNMENT] for alive in RUN.trace.survivors])
    shown = pixels(heat)
    assert shown.shape[:2] == counts.shape
    assert ((shown[..., 3] > 0) == (counts > 0)).all()
    expected = colour_map((counts - 1) / (counts.max() - 1))
    assert np.abs(shown[..., :3] - expected)[counts > 0].max() <= 2
    box = heat.bounding_box()
    heat.hover(position={"x": 3.5 * box["width"] / 5, "y": 4.5 * box["height"] / 9})
    said = f"Frame 4 (0:01.8), layer 4: {counts[4, 3]} of {counts[0, 3]} tokens left."
    assert explorer.time.locator(".aim-x-said").inner_text() == said
    heat.press("ArrowDown")
    assert f"layer 5: {counts[5, 3]} of" in explorer.time.locator(".aim-x-said").inner_text()


def test_the_time_bars_are_shares_of_the_layers_that_see_some_tokens(explore):
    explorer = explore().show()
    explorer.tab.get_by_role("tab", name="Moments").click()
    explorer.time.locator("[data-ready]").wait_for()
    some = [alive for alive in RUN.trace.survivors if 0 < len(alive) < RUN.trace.merged_tokens]
    counts = np.array([sum(len(set(row) & set(alive.tolist())) for alive in some) for row in ASSIGNMENT])
    shares = [float(text.removesuffix(" %")) for text in explorer.time.locator(".aim-x-bars b").all_inner_texts()]
    assert shares == pytest.approx(100 * counts / counts.sum(), abs=0.51)
