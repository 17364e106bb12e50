"""Perception LM: its pixels, its prompt, and the tower of timm, which is tested where timm can be imported."""

import json

import numpy as np
import pytest
import torch
from transformers import PerceptionLMConfig, PerceptionLMForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.utils import is_timm_available

import aim
from aim.bench.tiny_models import ready
from aim.families import FAMILIES, PUBLISHED, family_of, perception_lm
from aim.kernels.cost import vision_flops
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from tests.tiny import TINY
from tests.tiny_checkpoints import SQUARE, save_checkpoint

if not perception_lm.IS_UNIFORM:
    pytest.skip("This release of transformers is too old for it.", allow_module_level=True)
FAMILY = FAMILIES["perception_lm"]
OF_TIMM = {"LARGE": PUBLISHED["perception-lm-1b"], "LARGEST": PUBLISHED["perception-lm-3b"]}


@pytest.mark.parametrize("shape", [(5, 37, 61), (2, 40, 40)])
def test_a_frame_is_resized_to_a_square_as_an_image_of_one_tile_is(shape):
    """Its processors need torchvision. They resize to a square and normalise, as this one does."""
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = FAMILY.pixel_values(TINY["perception_lm"].model().config, frames, SQUARE)["pixel_values_videos"]
    processor = GotOcr2ImageProcessorPil(**SQUARE, crop_to_patches=False)
    expected = torch.stack([torch.as_tensor(np.asarray(processor(frame)["pixel_values"][0])) for frame in frames])
    torch.testing.assert_close(made[0], expected.float(), rtol=0, atol=1e-5)


@pytest.mark.skipif(is_timm_available(), reason="timm is installed")
def test_a_published_checkpoint_says_what_to_install(tmp_path):
    folder = save_checkpoint("perception_lm", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] = {**PUBLISHED["perception-lm-1b"].parts["vision_config"], "label_names": ["none"], "num_classes": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(Refusal, match="pip install timm torchvision") as error:
        aim.load(folder)
    assert "\n" not in str(error.value)


def test_a_clip_that_is_not_whole_and_a_side_that_pooling_cuts_off_are_refused():
    config = TINY["perception_lm"].model().config
    with pytest.raises(Refusal, match="30 video placeholders in a row; a Perception LM clip has 25 a frame"):
        FAMILY.videos(config, {})(30)
    config.projector_pooling_ratio = 3
    with pytest.raises(Refusal, match="blocks that do not fill them.*facebook/Perception-LM-1B"):
        family_of(config)


@pytest.mark.parametrize("tower", OF_TIMM)
def test_the_tower_of_timm_costs_what_is_counted_and_tells_what_it_attends_to(tower):
    timm = pytest.importorskip("timm")
    from torch.utils.flop_counter import FlopCounterMode

    parts = OF_TIMM[tower].parts
    numbers = {"embed_dim": 32, "depth": 2, "img_size": [56, 56], "ref_feat_shape": [4, 4], "num_heads": 4, "patch_size": 14}
    vision = {**parts["vision_config"], "model_args": {**parts["vision_config"]["model_args"], **numbers}}
    tiny = TINY["perception_lm"].model().config.text_config.to_dict()
    config = PerceptionLMConfig(**{**parts, "text_config": tiny, "vision_config": vision, "image_token_id": 97, "video_token_id": 98})
    model = ready(PerceptionLMForConditionalGeneration, config, 0)
    attention, pixels = model.model.vision_tower.timm_model.blocks[-1].attn, torch.randn(1, 3, 3, 56, 56)
    attention.fused_attn, seen = False, []
    weights = []
    hooks = [*FAMILY.watch_tower(model, seen.append), attention.attn_drop.register_forward_hook(lambda m, a, out: weights.append(out))]
    with torch.no_grad():
        model.model.get_image_features(pixels)
    for hook in hooks:
        hook.remove()
    first = int(tower == "LARGE")
    paid = weights[0].mean(1)[:, 0, 1:] if first else weights[0].mean((1, 2))
    blocks = paid.view(3, 2, 2, 2, 2).sum((2, 4)).flatten(1)
    torch.testing.assert_close(seen[0].received, blocks, rtol=1e-4, atol=1e-6)
    assert seen[0].keys.shape == (3, 4, 32) and timm.__version__
    for block in model.model.vision_tower.timm_model.blocks:
        block.attn.fused_attn = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.model.get_image_features(pixels)
    assert vision_flops(FAMILY.vision_shape(config, Grid(3, 2, 2)), 3) == counter.get_total_flops()
