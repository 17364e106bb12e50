"""Qwen3-VL: the words around a clip against its own processor's, and its features of several depths made part by part."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from aim.families import FAMILIES, batches
from aim.kernels.grid import Grid
from tests.tiny import TINY

MARKERS = {"vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>", "video_token": "<|video_pad|>"}


def official_words(indices, rate, rows, columns):
    """What its processor puts in place of <|video_pad|>, for frames of these indices in a video of `rate` frames a second."""
    picture = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    seconds = partial(Qwen3VLProcessor._calculate_timestamps, None)
    processor = SimpleNamespace(**MARKERS, image_processor=picture, video_processor=picture, _calculate_timestamps=seconds)
    inputs = {
        "video_grid_thw": torch.tensor([[-(-len(indices) // 2), 2 * rows, 2 * columns]]),
        "video_metadata": [SimpleNamespace(fps=rate, frames_indices=list(indices))],
    }
    return Qwen3VLProcessor.replace_video_token(processor, inputs, 0)


@pytest.mark.parametrize("indices", [[0], [0, 7], [3, 40, 77, 114, 151], list(range(0, 3000, 250))], ids=len)
@pytest.mark.parametrize("rate", [24, 29.97])
@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe"])
def test_the_words_around_a_clip_are_its_own_processors(name, indices, rate):
    grid = Grid(-(-len(indices) // 2), 2, 3)
    parts = FAMILIES[name].prompt(grid, [index / rate for index in indices])
    ours = "".join(part if isinstance(part, str) else "<|video_pad|>" * part for part in parts)
    assert ours == official_words(indices, rate, 2, 3)


def test_without_times_a_clip_is_planned_with_a_frame_a_second():
    parts = FAMILIES["qwen3_vl"].prompt(Grid(2, 2, 3), [])
    assert parts[0] == "<0.5 seconds><|vision_start|>" and parts[3] == "<2.5 seconds><|vision_start|>"
    assert [part for part in parts if not isinstance(part, str)] == [6, 6]


@pytest.mark.parametrize("frames", [1, 5])
def test_levels_made_in_parts_are_those_of_the_whole_clip(frames, monkeypatch):
    model, inputs = TINY["qwen3_vl"].model(), TINY["qwen3_vl"].video_inputs(frames)
    pixels = {name: inputs[name] for name in ("pixel_values_videos", "video_grid_thw")}
    monkeypatch.setattr(batches.batches, "__defaults__", (0,))  # one step a part
    with torch.no_grad():
        whole = model.model.get_video_features(*pixels.values(), return_dict=True)
        made = FAMILIES["qwen3_vl"].encode(model, pixels).features["video"]
    assert len(made.deepstack_features) == len(whole.deepstack_features) == 3
    for ours, official in zip(made.deepstack_features, whole.deepstack_features, strict=True):
        assert isinstance(ours, torch.Tensor) == isinstance(official, torch.Tensor)  # what a release of transformers has
        ours, official = (level if isinstance(level, torch.Tensor) else torch.cat(list(level)) for level in (ours, official))
        torch.testing.assert_close(ours, official, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat(list(made.pooler_output)), torch.cat(list(whole.pooler_output)), rtol=1e-4, atol=1e-5)
