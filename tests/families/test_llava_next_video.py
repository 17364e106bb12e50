"""LLaVA-NeXT-Video: how many tokens its images in tiles are, and what of it is refused."""

import pytest
import torch

from aim.families import FAMILIES, family_of
from aim.kernels.refusal import Refusal
from tests.tiny import TINY

FAMILY = FAMILIES["llava_next_video"]


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (40, 40), (200, 100), (17, 120), (333, 41)])
def test_an_image_is_as_many_tokens_as_the_model_packs_each_row_ending_with_the_newline(size):
    model = TINY["llava_next_video"].model()
    sizes, pixels = torch.tensor([size]), torch.randn(1, 5, 3, 40, 40)
    with torch.no_grad():
        [tokens] = model.model.get_image_features(pixels, sizes, return_dict=True).pooler_output
    picture = FAMILY.images(model.config, {"image_sizes": sizes})(len(tokens))
    assert picture.length == len(tokens) and [grid.tokens for grid in picture.grids][0] == 100
    newlines = (tokens == model.model.image_newline).all(-1).nonzero().flatten().tolist()
    assert sorted({*range(len(tokens))} - {*torch.cat(picture.places).tolist()}) == newlines


@pytest.mark.parametrize("placeholders", [24, 51])
def test_a_run_that_is_no_whole_clip_is_refused(placeholders):
    read = FAMILY.videos(TINY["llava_next_video"].model().config, {})
    with pytest.raises(Refusal, match=f"holds {placeholders} video placeholders in a row; .* 25 a frame"):
        read(placeholders)


@pytest.mark.parametrize("other", [{"spatial_pool_mode": "max"}, {"spatial_pool_stride": 3}], ids=str)
def test_a_model_that_pools_in_another_way_is_refused(other):
    config = TINY["llava_next_video"].model().config
    assert family_of(config) is FAMILY
    for name, value in other.items():
        setattr(config, name, value)
    with pytest.raises(Refusal, match="pools its frames in another way .* such as llava-hf/LLaVA-NeXT-Video-7B-hf"):
        family_of(config)


def test_single_pictures_are_refused():
    with pytest.raises(Refusal, match="LLaVA-NeXT-Video takes only clips here"):
        FAMILY.taking(is_image=True)
