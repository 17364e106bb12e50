"""Granite 4 Vision: whole views against the model's own encoder, which only takes them with tiles, and prompts with tiles."""

import numpy as np
import pytest
import torch
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

import aim
from aim.families import FAMILIES, family_of, granite4_vision
from aim.kernels.refusal import Refusal
from tests.tiny import IMAGE, TINY, own_cache, takes_features

FAMILY = FAMILIES["granite4_vision"]
SIDE, PINPOINTS = 40, [[40, 40], [40, 80], [80, 40], [80, 80]]


def made(**config):
    """The tiny model with sizes for tiles, as published ones have them."""
    model = TINY["granite4_vision"].model()
    for name, value in {"image_grid_pinpoints": PINPOINTS, **config}.items():
        setattr(model.config, name, value)
    return model


@pytest.fixture(scope="module")
def model():
    return made()


def tiled(model, *sizes):
    """Images as its processor shows them, each whole and in tiles, with a word between two."""
    square = {"height": SIDE, "width": SIDE}
    processor = LlavaNextImageProcessorPil(size=square, crop_size=square, image_grid_pinpoints=PINPOINTS)
    pictures = [np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8) for number, size in enumerate(sizes)]
    inputs = dict(processor(pictures, return_tensors="pt"))
    with torch.no_grad():
        [(_, tokens), *_] = model.model.get_image_features(**inputs, return_dict=True).deepstack_features
    ids = torch.tensor([[5, *(token for one in tokens for token in [*[IMAGE] * len(one), 6]), 7, 8]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **inputs}


def test_the_model_itself_takes_no_picture_without_tiles(model):
    inputs = tiled(model, (36, 60))
    assert inputs["pixel_values"].shape[1] >= 3
    with pytest.raises(RuntimeError, match="split"):
        model.model.get_image_features(inputs["pixel_values"][:, :1], inputs["image_sizes"], return_dict=True)


@pytest.mark.parametrize("size", [(36, 60), (60, 36), (8, 8), (80, 80)])
def test_the_features_of_a_frame_are_those_of_its_whole_view_in_front_of_tiles(model, size):
    inputs = tiled(model, size)
    with torch.no_grad():
        stock = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True).deepstack_features
        ours = FAMILY.encode(model, {"pixel_values": inputs["pixel_values"][0, :1]}).features["image"].deepstack_features
    assert [layer for layer, _ in ours] == [layer for layer, _ in stock] == [2, 0, 1, 3, 5]
    for (_, [tokens]), (_, [expected]) in zip(ours, stock, strict=True):
        torch.testing.assert_close(tokens[:25], expected[:25], rtol=1e-4, atol=1e-5)
        assert torch.equal(tokens[25], expected[-1]) and len(tokens) == 26  # the newline


@takes_features
def test_the_stock_model_takes_them_and_full_says_what_it_says(model):
    inputs = TINY["granite4_vision"].video_inputs()
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    encoded = FAMILY.encode(model, {"pixel_values": inputs["pixel_values"]})
    answers = []
    for options in ({}, {"num_beams": 3}):
        stock = model.generate(**given, mm_encoder_outputs=copied(encoded), **options, max_new_tokens=20, do_sample=False)
        with aim.reduce(model, aim.Full()):
            again = model.generate(**given, mm_encoder_outputs=copied(encoded), **options, max_new_tokens=20, do_sample=False)
        assert torch.equal(stock, again)
        answers.append(stock)
    without_tiles = TINY["granite4_vision"].model()  # of the same weights; it encodes the pixels itself
    assert torch.equal(without_tiles.generate(**inputs, max_new_tokens=20, do_sample=False), answers[0])


def copied(encoded):
    """Features of their own, because `generate` repeats them for beams where they are."""
    return {kind: type(output)(**output) for kind, output in encoded.features.items()}


