"""Regions in pixels and seconds to places on every family's grid; the picture a model gets says which token shows a pixel."""

import numpy as np
import pytest

import aim
from aim.families import FAMILIES
from aim.families.regions import Region, places_in
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.video.clip import clip_from_frames
from tests.tiny import TINY

SETTINGS = {
    "llava_onevision": {"size": {"height": 40, "width": 40}},
    "internvl": {"size": {"height": 40, "width": 40}},
    "step3p7": {"size": {"height": 40, "width": 40}},
    "granite4_vision": {"size": {"height": 40, "width": 40}},
    "molmo2": {"size": {"height": 60, "width": 60}},
    "llava": {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}},
    "llava_next_video": {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}},
    "qwen2_vl": {"min_pixels": 64, "max_pixels": 4000},
    "qwen2_5_vl": {"min_pixels": 64, "max_pixels": 4000},
}
SETTINGS = {name: settings for name, settings in SETTINGS.items() if name in TINY}
COLOURS = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "resample": 2}


def lit_cells(name: str, frames: np.ndarray) -> set[int]:
    """The places whose pixels are lit in what the model gets, by pixel values alone."""
    entry, config = FAMILIES[name], TINY[name].model().config
    values = entry.pixel_values(config, frames, {**COLOURS, **SETTINGS[name]})
    if "video_grid_thw" in values:
        steps, rows, columns = values["video_grid_thw"][0].tolist()
        patches = values["pixel_values_videos"].view(steps, rows // 2, columns // 2, 4, 3, 2, -1)
        lit = patches.amax((3, 4, 5, 6)).flatten(1)
    elif "video_token_pooling" in values:
        lit = values["pixel_values_videos"].flatten(0, 1).amax(1)[values["video_token_pooling"]].amax(1)
    else:
        pixels = next(iter(values.values())).reshape(len(frames), 3, *[40 if name != "llava" else 20] * 2)
        lit = pixels.amax(1).unflatten(1, (5, -1)).unflatten(3, (5, -1)).amax((2, 4)).flatten(1)
    return set((lit.flatten() > 0.5).nonzero().flatten().tolist())


@pytest.mark.parametrize("size", [(60, 100), (100, 60), (80, 80)])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_places_are_those_that_light_up_in_the_models_own_picture(name, size):
    height, width = size
    box = (width // 2 - 7, height // 2 - 12, width // 2 + 16, height // 2 + 9)
    frames = np.zeros((4, height, width, 3), np.uint8)
    frames[2:, box[1] : box[3], box[0] : box[2]] = 255
    entry, config = FAMILIES[name], TINY[name].model().config
    clip = clip_from_frames(frames, 2.0)
    grid = entry.grid(config, SETTINGS[name], 4, height, width)
    places = places_in(config, grid, clip, [Region(box, (1.0, 2.0))], SETTINGS[name])
    lit = lit_cells(name, frames)
    assert lit
    # Resizing dims what only touches a token's edge, so that the lit ones may be fewer; none of them may be missed.
    assert lit <= set(places)
    inner = (box[0] + 5, box[1] + 5, box[2] - 5, box[3] - 5)
    assert set(places_in(config, grid, clip, [Region(inner, (1.0, 2.0))], SETTINGS[name])) <= lit


def test_a_token_that_is_only_touched_at_its_edge_is_not_meant():
    config = TINY["internvl"].model().config
    clip = clip_from_frames(np.zeros((2, 50, 50, 3), np.uint8), 1.0)
    grid = Grid(2, 5, 5)
    assert places_in(config, grid, clip, [Region((10, 10, 20, 30), (0, 1))]) == (6, 11)
    assert places_in(config, grid, clip, [Region((9, 10, 20.5, 11))]) == (5, 6, 7, 30, 31, 32)
    assert places_in(config, grid, clip, [Region(seconds=(1, 9))]) == tuple(range(25, 50))
    assert places_in(config, grid, clip, [Region((0, 0, 1, 1)), Region((-5, -5, 2, 2))]) == (0, 25)


def test_what_llava_crops_away_is_shown_by_no_token():
    config = TINY["llava"].model().config
    clip = clip_from_frames(np.zeros((1, 50, 100, 3), np.uint8), 1.0)
    assert places_in(config, Grid(1, 5, 5), clip, [Region((0, 0, 30, 50))], SETTINGS["llava"]) == (0, 5, 10, 15, 20)
    with pytest.raises(Refusal, match="No visual token shows"):
        places_in(config, Grid(1, 5, 5), clip, [Region((0, 0, 25, 50))], SETTINGS["llava"])


def test_two_frames_that_are_one_step_share_its_places():
    config = TINY["qwen2_vl"].model().config
    clip = clip_from_frames(np.zeros((5, 40, 56, 3), np.uint8), 1.0)
    for second, step in ((0, 0), (1, 0), (2, 1), (4, 2)):
        assert places_in(config, Grid(3, 5, 7), clip, [Region((0, 0, 8, 8), (second, second + 0.5))]) == (35 * step,)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"box": (5, 0, 5, 9)}, "box is"),
        ({"box": (0, 0, 9)}, "box is"),
        ({"box": (0, 0, float("nan"), 9)}, "box is"),
        ({"seconds": (2, 1)}, "seconds is"),
        ({"seconds": ("0", 1)}, "seconds is"),
        ({"box": 5}, "box is 5"),
    ],
)
def test_an_empty_region_is_refused(region, message):
    with pytest.raises(Refusal, match=message):
        aim.Region(**region)


def test_numbers_of_numpy_are_numbers():
    box = tuple(np.array([0, 0, 8, 8]))
    assert aim.Region(box, tuple(np.array([0, 1], np.float32))) == aim.Region((0, 0, 8, 8), (0, 1))


def test_a_region_outside_is_refused():
    config = TINY["internvl"].model().config
    clip = clip_from_frames(np.zeros((2, 50, 50, 3), np.uint8), 1.0)
    for region in (Region((60, 0, 70, 10)), Region(seconds=(2, 3))):
        with pytest.raises(Refusal, match="regions inside the picture and the clip"):
            places_in(config, Grid(2, 5, 5), clip, [region])
