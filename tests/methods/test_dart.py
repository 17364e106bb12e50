"""DART keeps what its official code keeps on the same inputs, and in the engine what plain loops over keys and hidden states keep."""

import pytest
import torch

import aim
from aim.kernels.pivots import key_length, least_like_pivots, longest
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up, plan
from tests.official import input_of, llm, rivals
from tests.tiny import clip_inputs, llava_onevision

CASES = {name: case for name, case in rivals("dart").items() if case["stable"]}
FIRST, PATCHES, AFTER = 3, 100, 6  # of `clip_inputs()`: three words, four frames of 5 x 5 patches, a newline, six words


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_what_the_official_code_keeps(name):
    clip, kind, ratio = input_of(name)
    layer = llm(clip, kind)
    (first, end), length = layer["visual"], key_length(layer["key"])
    visual, asked = torch.arange(first, end), torch.arange(end, len(length))
    pivots = torch.cat([longest(length, places, 4) for places in (visual, asked)])
    official = torch.tensor(CASES[name]["pivots"])
    assert sorted(pivots.tolist()) == sorted(official.tolist())
    if name.startswith("ranked"):
        assert torch.equal(pivots, official)
    kept = least_like_pivots(layer["hidden"], visual, official, [int(len(visual) * ratio / 8)] * 8)
    assert kept.nonzero().flatten().tolist() == CASES[name]["kept"].tolist()


def by_loops(states, length, visual, asked, each):
    """Pivots by the length of their keys; each takes the candidates of least cosine, one at a time."""
    pivots = [place for group in (visual, asked) for place in sorted(group, key=lambda place: -float(length[place]))[:4]]
    kept = [place for place in pivots if place in visual]
    for pivot in pivots:
        for _ in range(each):
            left = [place for place in visual if place not in kept]
            kept.append(min(left, key=lambda place: float(torch.cosine_similarity(states[place], states[pivot], dim=0))))
    return sorted(kept)


def test_the_engine_hands_over_the_keys_before_and_the_normed_states(monkeypatch):
    model, keys = llava_onevision(), []
    own = aim.DART.score
    monkeypatch.setattr(aim.DART, "score", lambda self, query, key, *rest: keys.append(key.clone()) or own(self, query, key, *rest))
    with torch.no_grad():
        entering = model(**clip_inputs(), output_hidden_states=True).hidden_states[3][0]
        with aim.reduce(model, aim.DART(layer=3, keep_ratio=0.3)) as trace:
            model(**clip_inputs())
        states = model.model.language_model.norm(entering)
    visual = range(FIRST, FIRST + PATCHES)
    expected = by_loops(states, keys[0].abs().sum(dim=(0, 2)), visual, range(FIRST + PATCHES + 1, len(states)), 3)
    assert (trace.survivors[3] + FIRST).tolist() == expected
    assert [visual for visual, _ in trace.tokens_per_layer] == [100] * 3 + [28] * 3


def test_a_short_question_is_gone_through_again():
    length = torch.tensor([5.0, 1.0, 9.0, 2.0])
    assert longest(length, torch.tensor([1, 3]), 4).tolist() == [3, 1, 3, 1]
    model = llava_onevision()
    with torch.no_grad(), aim.reduce(model, aim.DART(keep_ratio=0.5)) as trace:
        model(**clip_inputs(after=1))
    assert trace.tokens_per_layer[2][0] == 52


@pytest.mark.parametrize(
    ("tokens", "ratio", "left"), [(576, 0.2223, 132), (100, 1, 100), (100, 0.99, 100), (3, 0.5, 3), (9, 0.0001, 4), (20, 0.9, 20)]
)
def test_counts(tokens, ratio, left):
    assert aim.DART(keep_ratio=ratio).kept(3, tokens) == [tokens, tokens, left]


@pytest.mark.parametrize("keep_ratio", [0.02, 0.13, 0.57])
def test_its_choice_fills_another_methods_schedule(keep_ratio):
    model = llava_onevision()
    composed = aim.Composed(scorer=aim.DART(), schedule=aim.FastV(layer=2, keep_ratio=keep_ratio))
    with torch.no_grad(), aim.reduce(model, composed) as trace:
        model(**clip_inputs())
    assert len(trace.survivors[2].unique()) == trace.tokens_per_layer[2][0] == round(100 * keep_ratio)


def test_its_cost_is_a_line_of_its_own():
    shape = look_up("llava-onevision-qwen2-7b").shape
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.DART())
    assert planned.importance_tflops == 6372 * (26 * shape.hidden_size + 4 * 128) / 1e12
    assert planned.tokens_per_layer == [(6272, 100)] * 2 + [(4 + 8 * 174, 100)] * 26


def test_a_prompt_without_a_question_is_refused():
    model, inputs = llava_onevision(), clip_inputs(after=0)
    with pytest.raises(Refusal, match="no text behind its pictures"), aim.reduce(model, aim.DART()):
        model(**inputs)
