"""MiniCPM-V 4.6: its pixels, what its narrowing tower attends to, how sizes reach the LLM, and what is refused."""

import numpy as np
import pytest
import torch
from transformers.models.minicpmv4_6 import modeling_minicpmv4_6 as source
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

import aim
from aim.families import FAMILIES, family_of, minicpmv4_6
from aim.kernels.refusal import Refusal
from tests.tiny import TINY
from tests.tiny_checkpoints import COMMON

if not minicpmv4_6.IS_UNIFORM:
    pytest.skip("This release of transformers is too old for it.", allow_module_level=True)
FAMILY = FAMILIES["minicpmv4_6"]


@pytest.mark.parametrize("shape", [(5, 37, 61), (2, 400, 90), (1, 40, 40), (1, 6, 500)])
def test_a_clip_is_sized_and_laid_as_its_own_image_processor_does_without_slices(shape):
    """Its video processor needs torchvision, and has the same steps."""
    settings = {**COMMON, "scale_resolution": 96}
    config, frames = TINY["minicpmv4_6"].model().config, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    made, grid = FAMILY.pixel_values(config, frames, settings), FAMILY.grid(config, settings, *shape)
    official = MiniCPMV4_6ImageProcessorPil(**settings, patch_size=4, slice_mode=False)(list(frames), return_tensors="pt")
    assert torch.equal(made["target_sizes_videos"], official["target_sizes"])
    torch.testing.assert_close(made["pixel_values_videos"], official["pixel_values"].float(), rtol=0, atol=1e-5)
    assert [[4 * grid.rows, 4 * grid.columns]] * grid.frames == official["target_sizes"].tolist()


@pytest.mark.parametrize("mode", ["16x", pytest.param("4x", marks=pytest.mark.whole)])
def test_tokens_receive_what_their_patches_do_in_the_last_layer(mode, monkeypatch):
    model, inputs = TINY["minicpmv4_6"].model(), TINY["minicpmv4_6"].video_inputs(3)
    pixels, seen = {name: inputs[name] for name in ("pixel_values_videos", "target_sizes_videos")}, []
    hooks = FAMILY.watch_tower(model, seen.append)
    maps, original = [], source.eager_attention_forward

    def recording(*args, **kwargs):
        output, weights = original(*args, **kwargs)
        maps.append(weights[0])
        return output, weights

    monkeypatch.setattr(source, "eager_attention_forward", recording)
    model.model.vision_tower.set_attn_implementation("eager")
    with torch.no_grad():
        model.model.get_video_features(*pixels.values(), downsample_mode=mode)
    for hook in hooks:
        hook.remove()
    rows, columns = (10, 14) if mode == "16x" else (20, 28)
    blocks = [one.mean((0, 1)).view(rows // 2, 2, columns // 2, 2).sum((1, 3)).flatten() for one in maps[-3:]]
    torch.testing.assert_close(seen[0].received, torch.stack(blocks), rtol=1e-4, atol=1e-7)
    assert seen[0].keys.shape == (3, rows * columns // 4, 32) and seen[0].heads == 4


@pytest.mark.parametrize("run", ["forward", "generate"])
def test_four_times_as_many_tokens_are_read_where_nothing_is_joined_inside_the_tower(run):
    model, inputs = TINY["minicpmv4_6"].model(), TINY["minicpmv4_6"].video_inputs(2)
    ids = inputs["input_ids"][0].tolist()
    longer = torch.tensor([[token for one in ids for token in [one] * (4 if one == model.config.video_token_id else 1)]])
    given = {**inputs, "input_ids": longer, "attention_mask": torch.ones_like(longer), "downsample_mode": "4x"}
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        model(**given) if run == "forward" else model.generate(**given, max_new_tokens=2)
    assert trace.grids == [(2, 10, 14)]


def test_a_model_that_joins_other_numbers_of_patches_is_refused():
    config = TINY["minicpmv4_6"].model().config
    assert family_of(config) is FAMILY
    config.downsample_mode = "4x"
    with pytest.raises(Refusal, match="another number of patches than 4 x 4.*openbmb/MiniCPM-V-4.6"):
        family_of(config)


def test_missing_sizes_are_named():
    read = FAMILY.videos(TINY["minicpmv4_6"].model().config, {"target_sizes_videos": torch.ones(0, 2).long()})
    with pytest.raises(Refusal, match="more videos than were given"):
        read(35)
