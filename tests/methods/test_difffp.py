"""DiffFP: plain loops over the rule, the mask of transformers' own processor, the stock model on a compressed prompt, and every layout."""

import __future__

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models import video_llama_3

import aim
from aim.bench.tiny import TINY_PICTURES
from aim.families import FAMILIES, family_of
from aim.families.pixel_change import GivenPixels
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from aim.video.clip import clip_from_frames
from tests.tiny import TINY, VIDEO
from tests.tiny_checkpoints import save_checkpoint

FRAMES, PER_FRAME = 4, 35


@pytest.fixture(scope="module")
def official():
    """The mask of transformers' own processor. Its module imports torchvision, and this function of it needs none."""
    source = Path(video_llama_3.__path__[0], "video_processing_video_llama_3.py").read_text()
    [found] = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == "_get_compression_mask"]
    names: dict = {"torch": torch}
    exec(compile(ast.Module([found], []), "<transformers>", "exec", flags=__future__.annotations.compiler_flag), names)

    def mask(inputs, **options):
        return names[found.name](None, inputs["pixel_values_videos"], inputs["video_grid_thw"], inputs["video_merge_sizes"], **options)

    return mask


@pytest.fixture(scope="module")
def model():
    return TINY["video_llama_3"].model()


@pytest.fixture
def inputs():
    """A clip in which some tokens stand still, one frame stands still as a whole, and one token changes too little to count."""
    given = TINY["video_llama_3"].video_inputs(FRAMES)
    pixels = given["pixel_values_videos"].view(FRAMES, PER_FRAME, -1)
    pixels[1, ::2] = pixels[0, ::2]
    pixels[2] = pixels[1]
    pixels[3, :30] = pixels[2, :30]
    pixels[3, 4] += 0.09 / 255
    pixels[3, 7] -= 0.11 / 255
    return given


def kept_by_loops(pixels: list, threshold: float) -> list[bool]:
    """The rule, value by value, on pixels [frames][tokens][values]."""
    kept = [True] * len(pixels[0])
    for before, now in zip(pixels, pixels[1:], strict=False):
        apart = [sum(abs(a - b) for a, b in zip(*pair, strict=True)) / len(pair[0]) for pair in zip(before, now, strict=True)]
        frame = [255 * mean > threshold for mean in apart]
        kept += frame if any(frame) else [True, *frame[1:]]
    return kept


def kept(trace) -> list[bool]:
    return (trace.assignment.flatten() >= 0).tolist()


@pytest.mark.parametrize("threshold", [0.1, 0.0, 0.05, 288.0, 1000.0])
def test_what_stays_is_what_loops_and_transformers_own_processor_keep(model, inputs, official, threshold):
    with torch.no_grad(), aim.reduce(model, aim.DiffFP(pixel_threshold=threshold)) as trace:
        model(**inputs)
    pixels = inputs["pixel_values_videos"].double()
    assert (
        kept(trace)
        == kept_by_loops(pixels.view(FRAMES, PER_FRAME, -1).tolist(), threshold)
        == official(inputs, threshold=threshold).tolist()
    )
    assert trace.group_sizes.tolist() == [1] * sum(kept(trace)) and PER_FRAME + FRAMES - 1 <= sum(kept(trace)) < FRAMES * PER_FRAME


def test_it_answers_as_the_stock_model_does_on_a_prompt_that_its_processor_has_compressed(model, inputs, official):
    mask = official(inputs)
    stay = torch.ones_like(inputs["input_ids"][0], dtype=torch.bool)
    stay[(inputs["input_ids"][0] == VIDEO).nonzero().flatten()[~mask]] = False
    shorter = {"input_ids": inputs["input_ids"][:, stay], "attention_mask": torch.ones(1, int(stay.sum())).long()}
    with torch.no_grad():
        stock = model(**inputs | shorter, video_compression_mask=mask).logits
        with aim.reduce(model, aim.DiffFP()) as trace:
            ours = model(**inputs).logits
            said = model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert sum(kept(trace)) == int(mask.sum()) and said.shape[1] == inputs["input_ids"].shape[1] + 2
    torch.testing.assert_close(ours[0, -1], stock[0, -1], rtol=0, atol=1e-5)


# One of each layout: frames, patches token by token, patches in raster order, patches side by side.
LAYOUTS = ("llava_onevision", "qwen2_5_vl", "gemma4", "minicpmv4_6")


