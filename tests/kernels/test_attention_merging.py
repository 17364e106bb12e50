"""Merging by the vision tower's attention, against PruMerge's loops written out in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import aim
from aim.kernels.attention_merging import count_outliers, merge_by_attention
from aim.kernels.schedule import spread_evenly
from aim.kernels.tower_attention import TowerAttention


def merge_one_frame_by_loops(x: list, received: list, keys: list, count: int, neighbours: int):
    """tokens {anchor: embedding}, owner of each patch as an anchor, read off the paper's algorithm 1 and its code."""

    def cosine(a: list, b: list) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))

    by_attention = sorted(range(len(x)), key=lambda token: -received[token])
    kept, rest = by_attention[: count - 1], by_attention[count - 1 :]
    tokens, takers = {}, {token: [] for token in range(len(x))}
    for token in kept:
        others = sorted((other for other in range(len(x)) if other != token), key=lambda other: -cosine(keys[token], keys[other]))
        tokens[token] = list(x[token])
        for other in others[:neighbours]:
            takers[other].append(token)
            tokens[token] = [value + received[other] * added for value, added in zip(tokens[token], x[other], strict=True)]
    tokens[rest[0]] = [sum(received[token] * x[token][channel] for token in rest) for channel in range(len(x[0]))]
    owners = [max(takers[token], key=lambda taker: cosine(keys[taker], keys[token]), default=rest[0]) for token in range(len(x))]
    for token in (*kept, rest[0]):
        owners[token] = token
    return tokens, owners


def random_clip(frames: int, tokens: int, channels: int = 5, keys: int = 6, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(frames, tokens, channels, generator=generator, dtype=dtype)
    received = (2 * torch.randn(frames, tokens, generator=generator)).softmax(dim=-1)
    return patches, TowerAttention(received, torch.randn(frames, tokens, keys, generator=generator, dtype=dtype))


@pytest.mark.parametrize("neighbours", [1, 3, 32])
@pytest.mark.parametrize("counts", [[1, 1, 1], [5, 4, 5], [1, 9, 25]], ids=str)
def test_merge_equals_the_loops(counts: list[int], neighbours: int):
    patches, tower = random_clip(3, 25, seed=len(counts) + neighbours)
    merged = merge_by_attention(patches, tower, counts, neighbours)
    offset = 0
    for frame, count in enumerate(counts):
        tokens, owners = merge_one_frame_by_loops(
            patches[frame].tolist(), tower.received[frame].tolist(), tower.keys[frame].tolist(), count, neighbours
        )
        anchors = sorted(tokens)
        assert (merged.anchors[offset : offset + count] - frame * 25).tolist() == anchors
        expected = torch.tensor([tokens[anchor] for anchor in anchors], dtype=torch.float64)
        torch.testing.assert_close(merged.tokens[offset : offset + count], expected, atol=1e-5, rtol=1e-5)
        assert merged.assignment[frame].tolist() == [offset + anchors.index(owner) for owner in owners]
        offset += count
    assert len(merged.tokens) == offset


def test_sizes_assignment_and_anchors_tell_the_same_story():
    patches, tower = random_clip(4, 25)
    merged = merge_by_attention(patches, tower, [3, 1, 24, 25], neighbours=4)
    assert merged.sizes.sum() == 100 and merged.sizes.min() >= 1
    assert torch.equal(merged.sizes, merged.assignment.flatten().bincount(minlength=53))
    assert torch.equal(merged.assignment.flatten()[merged.anchors], torch.arange(53))
    assert torch.equal(merged.anchors, merged.anchors.sort().values)


def test_half_precision_goes_in_and_out_and_is_summed_in_float32():
    patches, tower = random_clip(2, 25)
    half = merge_by_attention(patches.bfloat16(), TowerAttention(tower.received, tower.keys.bfloat16()), [6, 6])
    exact = merge_by_attention(patches.bfloat16().float(), TowerAttention(tower.received, tower.keys.bfloat16()), [6, 6])
    assert half.tokens.dtype == torch.bfloat16
    assert torch.equal(half.tokens, exact.tokens.bfloat16())


@pytest.mark.parametrize("seed", range(4))
def test_outliers_are_those_of_the_paper(seed: int):
    received = random_clip(6, 49, seed=seed)[1].received
    for count, frame in zip(count_outliers(received), received.tolist(), strict=True):
        first, third = np.percentile(frame, 25), np.percentile(frame, 75)
        assert count == sum(value > third + 1.5 * (third - first) for value in frame)


def test_even_attention_has_no_outliers():
    assert count_outliers(torch.full((2, 16), 1 / 16)) == [0, 0]


def test_the_adaptive_method_keeps_each_frames_outliers_and_one_token_for_the_rest():
    patches, tower = random_clip(5, 49)
    counts = [count + 1 for count in count_outliers(tower.received)]
    assert len(set(counts)) > 1
    merged = aim.PruMerge().merge(patches, tower)
    assert torch.equal(merged.tokens, merge_by_attention(patches, tower, counts).tokens)


def test_a_keep_ratio_is_spread_evenly_over_the_frames():
    patches, tower = random_clip(3, 25)
    method = aim.PruMerge(keep_ratio=0.3)
    merged = method.merge(patches, tower)
    assert len(merged.tokens) == method.merged_tokens(3, 25) == 22
    assert torch.equal(merged.tokens, merge_by_attention(patches, tower, [7, 7, 8]).tokens)
    assert aim.PruMerge(keep_ratio=1).merge(patches, tower) is None
    counts = spread_evenly(1620, 32)
    assert sum(counts) == 1620 and set(counts) == {50, 51}


def test_without_the_towers_attention_there_is_nothing_to_rank_by():
    with pytest.raises(ValueError, match="attention"):
        aim.PruMerge(keep_ratio=0.3).merge(random_clip(2, 9)[0])


@pytest.mark.parametrize("counts", [[3], [0, 3], [3, 26]], ids=str)
def test_counts_that_do_not_fit_are_refused(counts: list[int]):
    with pytest.raises(ValueError, match="counts is"):
        merge_by_attention(*random_clip(2, 25), counts)


def test_attention_of_another_clip_is_refused():
    with pytest.raises(ValueError, match=r"\[F, T, C\]"):
        merge_by_attention(random_clip(2, 25)[0], random_clip(2, 24)[1], [3, 3])


def test_more_frames_than_tokens_are_refused():
    with pytest.raises(ValueError, match="at least 1 token"):
        spread_evenly(2, 3)
