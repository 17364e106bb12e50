"""The page's settings of the vision tower: what they cost is told, and the full model keeps the full tower."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import aim
from aim.kernels.refusal import Refusal
from aim.ui import handlers, knobs
from aim.ui.export_files import python_code, save_report
from aim.ui.gpu import placed
from aim.ui.jobs import JOBS
from aim.ui.permalink import restore
from aim.ui.request import Request, check
from aim.ui.run_log import logged
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip

SETTING = aim.Tower(merge=0.3, reuse=8 / 255)


def asked(**knobs) -> Request:
    return Request.of(video="own.mp4", question="what?", num_frames=2, **knobs)


def finished(vlm: FakeVlm, **knobs) -> handlers.FinishedRun:
    *_, last = handlers.answer(placed(vlm), asked(**knobs), StopSignal(), read=lambda *_, **_named: make_clip())
    return last.run


def test_the_tower_runs_in_full_until_something_is_asked_for():
    assert asked().tower() is None and asked(tower_merge=1, tower_reuse=0).tower() is None
    assert asked(tower_merge=0.3).tower() == aim.Tower(merge=0.3)
    assert asked(tower_reuse=8 / 255).tower() == aim.Tower(reuse=8 / 255)
    assert asked(tower_merge=0.3, tower_reuse=8 / 255).tower() == SETTING


@pytest.mark.parametrize(("name", "value"), [("tower_merge", 0), ("tower_merge", 1.5), ("tower_reuse", -1), ("tower_reuse", "much")])
def test_a_number_out_of_range_is_refused_before_the_clip_is_read(name, value):
    with pytest.raises(Refusal, match=f"{name} is .*; accepted: a number .*{'0.3' if name == 'tower_merge' else '8/255'}"):
        check(asked(**{name: value}), 8)


def test_the_full_model_beside_it_has_the_full_tower():
    vlm = FakeVlm()
    run = finished(vlm, compare=True, tower_merge=0.3, tower_reuse=8 / 255)
    assert [one.tower for one in vlm.asked] == [SETTING, None]
    assert run.answer.tower == SETTING and run.full.tower is None


def test_a_worker_is_lent_the_time_of_both_towers():
    vlm, clip = FakeVlm(), make_clip()
    given = {"clip": clip, "question": "what?", "method": aim.AIM(), "max_new_tokens": 4, "compare": True}
    one, both = (JOBS["ask"].needs(vlm, **given, tower=tower)[0] for tower in (None, SETTING))
    assert both - one == pytest.approx(vlm.plan(2, 20, aim.AIM()).baseline_vision_tflops)


def test_the_plan_tells_share_and_cost():
    vlm = aim.load("bundled")
    told = knobs.plan_of(placed(vlm), asked(tower_merge=0.3))
    planned = vlm.plan(2, vlm.text_tokens("what?", 2), aim.AIM(), tower=aim.Tower(merge=0.3))
    ratio = planned.baseline_vision_tflops / planned.vision_tflops
    assert "later layers run on 30 % of a frame" in told and f"vision tower <b>{ratio:.1f}× fewer FLOPs</b>" in told and ratio > 1.5
    assert "vision tower" not in knobs.plan_of(placed(vlm), asked())


def test_headline_report_code_and_log_tell_it(tmp_path, caplog):
    run = finished(FakeVlm(), tower_merge=0.3, tower_reuse=8 / 255)
    model = placed(FakeVlm())
    with caplog.at_level(logging.INFO, "aim.runs"), logged(model, "aim", 2) as note:
        note(run.answer)
    assert "tower_merge=0.3" in caplog.text and "tower_reuse=0.03137" in caplog.text
    *_, update = handlers.answer(model, run.request, StopSignal(), read=lambda *_, **_named: make_clip())
    assert [kind for told, kind, _ in update.screen["facts"] if told.startswith("vision tower")] == ["modelled"]
    assert update.screen["setting"].endswith("tower merge 0.3, reuse 0.0314")
    report = Path(save_report(run, None, tmp_path)).read_text(encoding="utf-8")
    assert "tower merge <b>0.3</b>" in report and "Vision tower FLOPs" in report
    code = python_code(run, None)
    assert f"tower=aim.Tower(merge=0.3, reuse={8 / 255!r})" in code
    assert "tower" not in python_code(finished(FakeVlm()), None)


class Unable(FakeVlm):
    tower_limits = {"reuse": "The vision tower of Such-VL reuses nothing from frame to frame"}


def test_a_setting_that_the_tower_cannot_do_is_not_offered_and_the_page_says_why(tmp_path):
    model = placed(Unable())
    assert (knobs.offered(model, "tower_merge"), knobs.offered(model, "tower_reuse")) == (True, False)
    assert "Such-VL reuses nothing from frame to frame." in knobs.tower_help(model)
    values, remark = restore({"question": "what?", "tower_merge": "0.3", "tower_reuse": str(8 / 255)}, model, tmp_path)
    assert values["tower_merge"] == 0.3 and "tower_reuse" not in values and "tower_reuse" in remark


@pytest.mark.parametrize(("name", "limits"), [("qwen2.5-vl-7b", {"reuse"}), ("smolvlm2-2.2b", {"merge", "reuse"}), ("internvl3-8b", set())])
def test_the_limits_are_those_that_the_family_refuses(name, limits):
    from aim.planning.plan import look_up

    model = look_up(name)
    assert set(model.family.tower_limits) == limits
    for knob, tower in (("merge", aim.Tower(merge=0.3)), ("reuse", aim.Tower(reuse=0.03))):
        refused = knob in limits
        if refused:
            with pytest.raises(Refusal, match=model.family.tower_limits[knob]):
                model.family.fit_tower(tower, model.vision.num_layers)
        else:
            assert model.family.fit_tower(tower, model.vision.num_layers).layer >= 1


@pytest.mark.whole
def test_the_page_hides_what_the_tower_cannot_do(tmp_path):
    from aim.ui.page import build_demo

    parts = {each["props"].get("elem_id"): each["props"] for each in build_demo(Unable(), tmp_path).config["components"]}
    assert parts["tower-merge"]["visible"] and parts["tower-merge"]["value"] == 1
    assert not parts["tower-reuse"]["visible"] and parts["tower-reuse"]["value"] == 0
    assert "Such-VL reuses nothing" in parts["tower"]["value"]
