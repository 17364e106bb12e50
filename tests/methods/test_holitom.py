"""HoliTom: the tokens and weights that the official code puts out, and the rules in plain loops where those data do not reach."""

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.kernels.still_windows import best_windows, still_counts, still_steps
from aim.kernels.tower_attention import TowerAttention
from aim.planning.plan import look_up, plan
from tests.official import input_of, patches, rivals, tower

CASES = {name: case for name, case in rivals("holitom").items() if case["stable"] and case["variant"].startswith("outer")}
THRESHOLDS = {"outer": 0.8, "outer_tau65": 0.65}


def seen(clip: str, kind: str) -> TowerAttention:
    made = tower(clip, kind)
    return TowerAttention(made["received"], made["keys"])


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_official_code_in_its_order(name):
    case, (clip, kind, ratio) = CASES[name], input_of(name)
    x, threshold = patches(clip, kind), THRESHOLDS[case["variant"]]
    windows, saved = best_windows(still_counts(still_steps(x, threshold)))
    assert ([list(window) for window in windows], saved) == (case["windows"], case["reduced"])
    merged = aim.HoliTom(keep_ratio=ratio, still_threshold=threshold).merge(x, seen(clip, kind))
    assert merged.anchors.tolist() == case["kept"].tolist()
    weights = case["weights"]
    torch.testing.assert_close(merged.tokens, weights @ x.flatten(0, 1), atol=1e-4, rtol=1e-4)
    owner = torch.where(weights.sum(dim=0) > 0, weights.argmax(dim=0), -1)
    assert torch.equal(merged.assignment.flatten(), owner)
    assert merged.sizes.tolist() == owner[owner >= 0].bincount(minlength=len(merged.anchors)).tolist()


def best_by_trying(counts: list[list[int]], frames: int) -> int:
    """The most that any partition of the frames saves, each partition tried."""
    most = 0
    for cuts in range(2 ** (frames - 1)):
        bounds = [0, *(frame for frame in range(1, frames) if cuts >> (frame - 1) & 1), frames]
        windows = [(first, end - 1) for first, end in zip(bounds, bounds[1:], strict=False)]
        most = max(most, sum(counts[last][last - first] * (last - first) for first, last in windows))
    return most


def test_windows_save_the_most_that_any_partition_does():
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(7, 12, 5, generator=generator).cumsum(0)
        steps = still_steps(x, 0.6)
        counts = still_counts(steps)
        cosines = torch.cosine_similarity(x[1:], x[:-1], dim=-1)
        for last in range(1, 7):
            for length in range(1, last + 1):
                assert counts[last][length] == int((cosines[last - length : last] > 0.6).all(dim=0).sum())
        windows, saved = best_windows(counts)
        assert (
            saved
            == best_by_trying(counts, 7)
            == sum(counts[last][last - first] * (last - first) for first, last in windows if last > first)
        )
        assert [frame for first, last in windows for frame in range(first, last + 1)] == list(range(7))


def test_a_clip_that_stands_still_is_one_window_of_means():
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(1)).repeat(4, 1, 1)
    merged = aim.HoliTom(keep_ratio=0.25).merge(x, TowerAttention(torch.rand(4, 6), torch.rand(4, 6, 2)))
    assert merged.anchors.tolist() == list(range(6)) and merged.sizes.tolist() == [4] * 6  # a quarter of all is the first frame's
    torch.testing.assert_close(merged.tokens, x[0])
    assert merged.assignment.tolist() == [list(range(6))] * 4


def test_a_centre_counts_its_weight_and_the_others_the_rest():
    x, attended = patches("a", "video"), seen("a", "video")
    light, heavy = (aim.HoliTom(keep_ratio=0.25, centre_weight=weight).merge(x, attended) for weight in (0.0, 1.0))
    assert torch.equal(light.anchors, heavy.anchors) and torch.equal(light.assignment, heavy.assignment)
    windows, _ = best_windows(still_counts(still_steps(x, 0.8)))
    first_of = {frame: first for first, last in windows for frame in range(first, last + 1)}
    last_of = {frame: last for first, last in windows for frame in range(first, last + 1)}
    joined = 0
    for number, anchor in enumerate(light.anchors.tolist()):
        frame, token = divmod(anchor, 49)
        window = slice(first_of[frame], last_of[frame] + 1) if light.sizes[number] > 1 else slice(frame, frame + 1)
        places = (light.assignment[frame] == number).nonzero().flatten().tolist()
        others = [x[window, place].mean(0) for place in places if place != token]
        joined += len(others)
        torch.testing.assert_close(heavy.tokens[number], x[window, token].mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            light.tokens[number], torch.stack(others).mean(0) if others else heavy.tokens[number], atol=1e-5, rtol=1e-5
        )
    assert joined > 10


def test_what_moves_keeps_what_the_tower_attends_to_most_and_drops_the_rest():
    x, attended = patches("b", "iid"), seen("b", "iid")
    merged = aim.HoliTom().merge(x, attended)
    expected = [frame * 196 + place for frame, row in enumerate(attended.received) for place in sorted(row.topk(20).indices.tolist())]
    assert merged.anchors.tolist() == expected and len(expected) == aim.HoliTom().merged_tokens(6, 196)
    assert torch.equal(merged.tokens, x.flatten(0, 1)[expected]) and int((merged.assignment == -1).sum()) == 6 * 176


def test_still_places_of_which_none_is_to_be_left_are_dropped():
    x = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))
    x[1, :2] = x[0, :2]
    merged = aim.HoliTom(keep_ratio=0.01).merge(x, TowerAttention(torch.arange(12.0).view(2, 6), torch.rand(2, 6, 2)))
    assert merged.anchors.tolist() == [5, 11] and merged.sizes.tolist() == [1, 1] and int((merged.assignment == -1).sum()) == 10


def test_what_keeps_all_changes_nothing_and_costs_nothing():
    method = aim.HoliTom(keep_ratio=1)
    assert method.merge(patches("a", "video"), seen("a", "video")) is None and method.merged_tokens(8, 49) == 392
    assert plan("llava-onevision-qwen2-7b", 32, 100, method).merge_tflops == 0


def test_its_cost_is_the_towers_map_and_what_the_docstring_counts():
    vision = look_up("llava-onevision-qwen2-7b").vision
    tower_map = 32 * 2 * vision.patches_per_frame**2 * vision.hidden_size
    expected = tower_map + 8 * 32 * 196 * 3584 + 16 * (2 * 196**2 + 4 * 196) * 3584
    assert plan("llava-onevision-qwen2-7b", 32, 100, aim.HoliTom()).merge_tflops == pytest.approx(expected / 1e12)


def test_what_it_cannot_do_is_refused_in_a_sentence():
    with pytest.raises(Refusal, match="vision tower's attention, and none was given. Use a model"):
        aim.HoliTom().merge(patches("a", "iid"))
    for knobs, message in (({"keep_ratio": 0}, "keep_ratio is 0"), ({"still_threshold": 2}, "still_threshold is 2")):
        with pytest.raises(Refusal, match=message):
            aim.HoliTom(**knobs)
    with pytest.raises(ValueError, match="pass \\[F, T, C\\] and \\[F, T\\] of one clip"):
        aim.HoliTom().merge(patches("a", "iid"), seen("b", "iid"))
