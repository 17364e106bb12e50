"""What `aim.reduce` refuses, with a message, before or while the model runs; the model is as it was afterwards."""

import pytest
import torch

import aim
from tests.tiny import clip_inputs, fingerprint, llava_onevision

METHOD = aim.AIM(merge_ratio=0.5, l1=2, l2=5)


@pytest.fixture(scope="module")
def model():
    return llava_onevision()


def generate(model, inputs, options):
    with torch.no_grad():
        return model.generate(**inputs, **{"max_new_tokens": 12, "do_sample": False, **options})


def refused(model, inputs, message, **options):
    generate(model, inputs, options)  # stock generate notes things on the model by itself
    before = fingerprint(model)
    with pytest.raises(ValueError, match=message), aim.reduce(model, METHOD):
        generate(model, inputs, options)
    assert fingerprint(model) == before


def test_an_unknown_family_is_refused():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    text_model = Qwen2ForCausalLM(Qwen2Config(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(ValueError, match="of type 'qwen2'; supported are: .*llava_onevision"), aim.reduce(text_model, METHOD):
        pass


def test_a_model_that_is_reduced_already_is_refused(model):
    with (
        aim.reduce(model, METHOD),
        pytest.raises(ValueError, match="already inside"),
        aim.reduce(model, METHOD),
    ):
        pass


def test_a_prompt_without_a_picture_is_refused(model):
    refused(model, {"input_ids": torch.tensor([[5, 6, 7]])}, "holds no picture")


def test_padding_on_the_right_is_refused(model):
    inputs = clip_inputs()
    inputs["attention_mask"][0, -1] = 0
    refused(model, inputs, "padded on the right")


def test_a_filled_cache_is_refused(model):
    inputs = clip_inputs()
    with torch.no_grad():
        cache = model(**inputs).past_key_values
    with pytest.raises(ValueError, match="already holds tokens"), aim.reduce(model, METHOD), torch.no_grad():
        model(input_ids=torch.tensor([[5]]), past_key_values=cache)


def test_a_static_cache_is_refused(model):
    refused(model, clip_inputs(), "DynamicCache", cache_implementation="static")


def test_half_a_frame_is_refused(model):
    inputs = clip_inputs()
    inputs["input_ids"][0, 3] = 5
    del inputs["pixel_values_videos"]
    with pytest.raises(ValueError, match="25 a frame and 1 more"), aim.reduce(model, METHOD), torch.no_grad():
        model(**inputs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"l1": 5, "l2": 5}, "l1 < l2"),
        ({"l1": 9, "l2": 3}, "l1 < l2"),
        ({"l1": -1, "l2": 3}, "Use 0 or more"),
        ({"merge_ratio": 0}, "above 0 and up to 1"),
        ({"merge_ratio": 1.01}, "above 0 and up to 1"),
        ({"merge_ratio": float("nan")}, "above 0 and up to 1"),
        ({"temperature": 0}, "above 0"),
        ({"iterations": 0}, "from 1 to 1000"),
        ({"damping": 1}, "below 1"),
        ({"restart": "question"}, "damping above 0"),
        ({"restart": "here"}, "uniform"),
        ({"positions": "random"}, "compact"),
        ({"merge_window": 0}, "frame by frame"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        aim.AIM(**knobs)


def test_an_unknown_kind_of_scores_is_refused(model):
    with pytest.raises(ValueError, match="pruning"), aim.reduce(model, METHOD, scores="some"):
        pass
