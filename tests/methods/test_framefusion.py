"""FrameFusion merges and drops what its official code does, call by call, and in the engine what plain loops over the states do."""

from fractions import Fraction

import pytest
import torch

import aim
from aim.engine import seams
from aim.kernels.importance import last_token_attention
from aim.kernels.still_fusion import fuse, next_count, still_to_drop
from aim.methods.cut import Cut
from aim.planning.plan import plan
from tests.official import TEXT_AFTER, input_of, layer_change, llm, rivals
from tests.tiny import FEWER, TINY

CASES = {name: case for name, case in rivals("framefusion").items() if case["stable"]}


@pytest.mark.parametrize("name", CASES)
def test_it_merges_and_drops_what_the_official_code_does_in_every_call(name):
    case, (clip, kind, ratio) = CASES[name], input_of(name)
    layer, method = llm(clip, kind), aim.FrameFusion(keep_ratio=ratio)
    (first, end), hidden = layer["visual"], layer["hidden"].clone()
    alive, counts = torch.arange(end - first), [end - first]
    weights, per_frame = torch.eye(len(alive)), len(alive) // len(case["counts"])
    for call in range(len(case["left_after_call"])):
        here = torch.cat([torch.arange(first), alive + first, end + torch.arange(TEXT_AFTER)])
        hidden = hidden + layer_change(clip, kind, call)[here] if call else hidden
        visual, target = first + torch.arange(len(alive)), method.decided(counts, 28)
        score = last_token_attention(layer["query"][:, here], layer["key"][:, here], layer["scaling"])
        given = Cut(call, target or 0, 28, counts, hidden, visual, visual[:0], score, alive % per_frame, torch.nn.Identity())
        kept = method.decide(given) if target is None else method.cut(given)
        if kept.into is None:
            weights, states = weights[kept.chosen], hidden[visual[kept.chosen]]
        else:
            groups = (kept.into == torch.arange(len(kept.chosen))[:, None]).float()
            weights, states = groups / groups.sum(dim=1, keepdim=True) @ weights, kept.hidden
        hidden = torch.cat([hidden[:first], states, hidden[first + len(alive) :]])
        alive = alive[kept.chosen]
        counts.append(len(alive))
    assert counts[1:] == case["left_after_call"] and method.decided(counts, 28) == counts[-1]
    assert alive.tolist() == case["kept"].tolist()
    torch.testing.assert_close(weights, case["weights"], atol=1e-4, rtol=0)


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def standing_still(family):
    """A clip in which each frame, or step of frames, is the one before it with a little noise."""
    inputs = family.video_inputs(8)
    name = next(name for name in inputs if name.startswith("pixel_values"))
    # Frame by frame: [frames, values of one], or where all pictures stand in one row [values, frames, values].
    row = inputs[name].flatten(0, -2) if family.packed else inputs[name].view(1, -1)
    pixels = row.unflatten(-1, (8 // family.step, -1))
    torch.manual_seed(0)
    still = pixels[:, :1] + 0.02 * torch.randn_like(pixels)
    return {**inputs, name: still.reshape(inputs[name].shape)}


def test_the_engine_fuses_layer_by_layer_as_plain_loops_do(family, model):
    entering = []
    hooks = [
        layer.register_forward_pre_hook(lambda _layer, args, kwargs: entering.append(args[0][0].clone()), with_kwargs=True)
        for layer in seams.parts_of(model).layers[:1]
    ]
    method = aim.FrameFusion(keep_ratio=0.5, similarity=0.9)
    try:
        with torch.no_grad(), aim.reduce(model, aim.Full()) as full:
            model(**standing_still(family))
        before = entering.pop()
        with torch.no_grad(), aim.reduce(model, method) as trace:
            model(**standing_still(family))
    finally:
        for hook in hooks:
            hook.remove()
    spots, frames, total = full.rows * full.columns, full.frames, full.visual_tokens
    ids = standing_still(family)["input_ids"][0]
    places = [place for place, token in enumerate(ids.tolist()) if (ids == token).sum() >= total][:total]
    pairs = {}
    for token in range(spots, total):
        pairs[token] = float(torch.cosine_similarity(before[places[token]], before[places[token - spots]], dim=0))
    goes = sorted((token for token in pairs if pairs[token] >= 0.9), key=lambda token: (-pairs[token], token))[: total // 2]
    assert len(goes) > total // 10
    holders = list(range(total))
    for frame in range(frames):
        for spot in range(spots):
            token = frame * spots + spot
            holders[token] = holders[token - spots] if token in goes else token
    assert trace.held_in(0).tolist() == holders
    assert trace.survivors[0].tolist() == sorted(set(holders))
    counts = [visual for visual, _ in trace.tokens_per_layer]
    assert sum(counts) == pytest.approx(0.5 * total * len(counts), abs=len(counts))


def test_a_batch_decides_for_each_prompt(family, model):
    batch, alone = family.batch_inputs(8)
    # A layer of linear attention normalises what it computed, which is next to nothing at some tokens. In Qwen3.5 that turned 4e-8, the
    # rounding of a product over two prompts at once, into 3e-4 behind the first layer.
    rounding = 1e-3 if family.linear else 1e-4
    method = aim.FrameFusion(keep_ratio=0.4, similarity=0.3)
    with torch.no_grad(), aim.reduce(model, method) as together:
        logits = model(**batch).logits[:, -1]
    for number, inputs in enumerate(alone):
        with torch.no_grad(), aim.reduce(model, method) as trace:
            own = model(**inputs).logits[0, -1]
        assert together.prompts[number].tokens_per_layer == trace.tokens_per_layer
        assert together.prompts[number].held_in(trace.num_layers - 1).tolist() == trace.held_in(trace.num_layers - 1).tolist()
        torch.testing.assert_close(logits[number], own, atol=rounding, rtol=rounding)


def test_the_budget_holds_whatever_the_layers_merge():
    for shares in ([], [Fraction(1, 2)], [Fraction(1, 3), Fraction(1, 5)], [Fraction(0)]):
        left, spent = Fraction(1), Fraction(0)
        for share in shares:
            left *= 1 - share
            spent += left
        after = left * (1 - still_to_drop(shares, Fraction(3, 10), 28))
        assert spent + (28 - len(shares)) * after == 28 * Fraction(3, 10)
    assert still_to_drop([Fraction(0)] * 3, Fraction(1, 10), 12) == 1  # the layers so far have cost more
    assert next_count([100] * 4, Fraction(1, 10), 12, Fraction(1, 10)) == 1
    assert next_count([100, 50], Fraction(9, 10), 4, Fraction(1, 10)) is None  # cheaper than the budget, and merging goes on
    assert next_count([100, 50, 49], Fraction(9, 10), 4, Fraction(1, 10)) == 49


def test_a_plan_takes_the_course_in_which_nothing_repeats():
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.FrameFusion()).tokens_per_layer
    counts = [visual for visual, _ in planned]
    assert counts[0] == 6272 and len(set(counts[1:])) == 1
    assert sum(counts) == pytest.approx(0.3 * 28 * 6272, abs=28)
    assert aim.FrameFusion(keep_ratio=1).kept(28, 100) == [100] * 28
    assert aim.FrameFusion(keep_ratio=0.001).kept(6, 100) == [100] + [1] * 5


def test_a_run_of_repeats_goes_into_the_token_before_it():
    states = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 0.1], [3.0, 0.0], [0.1, 5.0]])
    left, new, into = fuse(states, torch.tensor([0, 1, 0, 1, 0, 1]), 0.99, 6)
    assert left.tolist() == [0, 1, 3, 5] and into.tolist() == [0, 1, 0, 2, 0, 3]
    assert new[0].tolist() == [2.0, 0.0]
    few, _, _ = fuse(states, torch.tensor([0, 1, 0, 1, 0, 1]), 0.99, 1)
    assert few.tolist() == [0, 1, 3, 4, 5]  # of equal ones the earlier goes
