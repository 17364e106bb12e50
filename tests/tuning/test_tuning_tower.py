"""Tuning behind a reduced vision tower: the full model, which is the reference, keeps the full one."""

from __future__ import annotations

from dataclasses import replace

import pytest

import aim
from aim.commands.main import main
from aim.runtime.compare import divergence
from aim.tuning.fidelity import Subject
from aim.tuning.trust import guard
from tests.visitor import EXAMPLES

QUESTION, TOWER = "what colour is the circle?", aim.Tower(merge=0.2)


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


@pytest.fixture(scope="module")
def clip():
    return aim.read_video(EXAMPLES / "colour.mp4", 4)


def test_the_distance_is_from_the_full_model_behind_the_full_tower(vlm, clip):
    subject = Subject(vlm, clip, QUESTION, vlm.fit_tower(TOWER))
    assert subject.refer(aim.Full())
    full, reduced = (vlm.ask(clip, QUESTION, aim.Full(), 1, tower=tower).next_token for tower in (None, TOWER))
    assert subject.measure(aim.Full()).first == pytest.approx(divergence(full, reduced), rel=1e-4)
    assert divergence(full, reduced) > 0


def test_settings_are_tried_behind_it_and_the_clip_is_encoded_once_by_each(vlm, clip, monkeypatch):
    vlm.features.clear()
    encoded, encode = [], vlm.checkpoint.family.encode
    family = replace(vlm.checkpoint.family, encode=lambda *given: encoded.append(1) or encode(*given))
    monkeypatch.setattr(vlm.features, "checkpoint", replace(vlm.checkpoint, family=family))
    tuned = aim.tune(vlm, clip, QUESTION, "4x", max_prefills=3, tower=TOWER)
    reference, *settings = tuned.tried
    assert len(encoded) == 2 and settings
    assert tuned.to_dict()["tower"] == vlm.fit_tower(TOWER).params()
    assert reference.cost["vision_tflops"] == reference.cost["baseline_vision_tflops"]
    planned = vlm.plan(4, 20, aim.AIM(), vlm.grid_of(clip), TOWER).vision_tflops
    assert all(one.cost["vision_tflops"] == pytest.approx(planned) for one in settings)


def test_the_warning_compares_with_a_milder_setting_behind_the_same_tower(vlm, clip):
    answer = vlm.ask(clip, QUESTION, aim.AIM(), 1, tower=TOWER)
    verdict = guard(vlm, clip, QUESTION, answer)
    milder = vlm.ask(clip, QUESTION, verdict.milder, 1, tower=TOWER)
    assert verdict.divergence == pytest.approx(divergence(milder.next_token, answer.next_token), rel=1e-4)
    unreduced = guard(vlm, clip, QUESTION, vlm.ask(clip, QUESTION, aim.Full(), 1, tower=TOWER))
    assert "vision tower" in unreduced.sentence and not unreduced.doubtful


def test_the_command_says_what_the_settings_have(capsys):
    start = ["tune", str(EXAMPLES / "colour.mp4"), QUESTION, "--budget", "4x", "--frames", "4", "--max-prefills", "3", "--device", "cpu"]
    main([*start, "--tower-merge", "0.2"])
    assert "which has the full vision tower; the settings have tower merge 0.2" in capsys.readouterr().out
