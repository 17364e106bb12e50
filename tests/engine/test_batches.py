"""Several prompts at once under `aim.reduce`: each exactly as if it were alone."""

import pytest
import torch

import aim
from tests.tiny import clip_inputs, llava_onevision, takes_features

METHODS = [
    aim.Full(),
    aim.AIM(merge_ratio=0.5, l1=2, l2=5),
    aim.AIM(merge_ratio=0.25, l1=0, l2=3, positions="original"),
    aim.AIM(merge_ratio=1.0, l1=3, l2=4),
]
PROMPTS = [{"frames": 4, "before": 3, "after": 6}, {"frames": 4, "seed": 1, "before": 2, "after": 11}, {"frames": 3, "seed": 2, "after": 4}]


@pytest.fixture(scope="module")
def model():
    return llava_onevision()


def together(prompts):
    """Left-padded ids and mask; the vision features of clips of different length, flattened as the model takes them."""
    longest = max(inputs["input_ids"].shape[1] for inputs in prompts)
    batch = {}
    for name in ("input_ids", "attention_mask"):
        batch[name] = torch.cat([torch.nn.functional.pad(one[name], (longest - one[name].shape[1], 0)) for one in prompts])
    return batch


def encoded(model, prompts):
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    with torch.no_grad():
        features = [model.model.get_video_features(one["pixel_values_videos"], return_dict=True).pooler_output for one in prompts]
    return {"video": BaseModelOutputWithPooling(pooler_output=torch.cat(features, dim=1))}


@takes_features
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_left_padded_batch_answers_as_each_prompt_alone(model, method):
    prompts = [clip_inputs(**options) for options in PROMPTS]
    alone, traces = [], []
    with torch.no_grad():
        for one in prompts:
            with aim.reduce(model, method) as trace:
                answer = model.generate(**one, max_new_tokens=20, do_sample=False)
            alone.append(answer[0, one["input_ids"].shape[1] :])
            traces.append(trace)
        batch = together(prompts)
        with aim.reduce(model, method) as trace:
            answers = model.generate(**batch, mm_encoder_outputs=encoded(model, prompts), max_new_tokens=20, do_sample=False)
    assert len(trace.prompts) == 3
    for expected, answer, one, record in zip(alone, answers, traces, trace.prompts, strict=True):
        assert torch.equal(answer[batch["input_ids"].shape[1] :], expected)
        assert record.tokens_per_layer == one.tokens_per_layer
        assert record.key_value_lengths == one.key_value_lengths
        assert torch.equal(record.assignment, one.assignment)
        assert all(map(torch.equal, record.survivors, one.survivors))


@takes_features
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_logits_of_a_batch_are_those_of_each_prompt_alone(model, method):
    prompts = [clip_inputs(**options) for options in PROMPTS]
    batch = together(prompts)
    with torch.no_grad(), aim.reduce(model, method):
        alone = [model(**one).logits[0, -1] for one in prompts]
        logits = model(**batch, mm_encoder_outputs=encoded(model, prompts)).logits[:, -1]
    torch.testing.assert_close(logits, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_prompts_of_one_length_need_no_mask_and_equal_their_own_runs(model):
    prompts = [clip_inputs(seed=seed) for seed in (3, 4)]
    method = aim.AIM(merge_ratio=0.5, l1=2, l2=5)
    batch = {name: torch.cat([one[name] for one in prompts]) for name in prompts[0]}
    with torch.no_grad(), aim.reduce(model, method):
        answers = model.generate(**batch, max_new_tokens=20, do_sample=False)
        alone = torch.cat([model.generate(**one, max_new_tokens=20, do_sample=False) for one in prompts])
    assert torch.equal(answers, alone)


def test_beams_are_rows_of_one_prompt_and_equal_stock_where_nothing_is_dropped(model):
    inputs, options = clip_inputs(), {"max_new_tokens": 12, "num_beams": 3, "do_sample": False}
    with torch.no_grad():
        stock = model.generate(**inputs, **options)
        with aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=6, l2=7)):
            identity = model.generate(**inputs, **options)
        with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
            model.generate(**inputs, **options)
    assert torch.equal(stock, identity)
    assert [record.tokens_per_layer for record in trace.prompts] == [trace.tokens_per_layer] * 3


@takes_features
def test_a_batch_tells_each_prompt_apart_in_its_record(model):
    prompts = [clip_inputs(frames=4), clip_inputs(frames=3, seed=2)]
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        model(**together(prompts), mm_encoder_outputs=encoded(model, prompts))
    assert [record.frames for record in trace.prompts] == [4, 3]
    assert [record.merged_tokens for record in trace.prompts] == [4 * 12, 3 * 12]


@takes_features
def test_two_clips_in_one_prompt_are_one_clip_with_all_frames(model):
    inputs = clip_inputs(frames=4)
    ids = inputs["input_ids"]
    video = int(ids[0, 5])
    two = torch.cat([ids[:, :3], torch.full((1, 51), video), torch.tensor([[7, 8]]), torch.full((1, 51), video), ids[:, 104:]], dim=1)
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    with torch.no_grad():
        features = model.model.get_video_features(inputs["pixel_values_videos"], return_dict=True).pooler_output
        halves = torch.cat([features[:, :50], features[:, -1:], features[:, 50:]], dim=1)
        outputs = {"video": BaseModelOutputWithPooling(pooler_output=halves)}
        stock = model(input_ids=two, mm_encoder_outputs=dict(outputs)).logits
        with aim.reduce(model, aim.Full()) as trace:
            same = model(input_ids=two, mm_encoder_outputs=dict(outputs)).logits
        assert torch.equal(stock, same)
        with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=6, l2=7)) as trace:
            model(input_ids=two, mm_encoder_outputs=dict(outputs))
    assert (trace.frames, trace.merged_tokens, trace.tokens_per_layer[0]) == (4, 48, (48, two.shape[1] - 100))
    assert trace.positions.tolist() == [*range(3, 27), *range(30, 54)]
