"""A reduced vision tower with a loaded model: features near stock's, kept apart from them, told of in the account and in plans."""

import json
import re
from pathlib import Path

import pytest
from torch.nn.functional import cosine_similarity

import aim
from aim.commands.main import main
from aim.families import FAMILIES
from aim.kernels.refusal import Refusal
from aim.runtime.compare import compare
from aim.runtime.features import smaller_tower
from tests.fakes import make_clip

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
LISTED = json.loads((EXAMPLES / "examples.json").read_text())
QUESTION = "what colour is the circle?"


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


@pytest.mark.parametrize("entry", [pytest.param(entry, marks=pytest.mark.whole if at else ()) for at, entry in enumerate(LISTED)])
def test_features_of_a_tower_at_30_per_cent_are_close_to_stocks(vlm, entry):
    clip = aim.read_video(EXAMPLES / entry["file"], entry["frames"])
    stock, reduced = (vlm.encode(clip.frames, tower=tower).features["video"].pooler_output for tower in (None, aim.Tower(merge=0.3)))
    assert cosine_similarity(stock.float(), reduced.float(), dim=-1).mean() >= 0.98


@pytest.mark.whole
@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry["file"])
def test_each_example_is_answered_right_with_a_tower_at_30_per_cent(vlm, entry):
    clip = aim.read_video(EXAMPLES / entry["file"], entry["frames"])
    assert vlm.ask(clip, entry["question"], tower=aim.Tower(merge=0.3), max_new_tokens=4).text == entry["answer"]


def test_features_are_kept_by_how_the_tower_was_reduced(vlm):
    clip = make_clip(3)

    def ask(tower):
        return vlm.ask(clip, QUESTION, max_new_tokens=1, tower=tower)

    first, full = ask(aim.Tower()), ask(None)
    assert not first.features_reused and not full.features_reused
    assert ask(aim.Tower(layer=1)).features_reused and ask(None).features_reused  # it is the layer that this model's default stands for
    assert not ask(aim.Tower(merge=0.5)).features_reused
    assert first.account()["tower"] == {"merge": 0.3, "step": 0.25, "layer": 1, "reuse": None} and full.account()["tower"] is None
    assert first.cost["vision_tflops"] < 0.6 * full.cost["vision_tflops"] == 0.6 * first.cost["baseline_vision_tflops"]


def test_what_is_reused_is_told_and_costs_less(vlm):
    frames = make_clip(6).frames.copy()
    frames[:, :, 30:] = frames[0, :, 30:]  # its right half stands still
    still = aim.clip_from_frames(frames, frames_per_second=2)
    full, reused = (vlm.ask(still, QUESTION, aim.Full(), max_new_tokens=4, tower=tower) for tower in (None, aim.Tower(reuse=8 / 255)))
    assert reused.account()["tower"] == {"merge": 1.0, "step": 0.25, "layer": 1, "reuse": 8 / 255}
    assert full.tower_computed is None and 0.58 < reused.tower_computed == reused.account()["tower_computed"] < 0.7
    assert reused.cost["vision_tflops"] < 0.75 * full.cost["vision_tflops"] == 0.75 * reused.cost["baseline_vision_tflops"]
    assert reused.text == full.text
    both = vlm.ask(still, QUESTION, aim.Full(), max_new_tokens=1, tower=aim.Tower(reuse=8 / 255, merge=0.3))
    assert both.tower_computed == reused.tower_computed and both.cost["vision_tflops"] < reused.cost["vision_tflops"]
    assert vlm.ask(still, QUESTION, aim.Full(), max_new_tokens=1, tower=aim.Tower(reuse=8 / 255)).tower_computed == reused.tower_computed


def test_the_progress_of_a_reduced_tower_counts_all_frames(vlm):
    clip = make_clip(5)
    news = [answer.progress for answer in vlm.stream(clip, QUESTION, max_new_tokens=1, progress=True, tower=aim.Tower(merge=0.5))]
    assert all(0 <= one.done <= one.total for one in news if one is not None)
    assert vlm.tower_tokens(clip, aim.Tower(merge=0.5)) == 5 * (196 + 3 * 98) // 4 < vlm.tower_tokens(clip) == 5 * 196


def test_what_cannot_be_done_is_refused_before_the_clip_is_encoded(vlm, monkeypatch):
    monkeypatch.setattr(vlm.features, "of", lambda *_: pytest.fail("the clip was encoded"))
    for tower, message in ((aim.Tower(layer=4), "from 1 to 3"), (0.3, "tower is 0.3; accepted")):
        with pytest.raises(Refusal, match=message):
            vlm.ask(make_clip(2), QUESTION, tower=tower)
        with pytest.raises(Refusal, match=message), vlm.encoded(make_clip(2), tower=tower):
            pass
        with pytest.raises(Refusal, match=message):
            vlm.encode(make_clip(2).frames, tower=tower)


def test_a_plan_tells_the_tower_with_and_without(capsys):
    main(["plan", "llava-onevision-qwen2-7b", "--tower-merge", "0.3"])
    told = capsys.readouterr().out
    planned = aim.plan("llava-onevision-qwen2-7b", tower=aim.Tower(merge=0.3))
    assert f"vision tower {planned.vision_tflops:.2f} TFLOP of {planned.baseline_vision_tflops:.2f} TFLOP in full" in told
    assert planned.baseline_vision_tflops == aim.plan("llava-onevision-qwen2-7b").vision_tflops
    assert planned.prefill_tflops == aim.plan("llava-onevision-qwen2-7b").prefill_tflops


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("llava-1.5-7b", ["--tower-merge", "0"], "merge is 0.0; accepted"),
        ("smolvlm2-2.2b", ["--tower-merge", "0.3"], "SmolVLM2 cannot be reduced; accepted"),
        ("qwen2.5-vl-7b", ["--tower-reuse", "0.03"], "Qwen2.5-VL reuses nothing from frame to frame; accepted: merge alone"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(capsys, model, flags, message):
    with pytest.raises(SystemExit):
        main(["plan", model, *flags])
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


def test_methods_are_compared_on_a_reduced_tower_with_the_full_model_on_its_full_one(vlm):
    *_, comparison = compare(vlm, make_clip(2), QUESTION, ["pool"], max_new_tokens=1, rounds=2, tower=aim.Tower(merge=0.5))
    full, pooled = (run.answer for run in comparison.runs)
    assert full.tower is None and pooled.tower == aim.Tower(merge=0.5, layer=1)
    assert pooled.cost["vision_tflops"] < full.cost["vision_tflops"] == pooled.cost["baseline_vision_tflops"]


@pytest.mark.parametrize(
    ("name", "tower", "advice"),
    [
        ("llava", None, "Use fewer frames, or merge patches inside the tower: tower=aim.Tower"),
        ("llava", aim.Tower(reuse=0), "or merge patches inside the tower"),
        ("qwen2_vl", aim.Tower(merge=0.5), "or merge more of the tower's patches: .*--tower-merge 0.2 on the command line.$"),
        ("gemma4", None, "^Use fewer frames.$"),
    ],
)
def test_a_tower_without_memory_says_what_makes_it_smaller(name, tower, advice):
    assert re.search(advice, smaller_tower(FAMILIES[name], tower))
