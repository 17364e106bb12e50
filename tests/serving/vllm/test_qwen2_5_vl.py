"""A tiny Qwen2.5-VL in vLLM on two ranks, its prompts computed in chunks that end within clips, against answers of `aim.reduce`."""

from __future__ import annotations

import json

import pytest
from vllm import LLM, SamplingParams

from tests.serving.vllm.cases import FPS, NEW_TOKENS, QWEN, RATIOS, REFERENCES, frames_of, save_qwen

CLOSE = 5e-3  # of log-probabilities
EXPECTED = json.loads(REFERENCES.read_text())["qwen2_5_vl"]
EACH = [(name, ratio) for name in QWEN for ratio in RATIOS]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return LLM(
        save_qwen(tmp_path_factory.mktemp("qwen")),
        dtype="float32",
        max_model_len=512,
        max_num_batched_tokens=40,
        max_num_seqs=4,
        block_size=32,  # prompts here are shorter than the 128 of a processor
        tensor_parallel_size=2,
        enforce_eager=True,
        limit_mm_per_prompt={"video": 2, "image": 1},
        video_pruning_rate=0.5,
        disable_log_stats=True,
    )


def clip(frames):
    """Frames with what vLLM wants to know of them."""
    count = len(frames)
    told = {"total_num_frames": count, "fps": FPS, "duration": count / FPS, "frames_indices": list(range(count))}
    return frames, {**told, "video_backend": "opencv", "do_sample_frames": False}


def prompt(name: str, ratio: float | None = None, **ids) -> dict:
    text, pictures = QWEN[name]
    data = {"video": [clip(frames_of(*shape)) for kind, *shape in pictures if kind == "video"]}
    images = [frames_of(*shape)[0] for kind, *shape in pictures if kind == "image"]
    if images:
        data["image"] = images
    asked = {} if ratio is None else {"mm_processor_kwargs": {"merge_ratio": ratio}}
    return {"prompt": text, "multi_modal_data": data, **asked, **ids}


def answers(engine, prompts: list[dict]) -> list:
    greedy = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=5, ignore_eos=True)
    return engine.generate(prompts, greedy, use_tqdm=False)


def check(output, expected: dict) -> None:
    [said] = output.outputs
    assert len(output.prompt_token_ids) == expected["prompt_tokens"]
    assert list(said.token_ids) == expected["ids"]
    first = {str(number): told.logprob for number, told in said.logprobs[0].items()}
    assert {number: first[number] for number in expected["first"]} == pytest.approx(expected["first"], abs=CLOSE)


@pytest.mark.timeout(600)
def test_two_ratios_at_once_answer_as_each_does_alone_and_again_from_the_cache(engine):
    for output, (name, ratio) in zip(answers(engine, [prompt(*case) for case in EACH]), EACH, strict=True):
        check(output, EXPECTED[name][str(ratio)])
    again = answers(engine, [prompt(*case) for case in EACH])
    for output, (name, ratio) in zip(again, EACH, strict=True):
        check(output, EXPECTED[name][str(ratio)])
    assert any(output.num_cached_tokens for output in again)


def test_without_a_ratio_of_its_own_a_prompt_has_the_servers(engine):
    [output] = answers(engine, [prompt("a clip")])
    check(output, EXPECTED["a clip"]["0.5"])


@pytest.mark.parametrize("ratio", [0, 1.5, "half", None, True, float("nan")])
def test_a_ratio_that_is_none_is_refused_and_the_next_prompt_is_answered(engine, ratio):
    wrong = prompt("a clip", 1) | {"mm_processor_kwargs": {"merge_ratio": ratio}}
    with pytest.raises(ValueError, match=r"merge_ratio is .*; accepted: a number above 0 and up to 1"):
        answers(engine, [wrong])
    test_without_a_ratio_of_its_own_a_prompt_has_the_servers(engine)
