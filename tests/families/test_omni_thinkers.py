"""Qwen2.5-Omni and Qwen3-Omni: the thinker is taken out of a whole checkpoint, and its positions count time."""

import json

import numpy as np
import pytest
import torch

import aim
from aim.families import FAMILIES, qwen2_5_omni
from aim.kernels.refusal import Refusal
from tests.tiny import TINY
from tests.tiny_checkpoints import save_checkpoint

pytestmark = pytest.mark.skipif(not qwen2_5_omni.IS_UNIFORM, reason="transformers builds the thinkers in another shape until 5.21")
# thinker → the model that it is a part of.
WHOLE = {"qwen2_5_omni_thinker": "qwen2_5_omni", "qwen3_omni_moe_thinker": "qwen3_omni_moe"}


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_whole_checkpoint_the_thinker_is_loaded_and_planned(name, tmp_path):
    from safetensors.torch import load_file, save_file

    alone = aim.load(save_checkpoint(name, tmp_path / "alone"))
    folder = tmp_path / "whole"
    save_checkpoint(name, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({f"thinker.{name}": value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    whole = {"model_type": WHOLE[name], "thinker_config": config, "enable_audio_output": False}
    (folder / "config.json").write_text(json.dumps(whole))
    loaded = aim.load(str(folder))
    assert loaded.model.config.model_type == name
    for (parameter, ours), (_, theirs) in zip(loaded.model.named_parameters(), alone.model.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), parameter
    assert aim.plan(str(folder), 4, 50, aim.AIM()).tokens_per_layer == aim.plan(str(tmp_path / "alone"), 4, 50, aim.AIM()).tokens_per_layer


# Qwen2.5-Omni counts whole numbers, 25 a second, and Qwen3-Omni fractions too.
@pytest.mark.parametrize(("name", "second_step"), [("qwen2_5_omni_thinker", 6), ("qwen3_omni_moe_thinker", 6.25)])
def test_a_prune_leaves_tokens_the_times_they_had(name, second_step):
    model, inputs = TINY[name].model(), TINY[name].video_inputs()
    inputs["video_second_per_grid"] = torch.tensor([0.25])
    with torch.no_grad(), aim.reduce(model, aim.FastV(layer=2, keep_ratio=0.5)) as trace:
        model(**inputs)
    times = trace.positions[0] - trace.positions[0].min()
    assert times.unique().tolist() == [0, second_step]
    assert trace.survivors[-1].dtype == torch.long and len(trace.survivors[-1]) == 35


@pytest.mark.parametrize("name", WHOLE)
def test_a_clip_whose_sound_stands_among_its_pictures_is_refused(name):
    model, inputs = TINY[name].model(), TINY[name].video_inputs()
    read = FAMILIES[name].videos(model.config, {"video_grid_thw": torch.tensor([[2, 10, 14]])})
    assert read(35).length == 70  # more than the run holds, which the engine refuses
    ids = inputs["input_ids"].clone()
    ids[0, 40] = model.config.audio_token_id
    with torch.no_grad(), pytest.raises(Refusal, match="placeholders where one video"), aim.reduce(model, aim.Full()):
        model(**{**inputs, "input_ids": ids})


def test_qwen2_5_omnis_keys_are_the_means_of_their_patches_in_the_order_of_the_picture():
    model, inputs = TINY["qwen2_5_omni_thinker"].model(), TINY["qwen2_5_omni_thinker"].video_inputs(2)
    made, seen = [], []
    hooks = [model.model.visual.blocks[-1].attn.k.register_forward_hook(lambda _module, _args, output: made.append(output))]
    hooks += qwen2_5_omni.FAMILY.watch_tower(model, seen.append)
    with torch.no_grad():
        model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])
    for hook in hooks:
        hook.remove()
    expected, tokens = torch.empty(5, 7, 32), iter(made[0].view(35, 4, 32).mean(1))
    for top, left in [(top, left) for top in range(0, 5, 2) for left in range(0, 7, 2)]:  # windows of 2 x 2 tokens
        for row, column in [(row, column) for row in (top, top + 1) for column in (left, left + 1) if row < 5 and column < 7]:
            expected[row, column] = next(tokens)
    torch.testing.assert_close(seen[0].keys[0], expected.flatten(0, 1))


def test_qwen2_5_omni_limits_a_frame_as_its_processor_does():
    processing = pytest.importorskip("transformers.models.qwen2_5_omni.processing_qwen2_5_omni")
    stated = getattr(processing.Qwen2_5OmniProcessor, "videos_kwargs", None)  # 5.21 keeps them elsewhere
    size = (stated or processing.Qwen2_5OmniProcessorKwargs._defaults["videos_kwargs"])["size"]
    [config, *_] = [model.config() for model in qwen2_5_omni.FAMILY.published]
    for height, width, limit in ((2160, 3840, size["longest_edge"]), (56, 84, size["shortest_edge"])):
        pixels = qwen2_5_omni.FAMILY.pixel_values(config, np.zeros((2, height, width, 3), np.uint8), qwen2_5_omni.FAMILY.picture_settings)
        [[_, rows, columns]] = pixels["video_grid_thw"].tolist()
        assert rows * columns * 14 * 14 == pytest.approx(limit, rel=0.1)
