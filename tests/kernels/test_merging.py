"""Merging against a reference written with plain loops over tokens, and the properties every merge must have."""

from __future__ import annotations

import math

import pytest
import torch

from aim.kernels import merging
from aim.kernels.merging import merge_clip, merge_tokens
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_clip
from aim.methods import ToMe


def merge_one_window_by_loops(
    tokens: list[list[float]], target: int, weighted: bool = False
) -> tuple[list[list[float]], list[int], list[int]]:
    """The method read off its description, one token at a time: (merged, assignment, anchors)."""

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    groups = [{"value": token, "members": [index], "anchor": index} for index, token in enumerate(tokens)]
    while len(groups) > target:
        remove = min(len(groups) - target, len(groups) // 2)
        links = []
        for a in range(0, len(groups), 2):
            similarities = [(cosine(groups[a]["value"], groups[b]["value"]), -b) for b in range(1, len(groups), 2)]
            strength, negative_b = max(similarities)
            links.append((-strength, a, -negative_b))
        chosen = {a: b for _, a, b in sorted(links)[:remove]}
        following = []
        for index, group in enumerate(groups):
            if index in chosen:
                continue
            joining = [groups[a] for a, b in chosen.items() if b == index]
            values = [member["value"] for member in (group, *joining) for _ in (member["members"] if weighted else [0])]
            following.append(
                {
                    "value": [sum(column) / len(values) for column in zip(*values, strict=True)],
                    "members": group["members"] + [member for other in joining for member in other["members"]],
                    "anchor": group["anchor"],
                }
            )
        groups = following
    assignment = [0] * len(tokens)
    for index, group in enumerate(groups):
        for member in group["members"]:
            assignment[member] = index
    return [group["value"] for group in groups], assignment, [group["anchor"] for group in groups]


def random_windows(windows: int, tokens: int, channels: int = 5, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(windows, tokens, channels, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("tokens", "target"),
    [(1, 1), (2, 1), (3, 2), (3, 1), (7, 6), (7, 4), (7, 3), (7, 1), (16, 8), (16, 5), (25, 6), (49, 12), (49, 1)],
)
def test_merge_equals_the_loops(tokens: int, target: int, dtype: torch.dtype):
    x = random_windows(3, tokens, dtype=dtype, seed=tokens * 100 + target)
    merge = merge_tokens(x, target)
    assert merge.tokens.dtype == dtype
    assert merge.tokens.shape == (3, target, 5)
    for window in range(3):
        values, assignment, anchors = merge_one_window_by_loops(x[window].double().tolist(), target)
        assert merge.assignment[window].tolist() == assignment
        assert merge.anchors[window].tolist() == anchors
        assert merge.sizes[window].tolist() == [assignment.count(index) for index in range(target)]
        torch.testing.assert_close(merge.tokens[window], torch.tensor(values, dtype=torch.float64).to(dtype))


@pytest.mark.parametrize(("tokens", "target"), [(196, 98), (196, 49), (196, 24), (81, 10), (5, 5)])
def test_sizes_assignment_and_anchors_tell_the_same_story(tokens: int, target: int):
    merge = merge_tokens(random_windows(4, tokens, channels=16, seed=target), target)
    assert merge.sizes.sum(1).tolist() == [tokens] * 4
    assert (merge.sizes >= 1).all()
    for window in range(4):
        assert torch.equal(merge.assignment[window].bincount(minlength=target), merge.sizes[window])
    assert (merge.anchors.diff(dim=1) > 0).all()
    assert torch.equal(merge.assignment.gather(1, merge.anchors), torch.arange(target).repeat(4, 1))


def test_target_of_all_tokens_changes_nothing():
    x = random_windows(2, 9, dtype=torch.float16)
    merge = merge_tokens(x, 9)
    assert torch.equal(merge.tokens, x)
    assert torch.equal(merge.assignment, torch.arange(9).repeat(2, 1))
    assert torch.equal(merge.anchors, merge.assignment)
    assert (merge.sizes == 1).all()


def test_the_input_is_left_alone():
    x = random_windows(2, 16)
    before = x.clone()
    merge_tokens(x, 3)
    assert torch.equal(x, before)


def test_tokens_nothing_was_merged_into_keep_their_very_values():
    x = random_windows(3, 20, dtype=torch.bfloat16)
    merge = merge_tokens(x, 13)
    for window in range(3):
        alone = merge.sizes[window] == 1
        assert torch.equal(merge.tokens[window, alone], x[window, merge.anchors[window, alone]])


def test_windows_never_mix():
    x = random_windows(5, 30, channels=8)
    order = torch.tensor([3, 0, 4, 2, 1])
    together, permuted = merge_tokens(x, 7), merge_tokens(x[order], 7)
    assert torch.equal(together.assignment[order], permuted.assignment)
    torch.testing.assert_close(together.tokens[order], permuted.tokens)
    assert torch.equal(merge_tokens(x[2:3], 7).assignment[0], together.assignment[2])


def test_means_are_unweighted_and_ties_go_to_the_lower_index():
    # On one axis all cosines are 1. Step 1: tokens 0 and 2 join token 1, (1 + 2 + 3) / 3 = 2. Step 2: (2 + 4) / 2 = 3; weighted: 2.5.
    merge = merge_tokens(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 1)
    assert merge.tokens.tolist() == [[[3.0]]]
    assert merge.anchors.tolist() == [[3]]
    assert merge_tokens(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 3).assignment.tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize(("tokens", "target"), [(3, 1), (7, 3), (16, 5), (25, 6), (49, 12), (49, 1)])
def test_weighted_merge_equals_the_loops_and_gives_means_of_patches(tokens: int, target: int):
    x = random_windows(4, tokens, dtype=torch.float64, seed=tokens + target)
    merge = merge_tokens(x, target, weighted=True)
    for window in range(4):
        values, assignment, anchors = merge_one_window_by_loops(x[window].tolist(), target, weighted=True)
        assert merge.assignment[window].tolist() == assignment
        assert merge.anchors[window].tolist() == anchors
        torch.testing.assert_close(merge.tokens[window], torch.tensor(values, dtype=torch.float64), atol=1e-6, rtol=1e-6)
    means = torch.zeros_like(merge.tokens).scatter_reduce_(1, merge.assignment[..., None].expand_as(x), x, "mean", include_self=False)
    torch.testing.assert_close(merge.tokens, means, atol=1e-6, rtol=1e-6)


def test_weights_count_from_the_second_step_on():
    # As above: 2 stands for three tokens, so the second step gives (3 · 2 + 4) / 4.
    assert merge_tokens(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 1, weighted=True).tokens.tolist() == [[[2.5]]]


def test_tome_merges_each_frame_by_weight():
    x = random_windows(3, 25)
    merged = ToMe(merge_ratio=0.2).merge(x)
    assert torch.equal(merged.tokens, merge_tokens(x, 5, weighted=True).tokens.flatten(0, 1))
    assert not torch.equal(merged.tokens, merge_tokens(x, 5).tokens.flatten(0, 1))
    assert ToMe(merge_ratio=1).merge(x) is None


def test_a_blank_frame_merges_without_trouble():
    merge = merge_tokens(torch.zeros(2, 16, 4), 4)
    assert torch.equal(merge.tokens, torch.zeros(2, 4, 4))
    assert merge.sizes.sum(1).tolist() == [16, 16]


def test_strided_input_gives_the_same_result():
    x = random_windows(2, 12, channels=6)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(merge_tokens(strided, 4).assignment, merge_tokens(x, 4).assignment)


@pytest.fixture
def threads():
    """Set the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_number_of_threads_does_not_change_a_bit(threads):
    # An odd number of windows, so that threads share one; many tokens join one another, so that sums have several terms.
    for seed in range(3):
        x = random_windows(3, 196, channels=512, seed=seed) + random_windows(3, 1, channels=512, seed=seed + 100)
        x[:, 1::2] *= 0.2
        threads(1)
        alone = merge_tokens(x, 60)
        threads(2)
        for _ in range(3):
            together = merge_tokens(x, 60)
            assert torch.equal(together.tokens, alone.tokens)
            assert torch.equal(together.assignment, alone.assignment)


@pytest.mark.parametrize("target", [0, -1, 10])
def test_a_target_out_of_range_is_refused(target: int):
    with pytest.raises(Refusal, match="1 to 9"):
        merge_tokens(random_windows(2, 9), target)


@pytest.mark.parametrize("x", [torch.zeros(4, 5), torch.zeros(1, 2, 3, 4), torch.zeros(1, 4, 5, dtype=torch.long)])
def test_anything_but_floating_windows_of_tokens_is_refused(x: torch.Tensor):
    with pytest.raises(ValueError, match="windows, tokens, channels"):
        merge_tokens(x, 1)


def test_a_clip_is_its_frames_merged_one_by_one_and_laid_end_to_end():
    patches = random_windows(3, 16, channels=8)
    clip = merge_clip(patches, 0.25)
    assert clip.tokens.shape == (12, 8)
    for frame in range(3):
        alone = merge_tokens(patches[frame : frame + 1], 4)
        torch.testing.assert_close(clip.tokens[4 * frame : 4 * frame + 4], alone.tokens[0])
        assert torch.equal(clip.assignment[frame], alone.assignment[0] + 4 * frame)
        assert torch.equal(clip.anchors[4 * frame : 4 * frame + 4], alone.anchors[0] + 16 * frame)
        assert torch.equal(clip.sizes[4 * frame : 4 * frame + 4], alone.sizes[0])


@pytest.mark.parametrize(("frames", "window"), [(4, 2), (5, 2), (7, 4), (2, 4), (1, 1)])
def test_a_clip_in_windows_of_frames_is_consistent(frames: int, window: int):
    patches = random_windows(frames, 9, channels=8, seed=frames)
    clip = merge_clip(patches, 0.3, window)
    count = merged_per_clip(0.3, frames, 9, window)
    assert clip.tokens.shape == (count, 8)
    assert clip.assignment.shape == (frames, 9)
    assert torch.equal(clip.assignment.flatten().bincount(minlength=count), clip.sizes)
    assert (clip.anchors.diff() > 0).all()
    assert torch.equal(clip.assignment.flatten()[clip.anchors], torch.arange(count))


@pytest.mark.parametrize(("memory_budget", "parts"), [(0, [1, 1, 1, 1, 1]), (31_000, [2, 2, 1]), (10**9, [4, 1])])
def test_a_long_clip_is_merged_a_part_at_a_time_and_comes_out_the_same(monkeypatch, memory_budget: int, parts: list[int]):
    patches = random_windows(9, 30, channels=16)  # two frames take 15,120 bytes
    whole, seen = merge_clip(patches, 0.3, merge_window=2), []

    def noted(x: torch.Tensor, *arguments) -> merging.Merge:
        seen.append(len(x))
        return merge_tokens(x, *arguments)

    monkeypatch.setattr(merging, "merge_tokens", noted)
    clip = merge_clip(patches, 0.3, merge_window=2, memory_budget=memory_budget)
    assert seen == parts
    assert (
        torch.equal(clip.assignment, whole.assignment) and torch.equal(clip.sizes, whole.sizes) and torch.equal(clip.anchors, whole.anchors)
    )
    torch.testing.assert_close(clip.tokens, whole.tokens)


def test_a_window_merges_each_patch_with_its_twin_in_the_other_frame():
    # With 9 patches a frame, twins lie 9 apart: one of them is in A, the other in B.
    clip = merge_clip(torch.eye(9).repeat(4, 1, 1), 0.5, merge_window=2)
    assert clip.sizes.tolist() == [2] * 18
    assert torch.equal(clip.assignment[0], clip.assignment[1])
    assert torch.equal(clip.assignment[2], clip.assignment[3])
    assert clip.assignment[:2].max() < clip.assignment[2:].min()


def test_an_unknown_merge_order_is_refused():
    for order in ("random", "similarity"):
        with pytest.raises(Refusal, match='accepted: "raster" or "official"'):
            merge_tokens(random_windows(1, 4), 2, order)
