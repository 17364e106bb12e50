"""Gemma 4's prompts do not tell how large their pictures are, and `generate` passes on no sizes; they are known all the same."""

import pytest
import torch

import aim
from tests.tiny import IMAGE, TINY, gemma4_places, takes_features

IDS = [5, 95, *[IMAGE] * 15, 96, 95, *[IMAGE] * 25, 96, 7, 8]


@pytest.fixture(scope="module")
def model():
    return TINY["gemma4"].model()


@pytest.fixture
def inputs():
    """Two images, of 3 x 5 and of 5 x 5 tokens."""
    ids = torch.tensor([IDS])
    places = torch.cat([gemma4_places(1, 6, 40), gemma4_places(1, 10)])
    pixels = torch.randn(2, 100, 48, generator=torch.Generator().manual_seed(0))
    given = {"pixel_values": pixels, "image_position_ids": places, "mm_token_type_ids": (ids == IMAGE).int()}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **given}


# Before transformers 5.18 `generate` itself puts several images into the wrong order for beams.
@pytest.mark.parametrize("beams", [1, pytest.param(3, marks=takes_features)])
def test_pictures_of_several_sizes_keep_theirs_in_generate(model, inputs, beams):
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams}
    stock = model.generate(**inputs, **options)
    with aim.reduce(model, aim.Full()) as trace:
        assert torch.equal(model.generate(**inputs, **options), stock)
    assert [record.grids for record in trace.prompts] == [[(1, 3, 5), (1, 5, 5)]] * beams
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        model.generate(**inputs, **options)
    assert trace.merged_tokens == 7 + 12


@takes_features
def test_features_that_tell_no_sizes_are_rows(model, inputs):
    with torch.no_grad():
        features = model.model.get_image_features(inputs.pop("pixel_values"), inputs.pop("image_position_ids"), return_dict=True)
        with aim.reduce(model, aim.Full()) as trace:
            model(**inputs, mm_encoder_outputs={"image": features})
    assert trace.grids == [(1, 1, 15), (1, 1, 25)]
