"""Step 3.7: pixels beside its own processor, tiles, what its tower attends to, and the weights of its layers."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.step3p7.image_processing_step3p7 import Step3p7ImageProcessor

import aim
from aim.families import FAMILIES, family_of, step3p7
from aim.kernels.cost import kv_bytes
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up, shape_of
from tests.tiny import IMAGE, TINY
from tests.tiny_checkpoints import FOLDERS, save_checkpoint

if not step3p7.IS_UNIFORM:
    pytest.skip("This release of transformers is too old for it.", allow_module_level=True)
FAMILY = FAMILIES["step3p7"]
SETTINGS = FOLDERS["step3p7"][2]["preprocessor_config.json"]


@pytest.fixture(scope="module")
def model():
    return TINY["step3p7"].model()


def whole_view(frame, limit):
    """The whole view that its processor makes of a frame. Its steps are its own, and pillow resizes and pads in place of torchvision."""

    def resize(images, size, resample):
        made = [Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size.width, size.height), resample) for image in images]
        return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in made])

    def pad(images, pad_size):
        return [
            torch.nn.functional.pad(image, (0, pad_size.width - image.shape[2], 0, pad_size.height - image.shape[1])) for image in images
        ]

    own = SimpleNamespace(resize=resize, pad=pad, max_image_size=limit, _is_extreme_aspect=Step3p7ImageProcessor._is_extreme_aspect)
    own._plan_patches = partial(Step3p7ImageProcessor._plan_patches, own)
    pixels, *_ = Step3p7ImageProcessor._get_image_patches(own, torch.from_numpy(frame).permute(2, 0, 1), 40, 24, Image.Resampling.BILINEAR)
    mean, std = (torch.tensor(SETTINGS[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize("shape", [(3, 37, 61), (2, 40, 40), (1, 20, 90), (1, 90, 20), (2, 133, 80), (1, 10, 150)])
def test_a_frame_is_the_whole_view_that_its_processor_makes(shape, model):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = FAMILY.pixel_values(model.config, frames, {**SETTINGS, "max_image_size": 100})["pixel_values"]
    torch.testing.assert_close(made, torch.stack([whole_view(frame, 100) for frame in frames]), rtol=0, atol=1e-5)
    left, top, right, bottom = FAMILY.shown(SETTINGS, *shape[1:])
    ribbon = min(shape[1:]) < 32 and max(shape[1:]) > 4 * min(shape[1:])
    assert (left, top) == (0, 0) and (right, bottom) == ((max(shape[1:]),) * 2 if ribbon else (shape[2], shape[1]))


def test_a_checkpoint_without_picture_settings_gets_those_of_its_processor(tmp_path):
    folder = save_checkpoint("step3p7", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    pictures = aim.load(folder).checkpoint.pictures
    assert {name: pictures[name] for name in ("image_mean", "image_std", "resample")} == {
        name: getattr(Step3p7ImageProcessor, name) for name in ("image_mean", "image_std", "resample")
    }


def tiled(tiles=2):
    """An image as its processor shows it: tiles of 3 x 3 tokens, and behind them the whole view."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[5, *[91, *[IMAGE] * 9, 92] * tiles, 95, *[IMAGE] * 25, 96, 6, 7]])
    whole, local = (torch.randn(count, 3, side, side, generator=generator) for count, side in ((1, 40), (tiles, 24)))
    inputs = {"pixel_values": whole, "pixel_values_local": local, "num_local_patches": torch.tensor([tiles])}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **inputs}


def test_an_image_in_tiles_is_reduced_tile_by_tile_and_methods_that_read_the_tower_refuse_it(model):
    inputs = tiled()
    stock = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    with aim.reduce(model, aim.Full()):
        assert torch.equal(model.generate(**inputs, max_new_tokens=12, do_sample=False), stock)
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        model.generate(**inputs, max_new_tokens=2)
    assert sorted(trace.grids) == [(1, 5, 5), (2, 3, 3)] and trace.merged_tokens == 2 * 4 + 12
    with pytest.raises(Refusal, match="images without tiles"), aim.reduce(model, aim.PruMerge()):
        model.generate(**inputs, max_new_tokens=1)


