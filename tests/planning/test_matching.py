"""Every method at one budget: found within the tolerance, or said to be impossible."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

import aim
from aim.kernels.refusal import Refusal
from aim.methods import METHODS
from aim.planning.plan import look_up, plan, plan_for

SEVEN_B = "llava-onevision-qwen2-7b"
BUNDLED = AutoConfig.from_pretrained("assets/shapes-vlm")
FINE = ["aim", "fastv", "pdrop", "prumerge", "random"]
# These have no knob that a plan follows, or one that moves by whole layers or frames.
COARSE = ("full", "mask", "vtw", "fewerframes", "pool", "difffp")


def cost(model, frames: int, method) -> float:
    planned = plan(model, frames, 100, method) if isinstance(model, str) else plan_for(model, frames, 100, method)
    return planned.prefill_tflops


@pytest.mark.parametrize(("model", "frames"), [(SEVEN_B, 32), (BUNDLED, 16)], ids=["7b", "bundled"])
@pytest.mark.parametrize("share", [0.3, 0.45, 0.8])
@pytest.mark.parametrize("name", FINE)
def test_a_method_with_fine_steps_meets_the_budget(model, frames: int, share: float, name: str):
    target = share * cost(model, frames, aim.Full())
    found = aim.match(name, model, frames, target)
    assert found.name == name
    assert found == found.for_depth(12)  # every knob is filled in
    assert cost(model, frames, found) == pytest.approx(target, rel=0.01)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COARSE])
def test_the_papers_own_budget_is_met_on_the_papers_model(name: str):
    assert cost(SEVEN_B, 32, aim.match(name, SEVEN_B, 32, 14.76, tolerance=0.02)) == pytest.approx(14.76, rel=0.02)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_aim_moves_its_ramp_only_where_whole_tokens_are_too_coarse(share: float):
    full = cost(BUNDLED, 16, aim.Full())
    planned = aim.AIM().for_depth(12)
    by_ratio = [cost(BUNDLED, 16, aim.AIM(merge_ratio=tokens / 49 + 1e-6 if tokens < 49 else 1)) for tokens in range(1, 50)]
    found = aim.match("aim", BUNDLED, 16, share * full)
    reachable = any(abs(tflops - share * full) <= 0.01 * share * full for tflops in by_ratio)
    assert ((found.l1, found.l2) == (planned.l1, planned.l2)) == reachable
    assert cost(BUNDLED, 16, found) == pytest.approx(share * full, rel=0.01)


def test_knobs_that_were_given_stay():
    found = aim.match(aim.AIM(l1=3, positions="original"), BUNDLED, 16, 0.25 * cost(BUNDLED, 16, aim.Full()))
    assert (found.l1, found.positions) == (3, "original")
    assert aim.match(aim.FastV(layer=5), SEVEN_B, 32, 40).layer == 5
    assert aim.match(aim.PyramidDrop(stages=(2, 4)), SEVEN_B, 32, 20).stages == (2, 4)
    assert aim.match(aim.Random(seed=7), SEVEN_B, 32, 20).seed == 7


@pytest.mark.parametrize("share", [0.2, 0.25, 0.3])
def test_pyramid_drop_moves_its_stages_before_a_cut_leaves_next_to_nothing(share: float):
    found = aim.match("pdrop", BUNDLED, 32, share * cost(BUNDLED, 32, aim.Full()), text_tokens=100, tolerance=0.02)
    assert found.ratio >= 0.25
    own = aim.match(aim.PyramidDrop(stages=(3, 6, 9)), BUNDLED, 32, 0.255 * cost(BUNDLED, 32, aim.Full()), text_tokens=100, tolerance=0.1)
    assert own.ratio < 0.25  # given stages stay


def test_the_knobs_own_setting_is_found_again():
    for method in (
        aim.FastV(layer=1, keep_ratio=0.199),
        aim.PruMerge(keep_ratio=0.2583),
        aim.ToMe(merge_ratio=0.25),
        aim.VTW(layer=6),
        aim.AIM(merge_ratio=0.25, l1=14, l2=22),
    ):
        target = cost(SEVEN_B, 32, method)
        assert cost(SEVEN_B, 32, aim.match(method, SEVEN_B, 32, target, tolerance=0)) == target


def test_the_readmes_example_gives_what_it_says():
    assert aim.match("fastv", "llava-onevision-qwen2-7b", frames=32, target_tflops=14.76) == aim.FastV(layer=2, keep_ratio=0.0828)


def test_the_costs_of_whole_layers_are_named_where_none_meets_the_budget():
    # Two layers of withdrawal around 20 TFLOP: 18.87 at K = 5 and 22.38 at K = 6.
    with pytest.raises(Refusal, match=r"^vtw cannot cost 20 TFLOP here, within 1 %; accepted: 18\.87 or 22\.38\. Ask .*tolerance=None"):
        aim.match("vtw", SEVEN_B, 32, 20)
    assert [aim.match("vtw", SEVEN_B, 32, budget) for budget in (18.87, 22.38)] == [aim.VTW(layer=5), aim.VTW(layer=6)]
    assert aim.match("vtw", SEVEN_B, 32, 20, tolerance=None) == aim.VTW(layer=5)
    assert aim.match("vtw", SEVEN_B, 32, 22.3) == aim.VTW(layer=6)


def test_a_budget_out_of_reach_is_answered_with_the_one_nearest():
    with pytest.raises(Refusal, match=r"accepted: 4\.834\. "):
        aim.match("fastv", SEVEN_B, 32, 1)
    with pytest.raises(Refusal, match=r"accepted: 99\.63\. "):
        aim.match("full", SEVEN_B, 32, 50)
    assert aim.match("full", SEVEN_B, 32, 99.63) == aim.Full()
    assert aim.match("fastv", SEVEN_B, 32, 200, tolerance=None).keep_ratio > 0.9999 - 1e-9


def test_a_method_may_be_a_name_a_class_or_an_object_and_a_model_a_name_a_shape_or_a_config():
    expected = aim.match("fastv", SEVEN_B, 32, 20)
    for method in (aim.FastV, aim.FastV()):
        assert aim.match(method, SEVEN_B, 32, 20) == expected
    assert aim.match("fastv", look_up(SEVEN_B).shape, 32, 20) == expected
    assert aim.match("fastv", "llava-hf/llava-onevision-qwen2-7b-ov-hf", 32, 20, tokens_per_frame=196) == expected
    budget = cost(BUNDLED, 16, aim.FastV(keep_ratio=0.3))
    assert aim.match("fastv", "bundled", 16, budget) == aim.match("fastv", BUNDLED, 16, budget, tokens_per_frame=49)


def test_every_method_of_the_table_has_a_setting_of_its_own():
    for name, method in METHODS.items():
        first = next(iter(method().dials(28)))
        costs = [cost(SEVEN_B, 4, first[place]) for place in sorted({0, len(first) // 2, len(first) - 1})]
        assert costs == sorted(costs), name


def test_a_budget_that_no_setting_meets_costs_one_short_sentence():
    for name in METHODS:
        with pytest.raises(Refusal) as refused:
            aim.match(name, BUNDLED, 16, 1e-6)
        assert len(str(refused.value)) < 150 and "(" not in str(refused.value), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nothing"}, 'accepted: "aim", "full", "fastv"'),
        ({"model_shape": "no-such-model"}, SEVEN_B),
        ({"frames": 0}, "frames is 0"),
        ({"target_tflops": 0}, "target_tflops is 0"),
        ({"target_tflops": float("inf")}, "target_tflops is inf"),
        ({"tokens_per_frame": 0}, "tokens_per_frame is 0"),
        ({"text_tokens": 0}, "text_tokens is 0"),
        ({"tolerance": -1}, "tolerance is -1"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict, message: str):
    with pytest.raises(Refusal, match=message):
        aim.match(**{"method": "fastv", "model_shape": SEVEN_B, "frames": 32, "target_tflops": 20, **options})


@pytest.mark.parametrize("frames", [3, 8])
def test_frames_that_a_model_takes_two_by_two_are_matched_as_they_are_planned(frames: int):
    target = 0.3 * cost("qwen2-vl-7b", frames, aim.Full())
    assert cost("qwen2-vl-7b", frames, aim.match("aim", "qwen2-vl-7b", frames, target)) == pytest.approx(target, rel=0.01)
