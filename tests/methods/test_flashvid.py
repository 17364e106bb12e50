"""FlashVID: the tokens and weights that the official code puts out, and the rules in plain loops where those data do not reach."""

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.kernels.token_trees import merge_trees
from aim.kernels.tower_attention import TowerAttention
from aim.planning.plan import look_up, plan
from tests.official import input_of, patches, rivals, tower

CASES = {name: case for name, case in rivals("flashvid").items() if case["stable"] and case["variant"].startswith("outer")}
SEGMENTS = {"outer": 8, "outer_2segments": 2}


def seen(clip: str, kind: str) -> TowerAttention:
    made = tower(clip, kind)
    return TowerAttention(made["received"], made["keys"])


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_official_code(name):
    case, (clip, kind, ratio) = CASES[name], input_of(name)
    x = patches(clip, kind)
    merged = aim.FlashVID(keep_ratio=ratio, least_segments=SEGMENTS[case["variant"]]).merge(x, seen(clip, kind))
    assert merged.anchors.tolist() == case["kept"].tolist()
    weights = case["weights"]
    torch.testing.assert_close(merged.tokens, weights @ x.flatten(0, 1), atol=1e-4, rtol=1e-4)
    assert torch.equal(merged.assignment.flatten(), weights.argmax(dim=0))
    assert merged.sizes.tolist() == merged.assignment.flatten().bincount(minlength=len(merged.anchors)).tolist()


def trees_by_loops(x, free, threshold, left_at_least):
    """Values of the roots by place, and each place's root, as the official code adds up: from the last frame to the first."""
    frames, per_frame, channels = x.shape
    best, parent = {}, {}
    for frame in range(1, frames):
        for token in range(per_frame):
            options = [other for other in range(per_frame) if free[frame - 1][other]]
            if free[frame][token] and options:
                cosines = [torch.cosine_similarity(x[frame, token], x[frame - 1, other], dim=0).item() for other in options]
                best[frame, token] = max(cosines)
                parent[frame, token] = options[cosines.index(max(cosines))]
    linked = [place for place in best if best[place] > threshold]
    most = frames * per_frame - left_at_least
    if len(linked) > most:
        nth = sorted(best.values(), reverse=True)[most - 1]
        linked = [place for place in best if best[place] > nth]
    sums = {(frame, token): x[frame, token].clone() for frame in range(frames) for token in range(per_frame)}
    counts, roots = dict.fromkeys(sums, 1), {}
    for frame, token in sorted(linked, reverse=True):
        above = (frame - 1, parent[frame, token])
        sums[above] += sums[frame, token]
        counts[above] += 1
    for frame, token in sorted(sums):
        roots[frame, token] = roots[frame - 1, parent[frame, token]] if (frame, token) in linked else frame * per_frame + token
    return {place: sums[place] / counts[place] for place in sums if place not in linked}, roots


@pytest.mark.parametrize(("threshold", "left_at_least"), [(0.8, 3), (0.3, 3), (0.3, 14), (-1.0, 17), (1.0, 5)])
def test_trees_along_time_are_those_of_plain_loops(threshold, left_at_least):
    generator = torch.Generator().manual_seed(7)
    x = (torch.randn(1, 5, 8, generator=generator) + 0.6 * torch.randn(4, 5, 8, generator=generator)).double()
    free = torch.rand(4, 5, generator=generator) > 0.2
    free[2] = torch.tensor([False, False, True, True, True])
    values, root = merge_trees(x, free, threshold, left_at_least)
    expected, roots = trees_by_loops(x, free.tolist(), threshold, left_at_least)
    assert root.flatten().tolist() == [roots[place] for place in sorted(roots)]
    for (frame, token), value in expected.items():
        torch.testing.assert_close(values[frame, token], value.to(values.dtype), atol=1e-5, rtol=1e-5)


