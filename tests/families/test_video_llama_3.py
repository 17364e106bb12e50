"""VideoLLaMA3: pixels, what its tower attends to, how sizes reach the LLM (EXAONE 4.5 too), and clips that its processor has compressed."""

import numpy as np
import pytest
import torch
from transformers.models.video_llama_3 import modeling_video_llama_3 as source
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil

import aim
from aim.families import FAMILIES
from aim.kernels.refusal import Refusal
from tests.tiny import TINY
from tests.tiny_checkpoints import COMMON

FAMILY = FAMILIES["video_llama_3"]


def compressed(share):
    """A clip's inputs as the official processor makes them where it leaves out all but `share` of the tokens behind the first frame."""
    inputs = TINY["video_llama_3"].video_inputs(3)
    kept = torch.ones(105, dtype=torch.bool)
    kept[35:] = torch.arange(70) < share * 70
    ids = inputs["input_ids"][0]
    places = (ids == 98).nonzero().flatten()
    stay = torch.ones(len(ids), dtype=torch.bool)
    stay[places[~kept]] = False
    return {**inputs, "input_ids": ids[stay][None], "attention_mask": torch.ones(1, int(stay.sum())).long(), "video_compression_mask": kept}


@pytest.mark.parametrize("run", ["forward", "generate"])
def test_a_clip_that_its_own_processor_compressed_is_refused_and_one_that_it_left_whole_is_not(run):
    model = TINY["video_llama_3"].model()
    runs = {"forward": lambda given: model(**given), "generate": lambda given: model.generate(**given, max_new_tokens=2)}
    with torch.no_grad(), pytest.raises(Refusal, match="use_token_compression=False"), aim.reduce(model, aim.AIM(merge_ratio=0.5)):
        runs[run](compressed(0.5))
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        runs[run](compressed(1.0))
    assert (trace.frames, trace.rows, trace.columns) == (3, 5, 7)


@pytest.mark.parametrize("limits", [(64, 10**7), (64, 12_000), (40_000, 10**7)])
@pytest.mark.parametrize("shape", [(5, 37, 61), (4, 64, 48), (1, 40, 40)])
def test_a_clip_is_sized_and_laid_as_its_own_image_processor_does_with_a_frames_share_of_the_pixels(limits, shape):
    """Its video processor needs torchvision. It has the same steps, and divides the pixels among the frames."""
    settings = {**COMMON, "merge_size": 2}
    clip = {**settings, "size": {"shortest_edge": limits[0], "longest_edge": limits[1]}}
    config, frames = TINY["video_llama_3"].model().config, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    made, grid = FAMILY.pixel_values(config, frames, clip), FAMILY.grid(config, clip, *shape)
    [(count, rows, columns)] = made["video_grid_thw"].tolist()
    assert (grid.frames, grid.rows, grid.columns) == (shape[0], rows // 2, columns // 2) and made["video_merge_sizes"].tolist() == [2]
    size = {"shortest_edge": limits[0], "longest_edge": limits[1] // shape[0]}
    processor = VideoLlama3ImageProcessorPil(**settings, size=size, patch_size=4)
    official = [processor(frame, return_tensors="pt") for frame in frames]
    assert {tuple(one["image_grid_thw"][0].tolist()) for one in official} == {(1, rows, columns)} and count == shape[0]
    expected = torch.cat([one["pixel_values"] for one in official]).float()
    torch.testing.assert_close(made["pixel_values_videos"], expected, rtol=0, atol=1e-5)


def test_tokens_receive_what_their_patches_do(monkeypatch):
    model, inputs = TINY["video_llama_3"].model(), TINY["video_llama_3"].video_inputs(3)
    pixels = {name: inputs[name] for name in ("pixel_values_videos", "video_grid_thw", "video_merge_sizes")}
    with torch.no_grad():
        [seen] = FAMILY.encode(model, pixels).features["video"].attentions
    maps, original = [], source.eager_attention_forward

    def recording(*args, **kwargs):
        output, weights = original(*args, **kwargs)
        maps.append(weights[0])
        return output, weights

    monkeypatch.setattr(source, "eager_attention_forward", recording)
    model.model.vision_model.set_attn_implementation("eager")
    with torch.no_grad():
        model.model.get_video_features(*pixels.values())
    expected = torch.stack([chunk.mean((0, 1)).view(35, 4).sum(1) for chunk in maps[-3:]])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    assert seen.keys.shape == (3, 35, 32) and seen.heads == 4


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("name", ["video_llama_3", *(pytest.param(name, marks=pytest.mark.whole) for name in TINY if name == "exaone4_5")])
def test_images_of_several_sizes_keep_them_through_generate(name, beams):
    model, inputs = TINY[name].model(), TINY[name].image_inputs(4, seed=1)
    side = getattr(model.config.vision_config, "spatial_merge_size", 1)
    sizes = [(1, rows // side, columns // side) for _, rows, columns in inputs["image_grid_thw"].tolist()]
    assert len(set(sizes)) > 1
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        model.generate(**inputs, max_new_tokens=2, num_beams=beams, do_sample=False)
        by_generate = trace.grids
        model(**inputs)
    assert by_generate == trace.grids and sum(frames for frames, *_ in trace.grids) == len(sizes)
    assert {size[1:] for size in trace.grids} == {size[1:] for size in sizes}


def test_missing_sizes_are_named():
    read = FAMILY.videos(None, {"video_grid_thw": torch.ones(0, 3).long(), "video_merge_sizes": torch.ones(0).long()})
    with pytest.raises(Refusal, match="more videos than were given"):
        read(35)
