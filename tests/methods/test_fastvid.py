"""FastVID: the official results, the rule by plain loops, budgets, cost, and what is refused."""

from __future__ import annotations

import pytest
import torch

import aim
from aim.kernels.anchor_budget import FrameBudget, budget_by_frame, budget_by_segment
from aim.kernels.anchor_merging import anchor_merge_flops, merge_around_anchors
from aim.kernels.density_peaks import density_peaks
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.planning.plan import look_up, plan
from tests import official

CASES = official.rivals("fastvid")
SEVEN_B = "llava-onevision-qwen2-7b"


def tower_of(received: torch.Tensor) -> TowerAttention:
    return TowerAttention(received, torch.zeros(*received.shape, 3))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("stable")])
def test_the_official_tokens_come_out(name: str):
    case, (clip, kind, ratio) = CASES[name], official.input_of(name)
    code, *few = name.split(".")[0].split("_c")
    patches = official.patches(clip, kind)
    method = aim.FastVID(keep_ratio=ratio, fastvid_code=code, least_segments=int(few[0]) if few else None)
    merged = method.merge(patches, tower_of(official.tower(clip, kind)["received"]))
    assert torch.equal(merged.anchors, case["kept"])
    torch.testing.assert_close(merged.tokens, case["weights"] @ patches.flatten(0, 1), atol=1e-4, rtol=1e-4)
    # A place belongs to the first of the tokens that it has most weight in, and to none where it has none.
    most, owner = case["weights"].max(dim=0)
    mine = merged.assignment.flatten()
    assert torch.equal(mine < 0, most == 0)
    chosen = case["weights"].gather(0, mine.clamp(min=0)[None])[0]
    torch.testing.assert_close(chosen, most, atol=1e-5, rtol=1e-4)
    assert torch.equal(merged.sizes, mine[mine >= 0].bincount(minlength=len(merged.sizes)))


@pytest.mark.parametrize(("weight", "join"), [(0.6, True), (0.3, True), (0.3, False), (1.0, True), (0.0, False)])
def test_plain_loops_over_the_rule_give_the_same(weight: float, join: bool):
    generator = torch.Generator().manual_seed(7)
    patches, received = torch.randn(5, 9, 6, generator=generator), torch.rand(5, 9, generator=generator)
    received[0, 3] = received[0, 5]  # a tie, which goes to the lower place
    segments = [[FrameBudget(2, 0), FrameBudget(1, 2), FrameBudget(3, 3)], [FrameBudget(0, 1)], [FrameBudget(4, 0)]]
    x, expected, first = patches.flatten(0, 1), {}, 0
    share = [(0.0, -1)] * 45  # of each place: the most weight that it has in a token, and the place of this token
    for budgets in segments:
        frames = range(first, first + len(budgets))
        salient, peaks = set(), {}
        for frame, own in zip(frames, budgets, strict=True):
            order = sorted(range(9), key=lambda token: (-float(received[frame, token]), token))
            salient |= {9 * frame + token for token in order[: own.salient]}
        for frame, own in zip(frames, budgets, strict=True):
            rest = [place for place in range(9 * frame, 9 * frame + 9) if place not in salient]
            peaks[frame] = sorted(rest[index] for index in density_peaks(x[rest], 4, own.anchors)[0].tolist())
        for place in salient:
            expected[place], share[place] = x[place], (9.0, place)
        for anchors in filter(None, peaks.values()):
            joined = {anchor: [] for anchor in anchors}
            for place in range(9 * first, 9 * (first + len(budgets))):
                if place not in salient and (join or place not in anchors):
                    joined[max(anchors, key=lambda anchor: torch.cosine_similarity(x[place], x[anchor], dim=0))].append(place)
            for anchor, places in joined.items():
                own = max(1 / (len(places) + 1), weight)
                expected[anchor] = own * x[anchor] + (1 - own) * x[places].mean(0) if places else x[anchor]
                for place in places:
                    if (1 - own) / len(places) > share[place][0]:
                        share[place] = ((1 - own) / len(places), anchor)
        for anchor in sum(peaks.values(), []):
            share[anchor] = (9.0, anchor)
        first += len(budgets)
    merged = merge_around_anchors(patches, received, segments, weight, join)
    assert merged.anchors.tolist() == sorted(expected)
    torch.testing.assert_close(merged.tokens, torch.stack([expected[place] for place in sorted(expected)]), atol=1e-5, rtol=1e-5)
    owners = [sorted(expected).index(owner) if owner >= 0 else -1 for _, owner in share]
    assert merged.assignment.flatten().tolist() == owners
    assert merged.sizes.tolist() == [owners.count(index) for index in range(len(expected))]


