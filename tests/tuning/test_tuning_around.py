"""Around the search: many clips, more frames, the warning, the command line."""

from __future__ import annotations

import json
import shutil
import threading
from statistics import fmean

import numpy as np
import pytest
import torch

import aim
from aim.commands.main import main
from aim.evaluation.guard_threshold import area, balanced_accuracy, best_threshold
from aim.evaluation.tuned_settings import ARMS, judged, overruns, table
from aim.kernels.refusal import Refusal
from aim.tuning.fidelity import Subject
from aim.tuning.spending import frames_for, spend
from aim.tuning.transfer import tune_many
from aim.tuning.trust import guard, milder_than
from tests.visitor import EXAMPLES

QUESTION = "How many shapes are there?"
FILE = EXAMPLES / "colour.mp4"


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


@pytest.fixture(scope="module")
def clip():
    return aim.read_video(FILE, num_frames=8)


@pytest.fixture(scope="module")
def asked(clip):
    return [(clip, QUESTION), (aim.read_video(EXAMPLES / "count.mp4", num_frames=8), "How many squares are there?")]


def test_one_setting_for_many_clips_has_the_least_mean(vlm, asked):
    transfer = tune_many(vlm, asked, "16x", max_prefills=7)
    assert transfer.complete and len(transfer.tried) == 6
    for (clip, question), divergence in zip(asked, transfer.divergences, strict=True):
        subject = Subject(vlm, clip, question)
        subject.refer(aim.Full())
        assert divergence == pytest.approx(subject.divergence_of(transfer.method), rel=1e-4, abs=1e-7)
        full, own = (vlm.ask(clip, question, method, max_new_tokens=1).cost["prefill_tflops"] for method in (aim.Full(), transfer.method))
        assert own <= full / 16
    finished = [one for one in transfer.tried if not one.rejected]
    assert fmean(transfer.divergences) == min(fmean(one.divergences) for one in finished)
    least, middle, most = transfer.spread
    assert (least, most) == (min(transfer.divergences), max(transfer.divergences)) and least <= middle <= most
    json.dumps(transfer.to_dict())


def test_many_clips_can_be_stopped_and_refused(vlm, asked):
    stop = threading.Event()
    stop.set()
    transfer = tune_many(vlm, asked, "16x", stop=stop)
    assert transfer.method is None and not transfer.complete
    with pytest.raises(Refusal, match="FLOPs or bytes"):
        tune_many(vlm, asked, "10 ms")
    with pytest.raises(Refusal, match="asked is .*; accepted: a list with one pair or more"):
        tune_many(vlm, [], "4x")


def test_frames_are_the_most_that_the_budget_and_the_context_allow(vlm):
    for method in (aim.Full(), aim.AIM(merge_ratio=0.25), aim.AIM(merge_ratio=0.1, positions="original")):
        for frames in (2, 6):
            budget = vlm.plan(frames, 30, aim.Full()).prefill_tflops

            def fits(count, method=method, budget=budget):
                longest = vlm.grid(count).tokens if method.positions == "original" else method.merged_tokens(count, 49)
                return vlm.plan(count, 30, method).prefill_tflops <= budget and longest + 30 <= 4096

            expected = max(count for count in range(1, 121) if fits(count))
            assert frames_for(vlm, method, budget, 120, lambda frames: 30) == expected
    assert frames_for(vlm, aim.AIM(merge_ratio=0.02), 1.0, 5) == 5
    with pytest.raises(Refusal, match="one frame takes more"):
        frames_for(vlm, aim.Full(), 1e-9, 5)


def test_the_saving_pays_for_more_frames(vlm):
    asked_for = []

    def read(frames):
        asked_for.append(frames)
        return aim.read_video(FILE, frames)

    full, reduced = spend(vlm, read, QUESTION, aim.AIM(merge_ratio=0.25), 4, max_new_tokens=4)
    assert full.method.name == "full" and full.trace.frames == 4
    assert reduced.trace.frames == asked_for[1] > 4
    assert reduced.cost["prefill_tflops"] <= full.cost["prefill_tflops"]


