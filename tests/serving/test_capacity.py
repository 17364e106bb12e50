"""What a server's KV cache holds, against counting by hand."""

import json

import pytest

import aim
from aim.commands.main import main
from aim.kernels.refusal import Refusal
from aim.serving.capacity import capacity

SEVEN = "llava-onevision-qwen2-7b"
A_TOKEN = 2 * 28 * 4 * 128 * 2  # keys and values, layers, KV heads, their size, bytes


def test_a_request_takes_whole_blocks_of_its_prompt_and_its_answer():
    held = capacity(SEVEN, 32, 100, 0.25, kv_budget=10**10, answer_tokens=50)
    assert (held.unmerged.prompt_tokens, held.merged.prompt_tokens) == (32 * 196 + 100, 32 * 49 + 100)
    assert held.unmerged.kv_bytes == 402 * 16 * A_TOKEN  # 6,421 tokens are kept
    assert held.merged.kv_bytes == 108 * 16 * A_TOKEN  # 1,717
    assert held.merged.requests == 10**10 // (108 * 16 * A_TOKEN)


def test_prompts_are_as_long_as_those_of_the_plan_of_a_prefill():
    for model, ratio in (("qwen2.5-vl-7b", 0.3), (SEVEN, 0.125)):
        [own] = {sum(pair) for pair in aim.plan(model, 9, 20, aim.AIM(ratio, 90, 91)).tokens_per_layer}
        assert capacity(model, 9, 20, ratio).merged.prompt_tokens == own


def test_the_command_says_so_with_and_without_merging(capsys):
    main(f"plan {SEVEN} --serving --merge-ratio 0.25 --kv-budget 10GB --answer-tokens 50".split())
    unmerged, merged = capsys.readouterr().out.splitlines()
    assert unmerged == "unmerged: a prompt of 6,372 tokens, 369 MB of KV cache a request, 27 requests at a time in 10.0 GB"
    assert merged == "merge ratio 0.25: a prompt of 1,668 tokens, 99.1 MB of KV cache a request, 100 requests at a time in 10.0 GB"
    main(f"plan {SEVEN} --serving --json --kv-budget 10GB --answer-tokens 50".split())
    assert json.loads(capsys.readouterr().out) == capacity(SEVEN, kv_budget=10**10, answer_tokens=50).to_dict()


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ("--serving --l1 3 --l2 5", "cannot be dropped inside the LLM"),
        ("--serving --method fastv", "Give --merge-ratio alone"),
        ("--serving --merge-ratio 0.5 --merge-window 2", "another knob was given"),
        ("--serving --tower-merge 0.3", "--tower-merge was given"),
        ("--serving --kv-budget lots", "--kv-budget is 'lots'"),
        ("--kv-budget 1GB", "give --serving with them"),
    ],
)
def test_what_a_server_cannot_run_is_refused(capsys, flags, sentence):
    with pytest.raises(SystemExit):
        main(f"plan bundled {flags}".split())
    assert sentence in capsys.readouterr().err


def test_a_model_that_the_plugin_does_not_serve_is_refused():
    with pytest.raises(Refusal, match="serves LLaVA-OneVision, Qwen2.5-VL, Qwen3-VL; Qwen2-VL was given"):
        capacity("qwen2-vl-7b")
