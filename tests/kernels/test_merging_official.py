"""The official merging chain: group by group against what the official code put out, and against plain loops; tokens compared by keys."""

from __future__ import annotations

import math

import pytest
import torch

from aim.kernels.merging import merge_clip, merge_tokens
from aim.kernels.schedule import merge_steps
from tests.official import cases, patches

CASES = cases("aim_merge")


@pytest.mark.parametrize("name", CASES)
def test_the_official_codes_groups_come_out_in_its_order(name: str):
    clip, kind, ratio = name.split(".", 2)
    case, x = CASES[name], patches(clip, kind)
    merged = merge_clip(x, float(ratio), merge_order="official")
    count = len(case["groups"][0])
    for frame, groups in enumerate(case["groups"]):
        mine = [[] for _ in groups]
        for patch, group in enumerate((merged.assignment[frame] - frame * count).tolist()):
            mine[group].append(patch)
        assert mine == groups
    torch.testing.assert_close(merged.tokens[:20].sum(1), torch.tensor(case["sum"]), atol=1e-4, rtol=0)
    assert list(merge_steps(x.shape[1], count, "official")) == case["steps"]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def merge_by_loops(tokens: list, keys: list, removals: list[int], order: str) -> tuple[list, list]:
    """(merged tokens, the patches of each), by one link after the other: A and B take turns along the list as it is."""
    groups = [(token, key, [patch]) for patch, (token, key) in enumerate(zip(tokens, keys, strict=True))]
    for remove in removals:
        links = []
        for a in range(0, len(groups), 2):
            b = max(range(1, len(groups), 2), key=lambda place: (cosine(groups[a][1], groups[place][1]), -place))
            links.append((cosine(groups[a][1], groups[b][1]), a, b))
        links.sort(key=lambda link: (-link[0], link[1]))
        into = {a: b for _, a, b in links[:remove]}
        places = [a for _, a, _ in links[remove:]] + list(range(1, len(groups), 2))
        following = []
        for place in places if order == "official" else sorted(places):
            joined = [groups[place], *(groups[a] for a, b in into.items() if b == place)]
            members = [patch for _, _, patches in joined for patch in patches]
            following.append((mean([token for token, _, _ in joined]), mean([key for _, key, _ in joined]), members))
        groups = following
    return [token for token, _, _ in groups], [sorted(members) for _, _, members in groups]


def random_tokens(windows: int, tokens: int, channels: int, seed: int) -> torch.Tensor:
    return torch.randn(windows, tokens, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("by_keys", [False, True])
@pytest.mark.parametrize("order", ["raster", "official"])
@pytest.mark.parametrize(("tokens", "removals"), [(9, [4, 2]), (25, [12, 6, 3]), (26, [13, 2]), (7, [3, 1, 1])])
def test_a_chain_equals_the_loops(tokens: int, removals: list[int], order: str, by_keys: bool):
    x, keys = random_tokens(2, tokens, 5, seed=tokens), random_tokens(2, tokens, 3, seed=tokens + 1)
    if order == "raster":  # its own steps to the same target
        removals = list(merge_steps(tokens, tokens - sum(removals)))
    target = tokens - sum(removals)
    assert list(merge_steps(tokens, target, order)) == removals
    merge = merge_tokens(x, target, order, keys=keys if by_keys else None)
    for window in range(2):
        values, groups = merge_by_loops(x[window].tolist(), (keys if by_keys else x)[window].tolist(), removals, order)
        torch.testing.assert_close(merge.tokens[window], torch.tensor(values, dtype=torch.float64), atol=1e-6, rtol=1e-6)
        assert [(merge.assignment[window] == group).nonzero().flatten().tolist() for group in range(target)] == groups
        assert merge.sizes[window].tolist() == [len(group) for group in groups]
        assert all(anchor in group for anchor, group in zip(merge.anchors[window].tolist(), groups, strict=True))


def test_tokens_that_are_their_own_keys_merge_as_without_keys():
    x = random_tokens(3, 25, 6, seed=0).float()
    assert torch.equal(merge_tokens(x, 6, keys=x).assignment, merge_tokens(x, 6).assignment)
    torch.testing.assert_close(merge_tokens(x, 6, keys=x).tokens, merge_tokens(x, 6).tokens)
    half = merge_tokens(x.bfloat16(), 6, keys=x)
    assert half.tokens.dtype == torch.bfloat16
    assert torch.equal(half.assignment, merge_tokens(x, 6, keys=x).assignment)


def test_a_clips_keys_go_with_its_windows():
    x, keys = random_tokens(5, 9, 6, seed=1).float(), random_tokens(5, 9, 4, seed=2).float()
    whole = merge_clip(x, 0.3, merge_window=2, keys=keys)
    parts = [
        merge_tokens(x[f : f + 2].reshape(1, -1, 6), target, keys=keys[f : f + 2].reshape(1, -1, 4))
        for f, target in ((0, 5), (2, 5), (4, 2))
    ]
    torch.testing.assert_close(whole.tokens, torch.cat([part.tokens[0] for part in parts]))
    part_by_part = merge_clip(x, 0.3, merge_window=2, keys=keys, memory_budget=0)
    assert torch.equal(part_by_part.assignment, whole.assignment)


@pytest.mark.parametrize("keys", [torch.zeros(2, 8, 4), torch.zeros(1, 9, 4), torch.zeros(2, 9), torch.zeros(2, 9, 4, dtype=torch.long)])
def test_keys_of_other_tokens_are_refused(keys: torch.Tensor):
    with pytest.raises(ValueError, match="windows, tokens"):
        merge_tokens(torch.randn(2, 9, 5), 3, keys=keys)
