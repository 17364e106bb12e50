"""The pictures of a run as a visitor meets them: what its canvases show is compared with masks made from the trace."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aim.views.colour import Scale, colour_map
from aim.views.fates import places
from aim.views.mosaic import most_divided
from tests.explorer_page import ASSIGNMENT, LAST, OTHER, RUN, patch_colours, pixels
from tests.made_run import last_layers
from tests.visitor import needs_browser

pytestmark = needs_browser
YELLOW, VEIL = np.array([255, 214, 10]), np.array([26, 28, 36])


def test_survival_shows_at_every_layer_which_patches_are_still_there(explore):
    explorer = explore().show()
    explorer.view("Survival")
    for layer in (2, 4, 6, 8):
        explorer.scrub("Layer", layer)
        for frame in (0, 3):
            explorer.scrub("Frame", frame)
            photo = RUN.colours[frame].reshape(-1, 3).astype(float)
            looks = {
                "there": photo,
                "just dropped": photo + (VEIL - photo) * 130 / 255,
                "dropped earlier": photo + (VEIL - photo) * 217 / 255,
            }
            shown = patch_colours(pixels(explorer.large), of=np.median)
            nearest = np.argmin([np.abs(shown - look).sum(axis=1) for look in looks.values()], axis=0)
            before = set(RUN.trace.survivors[layer - 1].tolist())
            now = set(RUN.trace.survivors[layer].tolist())
            expected = [0 if token in now else 1 if token in before else 2 for token in ASSIGNMENT[frame]]
            assert nearest.tolist() == expected


def test_scores_have_the_colours_of_the_scale_and_its_ends_are_written_below(explore):
    explorer = explore().show()
    explorer.view("Importance")
    layer = 4
    explorer.scrub("Layer", layer)
    scores = RUN.trace.scores[layer].numpy()
    colours = dict(zip(RUN.trace.survivors[layer].tolist(), colour_map(Scale.over(scores, log=True)(scores)), strict=True))
    shown = patch_colours(pixels(explorer.large), of=np.median)
    photo = RUN.colours[0].reshape(-1, 3) @ np.array([0.3, 0.59, 0.11])
    seen = 0
    for place, token in enumerate(ASSIGNMENT[0]):
        if token in colours:
            seen += 1
            assert np.abs(shown[place] - (photo[place] * 55 + colours[token] * 200) / 255).max() < 12
        else:
            assert shown[place].max() < 80
    assert 0 < seen < len(photo)
    ticks = explorer.frames.locator(".aim-x-ticks span").all_inner_texts()
    assert [float(tick) for tick in ticks[::2]] == pytest.approx([scores.min(), scores.max()], rel=0.06)


@pytest.mark.parametrize(
    ("layer", "words"), [(0, "Layer 0 was not scored. Layers with scores: 2–5."), (8, "No visual token is left in layer 8.")]
)
def test_layers_without_scores_say_so(explore, layer, words):
    explorer = explore().show()
    explorer.view("Importance")
    explorer.scrub("Layer", layer)
    assert words in explorer.frames.locator(".aim-x-legend").inner_text()


def test_merged_regions_are_filled_with_their_mean_colour_and_their_outlines_can_be_seen_alone(explore):
    explorer = explore().show()
    flat = RUN.colours.reshape(-1, 3).astype(float)
    means = np.stack([flat[(token == ASSIGNMENT).ravel()].mean(axis=0) for token in ASSIGNMENT[0]])
    dotted = np.isin(np.arange(len(means)), places(RUN.trace))  # of frame 0; there the mean has a dot in it
    assert np.abs(patch_colours(pixels(explorer.large)) - means)[~dotted].max() < 2
    explorer.frames.get_by_label("Fill with mean colour").uncheck()
    explorer.settle()
    outlined = pixels(explorer.large)
    grid = ASSIGNMENT[0].reshape(RUN.trace.rows, RUN.trace.columns)
    width, height = outlined.shape[1] / RUN.trace.columns, outlined.shape[0] / RUN.trace.rows
    for row in range(RUN.trace.rows):
        for column in range(RUN.trace.columns - 1):
            x, y = round((column + 1) * width), int((row + 0.5) * height)
            has_line = outlined[y, x - 2 : x + 3, :3].min(axis=1).max() > 200
            assert has_line == (grid[row, column] != grid[row, column + 1])
    assert np.abs(patch_colours(outlined) - RUN.colours[0].reshape(-1, 3))[~dotted].max() < 25


def test_it_opens_on_the_frame_that_merging_divided_most(explore):
    explorer = explore().show("other").show(frame=None)
    assert int(explorer.frames.get_by_role("slider", name="Frame").input_value()) == most_divided(RUN.trace, RUN.colours) > 0


def test_a_dot_marks_the_place_of_every_token_that_others_were_merged_into(explore):
    explorer = explore().show()
    shown, rows, columns = pixels(explorer.large), RUN.trace.rows, RUN.trace.columns
    stands = set(places(RUN.trace)[np.bincount(ASSIGNMENT.ravel()) > 1].tolist())
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        middle = shown[int((row + 0.5) * shown.shape[0] / rows), int((column + 0.5) * shown.shape[1] / columns), :3]
        assert (middle.min() > 200) == (place in stands)


def test_the_three_views_differ_and_the_contact_sheet_follows(explore):
    explorer = explore().show()
    explorer.scrub("Layer", 4)
    thumbnail = explorer.frames.locator(".aim-x-thumb canvas").nth(2)
    seen = []
    for view in ("Merged regions", "Survival", "Importance"):
        explorer.view(view)
        seen.append((pixels(explorer.large).tobytes(), pixels(thumbnail).tobytes()))
    assert len({large for large, _ in seen}) == len({small for _, small in seen}) == 3
    assert explorer.frames.locator(".aim-x-thumb span").all_inner_texts() == [
        f"0:0{frame // 2}.{3 if frame % 2 == 0 else 8} · {len(set(ASSIGNMENT[frame]) & set(RUN.trace.survivors[4].tolist()))}"
        for frame in range(5)
    ]


def test_moving_the_layer_among_merged_regions_turns_to_survival(explore):
    explorer = explore().show()
    explorer.scrub("Layer", 5)
    assert explorer.frames.get_by_label("Survival", exact=True).is_checked()


def test_a_patch_says_what_it_was_merged_into_and_when_that_was_dropped(explore):
    explorer = explore().show()
    explorer.scrub("Frame", 2)
    for place in (0, 9, 17, 27):
        row, column = divmod(place, RUN.trace.columns)
        explorer.click_patch(row, column)
        token = ASSIGNMENT[2, place]
        size = int((token == ASSIGNMENT).sum())
        merged = f"1 of {size} patches in one merged token" if size > 1 else "a token of its own"
        assert explorer.said() == f"This patch: {merged}, dropped after layer {LAST[token]}."


def test_a_box_counts_its_tokens_and_names_the_last_layer(explore):
    explorer = explore().show()
    explorer.drag((1, 1), (2, 4))
    tokens = {int(ASSIGNMENT[0, row * RUN.trace.columns + column]) for row in (1, 2) for column in range(1, 5)}
    latest = max(LAST[token] for token in tokens)
    assert explorer.said() == f"This region: {len(tokens)} merged tokens, last one dropped after layer {latest}."
    covered = int(np.isin(ASSIGNMENT, list(tokens)).sum())
    assert f"stand for {covered} patches" in explorer.frames.locator(".aim-x-details").inner_text()
    explorer.large.press("Escape")
    assert "This region" not in explorer.said()


def test_choosing_a_patch_marks_its_token_in_every_frame_it_reaches(explore):
    explorer = explore().show()
    sizes = [(token == ASSIGNMENT).sum(axis=1) for token in range(RUN.trace.merged_tokens)]
    token = next(token for token, size in enumerate(sizes) if size[0] and size[1])
    explorer.click_patch(*divmod(int(np.flatnonzero(ASSIGNMENT[0] == token)[0]), RUN.trace.columns))
    for frame, thumbnail in enumerate(explorer.frames.locator(".aim-x-thumb canvas").all()):
        marked = (np.abs(pixels(thumbnail)[..., :3] - YELLOW).max(axis=-1) < 30).any()
        assert marked == bool(sizes[token][frame])


def test_scrubbing_asks_nothing_of_anyone(explore):
    explorer = explore().show()
    explorer.requests.clear()
    for view in ("Merged regions", "Survival", "Importance"):
        explorer.view(view)
        for layer in range(RUN.trace.num_layers):
            explorer.scrub("Layer", layer)
        for frame in range(RUN.trace.frames):
            explorer.scrub("Frame", frame)
        explorer.drag((0, 0), (2, 2))
    assert explorer.requests == []


def test_keys_move_the_layer_and_choose_patches(explore):
    explorer = explore().show()
    layer = explorer.frames.get_by_role("slider", name="Layer")
    before = int(layer.input_value())
    layer.press("ArrowLeft")
    assert int(layer.input_value()) == before - 1
    explorer.large.press("ArrowUp")
    explorer.large.press("ArrowUp")
    token = ASSIGNMENT[0, 1 * RUN.trace.columns + 3]
    assert explorer.said().endswith(f"dropped after layer {LAST[token]}.")
    explorer.large.press("Shift+ArrowRight")
    assert explorer.said().startswith("This region: ")


def test_playing_runs_through_the_layers_and_stops_at_the_last(explore):
    explorer = explore().show()
    explorer.scrub("Layer", 7)
    explorer.frames.get_by_role("button", name="Play").click()
    explorer.tab.wait_for_function("document.querySelector('#screen input[type=range].aim-x-layer').value === '8'")
    explorer.frames.get_by_role("button", name="Play").wait_for()


def test_another_run_takes_the_place_of_the_first_and_nothing_empties_it(explore):
    explorer = explore().show()
    explorer.scrub("Layer", 4)
    explorer.show("other")
    explorer.frames.locator(".aim-x-thumb").nth(2).wait_for()
    explorer.tab.wait_for_function("document.querySelectorAll('#screen .aim-x-thumb').length === 3")
    explorer.frames.locator("[data-ready]").wait_for()
    assert explorer.large.count() == 1
    assert explorer.frames.get_by_label("Survival", exact=True).is_checked()
    explorer.scrub("Frame", 0)
    explorer.click_patch(4, 2, OTHER)
    token = int(OTHER.trace.assignment[0, 14])
    assert explorer.said().endswith(f"dropped after layer {last_layers(OTHER.trace)[token]}.")


def test_the_line_parts_the_original_from_what_the_model_sees(explore):
    explorer = explore().show(wipe=50)
    shown = patch_colours(pixels(explorer.large), of=np.median).reshape(RUN.trace.rows, RUN.trace.columns, 3)
    photo = RUN.colours[0].astype(float)
    flat = RUN.colours.reshape(-1, 3).astype(float)
    means = np.stack([flat[(token == ASSIGNMENT).ravel()].mean(axis=0) for token in ASSIGNMENT[0]]).reshape(photo.shape)
    assert np.abs(shown[:, :3] - photo[:, :3]).max() < 12  # three of seven columns lie wholly on the left
    dotted = np.isin(np.arange(photo[..., 0].size), places(RUN.trace)).reshape(photo.shape[:2])
    assert np.abs(shown - means)[:, 4:][~dotted[:, 4:]].max() < 2
    assert explorer.frames.locator(".aim-x-left").inner_text() == "original"


def test_a_pinned_setting_stands_on_the_left_of_the_line_at_the_same_frame_layer_and_view(explore):
    explorer = explore().show()
    explorer.scrub("Frame", 2)
    explorer.scrub("Layer", 4)
    alone = {"A": pixels(explorer.large)}
    explorer.tab.get_by_role("button", name="Pin as A").click()
    explorer.show("again", frame=None)
    alone["B"] = pixels(explorer.large)
    assert explorer.frames.get_by_role("slider", name="Frame").input_value() == "2"
    explorer.move_line(50)
    explorer.settle()
    both, cut = pixels(explorer.large), round(0.5 * alone["A"].shape[1])
    assert (both[:, : cut - 1] == alone["A"][:, : cut - 1]).all() and (both[:, cut + 1 :] == alone["B"][:, cut + 1 :]).all()
    assert (alone["A"] != alone["B"]).any()
    told = explorer.tab.locator(".aim-pins p").all_inner_texts()
    assert told == ["A run: cyan · run× fewer FLOPs", "B again: blue · again× fewer FLOPs"]
    explorer.frames.get_by_label("Original", exact=True).check()
    explorer.settle()
    assert explorer.frames.locator(".aim-x-left").inner_text() == "original"
    explorer.show("other")  # another clip lets A go
    explorer.tab.get_by_role("button", name="Pin as A").wait_for()
    assert explorer.tab.locator(".aim-pins p").count() == 0


@pytest.mark.parametrize("dark", [pytest.param(False, marks=pytest.mark.whole), True])
def test_a_phone_needs_no_sideways_scrolling_in_light_and_dark(explore, dark):
    explorer = explore(width=400, dark=dark).show()
    for view in ("Merged regions", "Survival", "Importance"):
        explorer.view(view)
        explorer.drag((0, 0), (3, 5))
        assert explorer.overflow() == 0
    ink = explorer.frames.locator(".aim-x-said").evaluate("node => getComputedStyle(node).color")
    assert (np.mean([float(part) for part in ink.removeprefix("rgb(").removesuffix(")").split(",")]) > 128) == dark
    explorer.tab.get_by_role("tab", name="Moments").click()
    explorer.time.locator("[data-ready]").wait_for()
    assert explorer.overflow() == 0


def test_the_sheet_is_saved_as_a_picture_of_all_frames(explore):
    explorer = explore().show()
    explorer.view("Survival")
    with explorer.tab.expect_download() as download:
        explorer.frames.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "aim-survival.png"
    with Image.open(download.value.path()) as sheet:
        assert sheet.width > 3 * 480 and sheet.height > 2 * 274
