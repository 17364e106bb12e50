"""Small kernels that several mergers stand on: sums by group, picks far from each other, and where a clip is cut."""

import torch

from aim.kernels.group_sums import group_sums
from aim.kernels.max_min import max_min_picks
from aim.kernels.segments import segment_lengths


def test_a_token_of_no_group_is_in_no_sum_and_an_empty_group_is_zero():
    values = torch.arange(8.0).view(4, 2)
    sums, sizes = group_sums(values.bfloat16(), torch.tensor([2, -1, 0, 2]), 3)
    assert sums.tolist() == [[4, 5], [0, 0], [6, 8]] and sizes.tolist() == [1, 0, 2] and sums.dtype == torch.float32


def picks_by_loops(far: list[list[float]], count: int) -> list[int]:
    amount = len(far)
    picks = [max(range(amount), key=lambda j: (sorted(far[i][j] for i in range(amount))[1], -j))]
    while len(picks) < count:
        picks.append(max((j for j in range(amount) if j not in picks), key=lambda j: (min(far[i][j] for i in picks), -j)))
    return picks


def test_picks_are_those_of_plain_loops_where_distances_are_negative_too_and_none_comes_twice():
    distances = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))
    distances[3] = -distances[3].abs()
    for count in (1, 5, 8):
        picks = max_min_picks(distances, count)
        assert picks.tolist() == [picks_by_loops(far.tolist(), count) for far in distances]
    assert max_min_picks(torch.zeros(1, 1), 1).tolist() == [0]


def test_a_clip_is_cut_where_frames_differ_and_where_they_differ_most():
    angles = torch.tensor([0.0, 0.1, 0.9, 1.0, 1.2, 3.0])  # steps of 0.1, 0.8, 0.1, 0.2 and 1.8
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert segment_lengths(features, 0.9, 1) == [2, 3, 1]
    assert segment_lengths(features, 0.9, 4) == [2, 2, 1, 1]
    assert segment_lengths(features, -1, 1) == [6]
    assert segment_lengths(features, -1, 99) == [1] * 6
    assert segment_lengths(features[:1], 0.9, 8) == [1]
