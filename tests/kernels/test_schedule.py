"""The schedule's numbers, as the paper tabulates them, and what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from aim.kernels.refusal import Refusal
from aim.kernels.schedule import frame_windows, merged_per_clip, merged_per_frame, ramp, scale_to_depth, tokens_kept


def test_the_papers_ramp_gives_the_papers_tokens():
    kept = tokens_kept(ramp(28, 14, 22), 1568)
    assert kept == [1568] * 14 + [1372, 1176, 980, 784, 588, 392, 196] + [0] * 7


@pytest.mark.parametrize(
    ("num_layers", "l1", "l2"), [(28, 14, 22), (28, 7, 8), (28, 0, 16), (12, 6, 9), (12, 3, 40), (5, 5, 6), (1, 0, 1), (4, 1, 2)]
)
def test_the_ramp_is_its_formula_and_never_rises(num_layers: int, l1: int, l2: int):
    keep = ramp(num_layers, l1, l2)
    assert len(keep) == num_layers
    assert keep[0] == 1
    for i in range(1, num_layers):
        assert keep[i] == (1 if i < l1 else max(0, 1 - Fraction(i - l1 + 1, l2 - l1)))
        assert keep[i] <= keep[i - 1]
        assert (keep[i] == 0) == (i >= l2 - 1)


def test_pruning_from_layer_0_starts_at_layer_1():
    assert ramp(5, 0, 4) == [1.0, 0.5, 0.25, 0.0, 0.0]
    assert ramp(3, 0, 1) == [1.0, 0.0, 0.0]


def test_dropping_that_starts_past_the_last_layer_drops_nothing():
    assert ramp(28, 28, 29) == [1.0] * 28
    assert ramp(4, 9, 12) == [1.0] * 4


@pytest.mark.parametrize(("l1", "l2"), [(14, 14), (22, 14), (0, 0), (-1, 5), (-3, -1)])
def test_layers_out_of_order_are_refused(l1: int, l2: int):
    with pytest.raises(Refusal, match="l1 is"):
        ramp(28, l1, l2)
    with pytest.raises(Refusal, match="l1 is"):
        scale_to_depth(l1, l2, 24)


def test_a_model_without_layers_is_refused():
    with pytest.raises(Refusal, match="num_layers is 0"):
        ramp(0, 14, 22)
    with pytest.raises(Refusal, match="num_layers is 0"):
        scale_to_depth(14, 22, 0)


def test_tokens_are_rounded_down():
    assert tokens_kept([1.0, 0.99, 0.5, 0.0], 7) == [7, 6, 3, 0]
    assert tokens_kept([1.0, 0.5], 0) == [0, 0]


@pytest.mark.parametrize(("keep", "tokens"), [([1.0, 1.1], 5), ([-0.1], 5), ([math.nan], 5), ([1.0], -1)])
def test_impossible_shares_or_counts_are_refused(keep: list[float], tokens: int):
    with pytest.raises(Refusal, match=r"that a layer keeps is|visual_tokens is"):
        tokens_kept(keep, tokens)


@pytest.mark.parametrize(
    ("ratio", "tokens"), [(1, 196), (0.5, 98), (0.25, 49), (0.125, 24), (0.063, 12), (0.031, 6), (0.016, 3), (0.001, 1)]
)
def test_merging_leaves_the_papers_tokens_of_a_frame(ratio: float, tokens: int):
    assert merged_per_frame(ratio, 196) == tokens


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01, math.nan, math.inf])
def test_a_ratio_out_of_range_is_refused(ratio: float):
    with pytest.raises(Refusal, match=r"merge_ratio is .* above 0 and up to 1"):
        merged_per_frame(ratio, 196)


def test_a_frame_without_tokens_is_refused():
    with pytest.raises(Refusal, match="tokens_per_frame is 0"):
        merged_per_frame(0.5, 0)


def test_windows_cover_every_frame_once():
    assert frame_windows(8, 1) == [(8, 1)]
    assert frame_windows(8, 4) == [(2, 4)]
    assert frame_windows(10, 4) == [(2, 4), (1, 2)]
    assert frame_windows(3, 4) == [(1, 3)]
    for frames in range(1, 20):
        for window in range(1, 8):
            assert sum(count * length for count, length in frame_windows(frames, window)) == frames


@pytest.mark.parametrize(("frames", "window"), [(0, 1), (8, 0), (-1, 2)])
def test_windows_of_nothing_are_refused(frames: int, window: int):
    with pytest.raises(Refusal, match=r"frames is|merge_window is"):
        frame_windows(frames, window)


def test_a_clip_adds_up_its_windows():
    assert merged_per_clip(0.25, 32, 196) == 1568
    assert merged_per_clip(0.125, 32, 196) == 32 * 24
    assert merged_per_clip(0.125, 32, 196, 2) == 16 * 49
    assert merged_per_clip(0.5, 5, 9, 2) == 9 + 9 + 4


@pytest.mark.parametrize(
    ("num_layers", "scaled"), [(28, (14, 22)), (24, (12, 19)), (12, (6, 9)), (80, (40, 63)), (36, (18, 28)), (2, (1, 2)), (1, (1, 2))]
)
def test_the_papers_layers_scale_to_other_depths(num_layers: int, scaled: tuple[int, int]):
    assert scale_to_depth(14, 22, num_layers) == scaled


def test_scaling_keeps_the_layers_in_order_and_no_pruning_no_pruning():
    for num_layers in range(1, 81):
        for l1 in range(29):
            for l2 in range(l1 + 1, 30):
                first, last = scale_to_depth(l1, l2, num_layers)
                assert 0 <= first < last
        assert ramp(num_layers, *scale_to_depth(28, 29, num_layers)) == [1.0] * num_layers
