"""Tokens averaged into others inside the model, as a visitor meets them: no more dropped than those merged before it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from aim.views.colour import Scale, colour_map
from aim.views.fates import Fate, fates
from tests.explorer_page import INSIDE, patch_colours, pixels
from tests.visitor import needs_browser

pytestmark = [needs_browser, pytest.mark.whole]
TRACE, ASSIGNMENT = INSIDE.trace, INSIDE.trace.assignment.numpy()
# Colours and opacities of the veils, of 255.
VEILS = {
    Fate.MERGED_INSIDE: ((12, 92, 98), 153),
    Fate.JUST_DROPPED: ((26, 28, 36), 130),
    Fate.DROPPED: ((26, 28, 36), 217),
}


def turned(explore, view: str, layer: int, frame: int, **options):
    """The explorer at a view, a layer and a frame of the run in which tokens were merged inside."""
    explorer = explore(**options).show("inside")
    explorer.view(view)
    explorer.scrub("Layer", layer)
    explorer.scrub("Frame", frame)
    return explorer


def test_survival_shows_them_by_a_veil_of_their_own_and_the_legend_says_so(explore):
    explorer, seen = turned(explore, "Survival", 5, 0), set()
    for layer, frame in ((4, 1), (6, 3)):
        explorer.scrub("Layer", layer)
        explorer.scrub("Frame", frame)
        photo = INSIDE.colours[frame].reshape(-1, 3).astype(float)
        looks = [photo, *(photo + (np.array(veil) - photo) * opacity / 255 for veil, opacity in VEILS.values())]
        shown = patch_colours(pixels(explorer.large), of=np.median)
        nearest = np.argmin([np.abs(shown - look).sum(axis=1) for look in looks], axis=0)
        there = [Fate.STANDS, *VEILS]
        expected = [Fate.STANDS if fate == Fate.MERGED else Fate(fate) for fate in fates(TRACE, layer)[frame]]
        assert [there[look] for look in nearest] == expected
        seen.update(expected)
    assert seen == {Fate.STANDS, *VEILS}
    assert "merged into another token inside the model" in explorer.frames.locator(".aim-x-legend").inner_text()
    assert explorer.frames.locator(".aim-x-legend .aim-x-upright").count() == 1
    assert "inside the model" not in explore().show().frames.locator(".aim-x-legend").inner_text()


def test_importance_gives_them_the_colour_of_the_token_they_are_in(explore):
    layer, frame = 4, 2
    explorer = turned(explore, "Importance", layer, frame)
    scores = TRACE.scores[layer].numpy()
    colours = dict(zip(TRACE.survivors[layer].tolist(), colour_map(Scale.over(scores, log=True)(scores)), strict=True))
    shown = patch_colours(pixels(explorer.large), of=np.median)
    photo = INSIDE.colours[frame].reshape(-1, 3) @ np.array([0.3, 0.59, 0.11])
    held, inside = TRACE.held_in(layer).tolist(), 0
    for place, own in enumerate(ASSIGNMENT[frame]):
        if (token := held[own]) >= 0:
            inside += token != own
            assert np.abs(shown[place] - (photo[place] * 55 + colours[token] * 200) / 255).max() < 12
    assert inside


def test_a_patch_says_into_what_it_went_and_how_far_that_got(explore):
    layer, frame, told = 5, 1, set()
    explorer = turned(explore, "Survival", layer, frame)
    held = [TRACE.held_in(one).tolist() for one in range(TRACE.num_layers)]
    for place in range(0, ASSIGNMENT.shape[1], 3):
        own = int(ASSIGNMENT[frame, place])
        last = max(one for one in range(TRACE.num_layers) if held[one][own] == own)
        reach = max(one for one in range(TRACE.num_layers) if held[one][own] >= 0)
        explorer.click_patch(*divmod(place, TRACE.columns))
        merged = f"merged into another token after layer {last} and, in it, " if reach > last else ""
        assert explorer.said().endswith(f", {merged}dropped after layer {reach}.")
        details, token = explorer.frames.locator(".aim-x-details").inner_text(), held[layer][own]
        size = int(np.isin(ASSIGNMENT, [other for other, holder in enumerate(held[layer]) if holder == token]).sum()) if token >= 0 else 0
        if size > (own == ASSIGNMENT).sum():
            assert f"in layer {layer} it is in a token of {size} patches" in details
            told.add(reach > last)
        else:
            assert "it is in a token of" not in details
    assert told == {True, False}


def test_a_token_is_marked_with_all_that_went_into_it_and_counts_in_each_of_their_frames(explore):
    layer, frame = 5, 1
    explorer = turned(explore, "Survival", layer, frame, width=1200)  # a tab whose Moments show no other run
    held = TRACE.held_in(layer).numpy()
    place = next(place for place, own in enumerate(ASSIGNMENT[frame]) if held[own] not in (own, -1))
    explorer.click_patch(*divmod(place, TRACE.columns))
    frames = {int(one) for one in np.argwhere(held[ASSIGNMENT] == held[ASSIGNMENT[frame, place]])[:, 0]}
    assert len(frames) > 1
    for number, thumbnail in enumerate(explorer.frames.locator(".aim-x-thumb canvas").all()):
        marked = (np.abs(pixels(thumbnail)[..., :3] - (255, 214, 10)).max(axis=-1) < 30).any()
        assert marked == (number in frames)
    told = explorer.frames.locator(".aim-x-thumb span").all_inner_texts()
    assert [int(re.search(r"\d+$", text).group()) for text in told] == [len(set(held[row]) - {-1}) for row in ASSIGNMENT]
    explorer.tab.get_by_role("tab", name="Moments").click()
    explorer.time.locator("[data-ready]").wait_for()
    counts = np.array([[len(set(TRACE.held_in(one).numpy()[row]) - {-1}) for row in ASSIGNMENT] for one in range(TRACE.num_layers)])
    shown = pixels(explorer.time.locator(".aim-x-heat"))
    assert ((shown[..., 3] > 0) == (counts > 0)).all()
    assert np.abs(shown[..., :3] - colour_map((counts - 1) / (counts.max() - 1)))[counts > 0].max() <= 2
