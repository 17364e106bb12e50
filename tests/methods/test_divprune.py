"""DivPrune: what the official code picks and in which order, plain loops over the rule, equal tokens, counts."""

from __future__ import annotations

import pytest
import torch

import aim
from aim.kernels.diversity import diverse_order
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from tests.official import input_of, patches, rivals

CASES = rivals("divprune")
STABLE = [name for name, case in CASES.items() if case["stable"]]


@pytest.mark.parametrize("name", STABLE)
def test_it_picks_what_the_official_code_picks_in_its_order(name: str):
    clip, kind, ratio = input_of(name)
    x, case = patches(clip, kind), CASES[name]
    merged = aim.DivPrune(keep_ratio=ratio, scope=case["variant"]).merge(x)
    assert torch.equal(merged.anchors, case["kept"])
    assert torch.equal(merged.tokens, x.flatten(0, 1)[case["kept"]])
    sets = x.flatten(0, 1)[None] if case["variant"] == "clip" else x
    for budget in (10_000, 2**28):
        order = diverse_order(sets, len(case["order"]) // len(sets), memory_budget=budget)
        assert (order + sets.shape[1] * torch.arange(len(sets))[:, None]).flatten().tolist() == list(case["order"])


def order_by_loops(x: torch.Tensor, count: int) -> list[int]:
    distance = (1 - torch.nn.functional.cosine_similarity(x[:, None].double(), x[None].double(), dim=-1)).tolist()
    everyone = range(len(x))
    order = [max(everyone, key=lambda token: min(distance[token][other] for other in everyone if other != token))]
    while len(order) < count:
        left = [token for token in everyone if token not in order]
        order.append(max(left, key=lambda token: min(distance[token][other] for other in order)))
    return order


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_plain_loops_over_the_rule_pick_the_same(count: int):
    x = torch.randn(3, 25, 5, generator=torch.Generator().manual_seed(count))
    assert diverse_order(x, count).tolist() == [order_by_loops(one, count) for one in x]
    assert torch.equal(diverse_order(x, count, memory_budget=1), diverse_order(x, count))


def test_of_equal_tokens_none_is_picked_twice():
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)).repeat(1, 5, 1)
    order = diverse_order(x, 14)[0].tolist()
    assert {token % 3 for token in order[:3]} == {0, 1, 2}  # one of each kind first
    assert len(set(order)) == 14


def test_counts_are_rounded_half_to_even_and_planned():
    assert aim.DivPrune(keep_ratio=0.25).merged_tokens(1, 10) == 2  # 2.5
    assert aim.DivPrune(keep_ratio=0.35).merged_tokens(1, 10) == 4  # 3.5
    assert aim.DivPrune(keep_ratio=0.25, scope="frame").merged_tokens(8, 49) == 96
    assert aim.DivPrune(keep_ratio=0.25).merged_tokens(8, 49) == 98
    assert aim.DivPrune(keep_ratio=0.001, scope="frame").merged_tokens(8, 49) == 8
    assert aim.DivPrune(keep_ratio=0.001).merged_tokens(8, 49) == 1
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.DivPrune(keep_ratio=0.25))
    assert planned.tokens_per_layer == [(1568, 100)] * 28
    longer = plan("llava-onevision-qwen2-7b", 64, 100, aim.DivPrune(keep_ratio=0.25))  # distances to each pick, once more
    assert longer.merge_tflops == pytest.approx(12544 * 3584 * (3 + 2 * 12544 + 2 * 3135) / 1e12)
    assert planned.merge_tflops == pytest.approx(6272 * 3584 * (3 + 2 * 6272) / 1e12)


def test_all_is_kept_at_one_and_of_a_single_token():
    x = torch.randn(3, 8, 6)
    for scope in ("clip", "frame"):
        assert aim.DivPrune(keep_ratio=1, scope=scope).merge(x) is None
    assert aim.DivPrune().merge(x[:1, :1]) is None


@pytest.mark.parametrize(
    ("knobs", "message"), [({"keep_ratio": 0}, "keep_ratio is 0"), ({"scope": "video"}, 'scope is \'video\'; accepted: "clip" or "frame"')]
)
def test_a_knob_out_of_range_is_refused(knobs: dict, message: str):
    with pytest.raises(Refusal, match=message):
        aim.DivPrune(**knobs)
