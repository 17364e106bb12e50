"""Tiny Qwen models in vLLM, their prompts computed in chunks that end within clips, against answers of `aim.reduce`."""

from __future__ import annotations

import pytest

from tests.serving.vllm.cases import QWEN, RATIOS
from tests.serving.vllm.checkpoints import save
from tests.serving.vllm.engines import answers, check, engine, expected, prompt

EACH = [(title, ratio) for title in QWEN for ratio in RATIOS]
# Of one of them two ranks, each of which is a process that imports vLLM.
SERVED_ON = [("qwen2_5_vl", 2), ("qwen3_vl", 1), pytest.param(("qwen3_vl", 2), marks=pytest.mark.every)]


@pytest.fixture(scope="module", params=SERVED_ON, ids=lambda given: f"{given[0]} on {given[1]}")
def model(request, tmp_path_factory):
    """(the engine, what it should answer)."""
    name, ranks = request.param
    checkpoint = save(name, tmp_path_factory.mktemp(name))
    with engine(name, checkpoint, tensor_parallel_size=ranks, video_pruning_rate=0.5) as started:
        yield started, expected(name)


@pytest.mark.timeout(600)
def test_two_ratios_at_once_answer_as_each_does_alone_and_again_from_the_cache(model):
    started, reference = model
    for output, (title, ratio) in zip(answers(started, [prompt(*case) for case in EACH]), EACH, strict=True):
        check(output, reference[title][str(ratio)])
    again = answers(started, [prompt(*case) for case in EACH])
    for output, (title, ratio) in zip(again, EACH, strict=True):
        check(output, reference[title][str(ratio)])
    assert any(output.num_cached_tokens for output in again)


def the_next_prompt_is_answered(model):
    started, reference = model
    [output] = answers(started, [prompt("a clip")])
    check(output, reference["a clip"]["0.5"])


def test_without_a_ratio_of_its_own_a_prompt_has_the_servers(model):
    the_next_prompt_is_answered(model)


@pytest.mark.parametrize("ratio", [0, 1.5, "half", None, True, float("nan")])
def test_a_ratio_that_is_none_is_refused_and_the_next_prompt_is_answered(model, ratio):
    wrong = prompt("a clip", 1) | {"mm_processor_kwargs": {"merge_ratio": ratio}}
    with pytest.raises(ValueError, match=r"merge_ratio is .*; accepted: a number above 0 and up to 1"):
        answers(model[0], [wrong])
    the_next_prompt_is_answered(model)


def test_a_ratio_for_text_alone_is_refused(model):
    with pytest.raises(ValueError, match="merge_ratio was given with text alone; it is of a clip"):
        answers(model[0], [{"prompt": "what?", "mm_processor_kwargs": {"merge_ratio": 0.5}}])
