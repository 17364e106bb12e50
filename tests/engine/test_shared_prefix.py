"""What prompts begin with alike is computed once, and answers, scores and counts are those of prompts computed one by one."""

from contextlib import nullcontext

import pytest
import torch
from transformers import DynamicCache

import aim
from aim.engine.seams import parts_of
from aim.engine.shared_prefix import sharing_prefixes
from tests.rows import one_in
from tests.tiny import TINY, fingerprint

FRAMES, BEFORE = 4, 3
METHODS = {
    "whole": aim.Full(),
    "merged": aim.AIM(merge_ratio=0.25, l1=6, l2=7),
    "merged and cut by all attention": aim.AIM(merge_ratio=0.5, l1=2, l2=4),
    "cut by the question": aim.FastV(layer=2, keep_ratio=0.3),
    "cut on stairs": aim.PyramidDrop(ratio=0.5),
    "chosen by the question": aim.METHODS["cdpruner"](keep_ratio=0.4),
    "absorbed inside": aim.METHODS["framefusion"](keep_ratio=0.4),
    "without its tokens": aim.METHODS["vtw"](layer=3),
}
SERVED, OTHERS = ["llava_onevision", "qwen2_5_vl", "qwen3_vl"], ["gemma3", "qwen3_5", "exaone4_5"]


def prompts(tiny, count=3):
    """Prompts about one clip with different questions of different length."""
    clip = tiny.video_inputs(FRAMES, 0, BEFORE, 4)
    made = []
    for number in range(count):
        own = torch.randint(20, 60, (1, number + 1), generator=torch.Generator().manual_seed(number))
        longer = {"input_ids": torch.cat([clip["input_ids"], own], dim=1)}
        longer["attention_mask"] = torch.ones_like(longer["input_ids"])
        if tiny.token_types:
            longer[tiny.token_types] = torch.cat([clip[tiny.token_types], torch.zeros_like(own)], dim=1)
        made.append({**clip, **longer})
    return made


def answers(model, inputs, method, block, **kwargs):
    """(logits, tokens of each layer, scores, survivors) of each prompt."""
    with torch.no_grad(), aim.reduce(model, method, scores="all") as trace, block:
        found = []
        for prompt in inputs:
            logits = model(**prompt, use_cache=False, **kwargs).logits[0, -1]
            found.append((logits, list(trace.tokens_per_layer), list(trace.scores), list(trace.survivors)))
    return found


@pytest.mark.parametrize("method", one_in(2, METHODS.values()), ids=METHODS)
@pytest.mark.parametrize("name", SERVED)
def test_answers_scores_and_survivors_are_those_of_prompts_computed_alone(name, method):
    model, inputs = TINY[name].model(), prompts(TINY[name])
    apart = answers(model, inputs, method, nullcontext())
    shared = answers(model, inputs, method, sharing_prefixes(parts_of(model)))
    for (logits, lengths, scores, alive), (ours, own_lengths, own_scores, own_alive) in zip(apart, shared, strict=True):
        torch.testing.assert_close(ours, logits, rtol=1e-4, atol=1e-5)
        assert lengths == own_lengths
        assert all(torch.equal(one, other) for one, other in zip(alive, own_alive, strict=True))
        for one, other in zip(scores, own_scores, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-6)


def rows_computed(model, inputs, method):
    """For each prompt, how many rows go through the feed-forward part of each layer."""
    parts, seen = parts_of(model), []
    hooks = [layer.mlp.register_forward_pre_hook(lambda _module, args: seen.append(args[0].shape[1])) for layer in parts.layers]
    try:
        answers(model, inputs, method, sharing_prefixes(parts))
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[start : start + len(parts.layers)] for start in range(0, len(seen), len(parts.layers))]


def test_only_what_differs_is_computed_and_all_of_the_first_prompt():
    model, inputs = TINY["llava_onevision"].model(), prompts(TINY["llava_onevision"])
    alike = inputs[0]["input_ids"].shape[1] - 1  # all but the first prompt's one token of its own
    first, *others = rows_computed(model, inputs, aim.Full())
    assert first == [alike + 1] * 6
    assert others == [[2] * 6, [3] * 6]


def test_a_method_that_goes_by_the_question_shares_the_layers_before_its_cut():
    model, inputs = TINY["llava_onevision"].model(), prompts(TINY["llava_onevision"])
    first, second, _ = rows_computed(model, inputs, aim.FastV(layer=2, keep_ratio=0.3))
    assert second[:2] == [2, 2] and first[0] == inputs[0]["input_ids"].shape[1]


def test_another_clip_shares_the_words_before_it_alone():
    tiny = TINY["llava_onevision"]
    model, one = tiny.model(), tiny.video_inputs(FRAMES, 0, BEFORE, 4)
    other = {**one, "pixel_values_videos": one["pixel_values_videos"].flip(-1)}
    first, second = rows_computed(model, [one, other], aim.Full())
    assert [before - after for before, after in zip(first, second, strict=True)] == [BEFORE] * 6


@pytest.mark.parametrize("name", [name for name in OTHERS if name in TINY])
def test_a_model_whose_layers_see_more_or_less_than_all_before_runs_as_it_is(name):
    model, inputs = TINY[name].model(), prompts(TINY[name])
    method = aim.AIM(merge_ratio=0.5, l1=2, l2=4)
    apart = answers(model, inputs, method, nullcontext())
    shared = answers(model, inputs, method, sharing_prefixes(parts_of(model)))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(apart, shared, strict=True))


def test_batches_and_forwards_with_a_cache_run_as_they_are():
    tiny = TINY["llava_onevision"]
    model, (batch, _) = tiny.model(), tiny.batch_inputs()
    alone = tiny.video_inputs()
    with torch.no_grad(), aim.reduce(model, METHODS["merged and cut by all attention"]):
        said = model(**batch).logits, model(**alone, past_key_values=DynamicCache()).logits
        with sharing_prefixes(parts_of(model)):
            for _ in range(2):
                assert torch.equal(model(**batch).logits, said[0])
                assert torch.equal(model(**alone, past_key_values=DynamicCache()).logits, said[1])


def test_nothing_is_left_on_the_model():
    tiny = TINY["llava_onevision"]
    model, before = tiny.model(), fingerprint(tiny.model())
    with pytest.raises(ZeroDivisionError), sharing_prefixes(parts_of(model)):
        raise ZeroDivisionError
    assert fingerprint(model) == before
