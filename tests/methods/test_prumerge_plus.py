"""PruMerge+: which tokens stay, by plain loops over the rule, and what stays when a share is given."""

from __future__ import annotations

import pytest
import torch

import aim
from aim.kernels.attention_merging import count_outliers, outliers_and_even_places
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.planning.plan import plan


def tower_of(frames: int, tokens: int, seed: int = 0, peaks: int = 3) -> TowerAttention:
    """Even attention with a few peaks a frame, so that some frames have few outliers."""
    generator = torch.Generator().manual_seed(seed)
    received = 0.2 + 0.1 * torch.rand(frames, tokens, generator=generator)
    for frame in range(frames):
        received[frame, torch.randperm(tokens, generator=generator)[: peaks + frame]] += 2 + torch.rand(peaks + frame, generator=generator)
    return TowerAttention(received / received.sum(1, keepdim=True), torch.randn(frames, tokens, 6, generator=generator))


def places_by_loops(received: list[float]) -> list[int]:
    """The outliers of a frame, and every s-th place from 0 that lies before the last, with s a third of one in k, both rounded down."""
    ordered, tokens = sorted(received), len(received)

    def quartile(share: float) -> float:
        place = share * (tokens - 1)
        low = int(place)
        return ordered[low] + (place - low) * (ordered[min(low + 1, tokens - 1)] - ordered[low])

    limit = quartile(0.75) + 1.5 * (quartile(0.75) - quartile(0.25))
    kept = {place for place, value in enumerate(received) if value > limit}
    if kept:
        place, step = 0, max(1, int(int(tokens / len(kept)) / 3))
        while place < tokens - 1:
            kept.add(place)
            place += step
    return sorted(kept)


@pytest.mark.parametrize("tokens", [49, 100, 576])
def test_outliers_bring_tokens_at_even_distances(tokens: int):
    received = tower_of(5, tokens).received
    kept = outliers_and_even_places(received)
    for frame, places in enumerate(kept):
        assert places.tolist() == places_by_loops(received[frame].tolist())
    counts = count_outliers(received)
    assert all(2 * count < len(places) < 6 * count for count, places in zip(counts, kept, strict=True))


def test_a_frame_without_outliers_and_one_with_very_many_are_merged_all_the_same():
    flat, tokens = torch.full((1, 16), 1 / 16), 40
    assert [len(places) for places in outliers_and_even_places(flat)] == [0]
    many = torch.full((1, tokens), 0.01)
    many[0, :9] = 1.0
    assert outliers_and_even_places(many)[0].tolist() == sorted({*range(9), *range(0, tokens - 1, 1)})
    merged = aim.PruMerge(plus=True).merge(torch.randn(1, 16, 4), TowerAttention(flat, torch.randn(1, 16, 3)))
    assert merged.tokens.shape == (1, 4) and merged.sizes.tolist() == [16]


def test_a_share_is_met_exactly_with_three_quarters_at_even_distances():
    tower, patches = tower_of(3, 49), torch.randn(3, 49, 5, generator=torch.Generator().manual_seed(1))
    method = aim.PruMerge(keep_ratio=0.25, plus=True)
    merged = method.merge(patches, tower)
    assert len(merged.tokens) == method.merged_tokens(3, 49) == 36
    assert torch.equal(merged.assignment.flatten().bincount(minlength=36), merged.sizes)
    for frame in range(3):
        mine = merged.anchors[12 * frame : 12 * frame + 12] - 49 * frame
        even = [place * 49 // 8 for place in range(8)]
        others = [place for place in range(49) if place not in even]
        ranked = sorted(others, key=lambda place: -float(tower.received[frame, place]))
        assert set(mine.tolist()) == {*even, *ranked[:4]}  # the fourth holds the rest, at the most attended place of it
    assert not torch.equal(merged.tokens, aim.PruMerge(keep_ratio=0.25).merge(patches, tower).tokens)


def test_kept_tokens_take_in_their_nearest_and_the_last_one_holds_the_rest():
    tower, x = tower_of(2, 49), torch.randn(2, 49, 5, generator=torch.Generator().manual_seed(2))
    merged = aim.PruMerge(plus=True).merge(x, tower)
    first = 0
    for frame in range(2):
        received = tower.received[frame].tolist()
        kept = places_by_loops(received)
        rest = sorted(set(range(49)) - set(kept), key=lambda place: -received[place])
        expected = {rest[0]: sum(received[place] * x[frame, place] for place in rest)}
        for place in kept:
            others = [other for other in range(49) if other != place]
            likeness = {
                other: float(torch.cosine_similarity(tower.keys[frame, place], tower.keys[frame, other], dim=0)) for other in others
            }
            nearest = sorted(others, key=lambda other: -likeness[other])[:32]
            expected[place] = x[frame, place] + sum(received[other] * x[frame, other] for other in nearest)
        mine = slice(first, first + len(kept) + 1)
        assert (merged.anchors[mine] - 49 * frame).tolist() == sorted(expected)
        torch.testing.assert_close(merged.tokens[mine], torch.stack([expected[place] for place in sorted(expected)]), atol=1e-4, rtol=1e-4)
        first += len(kept) + 1
    assert len(merged.tokens) == first


def test_a_plan_needs_a_share_and_then_costs_what_prumerge_does():
    with pytest.raises(Refusal, match="Give a keep_ratio"):
        plan("llava-1.5-7b", 1, 40, aim.PruMerge(plus=True))
    plus, plain = (plan("llava-1.5-7b", 1, 40, aim.PruMerge(keep_ratio=0.25, plus=value)) for value in (True, False))
    assert plus == plain


def test_plus_is_a_switch():
    with pytest.raises(Refusal, match="plus is"):
        aim.PruMerge(plus="maybe")
