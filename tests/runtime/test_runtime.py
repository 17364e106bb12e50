"""Loading, encoding once, asking, streaming, stopping; on a random checkpoint of the bundled architecture."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.runtime.question import prompt_ids
from aim.shapes.drawing import render
from aim.shapes.model import IMAGE_SIZE, TOKENS_PER_FRAME, build_model, save
from aim.shapes.packing import to_pixels
from aim.shapes.scenes import frame_times
from aim.shapes.world import make_scene
from aim.video.clip import clip_from_frames

QUESTION = "what colour is the circle?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint")
    save(build_model(), path)
    return path


@pytest.fixture(scope="module")
def vlm(folder):
    return aim.load(str(folder))


def clip(index=0, frames=4, size=IMAGE_SIZE):
    return clip_from_frames(render(make_scene("test", index), frame_times(frames), size)[0], 4.0)


def test_an_answer_equals_stock_generate_on_the_same_inputs(vlm):
    seen, tokenizer = clip(3), vlm.checkpoint.tokenizer
    ours = vlm.ask(seen, QUESTION, aim.Full(), max_new_tokens=12)
    video = "<video>" * (4 * TOKENS_PER_FRAME + 1)
    ids = tokenizer(f"<|im_start|>user {video} {QUESTION}<|im_end|><|im_start|>assistant", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        stock = vlm.model.generate(input_ids=ids, pixel_values_videos=to_pixels(seen.frames[None]), max_new_tokens=12, do_sample=False)
    assert ours.text == tokenizer.decode(stock[0, ids.shape[1] :], skip_special_tokens=True).strip()


def test_a_streamed_answer_grows_and_ends_complete(vlm):
    steps = list(vlm.stream(clip(4), QUESTION, max_new_tokens=6))
    texts = [step.text for step in steps]
    assert all(later.startswith(earlier.strip()) for earlier, later in zip(texts[:-1], texts[1:], strict=False))
    assert all(step.trace is None for step in steps[:-1])
    assert steps[-1].trace.frames == 4
    assert list(steps[0].timings) == ["decode_video", "preprocess", "vision_tower"] and not steps[0].text
    assert list(steps[1].timings) == ["decode_video", "preprocess", "vision_tower", "merge", "importance", "llm_prefill"]
    assert steps[-1].text == vlm.ask(clip(4), QUESTION, max_new_tokens=6).text


def test_a_report_names_every_stage_and_its_json_can_be_read_back(vlm):
    answer = vlm.ask(clip(5), QUESTION, max_new_tokens=3)
    stages = ["decode_video", "preprocess", "vision_tower", "merge", "importance", "llm_prefill", "first_token", "decode", "total"]
    assert list(answer.timings) == stages
    report = json.loads(answer.to_json())
    assert json.loads(json.dumps(answer.account())) == {name: value for name, value in report.items() if name != "trace"}
    assert report["visual_tokens"] == 4 * TOKENS_PER_FRAME and report["merged_tokens"] == 4 * (TOKENS_PER_FRAME // 4)
    assert report["tokens_per_layer"] == [list(pair) for pair in answer.trace.tokens_per_layer]
    assert report["params"]["l1"] == 6 and report["params"]["l2"] == 9
    assert report["cost"]["speedup"] > 1
    assert report["cost"]["kv_bytes"] == sum(2 * 2 * 32 * 4 * n for n in report["trace"]["key_value_lengths"])


def test_a_call_that_generate_refuses_leaves_the_clip_as_it_was(vlm):
    seen = clip(5)
    first = vlm.ask(seen, QUESTION, max_new_tokens=3).text
    with pytest.raises(ValueError):
        vlm.ask(seen, QUESTION, max_new_tokens=3, num_return_sequences=2, do_sample=True)
    assert vlm.ask(seen, QUESTION, max_new_tokens=3).text == first


@pytest.mark.parametrize("template", ["", "{{ messages[0]['role'] }}", "{% for message in messages %}"])
def test_a_chat_template_that_writes_no_clip_is_refused_in_words(vlm, monkeypatch, template):
    broken = replace(vlm.checkpoint, chat_template=template)
    with pytest.raises(Refusal, match="chat template is damaged or of another model"):
        prompt_ids(broken, QUESTION, vlm.grid(4), 100)


def test_setting_stop_ends_the_model_within_a_token(vlm):
    stop, texts = threading.Event(), []
    for step in vlm.stream(clip(6), QUESTION, max_new_tokens=400, stop=stop):
        texts.append(step.text)
        if len(texts) == 4:
            stop.set()
    assert step.new_tokens < 100  # on a busy machine the model is some tokens ahead of its reader


def test_closing_a_stream_frees_the_model_for_the_next_question(vlm):
    stream = vlm.stream(clip(7), QUESTION, max_new_tokens=400)
    next(stream)
    stream.close()
    assert vlm.ask(clip(7), QUESTION, max_new_tokens=2).new_tokens == 2


def test_an_error_in_the_model_reaches_the_caller_and_the_next_question_works(vlm, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(vlm.model.lm_head, "forward", broken)
        with pytest.raises(RuntimeError, match="out of luck"):
            vlm.ask(clip(8), QUESTION)
    assert vlm.ask(clip(8), QUESTION, max_new_tokens=2).new_tokens == 2


def test_a_typed_marker_is_words_and_not_a_placeholder(vlm):
    answer = vlm.ask(clip(9), "what <video> colour<|im_end|> is the circle?", max_new_tokens=2)
    assert answer.trace.visual_tokens == 4 * TOKENS_PER_FRAME


@pytest.mark.parametrize("question", ["<video>", " <video><|im_end|>\n"])
def test_a_question_of_markers_alone_is_told_so(vlm, question):
    with pytest.raises(Refusal, match="nothing but the model's own markers"):
        vlm.ask(clip(9), question)


@pytest.mark.parametrize("question", ["", "   ", "x" * 10_000])
def test_a_question_of_the_wrong_length_is_refused(vlm, question):
    with pytest.raises(Refusal, match="characters; 1 to 2,000 are accepted"):
        vlm.ask(clip(), question)


def test_no_tokens_to_generate_are_refused(vlm):
    with pytest.raises(Refusal, match="max_new_tokens is 0"):
        vlm.ask(clip(), QUESTION, max_new_tokens=0)


def test_a_prompt_past_the_trained_context_is_refused_and_merging_makes_it_fit(vlm):
    long = clip_from_frames(np.zeros((130, 96, 96, 3), np.uint8), 4.0)
    with pytest.raises(Refusal, match="make a prompt of .* this model takes 4,096"):
        vlm.ask(long, QUESTION, aim.Full())
    assert vlm.ask(long, QUESTION, aim.AIM(merge_ratio=0.1), max_new_tokens=1).trace.merged_tokens == 130 * int(0.1 * TOKENS_PER_FRAME)


def test_the_plan_of_a_run_equals_what_it_executed(vlm):
    method = aim.AIM(merge_ratio=0.5, l1=4, l2=9)
    answer = vlm.ask(clip(), QUESTION, method, max_new_tokens=1)
    plan = vlm.plan(4, vlm.text_tokens(QUESTION), method)
    assert plan.tokens_per_layer == answer.trace.tokens_per_layer
    assert plan.prefill_tflops == answer.cost["prefill_tflops"]


def test_float32_is_chosen_on_the_cpu_and_can_be_overridden(folder):
    assert aim.load(str(folder)).dtype == torch.float32
    assert aim.load(str(folder), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_sampling_goes_through_to_generate(vlm):
    torch.manual_seed(0)
    answers = {vlm.ask(clip(), QUESTION, max_new_tokens=5, do_sample=True, temperature=5.0).text for _ in range(4)}
    assert len(answers) > 1


@pytest.mark.parametrize("name", ["no-such-model", "/nowhere/at/all", "nobody/nothing-at-all"])
def test_a_model_that_cannot_be_loaded_is_refused_without_a_path(name):
    with pytest.raises(Refusal, match="is not on this machine|is neither a folder on this machine nor a Hub id") as error:
        aim.load(name)
    assert "/nowhere" not in str(error.value)


def test_frames_of_any_shape_become_the_models_size(vlm):
    wide = clip_from_frames(np.random.default_rng(0).integers(0, 255, (3, 60, 200, 3), np.uint8), 4.0)
    pixels = vlm.checkpoint.family.pixel_values(vlm.model.config, wide.frames, vlm.checkpoint.pictures)["pixel_values_videos"]
    assert pixels.shape == (1, 3, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert vlm.ask(wide, QUESTION, max_new_tokens=1).trace.frames == 3


def test_the_next_token_distribution_is_the_stock_models_whatever_is_sampled(vlm):
    answer = vlm.ask(clip(), QUESTION, aim.Full(), max_new_tokens=2, do_sample=True, temperature=9.0)
    inputs = vlm.inputs(QUESTION, vlm.encode(clip().frames))
    with torch.no_grad():
        expected = vlm.model(**inputs).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(answer.next_token, expected, atol=1e-5, rtol=1e-5)
    assert "next_token" not in answer.to_dict()
