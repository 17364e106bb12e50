"""CDPruner keeps what its official code keeps on the same inputs, and what the definition of its greedy search says."""

import pytest
import torch

import aim
from aim.kernels.conditional_diversity import diverse_and_relevant, relevance
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up, plan
from tests.official import input_of, patches, question, rivals

CASES = {name: case for name, case in rivals("cdpruner").items() if case["stable"]}


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_what_the_official_code_keeps(name):
    clip, kind, ratio = input_of(name)
    x, asked = patches(clip, kind), question(clip, kind)
    relevant = relevance(asked["image"], asked["text"], over_clip=name.startswith("together"))
    kept = diverse_and_relevant(x, relevant, round(ratio * x.shape[1]))
    first = x.shape[1] * torch.arange(len(x))[:, None]
    assert (kept + first).flatten().tolist() == CASES[name]["kept"].tolist()


def by_determinants(x, relevant, count):
    """The greedy search, with the determinant of every candidate's kernel."""
    unit = torch.nn.functional.normalize(x.double(), dim=-1) * relevant.double()[:, None]
    kernel, picked = unit @ unit.T, []
    for _ in range(count):
        others = [place for place in range(len(x)) if place not in picked]
        picked.append(max(others, key=lambda place: float(kernel[picked + [place]][:, picked + [place]].det())))
    return sorted(picked)


def test_the_method_is_the_search_with_the_llms_own_embeddings():
    torch.manual_seed(0)
    x, asked = torch.randn(2, 9, 12), torch.randn(3, 12)
    merged = aim.CDPruner(keep_ratio=0.5, relevance_over="frame").merge(x, None, asked)
    for frame, tokens in enumerate(x):
        unlike = [-sum(float(torch.cosine_similarity(token, word, dim=0)) for word in asked) / 3 for token in tokens]
        relevant = torch.tensor([(one - min(unlike) + 1e-6) / (max(unlike) - min(unlike)) for one in unlike])
        expected = [9 * frame + place for place in by_determinants(tokens, relevant, 4)]
        assert merged.anchors.tolist()[4 * frame : 4 * frame + 4] == expected
    assert torch.equal(merged.tokens, x.flatten(0, 1)[merged.anchors])
    assert torch.equal(merged.assignment.flatten()[merged.anchors], torch.arange(8))
    assert (merged.assignment < 0).sum() == 10 and merged.sizes.tolist() == [1] * 8


def test_another_question_keeps_other_tokens():
    torch.manual_seed(1)
    x = torch.randn(2, 25, 16)
    kept = [aim.CDPruner(keep_ratio=0.2).merge(x, None, torch.randn(4, 16)).anchors.tolist() for _ in range(2)]
    assert kept[0] != kept[1]


def test_tokens_that_add_nothing_are_taken_by_their_places():
    flat = torch.randn(1, 1, 3).expand(1, 6, 3)  # one direction, and as relevant as one another
    assert diverse_and_relevant(flat, relevance(flat, torch.randn(2, 3)), 4).tolist() == [[0, 1, 2, 3]]


def test_it_is_planned_and_counted_as_it_runs():
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.CDPruner(keep_ratio=0.1))
    assert planned.tokens_per_layer == [(32 * 19, 100)] * 28
    hidden = look_up("llava-onevision-qwen2-7b").shape.hidden_size
    picks = sum(2 * 196 * hidden + 2 * 196 * before + 4 * 196 for before in range(19))
    assert planned.merge_tflops == 32 * (6 * 196 * hidden + picks) / 1e12
    assert aim.CDPruner(keep_ratio=0.0001).merged_tokens(4, 25) == 4


def test_keeping_all_asks_for_nothing():
    assert aim.CDPruner(keep_ratio=1).merge(torch.randn(1, 4, 8)) is None
    assert plan("llava-onevision-qwen2-7b", 4, 100, aim.CDPruner(keep_ratio=1)).merge_tflops == 0


@pytest.mark.parametrize("asked", [None, torch.zeros(0, 8)])
def test_no_question_is_refused(asked):
    with pytest.raises(Refusal, match="keeps what is relevant to a question, and none was given. Ask a question behind the clip"):
        aim.CDPruner().merge(torch.randn(1, 4, 8), None, asked)


def test_a_knob_out_of_range_is_refused():
    with pytest.raises(Refusal, match="keep_ratio is 0; accepted: a number above 0"):
        aim.CDPruner(keep_ratio=0)
    with pytest.raises(Refusal, match='relevance_over is \'image\'; accepted: "clip" or "frame"'):
        aim.CDPruner(relevance_over="image")


@pytest.mark.parametrize(("tokens", "count"), [(4, 0), (4, 5)])
def test_a_count_that_no_frame_has_is_an_error(tokens, count):
    with pytest.raises(ValueError, match=f"count is {count}"):
        diverse_and_relevant(torch.randn(1, tokens, 3), torch.ones(1, tokens), count)
