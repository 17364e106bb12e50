"""What the families state of their published models, against figures written down by hand and against transformers itself."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText
from transformers.quantizers.quantizers_utils import should_convert_module

from aim.families import FAMILIES, PUBLISHED, family_of, find_published
from aim.planning.plan import look_up
from tests.stated_models import STATED
from tests.tiny import EACH, TINY


def guessing(shape):
    """Billions of parameters of the layer that guesses a token ahead, which the pages of Qwen3.5 count and transformers does not load: one
    that attends to keys, behind a matrix that joins two vectors into one."""
    return (shape.layer_weights + 3 * shape.hidden_size * shape.unused_size + 2 * shape.hidden_size**2) / 1e9


def test_every_published_model_has_figures_to_be_held_against():
    assert set(PUBLISHED) == set(STATED)
    assert sum(len(family.published) for family in FAMILIES.values()) == len(PUBLISHED)  # no name twice


@pytest.mark.parametrize("name", STATED)
def test_a_published_model_is_planned_with_the_shapes_its_authors_state(name):
    assert look_up(name) == STATED[name][0]


# Those that are like the first of another family.
ALIKE_MADE = {"exaone4_5", "glm4v_moe", "minicpmv4_6", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"}


def _is_slow(name: str) -> bool:
    return name.startswith(("qwen3", "gemma"))


# The first of each family, and all of those that are made fast; making the others on no device at all takes a second each.
MADE = [
    pytest.param(name, marks=pytest.mark.whole if _is_slow(name) and family.published[0].name != name or kind in ALIKE_MADE else ())
    for kind, family in FAMILIES.items()
    for name in (model.name for model in family.published)
]


@pytest.mark.parametrize("name", MADE)
def test_a_published_model_has_the_number_of_parameters_its_page_states(name):
    if name.startswith("perception"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(PUBLISHED[name].config())
    planned, stated = STATED[name]
    made = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    if name.startswith("qwen3.5"):
        made += guessing(planned.shape)
    assert made == pytest.approx(stated, rel=5e-3)


def rotary(config):
    """The numbers of the rotary positions, of the layers without a window where kinds of layers have their own."""
    numbers = config.text_config.rope_parameters
    return numbers.get("full_attention", numbers)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_published_model_is_of_its_family_and_a_config_is_new_each_time(kind):
    for model in FAMILIES[kind].published:
        config = model.config()
        assert family_of(config) is FAMILIES[kind]
        placeholders = {FAMILIES[kind].image_token(config), FAMILIES[kind].video_token(config)} - {None}
        assert max(placeholders) < config.text_config.vocab_size + getattr(config.text_config, "additional_vocab_size", 0)
        config.text_config.num_hidden_layers = 1
        rotary(config)["rope_theta"] = 1.0
        assert model.config().to_dict() != config.to_dict()
        assert rotary(model.config())["rope_theta"] > 1


@pytest.mark.parametrize("name", STATED)
def test_a_published_model_is_found_by_its_name_and_by_each_hub_id(name):
    model = PUBLISHED[name]
    for hub_id in model.hub_ids:
        owner, checkpoint = hub_id.split("/")
        for called in (name, hub_id, checkpoint, f"{owner}/{name}", hub_id.lower(), hub_id.upper()):
            assert find_published(called) is model


@pytest.mark.parametrize(
    ("hub_id", "name"),
    [
        ("llava-hf/llava-onevision-qwen2-0.5b-si-hf", "llava-onevision-qwen2-0.5b"),
        ("llava-hf/llava-onevision-qwen2-7b-ov-chat-hf", "llava-onevision-qwen2-7b"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl-7b"),
        ("Qwen/Qwen2-VL-7B", "qwen2-vl-7b"),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2.5-vl-3b"),
        ("OpenGVLab/InternVL3-8B-hf", "internvl3-8b"),
        ("OpenGVLab/InternVL3-8B", "internvl3-8b"),
        ("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b"),
    ],
)
def test_a_hub_id_finds_its_model(hub_id, name):
    assert find_published(hub_id) is PUBLISHED[name]


@pytest.mark.parametrize("model", ["", "qwen2-vl", "somebody/qwen2-vl-7b", "Qwen/llava-1.5-7b", "models/Qwen/Qwen2-VL-7B", "bundled"])
def test_other_names_find_nothing(model):
    assert find_published(model) is None


@pytest.mark.parametrize("name", EACH)
def test_under_quantisation_the_matrices_of_the_llms_layers_change_and_no_others(name):
    model, kept = TINY[name].model(), list(FAMILIES[name].unquantised)
    matrices = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    changed = {path for path in matrices if should_convert_module(path, kept)}
    assert changed == {path for path in matrices if path.startswith(("model.language_model.layers.", "model.text_model.layers."))} != set()
    assert all(any(path == module or path.startswith(f"{module}.") for path in matrices) for module in kept)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.whole if kind in ALIKE_MADE else ()) for kind in FAMILIES])
def test_the_picture_settings_make_what_the_published_towers_take(kind):
    family = FAMILIES[kind]
    for model in family.published:
        config = model.config()
        frames = np.full((3, 360, 640, 3), 255, np.uint8)
        made = family.pixel_values(config, frames, family.picture_settings)
        pixels = next(value for key, value in made.items() if "pixel" in key)
        grid = family.grid(config, family.picture_settings, 3, 360, 640)
        if pixels.dim() > 3 and not TINY[kind].packed:
            vision = config.vision_config
            sides = np.broadcast_to(vision.image_size if hasattr(vision, "image_size") else vision.model_args["img_size"], 2).tolist()
            assert list(pixels.shape[-4:]) == [3, 3, *sides]
        else:
            vision = family.vision_shape(config, grid)
            pixels = pixels.view(-1, vision.patch_pixels) if TINY[kind].packed else pixels
            assert list(pixels.flatten(0, -2).shape) == [grid.frames * vision.patches_per_frame, vision.patch_pixels]
        assert 0.9 < pixels.max() < 3  # white, in standard deviations from the mean