def test_the_warning_comes_with_a_changed_answer_and_not_without(vlm):
    clip, question = aim.read_video(EXAMPLES / "change.mp4", num_frames=8), "What color does the square become?"
    full = vlm.ask(clip, question, aim.Full(), max_new_tokens=4)
    assert not guard(vlm, clip, question, full).doubtful
    mild = vlm.ask(clip, question, aim.AIM(merge_ratio=0.5, l1=9, l2=13), max_new_tokens=4)
    assert mild.text == full.text and not guard(vlm, clip, question, mild).doubtful
    harsh = vlm.ask(clip, question, aim.AIM(merge_ratio=0.1), max_new_tokens=4)
    verdict = guard(vlm, clip, question, harsh)
    assert harsh.text != full.text and verdict.doubtful and "may have changed" in verdict.sentence
    again = vlm.ask(clip, question, verdict.milder, max_new_tokens=1).next_token.double()
    assert verdict.divergence == pytest.approx(float((again.exp() * (again - harsh.next_token.double())).sum()), rel=1e-4)
    assert not guard(vlm, clip, question, harsh, threshold=100).doubtful


def test_the_warning_takes_one_prefill_and_knows_every_method(vlm, clip):
    lengths = []
    answer = vlm.ask(clip, QUESTION, aim.FastV(), max_new_tokens=1)
    hook = vlm.model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    guard(vlm, clip, QUESTION, answer)
    hook.remove()
    assert len(lengths) == 1
    knobs = {"prumerge": {"keep_ratio": 0.1}}
    for name, method in aim.METHODS.items():
        own = method(**knobs.get(name, {}))
        milder = milder_than(own, vlm.num_layers)
        cost, milder_cost = (vlm.plan(8, 20, one).prefill_tflops for one in (own, milder))
        if name in ("full", "mask"):
            assert milder == own
        else:  # what stands still decides how much DiffFP leaves, so a plan states no less than all
            assert milder != own and (milder_cost > cost or name == "difffp")
    for l1 in range(0, 15):
        milder_than(aim.AIM(merge_ratio=0.7, l1=l1, l2=l1 + 1), vlm.num_layers)
    with pytest.raises(Refusal, match="no first token"):
        guard(vlm, clip, QUESTION, aim.runtime.answer.Answer(method=aim.FastV()))


def test_the_calibration_counts_right():
    strayed, differs = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    assert area(strayed, differs) == 0.75
    assert balanced_accuracy(strayed, differs, 0.15) == 0.75
    assert best_threshold(strayed, differs) == pytest.approx(0.15)


def test_the_table_shows_shares_and_paired_differences():
    rows = [
        {"clip": clip, "budget": "4x", **{arm: arm != "paper's" or clip > 0 for arm in ARMS}, **{f"{arm}: cost": 0.5 for arm in ARMS}}
        for clip in range(4)
    ]
    line = table(judged(rows)).splitlines()[-1]
    assert "100.0 %" in line and "75.0 %" in line and "+25.0 (−24.0 to +74.0)" in line and "spends 50 %" in line


def test_what_ran_over_the_budget_is_counted():
    within = [{"clip": clip, "budget": "4x", **dict.fromkeys(ARMS, True), **{f"{arm}: cost": 1.0 for arm in ARMS}} for clip in range(2)]
    over = within[0] | {"paper's: cost": 1.06}
    assert overruns(judged(within)) == []
    assert overruns(judged([*within, over, *(row | {"budget": "9x"} for row in (over, *within))])) == [
        "4x less, paper's: 1 of 3 questions over the budget, by 6.0 % at most.",
        "9x less, paper's: 1 of 3 questions over the budget, by 6.0 % at most.",
    ]


@torch.inference_mode()
def test_the_command_prints_json_or_lines(capsys):
    flags = [QUESTION, "--budget", "16x", "--max-prefills", "4"]
    main(["tune", str(FILE), *flags, "--json", "--spend"])
    report = json.loads(capsys.readouterr().out)
    assert report["complete"] and report["prefills"] == 4 and len(report["tried"]) == 4
    assert report["chosen"]["cost"]["prefill_tflops"] <= report["limit"]
    full, reduced = report["spent"]
    assert full["frames"] == 8 < reduced["frames"] and reduced["cost"]["prefill_tflops"] <= full["cost"]["prefill_tflops"]
    main(["tune", str(FILE), *flags])
    out = capsys.readouterr().out
    assert "--merge-ratio" in out and "in 4 prefills" in out and out.count("\n→ ") == 1


def test_the_command_takes_a_folder(tmp_path, capsys):
    for name in ("colour.mp4", "count.mp4"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "notes.txt").write_text("no video")
    flags = [QUESTION, "--budget", "16x", "--max-prefills", "3", "--json"]
    main(["tune", str(tmp_path), *flags])
    report = json.loads(capsys.readouterr().out)
    assert report["clips"] == ["colour.mp4", "count.mp4"] and len(report["divergences"]) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        main(["tune", str(tmp_path / "empty"), *flags])
    assert "no video" in capsys.readouterr().err
