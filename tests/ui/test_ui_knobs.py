"""Presets, knobs that push each other, the plan that follows them, and the paper's rows beside it."""

import gradio as gr
import pytest

from aim.methods import AIM
from aim.methods.presets import CIRCULATING, PRESETS, circulating, preset, preset_of
from aim.methods.published import MODEL, ROWS, nearest
from aim.planning.plan import plan as plan_of
from aim.ui.gpu import placed
from aim.ui.knobs import build_knobs, defaults, name_of, plan, ranges
from aim.ui.request import KNOBS
from tests.fakes import FakeVlm


def test_presets_are_the_papers_at_its_depth_and_scale_to_others():
    assert preset("Paper", 28) == (0.25, 14, 22) and preset("Paper", 12) == (0.25, 6, 9)
    for depth in (4, 12, 24, 28, 80):
        for name in PRESETS:
            merge_ratio, l1, l2 = preset(name, depth)
            method = AIM(merge_ratio=merge_ratio, l1=l1, l2=l2)
            assert preset_of(merge_ratio, l1, l2, depth) == name
            assert l2 <= depth + 1
            assert (name in ("Merge only", "Full model")) == (min(method.keep(depth)) == 1)
    assert preset_of(0.3, 6, 9, 12) is None


def test_the_settings_that_circulate_are_stated_for_28_layers_and_scale():
    assert {circulating(name, 28) for name in CIRCULATING} == {(0.25, 4, 20), (0.25, 8, 24), (0.5, 4, 20), (0.25, 0, 16)}
    assert circulating("0.25 / 8 / 24", 14) == (0.25, 4, 12)
    for name in CIRCULATING:
        AIM(*circulating(name, 4))


def test_full_model_keeps_every_token_and_aggressive_costs_least():
    cost = {name: plan_of(MODEL, method=AIM(*preset(name, 28))).prefill_tflops for name in PRESETS}
    assert cost["Full model"] == pytest.approx(99.63, abs=0.005)
    assert cost["Paper"] == pytest.approx(14.76, abs=0.005)
    assert min(cost, key=cost.get) == "Aggressive" and cost["Paper"] < cost["Gentle"] < cost["Full model"]


def test_every_published_row_has_the_flops_of_its_knobs_or_says_that_it_has_not():
    for row in ROWS:
        modelled = plan_of(MODEL, row.frames, 100, AIM(merge_ratio=row.merge_ratio, l1=row.l1, l2=row.l2)).prefill_tflops
        assert (abs(modelled - row.tflops) < 0.02) == (not row.remark), row


def test_the_nearest_row_is_told_for_the_model_it_was_published_for_only():
    hub = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    assert nearest(hub, 0.25, 14, 22, 32).sentence() == "paper: VideoMME 58.2 at 0.25/14/22, 32 frames"
    assert nearest(hub, 0.26, 15, 22, 30).video_mme == 58.2
    assert nearest(hub, 0.25, 14, 22, 160).frames == 192
    assert nearest(hub, 1, 28, 29, 32).sentence() == "paper: VideoMME 58.2 at the full model, 32 frames"
    assert "not those of 14/22" in nearest(hub, 0.125, 14, 22, 32).sentence()
    for other in ("bundled", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "Qwen/Qwen2-VL-7B-Instruct"):
        assert nearest(other, 0.25, 14, 22, 32) is None


def test_the_plan_needs_no_run_and_follows_knobs_question_and_frames():
    vlm = FakeVlm()
    shown = plan(vlm, "", 0.5, 2, 4, 2)
    assert "12 → 6 visual tokens" in shown and "modelled" in shown and "paper:" not in shown
    assert "12 → 12 visual tokens" in plan(vlm, "what is there?", 1, 2, 4, 2)
    assert "18 → 9 visual tokens" in plan(vlm, "", 0.5, 2, 4, 3)
    assert not vlm.asked


def test_the_paper_is_told_beside_the_plan_of_its_model():
    vlm = FakeVlm()
    vlm.name = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    assert "paper: VideoMME" in plan(vlm, "", 0.25, 14, 22, 2)


def test_knobs_between_two_settings_give_a_hint_instead_of_a_plan():
    assert "l1 &lt; l2" in plan(FakeVlm(), None, 0.5, 4, 4, 2)


def test_the_knobs_name_the_preset():
    vlm = FakeVlm()
    for name in PRESETS:
        assert name_of(vlm, *preset(name, vlm.num_layers), "compact") == name
        assert name_of(vlm, *preset(name, vlm.num_layers), "original") is None
    assert name_of(vlm, 0.33, 1, 3, "compact") is None


def test_every_knob_has_a_first_value_within_its_range():
    vlm = FakeVlm()
    first = defaults(vlm)
    assert set(first) == set(KNOBS)
    for name, limits in ranges(vlm).items():
        assert limits.low <= first[name] <= limits.high


def test_a_model_whose_context_holds_one_frame_has_a_page_too_and_the_knob_stands_still():
    vlm = FakeVlm()
    vlm.max_frames = 1
    with gr.Blocks(analytics_enabled=False):
        frames = build_knobs(placed(vlm), None)["num_frames"]
    assert frames.value == 1 and frames.interactive is False and frames.minimum < frames.maximum
