"""What is drawn on the frames, on a trace made by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from aim.views.colour import GREY, VIRIDIS, Scale, colour_map
from aim.views.frames import (
    VIEWS,
    caption,
    draw_borders,
    draw_frames,
    enlarge,
    merged_regions,
    page_rank,
    patch_means,
    patches,
    survival,
)
from tests.fakes import ASSIGNMENT, COLUMNS, ROWS, make_clip, make_trace

GRID = np.array(ASSIGNMENT[0]).reshape(ROWS, COLUMNS)  # 0 0 1 / 2 0 1
SIZE = (180, 120)  # patches of 60×60, lines of one pixel


@pytest.fixture
def picture():
    return Image.fromarray(make_clip().frames[0]).resize(SIZE, Image.Resampling.NEAREST)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_patches_of_one_token_share_one_colour_and_no_line(picture):
    painted = pixels(merged_regions(picture, GRID, make_trace()))
    means, _ = patch_means(picture, GRID.shape)
    tint = (means[0, 0] + means[0, 1] + means[1, 1]) / 3
    for row, column in ((0, 0), (0, 1), (1, 1)):
        expected = 0.4 * means[row, column] + 0.6 * tint
        assert np.abs(painted[60 * row + 30, 60 * column + 30] - expected).max() <= 2
    before = np.asarray(picture)
    for x in (59, 60):  # the border between the two patches of token 0 keeps each patch's plain tinted colour
        assert np.abs(painted[30, x] - (0.4 * before[30, x] + 0.6 * tint)).max() <= 2


def test_a_line_runs_exactly_where_neighbouring_tokens_differ():
    blank = Image.new("RGB", SIZE)
    drawn = pixels(draw_borders(blank, GRID, np.zeros((ROWS, COLUMNS, 3)), opacity=1))[..., 0] > 0
    assert drawn[10:50, 120].all() and drawn[70:110, 120].all()  # 0|1 in both rows
    assert drawn[70:110, 60].all() and drawn[60, 5:55].all()  # 2|0 and 0 above 2
    assert drawn.sum() == 4 * 60  # and nowhere else


def test_lines_are_black_on_light_frames():
    light = np.full((ROWS, COLUMNS, 3), 255.0)
    drawn = pixels(draw_borders(Image.new("RGB", SIZE, "white"), GRID, light, opacity=1))
    assert (drawn[30, 120] == 0).all()


def test_tokens_dropped_earlier_are_darker_and_the_last_ones_clear(picture):
    trace = make_trace()  # tokens 0 and 2 live until layer 2, token 1 until layer 1
    painted, before = pixels(survival(picture, GRID, trace)), pixels(picture)
    inner = (slice(10, 50), slice(10, 50))
    assert (painted[inner] == before[inner]).all()
    dropped = (slice(10, 110), slice(130, 170))
    assert painted[dropped].mean() < 0.6 * before[dropped].mean()


def test_without_pruning_survival_leaves_the_frame_as_it_is(picture):
    trace = make_trace()
    trace.survivors = [torch.arange(6)] * 4
    assert (pixels(survival(picture, GRID, trace)) == pixels(picture)).all()


def test_scores_are_shown_in_their_layer_and_dropped_tokens_are_grey(picture):
    trace, grey = make_trace(), pixels(picture.convert("L").convert("RGB"))

    def colour(layer, row, column):
        y, x = 60 * row + 30, 60 * column + 30
        return (pixels(page_rank(picture, GRID, trace, layer))[y, x] - 0.3 * grey[y, x]) / 0.7

    assert np.abs(colour(2, 0, 2) - GREY).max() <= 2  # token 1 is gone in layer 2
    assert np.abs(colour(1, 0, 2) - GREY).max() > 20
    assert np.abs(colour(2, 0, 0) - VIRIDIS[-1]).max() <= 2  # token 0 scores highest
    assert (pixels(page_rank(picture, GRID, trace)) == pixels(page_rank(picture, GRID, trace, 2))).all()
    assert trace.scored_layers == [1, 2]


def test_without_scores_page_rank_is_grey(picture):
    trace = make_trace(scored=False)
    assert np.ptp(pixels(page_rank(picture, GRID, trace)), axis=2).max() <= 1


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_every_frame_with_its_time_and_tokens(view):
    clip, trace = make_clip(), make_trace()
    drawn = draw_frames(clip.frames, clip.timestamps, trace, view)
    assert [text for _, text in drawn] == ["0:00.0 · 3 tokens", "0:00.5 · 3 tokens"]
    assert all(picture.size == (384, 256) for picture, _ in drawn)
    assert VIEWS[view].reading


def test_frames_joined_in_time_show_the_first_they_stand_for():
    clip = make_clip(4)
    drawn = draw_frames(clip.frames, clip.timestamps, make_trace(), "Survival")
    assert [text.split(" · ")[0] for _, text in drawn] == ["0:00.0", "0:01.0"]
    odd = make_clip(3)
    drawn = draw_frames(odd.frames, odd.timestamps, make_trace(), "Survival")
    assert [text.split(" · ")[0] for _, text in drawn] == ["0:00.0", "0:01.0"]


def test_captions():
    assert caption(1.3, 9) == "0:01.3 · 9 tokens"
    assert caption(59.97, 1) == "1:00.0 · 1 token"
    assert caption(754.0, 1568) == "12:34.0 · 1,568 tokens"


@pytest.mark.parametrize(
    ("shape", "size"), [((48, 96), (384, 192)), ((1000, 500), (320, 640)), ((400, 300), (300, 400)), ((1, 900), (640, 1))]
)
def test_pictures_have_a_readable_size_and_keep_their_proportions(shape, size):
    assert enlarge(np.zeros((*shape, 3), np.uint8)).size == size


def test_patches_and_their_means_agree_on_sizes_that_do_not_divide():
    values = np.arange(5 * 7 * 3).reshape(5, 7, 3) * 2.0
    means, areas = patch_means(patches(values, (101, 83)), (5, 7))
    assert np.abs(means - values).max() < 1e-3
    assert areas.sum() == 101 * 83


def test_the_colour_map_is_monotone_in_lightness():
    colours = colour_map(np.linspace(0, 1, 101))
    assert (np.diff(colours @ np.array([0.299, 0.587, 0.114])) > 0).all()
    assert (colour_map(np.array([-1.0, 2.0])) == VIRIDIS[[0, -1]]).all()


def test_scales_are_monotone_and_logarithmic_where_asked():
    values = np.array([1.0, 2, 4, 8])
    assert np.allclose(Scale.over(values, log=True)(values), [0, 1 / 3, 2 / 3, 1])
    assert np.allclose(Scale.over(values)(values), [0, 1 / 7, 3 / 7, 1])
    assert (Scale.over(np.array([5.0, 5.0]))(np.array([5.0])) == 1).all()
    assert Scale.over(np.array([0.0, 1e-30, 1.0]), log=True, decades=8).low == 1e-8
    assert np.isfinite(Scale.over(np.zeros(3), log=True)(np.zeros(3))).all()