def test_what_stands_still_makes_one_tree_a_place_and_its_root_is_no_mean():
    still = torch.eye(4)[None].repeat(3, 1, 1)
    values, root = merge_trees(still, torch.ones(3, 4, dtype=torch.bool), 0.5, 1)
    assert root.tolist() == [[0, 1, 2, 3]] * 3
    assert torch.equal(values[0], still[0] * 3 / 2)  # three tokens, and one more than its direct children


@pytest.mark.parametrize(
    "options", [{"expansion": 1.0}, {"picked_share": 0.4}, {"link_threshold": 0.5}, {"segment_threshold": 1.0}], ids=str
)
def test_the_other_knobs_leave_about_as_many_tokens_each_standing_once(options):
    x, attended = patches("c", "video"), seen("c", "video")
    method = aim.FlashVID(least_segments=2, **options)
    merged, usual = method.merge(x, attended), aim.FlashVID(least_segments=2).merge(x, attended)
    planned = method.merged_tokens(20, 49)
    assert planned <= len(merged.anchors) <= planned + 20
    assert merged.anchors.tolist() == sorted(merged.anchors.tolist()) != usual.anchors.tolist()
    assert int(merged.sizes.sum()) == 20 * 49 and merged.assignment.min() == 0


def test_a_token_may_be_picked_and_merged_too_and_then_the_place_belongs_to_the_picked_one():
    x, attended = patches("a", "iid")[:1], seen("a", "iid")
    merged = aim.FlashVID(keep_ratio=0.7).merge(x, TowerAttention(attended.received[:1], attended.keys[:1]))
    twice = [place for place in merged.anchors.tolist() if merged.anchors.tolist().count(place) == 2]
    assert twice and len(merged.anchors) == 43
    for place in twice:
        picked = merged.anchors.tolist().index(place)
        assert torch.equal(merged.tokens[picked], x[0, place]) and merged.assignment[0, place] == picked


def test_where_so_few_tokens_stay_that_none_is_merged_the_others_are_dropped():
    x, attended = patches("a", "iid"), seen("a", "iid")
    merged = aim.FlashVID(keep_ratio=0.001).merge(x, attended)
    assert len(merged.anchors) == 8 and (merged.assignment == -1).sum() == 8 * 48 and merged.sizes.tolist() == [1] * 8
    assert torch.equal(merged.tokens, x.flatten(0, 1)[merged.anchors])


def test_what_would_keep_all_changes_nothing_and_costs_nothing():
    for method in (aim.FlashVID(keep_ratio=1), aim.FlashVID(keep_ratio=0.8), aim.FlashVID(keep_ratio=1, expansion=0.5)):
        assert method.merge(patches("a", "iid"), seen("a", "iid")) is None
        assert method.merged_tokens(8, 49) == 8 * 49
        assert plan("llava-onevision-qwen2-7b", 32, 100, method).merge_tflops == 0


def test_its_cost_is_the_towers_map_and_what_the_docstring_counts():
    frames, tokens, hidden, vision = 32, 196, 3584, look_up("llava-onevision-qwen2-7b").vision
    tower_map = frames * 2 * vision.patches_per_frame**2 * vision.hidden_size
    expected = tower_map + frames * (4 * tokens**2 + 11 * tokens + 2 * tokens**2 + 4 * tokens) * hidden
    assert plan("llava-onevision-qwen2-7b", 32, 100, aim.FlashVID()).merge_tflops == pytest.approx(expected / 1e12)


def test_what_it_cannot_do_is_refused_in_a_sentence():
    with pytest.raises(Refusal, match="vision tower's attention, and none was given. Use a model"):
        aim.FlashVID().merge(patches("a", "iid"))
    for knobs, message in (
        ({"expansion": 0}, "expansion is 0"),
        ({"link_threshold": 2}, "link_threshold is 2"),
        ({"least_segments": 0}, "1"),
    ):
        with pytest.raises(Refusal, match=message):
            aim.FlashVID(**knobs)
    with pytest.raises(ValueError, match="pass \\[F, T, C\\] and \\[F, T\\] of one clip"):
        aim.FlashVID().merge(patches("a", "iid"), seen("b", "iid"))