def test_its_tower_reports_the_sums_over_four_by_four_patches_and_keys_before_the_rotary_embedding(model):
    pixels, seen, made = TINY["step3p7"].video_inputs(3)["pixel_values"], [], []
    tower = model.model.vision_model
    hooks = [
        *FAMILY.watch_tower(model, seen.append),
        tower.layers[-1].self_attn.k_proj.register_forward_hook(lambda m, a, o: made.append(o)),
    ]
    with torch.no_grad():
        model.model.get_image_features(pixels)
        for hook in hooks:
            hook.remove()
        tower.set_attn_implementation("eager")
        columns = tower(pixels, output_attentions=True).attentions[-1].mean((1, 2)).view(3, 20, 20)
    tower.set_attn_implementation("sdpa")
    for row in range(5):
        for column in range(5):
            block = columns[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum((1, 2))
            torch.testing.assert_close(seen[0].received[:, 5 * row + column], block, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(seen[0].keys[:, 0], made[0].view(3, 20, 20, 32)[:, :4, :4].mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_a_layer_has_the_weights_of_its_own_heads_and_of_experts_or_one_mlp(model):
    shape, _ = shape_of(model.config)
    stored = [sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in model.model.language_model.layers]
    layers = [shape.of(layer) for layer in range(6)]
    assert [layer.layer_weights + 3 * layer.unused_size * 32 for layer in layers] == stored and shape.weights == sum(stored)
    assert [layer.num_heads for layer in layers] == [6, 6, 4, 6, 6, 4] and len(set(stored)) == 3
    assert [layer.unused_size for layer in layers] == [0, 0, *[3 * 24] * 4] and kv_bytes(shape, [10] * 6) == 6 * 2 * 2 * 10 * 2 * 8


def test_a_config_in_the_words_of_the_published_checkpoint_gives_the_planned_shapes():
    """It names things in its own way, and its lists go on for the three layers that guess ahead."""
    kinds = ["sliding_attention" if layer % 4 else "full_attention" for layer in range(48)]
    heads = {"attention_type": "sliding_attention", "num_attention_heads": 96, "num_attention_groups": 8, "head_dim": 128}
    text = {
        "model_type": "step3p5",
        "vocab_size": 128896,
        "num_hidden_layers": 45,
        "num_nextn_predict_layers": 3,
        "num_attention_groups": 8,
        "attention_other_setting": heads,
        "layer_types": kinds,
        "sliding_window": 512,
        "moe_num_experts": 288,
        "moe_top_k": 8,
        "moe_layers_enum": ",".join(map(str, range(3, 45))),
        "rope_theta": [5e6 if kind == "full_attention" else 1e4 for kind in kinds],
        "partial_rotary_factors": [0.5 if kind == "full_attention" else 1.0 for kind in kinds],
    }
    vision = {"model_type": "perception_encoder", "width": 1536, "layers": 47, "heads": 16, "mlp_ratio": 8960 / 1536}
    config = FAMILY.published[0].config_class(text_config=text, vision_config=vision, image_token_id=128001)
    planned = look_up("step-3.7-flash")
    assert shape_of(config) == (planned.shape, planned.vision)


def test_placeholders_that_are_no_picture_and_models_of_another_shape_are_refused():
    config = TINY["step3p7"].model().config
    with pytest.raises(Refusal, match="30 image placeholders in a row; Step 3.7 has 25 for a whole picture"):
        FAMILY.images(config, {})(30)
    config.text_config.use_bidirectional_attention = True
    with pytest.raises(Refusal, match="in both directions.*stepfun-ai/Step-3.7-Flash"):
        family_of(config)
    config.text_config.use_bidirectional_attention, config.vision_config.image_size = False, 36
    with pytest.raises(Refusal, match="blocks of 4 x 4, which do not fill a frame"):
        family_of(config)
