"""GLM-4.1V and GLM-4.5V: a clip goes in as images, one for each step, as the model takes a video apart; sizes are its processor's."""

import importlib
import math

import numpy as np
import pytest
import torch
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm4v.video_processing_glm4v import Glm4vVideoProcessor

import aim
from aim.families import FAMILIES
from aim.families.glm4v import MAX_IMAGE_PIXELS
from aim.families.pixels import normalised_frames
from tests.tiny import IMAGE, TINY
from tests.tiny_checkpoints import COMMON

FAMILY = FAMILIES["glm4v"]
NAMES = ["glm4v", pytest.param("glm4v_moe", marks=pytest.mark.whole)]


def as_video(inputs):
    """The same clip under the names, and with the kinds of tokens, that the official processor gives a video."""
    ids, sizes = inputs["input_ids"], inputs["image_grid_thw"]
    video = {"pixel_values_videos": inputs["pixel_values"], "video_grid_thw": torch.tensor([[len(sizes), *sizes[0, 1:].tolist()]])}
    return {"input_ids": ids, "attention_mask": inputs["attention_mask"], **video, "mm_token_type_ids": 2 * (ids == IMAGE).int()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [aim.Full(), aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.PruMerge(keep_ratio=0.4)], ids=lambda m: m.name)
def test_a_clip_as_images_says_what_the_stock_model_says_of_the_video(method, name):
    model, inputs = TINY[name].model(), TINY[name].video_inputs(5)
    video = as_video(inputs)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, model(**video).logits)
        stock = model.generate(**video, max_new_tokens=8, do_sample=False)
    said, traces = [], []
    for given in (inputs, video):
        with torch.no_grad(), aim.reduce(model, method) as trace:
            said.append(model.generate(**given, max_new_tokens=8, do_sample=False))
            by_generate = trace.tokens_per_layer
            model(**given)
        assert trace.tokens_per_layer == by_generate
        traces.append(trace)
    assert torch.equal(*said) and traces[0].tokens_per_layer == traces[1].tokens_per_layer and traces[0].frames == traces[1].frames == 3
    assert method.name != "full" or torch.equal(said[0], stock)


@pytest.mark.parametrize("limits", [(64, 10**7), (64, 20_000), (40_000, 10**7)])
@pytest.mark.parametrize("shape", [(5, 37, 61), (4, 64, 48), (2, 40, 40)])
def test_a_clip_is_sized_and_laid_as_its_own_video_processor_does(limits, shape):
    settings = {**COMMON, "size": {"shortest_edge": limits[0], "longest_edge": limits[1]}}
    config, frames = TINY["glm4v"].model().config, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    made, grid = FAMILY.pixel_values(config, frames, settings), FAMILY.grid(config, settings, *shape)
    steps, (_, rows, columns) = len(made["image_grid_thw"]), made["image_grid_thw"][0].tolist()
    assert (grid.frames, grid.rows, grid.columns) == (math.ceil(shape[0] / 2), rows // 2, columns // 2) and steps == grid.frames
    processor = Glm4vVideoProcessor(**settings, patch_size=4)
    if hasattr(processor, "get_num_of_video_patches"):  # the first releases do not count them
        assert processor.get_num_of_video_patches(shape[0] + shape[0] % 2, *shape[1:]) == steps * rows * columns
    # Its own resizing needs torchvision; rounding apart, it is pillow's.
    official, *lengths = processor.patchify(
        normalised_frames(frames, settings, 4 * rows, 4 * columns)[None], patch_size=4, merge_size=2, temporal_patch_size=2
    )
    assert lengths == [steps, rows, columns] and torch.equal(made["pixel_values"], official[0])


def test_a_picture_is_its_own_processors_and_a_huge_one_is_bounded():
    config, entry = TINY["glm4v"].model().config, FAMILY.taking(is_image=True)
    settings = {**COMMON, "size": {"shortest_edge": 64, "longest_edge": 10**7}}
    picture = np.random.default_rng(0).integers(0, 256, (1, 37, 61, 3), np.uint8)
    made, official = entry.pixel_values(config, picture, settings), Glm4vImageProcessorPil(**settings, patch_size=4)(picture[0])
    assert made["image_grid_thw"].tolist() == np.asarray(official["image_grid_thw"]).tolist()
    torch.testing.assert_close(made["pixel_values"], torch.as_tensor(np.asarray(official["pixel_values"])), rtol=0, atol=1e-5)
    for given in ({}, {"size": {"shortest_edge": 64, "longest_edge": 10**8}}):
        assert 0.9 * MAX_IMAGE_PIXELS < 2 * 64 * entry.grid(config, given, 1, 3000, 4000).tokens <= MAX_IMAGE_PIXELS


def test_a_clip_and_an_image_do_not_fit_into_one_prompt():
    """The stock model cannot tell their placeholders apart; so it is not ours to reduce."""
    model, clip = TINY["glm4v"].model(), as_video(TINY["glm4v"].video_inputs())
    image = TINY["glm4v"].image_inputs(images=1, seed=1)
    both = {**clip, **image, **{name: torch.cat([clip[name], image[name]], dim=1) for name in ("input_ids", "attention_mask")}}
    both["mm_token_type_ids"] = torch.cat([clip["mm_token_type_ids"], image["mm_token_type_ids"]], dim=1)
    with pytest.raises(ValueError, match="do not match"):
        model(**both)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_receive_what_their_patches_do(name, monkeypatch):
    model, inputs = TINY[name].model(), TINY[name].video_inputs(6)
    source = importlib.import_module(type(model).__module__)
    pixels = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        [seen] = FAMILIES[name].encode(model, pixels).features["image"].attentions
    maps, original = [], source.eager_attention_forward

    def recording(*args, **kwargs):
        output, weights = original(*args, **kwargs)
        maps.append(weights[0])
        return output, weights

    monkeypatch.setattr(source, "eager_attention_forward", recording)
    model.model.visual.set_attn_implementation("eager")
    with torch.no_grad():
        model.model.get_image_features(*pixels.values())
    expected = torch.stack([chunk.mean((0, 1)).view(35, 4).sum(1) for chunk in maps[-3:]])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    assert seen.keys.shape == (3, 35, 32) and seen.heads == 4


@pytest.mark.parametrize("dense", [0, 2, 8])
def test_a_plan_counts_the_experts_that_begin_behind_the_first_layers(dense):
    """Against the matrices of a tiny model of 6 layers."""
    model = TINY["glm4v_moe"].model(first_k_dense_replace=dense)
    layers, shape = model.model.language_model.layers, FAMILIES["glm4v_moe"].language_shape(model.config.text_config)
    assert shape.dense_layers == tuple(number for number, layer in enumerate(layers) if not hasattr(layer.mlp, "experts"))
    assert shape.weights == sum(value.numel() for value in layers.parameters() if value.dim() > 1)
    met = 3 * 64 if dense > 5 else 3 * (2 + 1) * 24 + 5  # of the last layer: one MLP, or two experts, one for all and the choice
    assert shape.of(5).mlp_weights == 32 * met