@pytest.mark.parametrize("name", [name if name in LAYOUTS else pytest.param(name, marks=pytest.mark.whole) for name in TINY])
def test_a_part_of_a_frame_that_changes_is_the_token_at_its_place(name):
    config, kind = TINY[name].model().config, TINY[name].model().config.model_type
    family, settings = family_of(config), FAMILIES[kind].picture_settings | TINY_PICTURES[kind]
    frames = np.full((4, 96, 96, 3), 90, np.uint8)
    grid = family.grid(config, settings, 4, 96, 96)
    row, column = grid.rows - 2, 1
    top, left = ((2 * place + 1) * 48 // count for place, count in ((row, grid.rows), (column, grid.columns)))
    frames[2:, top - 4 : top + 4, left - 4 : left + 4] = 240
    pixels = family.pixel_values(config, frames, settings)
    values = next(value for key, value in pixels.items() if "pixel" in key)
    change = GivenPixels(family, config, values).of(grid.tokens, 0, grid.tokens, grid)
    assert change.shape == (grid.frames - 1, grid.tokens_per_frame)
    moved = (grid.frames - 1) // 2
    assert int(change[moved].argmax()) == row * grid.columns + column and change[moved].max() > 1
    assert int((change > 0).any(dim=1).sum()) == 1  # the other frames stand still


@pytest.mark.parametrize("name", ["video_llama_3", pytest.param("llava_onevision", marks=pytest.mark.whole)])
def test_features_that_were_made_before_tell_the_pixels_change_and_are_not_made_again(name, tmp_path):
    vlm = aim.load(save_checkpoint(name, tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    frames[1:3] = frames[0]
    frames[3, :20] = frames[0, :20]
    clip = clip_from_frames(frames, 1.0)
    before = vlm.ask(clip, "what is it?", aim.Full(), max_new_tokens=1).trace
    answer = vlm.ask(clip, "what is it?", aim.DiffFP(pixel_threshold=1.0), max_new_tokens=1)
    per_frame = before.rows * before.columns
    assert answer.features_reused and before.merged_tokens == 4 * per_frame
    in_frames = [sum(kept(answer.trace)[start : start + per_frame]) for start in range(0, 4 * per_frame, per_frame)]
    assert in_frames[:3] == [per_frame, 1, 1] and 1 < in_frames[3] < per_frame
    assert vlm.ask(clip_from_frames(frames[3:], 1.0), "what is it?", aim.DiffFP(), max_new_tokens=1).trace.merged_tokens == per_frame
    measured = vlm.encode(frames, compared=True)
    with torch.no_grad(), aim.reduce(vlm.model, aim.DiffFP(pixel_threshold=1.0)) as trace:
        vlm.model(**vlm.inputs("what is it?", measured))
    assert kept(trace) == kept(answer.trace)


def test_a_composed_method_lends_the_merger_and_a_plan_tells_the_most(model, inputs):
    method = aim.Composed(merger=aim.DiffFP(), scorer=aim.FastV(), schedule=aim.FastV(layer=1, keep_ratio=0.5))
    with torch.no_grad(), aim.reduce(model, method) as trace:
        model(**inputs)
    left = trace.merged_tokens
    assert left < FRAMES * PER_FRAME and [visual for visual, _ in trace.tokens_per_layer][:2] == [left, left // 2]
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.DiffFP())
    assert planned.tokens_per_layer == [(32 * 196, 100)] * 28
    assert planned.merge_tflops == pytest.approx(3 * 31 * 27 * 27 * 3 * 14**2 / 1e12)


def test_where_the_pixels_are_not_known_it_is_refused(model, inputs):
    with torch.no_grad(), aim.reduce(model, aim.DiffFP()), pytest.raises(Refusal, match="without beams"):
        model.generate(**inputs, max_new_tokens=1, num_beams=2, do_sample=False)
    patches = torch.zeros(2, 4, 8)
    with pytest.raises(Refusal, match="only their visual tokens were given"):
        aim.DiffFP().merge_on(Grid(2, 2, 2), patches)
    assert aim.DiffFP().merge_on(Grid(1, 2, 2), patches[:1]) is None
    with pytest.raises(Refusal, match="pixel_threshold is -1"):
        aim.DiffFP(pixel_threshold=-1)