def test_a_frames_anchors_are_the_segments_and_nothing_is_lost_but_a_remainder():
    # m = 12: 4 for anchors, so 40 for a segment of 10 frames, whose anchors stand in frames 1, 5 and 9.
    assert budget_by_frame([10, 1], 49, 12, 0.4, 4) == [[(8, 13 if frame in (1, 5, 9) else 0) for frame in range(10)], [(8, 4)]]
    # m = 30: 12 for anchors. 31 tokens are not salient, so the 48 of a segment of 4 frames stand in two of them.
    assert budget_by_frame([4], 49, 30, 0.4, 4) == [[(18, 24), (18, 0), (18, 0), (18, 24)]]
    for left in range(1, 50):
        for length in range(1, 12):
            [budgets] = budget_by_frame([length], 49, left, 0.4, 4)
            lost = left * length - sum(map(sum, budgets))
            assert 0 <= lost < sum(own.anchors > 0 for own in budgets) + (lost == 0)
            assert all(sum(own) <= 49 for own in budgets)


def test_frames_that_are_alike_share_what_their_last_one_is_left():
    # m · L = 60: 24 anchors and 36 salient tokens, over the runs that end in frames 1, 3 and 4.
    assert budget_by_segment([5], 49, 12, 0.4, 2, [True, False, True, False]) == [[(0, 0), (12, 12), (0, 0), (12, 0), (12, 12)]]
    assert budget_by_segment([3], 49, 3, 0.4, 1) == [[(2, 1), (2, 1), (2, 1)]]
    assert budget_by_segment([3], 49, 4, 0.4, 4, [False] * 2) == [[(3, 0), (3, 0), (2, 4)]]
    # One frame for all: half of it at most are anchors, and the other half salient.
    assert budget_by_segment([8], 49, 12, 0.4, 4, [True] * 7) == [[(0, 0)] * 7 + [(25, 24)]]
    assert budget_by_segment([1, 2], 10, 1, 0.4, 4, [True, False]) == [[(0, 1)], [(1, 0), (0, 1)]]


@pytest.mark.parametrize("code", ["onevision", "qwen"])
def test_it_is_planned_as_it_runs_where_frames_differ(code: str):
    patches, received = torch.randn(6, 20, 8), torch.rand(6, 20)
    method = aim.FastVID(keep_ratio=0.25, fastvid_code=code, least_segments=3)
    merged = method.merge(patches, tower_of(received))
    assert len(merged.tokens) in range(6 * 5 - 6, 6 * 5 + 1) and method.merged_tokens(6, 20) == 6 * 5
    assert aim.FastVID(keep_ratio=0.001).merged_tokens(3, 20) == 3
    assert aim.FastVID(keep_ratio=1).merge(patches, tower_of(received)) is None
    for fewer in (1, 2):  # as many segments as frames
        merged = aim.FastVID(keep_ratio=0.25, fastvid_code=code).merge(patches[:fewer], tower_of(received[:fewer]))
        assert len(merged.tokens) == 5 * fewer


def test_half_precision_is_merged_in_float32_and_returned_as_it_came():
    patches, tower = official.patches("a", "video").bfloat16(), tower_of(official.tower("a", "video")["received"])
    half, exact = (aim.FastVID(keep_ratio=0.25, least_segments=3).merge(x, tower) for x in (patches, patches.float()))
    assert half.tokens.dtype == torch.bfloat16 and torch.equal(half.tokens, exact.tokens.bfloat16())
    assert torch.equal(half.assignment, exact.assignment)


def test_its_cost_is_on_the_account():
    shape, vision = look_up(SEVEN_B).shape, look_up(SEVEN_B).vision
    planned = plan(SEVEN_B, 32, 100, aim.FastVID())
    # 19 tokens of a frame, 12 of them salient; 8 segments of 4 frames, the last of which has 4 · 7 anchors.
    segments = [[FrameBudget(12, 0)] * 3 + [FrameBudget(12, 28)]] * 8
    assert planned.merge_tflops == pytest.approx(anchor_merge_flops(shape.hidden_size, vision, 196, segments) / 1e12)
    assert plan(SEVEN_B, 32, 100, aim.FastVID(fastvid_code="qwen")).merge_tflops > 0
    assert plan(SEVEN_B, 32, 100, aim.FastVID(keep_ratio=1)).merge_tflops == 0
    assert planned.tokens_per_layer == [(19 * 32, 100)] * 28


def test_what_cannot_be_done_is_refused_in_a_sentence():
    method, few = aim.FastVID(least_segments=8), torch.zeros(4, 9, 3)
    for ask in (lambda: method.merged_tokens(4, 9), lambda: method.merge(few, tower_of(few[..., 0])), lambda: plan(SEVEN_B, 4, 9, method)):
        with pytest.raises(Refusal, match="least_segments is 8; the model has 4 frames of this clip.*accepted: 1 to 4. Use fewer"):
            ask()
    wrong = {"keep_ratio": 0, "least_segments": 0, "segment_threshold": 2, "anchor_step": 0, "anchor_weight": 1.5, "fastvid_code": "x"}
    for name, value in wrong.items():
        with pytest.raises(Refusal, match=f"{name} is {value!r}; accepted: "):
            aim.FastVID(**{name: value})
    with pytest.raises(Refusal, match="none was given. Use a model whose tower shows it"):
        aim.FastVID().merge(few)
    with pytest.raises(ValueError, match="budgets of 1 frames"):
        merge_around_anchors(few, few[..., 0], [[FrameBudget(1, 1)]], 0.6, True)
