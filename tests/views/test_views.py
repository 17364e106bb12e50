"""What is painted on the frames, beside loops over single patches and pixels."""

import numpy as np
import pytest
import torch

from aim.views.colour import VIRIDIS, Scale, colour_map
from aim.views.fates import Fate, fates, places
from aim.views.frames import VIEWS, Stack, caption, draw_frames, group_size, importance, kept_places, keys_of, merged_regions, survival
from aim.views.patterns import LOOKS, covered, draw_borders, mixed, packed, pattern, starts, stretched, unpacked
from tests.fakes import make_clip, make_trace
from tests.made_run import absorb, leave_out, make_run

RUNS = [
    make_run(),
    absorb(make_run(seed=2)),
    leave_out(make_run(seed=4)),
    leave_out(make_run(seed=5, frames=3, rows=3, columns=3, window=3), share=0.9),
]
LOOSE = 3  # of 255: what rounding twice may cost


def stack_of(run) -> Stack:
    """The frames three times as large, which is what they are then painted at: patches of 60 pixels."""
    return Stack.of(run.frames.repeat(3, axis=1).repeat(3, axis=2), run.trace, 60 * max(run.trace.rows, run.trace.columns))


def middles(painted: np.ndarray, run) -> np.ndarray:
    """Colours [F, T, n, 3] of pixels of each patch, away from the lines at its edges and from the dot in its middle."""
    shown, (rows, columns) = unpacked(painted).astype(float), (run.trace.rows, run.trace.columns)
    tiles = shown.reshape(len(shown), rows, 60, columns, 60, 3).swapaxes(2, 3)[:, :, :, 7:22, 7:22]
    return tiles.reshape(len(shown), rows * columns, -1, 3)


def veiled(colour: np.ndarray, fate: Fate) -> np.ndarray:
    return colour + (np.array(LOOKS[fate].veil) - colour) * LOOKS[fate].opacity


@pytest.mark.parametrize("run", RUNS)
def test_merged_regions_have_the_mean_colour_of_their_token(run):
    shown, flat = middles(merged_regions(stack_of(run), run.trace, 0), run), run.colours.reshape(-1, 3)
    tokens = run.trace.assignment.numpy()
    for frame, patch in np.ndindex(tokens.shape):
        token = tokens[frame, patch]
        if token >= 0:
            assert np.abs(shown[frame, patch] - flat[tokens.ravel() == token].mean(axis=0)).max() <= LOOSE
        else:
            own = run.colours[frame].reshape(-1, 3)[patch]
            assert np.abs(np.median(shown[frame, patch], axis=0) - veiled(own, Fate.LEFT_OUT)).max() <= LOOSE


