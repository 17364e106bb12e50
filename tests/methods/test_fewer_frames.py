"""FewerFrames: it equals the stock model on a clip of fewer frames; which frames are taken, what that costs, and what is refused."""

from __future__ import annotations

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.video.intake.sampling import choose
from aim.views.costs import cost_table
from tests.tiny import TINY, VIDEO

SEVEN_B = "llava-onevision-qwen2-7b"


def test_it_says_what_the_stock_model_says_of_a_clip_with_only_these_frames():
    tiny = TINY["llava_onevision"]
    model, inputs = tiny.model(), tiny.video_inputs(4)
    left = torch.ones_like(inputs["input_ids"][0], dtype=torch.bool)
    left[(inputs["input_ids"][0] == VIDEO).nonzero().flatten()[:50]] = False  # as many places as two frames have
    fewer = {name: inputs[name][:, left] for name in ("input_ids", "attention_mask")}
    fewer["pixel_values_videos"] = inputs["pixel_values_videos"][:, [1, 3]]
    with torch.no_grad():
        expected = model.generate(**fewer, max_new_tokens=6, do_sample=False)[0, fewer["input_ids"].shape[1] :]
        logits = model(**fewer).logits[0, -1]
        with aim.reduce(model, aim.FewerFrames(keep_ratio=0.5)) as trace:
            said = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            torch.testing.assert_close(model(**inputs).logits[0, -1], logits, atol=1e-5, rtol=1e-4)
    assert said.tolist() == expected.tolist()
    assert trace.anchors.tolist() == [*range(25, 50), *range(75, 100)]
    assert trace.assignment.tolist() == [[-1] * 25, list(range(25)), [-1] * 25, list(range(25, 50))]


@pytest.mark.parametrize(("frames", "ratio"), [(32, 0.25), (8, 0.4), (7, 0.5), (5, 0.01), (3, 0.99), (6, 1.0)])
def test_frames_are_those_that_a_shorter_reading_of_the_clip_takes(frames, ratio):
    taken = aim.FewerFrames(keep_ratio=ratio).taken(frames)
    seconds = torch.arange(frames, dtype=torch.float64).numpy()
    assert taken == choose(seconds, float(frames), max(1, int(ratio * frames))).tolist()
    assert len(set(taken)) == len(taken)


def test_the_tower_saves_what_is_not_taken_and_is_told_apart():
    for method in (aim.FewerFrames(keep_ratio=0.25), aim.Composed(merger=aim.FewerFrames(keep_ratio=0.25))):
        planned, of_eight = aim.plan(SEVEN_B, 32, 100, method), aim.plan(SEVEN_B, 8, 100, aim.Full())
        assert planned.tokens_per_layer == of_eight.tokens_per_layer
        assert planned.vision_tflops == of_eight.vision_tflops == planned.baseline_vision_tflops / 4
        assert (planned.prefill_tflops, planned.merge_tflops) == (of_eight.prefill_tflops, 0)
    full = aim.plan(SEVEN_B, 32, 100, aim.AIM())
    assert full.vision_tflops == full.baseline_vision_tflops == planned.baseline_vision_tflops


def test_an_answers_account_has_the_taken_frames_alone():
    vlm, clip = aim.load("bundled"), aim.read_video("assets/examples/colour.mp4", num_frames=4)
    answer = vlm.ask(clip, "what colour is the circle?", aim.FewerFrames(keep_ratio=0.5), max_new_tokens=2)
    assert answer.trace.tokens_per_layer[0][0] == 98
    assert answer.cost["vision_tflops"] == answer.cost["baseline_vision_tflops"] / 2 == vlm.plan(2, 9, aim.Full()).vision_tflops
    assert "of the frames that the method takes" in cost_table(answer)
    assert "of the frames that the method takes" not in cost_table(vlm.ask(clip, "what colour is the circle?", max_new_tokens=2))


def test_a_budget_turns_it():
    matched = aim.match("fewerframes", SEVEN_B, 32, target_tflops=22.9)
    assert isinstance(matched, aim.FewerFrames) and aim.plan(SEVEN_B, 32, 100, matched).tokens_per_layer[0] == (8 * 196, 100)


def test_a_clip_of_one_frame_is_refused_and_taking_all_is_not():
    message = "FewerFrames has a keep_ratio of 0.5 and a clip of 1 frame; accepted: a clip of 2 frames or more. Take more frames"
    with pytest.raises(Refusal, match=message):
        aim.FewerFrames(keep_ratio=0.5).merge(torch.zeros(1, 4, 8))
    with pytest.raises(Refusal, match=message):
        aim.plan(SEVEN_B, 1, 100, aim.FewerFrames(keep_ratio=0.5))
    assert aim.FewerFrames(keep_ratio=1).merge(torch.zeros(1, 4, 8)) is None
    with pytest.raises(Refusal, match="keep_ratio is 0; accepted: a number above 0 and up to 1"):
        aim.FewerFrames(keep_ratio=0)
