"""The search for knobs: its measure a second way, its budget, its end."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache

import aim
from aim.kernels.refusal import Refusal
from aim.tuning import search
from aim.tuning.candidates import Candidate, proposals, ratio_of
from aim.tuning.costs import Costs, places_of
from aim.tuning.fidelity import Subject, forget
from aim.tuning.outcome import Tried, choose
from aim.tuning.search import tune, tune_steps
from tests.visitor import EXAMPLES

QUESTION = "How many shapes are there?"


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


@pytest.fixture(scope="module")
def clip():
    return aim.read_video(EXAMPLES / "colour.mp4", num_frames=8)


@pytest.fixture(scope="module")
def tuned(vlm, clip):
    return tune(vlm, clip, QUESTION, "16x", max_prefills=14)


@pytest.fixture
def prefills(vlm):
    """The lengths of the prompts that entered the language model."""
    lengths = []

    def note(_module, _args, kwargs):
        if kwargs["inputs_embeds"].shape[1] > 1:
            lengths.append(kwargs["inputs_embeds"].shape[1])

    hook = vlm.model.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
    yield lengths
    hook.remove()


def log_probabilities(logits) -> torch.Tensor:
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize(
    "method",
    [aim.AIM(merge_ratio=0.1, l1=3, l2=8), aim.AIM(merge_ratio=0.2, l1=0, l2=5, positions="original"), aim.AIM(merge_ratio=1, l1=2, l2=4)],
)
@torch.inference_mode()
def test_divergence_is_that_of_plain_forwards_over_the_full_models_answer(vlm, clip, method):
    subject = Subject(vlm, clip, QUESTION)
    assert subject.refer(aim.Full())
    inputs = vlm.inputs(QUESTION, vlm.encode(clip.frames))
    prompt = inputs["input_ids"]
    said = vlm.model.generate(**inputs, do_sample=False, max_new_tokens=16)[0, prompt.shape[1] :]
    assert subject.reference.tokens == tuple(said.tolist())
    # The full model in one forward over prompt and answer, nothing cached.
    whole = torch.cat([prompt, said[None]], dim=1)
    logits = vlm.model(**{**inputs, "input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits[0]
    full = log_probabilities(logits[prompt.shape[1] - 1 : -1])
    # The reduced one by hand, token by token.
    cache, steps = DynamicCache(), []
    with aim.reduce(vlm.model, method):
        steps.append(vlm.model(**inputs, past_key_values=cache, use_cache=True).logits[0, -1])
        for token in said[:-1]:
            steps.append(vlm.model(input_ids=token[None, None], past_key_values=cache, use_cache=True).logits[0, -1])
    reduced = log_probabilities(torch.stack(steps))
    expected = (full.exp() * (full - reduced)).sum(-1)
    assert expected.mean() > 0.001  # or the comparison would say nothing
    assert subject.divergence_of(method) == pytest.approx(float(expected.mean()), rel=1e-3, abs=1e-5)
    assert subject.measure(method).first == pytest.approx(float(expected[0]), rel=1e-3, abs=1e-5)


def test_the_full_model_does_not_stray_from_itself(vlm, clip):
    subject = Subject(vlm, clip, QUESTION)
    subject.refer(aim.Full())
    assert subject.divergence_of(aim.Full()) == pytest.approx(0, abs=1e-6)
    assert subject.divergence_of(aim.AIM(merge_ratio=1, l1=vlm.num_layers, l2=vlm.num_layers + 1)) == pytest.approx(0, abs=1e-6)


@pytest.mark.every
def test_no_candidate_of_any_budget_costs_more_than_it(vlm, clip):
    costs, lots, tried = Costs(vlm, QUESTION, {8: clip, 4: clip}), random.Random(1), 0
    full = costs.plan(aim.Full(), 8)
    for number in range(18):
        kind = ("times", "tflop", "mb")[number % 3]
        most = {"times": 27.0, "tflop": full.prefill_tflops, "mb": full.kv_bytes / 1e6}[kind]
        budget = aim.Budget(kind, lots.uniform(1, most) if kind == "times" else lots.uniform(most / 20, most))
        limit = budget.limit(full)
        found = []
        for candidate in proposals(costs.space(budget, limit), number, 24, lambda found=found: found):
            assert budget.cost(costs.plan(candidate.method, candidate.frames)) <= limit
            found.append((lots.random(), candidate))
            if len(found) == 24:
                break
        tried += len(found)
    assert tried > 250


def test_it_stays_within_the_budget_and_is_no_worse_than_the_papers_setting(vlm, tuned):
    assert tuned.complete and tuned.reference == "full model"
    assert tuned.tried[0].method.name == "full" and tuned.tried[0].divergence == 0 and not tuned.tried[0].within_budget
    assert tuned.limit == pytest.approx(tuned.tried[0].cost["prefill_tflops"] / 16, rel=1e-12)
    for one in tuned.tried[1:]:
        assert one.within_budget and one.cost["prefill_tflops"] <= tuned.limit
    finished = [one for one in tuned.tried if one.within_budget and one.divergence is not None]
    assert tuned.chosen.divergence == min(one.divergence for one in finished)
    paper = aim.AIM().for_depth(vlm.num_layers)
    preset = tuned.preset
    assert (preset.method.l1, preset.method.l2) == (paper.l1, paper.l2) and preset.divergence >= tuned.chosen.divergence


def test_its_figures_are_those_of_runs_alone(vlm, clip, tuned):
    full = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=1)
    alone = vlm.ask(clip, QUESTION, tuned.chosen.method, max_new_tokens=1)
    assert {name: tuned.chosen.cost[name] for name in ("prefill_tflops", "kv_bytes")} == {
        name: pytest.approx(alone.cost[name], rel=1e-12) for name in ("prefill_tflops", "kv_bytes")
    }
    difference = full.next_token.double() - alone.next_token.double()
    assert tuned.chosen.first_divergence == pytest.approx(float((full.next_token.double().exp() * difference).sum()), rel=1e-4)


@pytest.mark.parametrize("most", [2, 5, 11])
def test_it_never_prefills_more_often_than_it_may(vlm, clip, prefills, most):
    tuned = tune(vlm, clip, QUESTION, "8x", max_prefills=most)
    assert len(prefills) == tuned.prefills <= most
    assert len(tuned.tried) == tuned.prefills and tuned.preset is not None


def test_milliseconds_count_every_prefill_and_bind_the_measured_time_too(vlm, clip, prefills):
    tuned = tune(vlm, clip, QUESTION, "20 s", max_prefills=6)
    assert len(prefills) == tuned.prefills == 6
    assert tuned.budget.unit == "ms" and tuned.budget.milliseconds_per_tflop is not None
    for one in tuned.tried:
        assert one.within_budget == (tuned.budget.cost(one.cost) <= 20_000 and one.prefill_seconds <= 20)
    with pytest.raises(Refusal, match="at least that much"):
        tune(vlm, clip, QUESTION, "0.001 ms")


def test_the_clip_is_encoded_once(vlm, clip, monkeypatch):
    seen, fresh = [], aim.clip_from_frames(clip.frames[:, ::-1], 2.0)
    original = vlm.checkpoint.family.encode
    family = replace(vlm.checkpoint.family, encode=lambda *given: seen.append(1) or original(*given))
    monkeypatch.setattr(vlm.features, "checkpoint", replace(vlm.checkpoint, family=family))
    tune(vlm, fresh, QUESTION, "8x", max_prefills=4)
    assert seen == [1]


def plain(tuned) -> dict:
    account = tuned.to_dict()
    for one in (*account["tried"], account["chosen"], account["preset"]):
        del one["prefill_seconds"]
    return account


@pytest.mark.long
def test_a_seed_gives_one_search(vlm, clip):
    first, again, other = (plain(tune(vlm, clip, QUESTION, "8x", max_prefills=14, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first["tried"][:4] == other["tried"][:4] and first["tried"] != other["tried"]


def test_giving_up_early_changes_neither_the_choice_nor_the_front(vlm, clip, tuned, monkeypatch):
    assert any(one.rejected for one in tuned.tried)
    monkeypatch.setattr(search, "bound_for", lambda *_: float("inf"))
    patient = tune(vlm, clip, QUESTION, "16x", max_prefills=14)
    assert not any(one.rejected for one in patient.tried)
    assert [one.label for one in patient.tried] == [one.label for one in tuned.tried]
    assert patient.chosen.label == tuned.chosen.label
    assert [one.label for one in patient.front()] == [one.label for one in tuned.front()]
    for given_up, whole in zip(tuned.tried, patient.tried, strict=True):
        if given_up.rejected:
            assert whole.divergence > tuned.chosen.divergence


def test_stopping_between_settings_keeps_what_was_tried(vlm, clip):
    stop, stages = threading.Event(), []
    for stage in tune_steps(vlm, clip, QUESTION, "8x", stop=stop):
        stages.append(stage)
        if len(stage.tried) == 3:
            stop.set()
    assert len(stages[-1].tried) == 3 and not stages[-1].complete and stages[-1].chosen is not None
    assert vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=2).text


@pytest.mark.parametrize("at", [1, 3])
def test_stopping_inside_a_prefill_ends_with_it(vlm, clip, at):
    stop, seen = threading.Event(), []

    def press(_module, _args, kwargs):
        seen.append(kwargs["inputs_embeds"].shape[1])
        if sum(length > 1 for length in seen) == at:
            stop.set()

    hook = vlm.model.model.language_model.register_forward_pre_hook(press, with_kwargs=True)
    try:
        tuned = tune(vlm, clip, QUESTION, "8x", stop=stop)
    finally:
        hook.remove()
    assert seen[-1] > 1 and len(tuned.tried) == at - 1 and not tuned.complete


def test_without_memory_for_the_full_model_the_least_reduced_one_that_fits_stands_in(vlm, clip, prefills):
    def fail(_module, _args, kwargs):
        if kwargs["inputs_embeds"].shape[1] > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = vlm.model.model.language_model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: fail(module, args, {"inputs_embeds": args[0] if args else kwargs["hidden_states"]}), with_kwargs=True
    )
    try:
        tuned = tune(vlm, clip, QUESTION, "8x", max_prefills=12)
    finally:
        hook.remove()
    assert "does not fit in memory" in tuned.reference and "35 %" in tuned.reference
    assert len(prefills) == tuned.prefills <= 12 and tuned.chosen.within_budget
    stand_in = tuned.tried[0]
    assert stand_in.method.merge_ratio == 0.35 and stand_in.divergence == 0
    assert all(one.cost["prefill_tflops"] <= stand_in.cost["prefill_tflops"] for one in tuned.tried)


@pytest.mark.every
def test_without_memory_for_anything_it_says_so(vlm, clip, monkeypatch):
    def fail(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vlm.model, "generate", fail)
    with pytest.raises(Refusal, match="use fewer frames"):
        tune(vlm, clip, QUESTION, "8x", max_prefills=12)


def test_other_errors_are_not_taken_for_want_of_memory():
    forget(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    with pytest.raises(RuntimeError, match="shapes"):
        forget(RuntimeError("shapes do not match"))


def test_fewer_frames_can_be_chosen_from(vlm, clip):
    tuned = tune(vlm, clip, QUESTION, "10x", frames=[4, 8], max_prefills=14)
    assert {one.frames for one in tuned.tried} == {4, 8} and tuned.tried[0].frames == 8
    with pytest.raises(Refusal, match="a whole number from 1 to 8. The clip has 8 frames"):
        tune(vlm, clip, QUESTION, "10x", frames=[16])


def tried(cost: float, divergence: float | None, within: bool = True) -> Tried:
    return Tried(aim.AIM(), 8, {"prefill_tflops": cost}, within, divergence, 0.0, 0.0, divergence is None, f"{cost}")


def test_of_equals_the_cheaper_is_chosen():
    budget = aim.Budget("tflop", 9)
    rows = (tried(5, 0.1), tried(3, 0.1 + 5e-7), tried(2, 0.1 + 5e-6), tried(1, None), tried(9, 0.0, within=False))
    assert choose(rows, budget).label == "3"
    assert choose(rows[3:], budget) is None


def test_merge_ratios_leave_the_tokens_they_stand_for():
    for per_frame in (49, 169, 196, 729):
        for tokens in range(1, per_frame + 1):
            assert max(1, int(ratio_of(tokens, per_frame) * per_frame)) == tokens


def test_with_several_position_axes_places_are_no_choice(vlm):
    assert places_of(vlm) == ("compact", "original")
    rope = SimpleNamespace(rope_parameters={"mrope_section": [2, 3, 3]})
    assert places_of(SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(text_config=rope)))) == ("compact",)


def test_out_of_range_is_refused(vlm, clip):
    with pytest.raises(Refusal, match="max_prefills is 1"):
        tune(vlm, clip, QUESTION, "4x", max_prefills=1)
    with pytest.raises(Refusal, match="cheapest setting"):
        tune(vlm, clip, QUESTION, "1000x")
    with pytest.raises(Refusal, match="kind is 'joule'"):
        aim.Budget("joule", 1)


def test_candidates_near_one_spend_what_is_left(vlm, clip):
    costs = Costs(vlm, QUESTION, {8: clip})
    limit = costs.plan(aim.Full(), 8).prefill_tflops / 8
    space = costs.space(aim.Budget("tflop", limit), limit)
    for candidate in space.coarse("compact", 0):
        tokens = int(candidate.method.merge_ratio * 49)
        if tokens < 49:
            dearer = aim.AIM(ratio_of(tokens + 1, 49), candidate.method.l1, candidate.method.l2)
            assert costs.plan(dearer, 8).prefill_tflops > limit
    assert space.fits(Candidate(space.preset("compact").method, 8))
