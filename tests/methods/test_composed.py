"""Composed: three parts of one method are that method, parts of several do what each lends, and what does not go together is refused."""

from __future__ import annotations

import json

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up
from tests.engine.test_matrix import LAYERS, REDUCED
from tests.tiny import TINY

SEVEN_B = "llava-onevision-qwen2-7b"
FAMILIES = ["llava_onevision", pytest.param("qwen2_5_vl", marks=pytest.mark.whole)]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model(layers=LAYERS)


def run(model, inputs, method):
    with aim.reduce(model, method) as trace, torch.no_grad():
        return model.generate(**inputs, max_new_tokens=4, do_sample=False).tolist(), trace


def account(method, shape, merged):
    """All that a method tells of its cost on 8 frames of 49 tokens, of which it leaves so many."""
    fitted = method.for_depth(shape.shape.num_layers)
    kept = fitted.runs_on(shape.shape.num_layers, merged, 2)
    merging = fitted.merge_flops(shape.shape, shape.vision, 8, 49, merged)
    return kept, merging, fitted.score_flops(shape.shape, kept), fitted.frames_seen(8), list(map(float, fitted.keep(28)))


@pytest.mark.parametrize("name", REDUCED)
def test_three_parts_of_one_method_are_that_method(family, model, name):
    alone, inputs = REDUCED[name], family.video_inputs(4)
    composed = aim.Composed(merger=alone, scorer=alone, schedule=alone)
    expected, trace = run(model, inputs, alone)
    said, of_parts = run(model, inputs, composed)
    assert said == expected
    assert of_parts.tokens_per_layer == trace.tokens_per_layer and of_parts.key_value_lengths == trace.key_value_lengths
    for part in ("assignment", "group_sizes", "anchors", "positions"):
        assert torch.equal(getattr(of_parts, part), getattr(trace, part)), part
    for part in ("survivors", "scores"):
        for one, other in zip(getattr(of_parts, part), getattr(trace, part), strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    for told in ("positions", "needs_tower", "needs_question", "looks_ahead", "merges", "scores"):
        assert getattr(composed, told) == getattr(alone, told), told
    shape = look_up(SEVEN_B)
    assert account(composed, shape, 196) == account(alone, shape, 196)
    assert composed.merged_tokens(8, 49) == alone.merged_tokens(8, 49)


def test_each_part_lends_its_share(family, model):
    inputs = family.video_inputs(4)
    merger, scorer, schedule = aim.ToMe(merge_ratio=0.6), aim.FastV(), aim.AIM(merge_ratio=0.1, l1=2, l2=5)
    _, trace = run(model, inputs, aim.Composed(merger=merger, scorer=scorer, schedule=schedule))
    _, merged = run(model, inputs, merger)
    assert torch.equal(trace.assignment, merged.assignment) and torch.equal(trace.positions, merged.positions)
    assert [visual for visual, _ in trace.tokens_per_layer] == schedule.kept(LAYERS, merged.merged_tokens)
    with aim.reduce(model, aim.Composed(merger=merger, scorer=scorer), scores="all") as whole, torch.no_grad():
        model(**inputs)
    best = whole.scores[1].argsort(descending=True, stable=True)[: len(trace.survivors[2])].sort().values
    assert torch.equal(trace.survivors[2], best)  # by FastV's score of layer 1, on ToMe's tokens
    assert torch.equal(trace.scores[1], whole.scores[1])


def test_a_scorer_that_looks_ahead_scores_by_the_layer_to_come(family, model):
    inputs = family.video_inputs(4)
    late = aim.FastV(layer=3, keep_ratio=0.5)
    composed = aim.Composed(scorer=aim.PyramidDrop(), schedule=late)
    assert composed.looks_ahead and composed.positions == "original"
    staged = aim.PyramidDrop(ratio=0.5, stages=(3,))
    assert torch.equal(run(model, inputs, composed)[1].survivors[3], run(model, inputs, staged)[1].survivors[3])


@pytest.mark.whole
def test_any_scorer_goes_with_any_schedule():
    """FrameFusion's plan is an estimate, since its cuts decide as they go."""
    tiny, merger = TINY["llava_onevision"], aim.ToMe(merge_ratio=0.6)
    model, inputs, merged = tiny.model(layers=LAYERS), tiny.video_inputs(4), merger.merged_tokens(4, 25)
    for scorer in REDUCED.values():
        for name, schedule in REDUCED.items():
            composed, kept = aim.Composed(merger, scorer, schedule), schedule.for_depth(LAYERS).runs_on(LAYERS, merged)
            if not scorer.scores and any(0 < count < merged for count in kept):
                with pytest.raises(Refusal, match="which scores none"):
                    composed.for_depth(LAYERS)
                continue
            with aim.reduce(model, composed) as trace, torch.no_grad():
                model(**inputs)
            assert name == "framefusion" or [visual for visual, _ in trace.tokens_per_layer] == kept, (scorer, schedule)


def test_a_scorer_that_averages_goes_with_a_schedule_that_ends_with_no_token(family, model):
    with aim.reduce(model, aim.Composed(scorer=REDUCED["sparsevlm"], schedule=REDUCED["aim"])) as trace, torch.no_grad():
        model(**family.video_inputs(4))
    assert trace.tokens_per_layer[-1][0] == 0 < trace.tokens_per_layer[-3][0]
    assert set(trace.held_in(LAYERS - 1).tolist()) == {-1}


def test_it_is_planned_matched_and_written_as_json():
    method = aim.Composed(merger=aim.AIM(merge_ratio=0.25), scorer=aim.FastV(), schedule=aim.PyramidDrop())
    planned = aim.plan(SEVEN_B, 32, 100, method)
    assert [visual for visual, _ in planned.tokens_per_layer] == [1568] * 7 + [784] * 7 + [392] * 7 + [196] * 7
    assert planned.merge_tflops == aim.plan(SEVEN_B, 32, 100, aim.AIM(merge_ratio=0.25)).merge_tflops
    dearer = aim.Composed(method.merger, aim.PyramidDrop(), method.schedule)  # which asks the coming layer for its queries and keys
    assert 0 < planned.importance_tflops < aim.plan(SEVEN_B, 32, 100, dearer).importance_tflops
    assert json.loads(json.dumps(method.params())) == {
        "merger": {"method": "aim", **aim.AIM().params()},
        "scorer": {"method": "fastv", "layer": 2, "keep_ratio": 0.5},
        "schedule": {"method": "pdrop", "ratio": 0.5, "stages": None},
    }
    matched = aim.match(method, SEVEN_B, 32, target_tflops=20)
    assert aim.plan(SEVEN_B, 32, 100, matched).prefill_tflops == pytest.approx(20, rel=0.01)
    assert (matched.scorer, matched.merger.l1) == (method.scorer, 14)
    dropping = aim.Composed(scorer=aim.Random(), schedule=aim.FastV())
    assert aim.plan(SEVEN_B, 32, 100, aim.match(dropping, SEVEN_B, 32, target_tflops=30)).prefill_tflops == pytest.approx(30, rel=0.01)


def test_a_loaded_model_answers_under_it():
    vlm, clip = aim.load("bundled"), aim.read_video("assets/examples/colour.mp4", num_frames=4)
    method = aim.Composed(merger=aim.PruMerge(keep_ratio=0.5), scorer=aim.AIM(), schedule=aim.PyramidDrop())
    answer = vlm.ask(clip, "what colour is the circle?", method, max_new_tokens=2)
    account = json.loads(json.dumps(answer.account()))
    assert account["method"] == "composed" and account["params"]["merger"]["keep_ratio"] == 0.5
    assert [visual for visual, _ in answer.trace.tokens_per_layer] == method.kept(12, 98)
    from aim.views.shared_words import setting

    assert "merger prumerge, keep ratio 0.5, plus False" in setting(answer.method)


def test_parts_that_lend_nothing_change_nothing():
    composed = aim.Composed()
    assert composed.for_depth(28) == composed
    assert (composed.positions, composed.needs_tower, composed.merges, composed.scores) == ("original", False, False, False)
    assert aim.Composed(merger=aim.FastV(), schedule=aim.VTW(layer=5)).for_depth(28).kept(28, 100) == [100] * 5 + [0] * 23


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"merger": aim.AIM}, "merger is <class .*>; accepted: a method. Make one"),
        ({"scorer": "fastv"}, "scorer is 'fastv'; accepted: a method"),
        (
            {"merger": aim.Mask(mask_frames=(0,)), "schedule": aim.PyramidDrop()},
            "The merger is mask with mask_frames .*, which leaves tokens at their positions, and the schedule is pdrop, which numbers",
        ),
        ({"merger": aim.AIM(positions="original"), "schedule": aim.PyramidDrop()}, "Take a merger that numbers tokens anew"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts, message):
    with pytest.raises(Refusal, match=message):
        aim.Composed(**parts)


def test_a_schedule_that_chooses_needs_a_scorer_that_scores():
    composed = aim.Composed(merger=aim.ToMe(), scorer=aim.VTW(), schedule=aim.FastV(layer=3))
    with pytest.raises(Refusal, match="The schedule is fastv with layer 3, which keeps some .* the scorer is vtw, which scores none"):
        aim.plan(SEVEN_B, 32, 100, composed)
    model = TINY["llava_onevision"].model()
    with pytest.raises(Refusal, match="accepted: a scorer that scores"), aim.reduce(model, composed):
        pass
    assert composed.for_depth(3).kept(3, 100) == [100] * 3  # its cut lies behind the last layer
