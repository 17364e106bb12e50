"""Qwen3-Omni: the thinker is taken out of a whole checkpoint, and its positions count time in fractions."""

import json

import pytest
import torch

import aim
from aim.families import FAMILIES, qwen3_omni_moe
from aim.kernels.refusal import Refusal
from tests.tiny import TINY
from tests.tiny_checkpoints import save_checkpoint

pytestmark = pytest.mark.skipif(not qwen3_omni_moe.IS_UNIFORM, reason="transformers builds the thinker in another shape until 5.21")
NAME = "qwen3_omni_moe_thinker"


@pytest.mark.whole
def test_of_a_whole_checkpoint_the_thinker_is_loaded_and_planned(tmp_path):
    from safetensors.torch import load_file, save_file

    alone = aim.load(save_checkpoint(NAME, tmp_path / "alone"))
    folder = tmp_path / "whole"
    save_checkpoint(NAME, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({f"thinker.{name}": value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "qwen3_omni_moe", "architectures": ["Qwen3OmniMoeForConditionalGeneration"], "thinker_config": config}
    (folder / "config.json").write_text(json.dumps({**whole, "enable_audio_output": False}))
    loaded = aim.load(str(folder))
    assert loaded.model.config.model_type == NAME
    for (name, ours), (_, theirs) in zip(loaded.model.named_parameters(), alone.model.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert aim.plan(str(folder), 4, 50, aim.AIM()).tokens_per_layer == aim.plan(str(tmp_path / "alone"), 4, 50, aim.AIM()).tokens_per_layer


def test_a_prune_leaves_tokens_the_fractions_of_a_second_they_had():
    model, inputs = TINY[NAME].model(), TINY[NAME].video_inputs()
    inputs["video_second_per_grid"] = torch.tensor([0.25])
    with torch.no_grad(), aim.reduce(model, aim.FastV(layer=2, keep_ratio=0.5)) as trace:
        model(**inputs)
    times = trace.positions[0] - trace.positions[0].min()
    assert times.unique().tolist() == [0, 0.25 * model.config.position_id_per_seconds] and not float(times.max()).is_integer()
    assert trace.survivors[-1].dtype == torch.long and len(trace.survivors[-1]) == 35


def test_a_clip_whose_sound_stands_among_its_pictures_is_refused():
    read = FAMILIES[NAME].videos(TINY[NAME].model().config, {"video_grid_thw": torch.tensor([[2, 10, 14]])})
    assert read(35).length == 70  # more than the run holds, which the engine refuses
    model, inputs = TINY[NAME].model(), TINY[NAME].video_inputs()
    ids = inputs["input_ids"].clone()
    ids[0, 40] = model.config.audio_token_id
    with torch.no_grad(), pytest.raises(Refusal, match="placeholders where one video"), aim.reduce(model, aim.Full()):
        model(**{**inputs, "input_ids": ids})