@pytest.mark.parametrize("run", RUNS)
def test_a_dot_stands_where_a_token_of_many_patches_does_and_nowhere_else(run):
    painted = unpacked(merged_regions(stack_of(run), run.trace, 0))
    rows, columns, tokens = run.trace.rows, run.trace.columns, run.trace.assignment.numpy().ravel()
    expected = {patch for token, patch in enumerate(places(run.trace)) if (tokens == token).sum() > 1}
    for patch in range(tokens.size):
        frame, place = divmod(patch, rows * columns)
        y, x = int((place // columns + 0.5) * painted.shape[1] / rows), int((place % columns + 0.5) * painted.shape[2] / columns)
        assert (painted[frame, y, x].min() == 255) == (patch in expected)


@pytest.mark.parametrize("run", RUNS)
def test_survival_is_clear_where_tokens_are_and_patterned_where_they_went(run):
    stack = stack_of(run)
    for layer in range(run.trace.num_layers):
        shown, fate = middles(survival(stack, run.trace, layer), run), fates(run.trace, layer)
        for frame, patch in np.ndindex(fate.shape):
            own, seen = run.colours[frame].reshape(-1, 3)[patch].astype(float), shown[frame, patch]
            if fate[frame, patch] <= Fate.MERGED:
                assert np.abs(seen - own).max() <= LOOSE
            else:
                assert np.abs(np.median(seen, axis=0) - veiled(own, Fate(fate[frame, patch]))).max() <= LOOSE
                assert seen.max() > np.median(seen, axis=0).max() + 40  # ink


def test_the_patterns_differ_from_each_other_without_their_veils():
    inked = [pattern(look.pattern, 160, 90) for look in LOOKS.values()]
    assert {one.shape for one in inked} == {(90, 160)}
    for place, one in enumerate(inked):
        assert 0.05 < one.mean() < 0.45
        assert all((one != other).mean() > 0.05 for other in inked[:place])


@pytest.mark.parametrize("run", RUNS)
def test_kept_places_are_clear_and_merged_away_is_not(run):
    layer = 3
    shown = middles(kept_places(stack_of(run), run.trace, layer), run)
    standing = {int(places(run.trace)[token]) for token in run.trace.survivors[layer].tolist()}
    for frame, patch in np.ndindex(run.trace.assignment.shape):
        own = run.colours[frame].reshape(-1, 3)[patch]
        clear = np.abs(shown[frame, patch] - own).max() <= LOOSE
        assert clear == (frame * run.trace.assignment.shape[1] + patch in standing)


@pytest.mark.parametrize("run", RUNS)
def test_importance_has_the_colours_of_the_scale_over_grey_frames(run):
    layer = run.trace.scored_layers[-1]
    shown, scores = middles(importance(stack_of(run), run.trace, layer), run), run.trace.scores[layer].numpy()
    scale = Scale.over(scores, log=True, decades=8)
    colours = {token: colour_map(scale(score)) for token, score in zip(run.trace.survivors[layer].tolist(), scores, strict=True)}
    held, inside = run.trace.held_in(layer).tolist(), 0
    for frame, patch in np.ndindex(run.trace.assignment.shape):
        own = int(run.trace.assignment[frame, patch])
        token = held[own] if own >= 0 else -1
        if token in colours:
            grey = run.colours[frame].reshape(-1, 3)[patch] @ np.array([0.299, 0.587, 0.114])
            away = np.abs(shown[frame, patch] - (0.78 * colours[token] + 0.22 * grey))
            if token != own and fates(run.trace, layer)[frame, patch] == Fate.MERGED_INSIDE:
                inside += 1
                assert np.median(away, axis=0).max() <= LOOSE and away.max() > 20  # ink
            else:
                assert away.max() <= LOOSE
        else:
            assert np.median(shown[frame, patch], axis=0).max() < 70
    assert (inside > 0) == bool(run.trace.holders)


def test_a_layer_without_scores_is_grey():
    clip, trace = make_clip(), make_trace(scored=False)
    painted = unpacked(importance(Stack.of(clip.frames, trace), trace, 1)).astype(int)
    assert np.ptp(painted, axis=-1).max() <= 1


def test_group_sizes_have_the_colours_of_their_scale():
    run = RUNS[0]
    shown, sizes = middles(group_size(stack_of(run), run.trace, 0), run), run.trace.group_sizes.numpy()
    largest, smallest = (int(np.flatnonzero(run.trace.assignment.numpy().ravel() == pick)[0]) for pick in (sizes.argmax(), sizes.argmin()))
    for patch, colour in ((largest, VIRIDIS[-1]), (smallest, VIRIDIS[0])):
        grey = run.colours.reshape(-1, 3)[patch] @ np.array([0.299, 0.587, 0.114])
        assert np.abs(shown.reshape(-1, *shown.shape[2:])[patch] - (0.78 * colour + 0.22 * grey)).max() <= LOOSE


def test_lines_run_exactly_where_neighbours_differ():
    labels = np.array([[[0, 0, 1], [2, 0, 1]], [[5, 5, 5], [5, 5, 5]]])
    pixels = np.full((2, 120, 180), packed(np.array([90, 90, 90], np.uint8)))
    draw_borders(pixels, labels)
    drawn = unpacked(pixels)[..., 0]
    assert (drawn[1] == 90).all()
    light = drawn[0] == 255
    assert light[10:50, 120].all() and light[70:110, 120].all()  # 0|1 in both rows
    assert light[70:110, 60].all() and light[60, 5:55].all()  # 2|0 and 0 above 2
    assert light.sum() <= 4 * 60 and light.sum() >= 4 * 60 - 6  # and nowhere else, but for crossings
    assert (drawn[0] == 0).sum() > 4 * 100  # each between two dark ones


def test_between_patches_of_few_pixels_lines_are_thin_and_grey():
    pixels = np.full((1, 20, 30), packed(np.array([90, 90, 90], np.uint8)))
    draw_borders(pixels, np.array([[[0, 0, 1], [0, 0, 1]]]))
    drawn = unpacked(pixels)[0, :, :, 0]
    assert (drawn[:, 20] == 150).all() and (np.delete(drawn, 20, axis=1) == 90).all()


def test_patches_that_do_not_divide_the_pixels_cover_them_all():
    values = np.arange(35).reshape(1, 5, 7)
    pixels = stretched(values, 101, 83)[0]
    for y in range(83):
        for x in range(101):
            assert pixels[y, x] == values[0, y * 5 // 83, x * 7 // 101]
    assert [int(np.flatnonzero(pixels[0] == column)[0]) for column in range(7)] == starts(7, 101).tolist()


def test_packing_and_mixing_keep_every_colour():
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    assert (unpacked(packed(colours)) == colours).all()
    other = 255 - colours
    mix = unpacked(mixed(packed(colours), packed(other), 0.25)).astype(float)
    assert np.abs(mix - (0.75 * colours + 0.25 * other)).max() <= 1
    assert unpacked(covered(packed(colours), Fate.DROPPED)).shape == colours.shape


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_every_frame_with_its_time_and_tokens(view):
    clip, trace = make_clip(), make_trace()
    counts = [2, 1] if VIEWS[view].layered else [3, 3]  # tokens 0, 2 and 5 are left in layer 2
    drawn = draw_frames(clip.frames, clip.timestamps, trace, view)
    expected = [f"0:00.{5 * frame} · {count} token{'s' * (count > 1)}" for frame, count in enumerate(counts)]
    assert [text for _, text in drawn] == expected
    assert all(picture.size == (384, 256) for picture, _ in drawn)
    assert VIEWS[view].reading


def test_the_keys_are_those_that_there_is_something_of_to_see():
    plain, sparse = make_run(), leave_out(make_run())
    assert keys_of(plain.trace, "Merged regions") == [] and keys_of(sparse.trace, "Merged regions") == [Fate.LEFT_OUT]
    assert keys_of(plain.trace, "Survival", 0) == [] and keys_of(plain.trace, "Survival", 3) == [Fate.JUST_DROPPED]
    assert keys_of(sparse.trace, "Survival", 6) == [Fate.JUST_DROPPED, Fate.DROPPED, Fate.LEFT_OUT]
    assert keys_of(plain.trace, "Importance", 3) == [Fate.DROPPED]
    inside = absorb(make_run()).trace
    assert keys_of(inside, "Survival", 3) == [Fate.MERGED_INSIDE, Fate.JUST_DROPPED] and keys_of(inside, "Merged regions") == []
    assert keys_of(inside, "Importance", 3) == [Fate.MERGED_INSIDE, Fate.DROPPED]


def test_without_dropping_survival_shows_every_token():
    run = make_run()
    run.trace.survivors = [torch.arange(run.trace.merged_tokens)] * 9
    shown = middles(survival(stack_of(run), run.trace, 8), run)
    assert np.abs(shown - run.colours.reshape(5, 28, 1, 3)).max() <= LOOSE


def test_frames_joined_in_time_show_the_first_they_stand_for():
    for clip in (make_clip(4), make_clip(3)):
        drawn = draw_frames(clip.frames, clip.timestamps, make_trace(), "Survival")
        assert [text.split(" · ")[0] for _, text in drawn] == ["0:00.0", "0:01.0"]


def test_some_frames_are_painted_as_they_are_among_all():
    run = RUNS[1]
    whole, some = (Stack.of(run.frames, run.trace, 200, shown) for shown in (None, [3, 1]))
    for view in VIEWS.values():
        assert (view.paint(some, run.trace, 4) == view.paint(whole, run.trace, 4)[[3, 1]]).all()


def test_captions():
    assert caption(1.3, 9) == "0:01.3 · 9 tokens"
    assert caption(59.97, 1) == "1:00.0 · 1 token"
    assert caption(754.0, 1568) == "12:34.0 · 1,568 tokens"


@pytest.mark.parametrize(
    ("shape", "size"), [((48, 96), (192, 384)), ((1000, 500), (640, 320)), ((400, 300), (400, 300)), ((1, 900), (1, 640))]
)
def test_pictures_have_a_readable_size_and_keep_their_proportions(shape, size):
    assert Stack.of(np.zeros((2, *shape, 3), np.uint8), make_trace()).pixels.shape == (2, *size)


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