@pytest.mark.parametrize("run", ["generate", "forward"])
def test_images_in_tiles_are_reduced_grid_by_grid_and_methods_that_read_the_tower_refuse_them(model, run):
    inputs = tiled(model, (36, 60), (80, 80))

    def answer():
        if run == "generate":
            return model.generate(**inputs, max_new_tokens=12, do_sample=False)
        with torch.no_grad():
            return model(**inputs).logits

    stock = answer()
    with aim.reduce(model, aim.Full()):
        assert torch.equal(answer(), stock)
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        answer()
    assert trace.grids == [(1, 5, 5), (1, 5, 8), (1, 5, 5), (1, 10, 10)]
    assert trace.merged_tokens == 12 + 20 + 12 + 50
    with pytest.raises(Refusal, match="images without tiles"), aim.reduce(model, aim.PruMerge()):
        answer()


def test_missing_sizes_are_named(model):
    inputs = {name: value for name, value in tiled(model, (36, 60)).items() if name != "image_sizes"}
    with pytest.raises(Refusal, match="`image_sizes` too"), aim.reduce(model, aim.Full()):
        model(**inputs)


def test_its_tower_reports_what_two_by_two_patches_receive_in_the_last_layer_that_is_read():
    model, seen = TINY["granite4_vision"].model(), []
    inputs, tower = TINY["granite4_vision"].video_inputs(3), model.model.vision_tower
    hooks = FAMILY.watch_tower(model, seen.append)
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        columns = tower(inputs["pixel_values"], output_attentions=True).attentions[-1].mean((1, 2)).view(3, 10, 10)
    tower.set_attn_implementation("sdpa")
    for row in range(5):
        for column in range(5):
            block = columns[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum((1, 2))
            torch.testing.assert_close(seen[0].received[:, 5 * row + column], block, rtol=1e-4, atol=1e-7)


def test_a_plain_forward_keeps_no_cache_but_one_that_it_is_given():
    model, inputs = TINY["granite4_vision"].model(), TINY["granite4_vision"].video_inputs()
    with torch.no_grad():
        assert model(**inputs, use_cache=True).past_key_values is None
        with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
            cache = model(**inputs, **own_cache(model), use_cache=True).past_key_values
    assert [layer.keys.shape[2] for layer in cache.layers] == trace.key_value_lengths


@pytest.mark.parametrize("config", [{"deepstack_layer_map": None}, {"downsample_rate": "2/5"}, {"downsample_rate": "2/3"}], ids=str)
def test_configs_that_join_patches_otherwise_are_refused(config):
    with pytest.raises(Refusal, match="Granite 4 Vision that is not supported"):
        family_of(made(**config).config)


def test_features_of_a_clip_stand_for_all_its_frames_together():
    """So that `generate` repeats the whole clip for each beam, and not frame by frame."""
    model, inputs = TINY["granite4_vision"].model(), TINY["granite4_vision"].video_inputs(3)
    output = FAMILY.encode(model, {"pixel_values": inputs["pixel_values"]}).features["image"]
    assert isinstance(output, granite4_vision.WholeViews)
    assert [tokens.shape for _, [tokens] in output.deepstack_features] == [(3 * 26, 32)] * 5


@pytest.mark.parametrize("size", [(36, 60), (60, 36), (8, 8), (80, 80)])
def test_sizes_and_features_tell_the_same_picture_and_only_newlines_are_in_no_grid(model, size):
    inputs = tiled(model, size)
    with torch.no_grad():
        features = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True)
    [(_, [tokens]), *_] = features.deepstack_features
    pictures = [FAMILY.images(model.config, given)(0) for given in (inputs, {"mm_encoder_outputs": {"image": features}})]
    for picture in pictures:
        assert picture.grids == pictures[0].grids and picture.length == len(tokens)
        separators = torch.ones(len(tokens), dtype=torch.bool).index_fill(0, torch.cat(picture.places), False)
        assert torch.equal(separators, (tokens == model.model.image_newline).all(-1))
        assert torch.equal(picture.places[0], torch.arange(25))
