"""Whole numbers of tokens against decimal arithmetic by hand, and every place that counts against the one function."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import numpy as np
import pytest

import aim
from aim.kernels.counts import exact, share_of, tokens_of
from aim.kernels.schedule import merged_per_frame, ramp, tokens_kept


def floor_by_decimals(share: str, total: int) -> int:
    return int((Decimal(share) * total).to_integral_value(ROUND_FLOOR))


def test_shares_with_up_to_three_decimals_give_the_floor_of_the_decimal_number():
    short = 0
    for thousandths in range(1, 1001):
        text = f"{thousandths / 1000:.3f}"
        for total in (49, 100, 196, 299, 576, 980, 6272):
            expected = floor_by_decimals(text, total)
            assert tokens_of(float(text), total) == expected
            short += int(float(text) * total) != expected
    assert short >= 3  # in floats: 0.29, 0.57 and 0.58 of 100


@pytest.mark.parametrize(("share", "total", "tokens"), [(0.29, 100, 29), (0.57, 100, 57), (0.58, 100, 58), (1e-5, 10**5, 1), (1, 7, 7)])
def test_a_typed_share_is_the_decimal_number_that_was_typed(share: float, total: int, tokens: int):
    assert tokens_of(share, total) == tokens
    assert type(tokens_of(share, total)) is int


def test_other_kinds_of_number_mean_what_they_print():
    assert tokens_of(np.float64(0.29), 100) == 29
    assert exact(Fraction(1, 3)) == Fraction(1, 3)
    assert tokens_of(Fraction(1, 3), 9) == 3


@pytest.mark.parametrize("total", [1, 7, 49, 196, 576])
def test_a_share_of_so_many_tokens_leads_back_to_them_and_is_the_least_that_does(total: int):
    for tokens in range(1, total + 1):
        share = share_of(tokens, total)
        assert tokens_of(share, total) == tokens
        assert tokens_of(round(share - 1e-4, 4), total) == tokens - 1


def test_no_ramp_is_a_token_short():
    wrong = 0
    for l1 in range(24):
        for l2 in range(l1 + 1, 25):
            for visual in (252, 6272):
                kept = tokens_kept(ramp(24, l1, l2), visual)
                for layer in range(max(l1, 1), min(l2, 24)):
                    over = (l2 - layer - 1) * visual // (l2 - l1)
                    assert kept[layer] == over
                    wrong += int((1 - (layer - l1 + 1) / (l2 - l1)) * visual) != over
    assert wrong > 100  # in floats
    assert tokens_kept(ramp(24, 0, 14), 294)[1] == 252


@pytest.mark.parametrize(
    ("method", "per_layer"),
    [
        (aim.AIM(merge_ratio=0.29, l1=4, l2=5), [29] * 4),
        (aim.FastV(layer=1, keep_ratio=0.29), [100, 29, 29, 29]),
        (aim.FastV(layer=1, keep_ratio=0.299), [100, 29, 29, 29]),  # a floor, where rounding would give 30
        (aim.Random(layer=1, keep_ratio=0.57), [100, 57, 57, 57]),
        (aim.PyramidDrop(ratio=0.7, stages=(1, 2)), [100, 70, 49, 49]),  # 0.7 · 0.7 is 0.48999… in floats
        (aim.PruMerge(keep_ratio=0.58), [58] * 4),
        (aim.ToMe(merge_ratio=0.29), [29] * 4),
    ],
    ids=str,
)
def test_every_method_counts_by_exact_floors(method, per_layer: list[int]):
    assert method.visual_per_layer(4, 1, 100) == per_layer


@pytest.mark.parametrize(
    ("tokens", "left"),
    [(196, [98, 49, 25, 13, 7, 4]), (49, [25, 13, 7]), (299, [150, 76]), (576, [288, 144, 72]), (252, [126, 63])],
)
def test_the_official_chain_leaves_the_tokens_of_the_official_code(tokens: int, left: list[int]):
    assert [merged_per_frame(0.5**step, tokens, "official") for step in range(1, len(left) + 1)] == left


def test_between_the_powers_the_official_chain_leaves_more_the_larger_the_ratio():
    assert merged_per_frame(0.4375, 576, "official") == 252
    for tokens in (1, 2, 7, 49, 196):
        row = [merged_per_frame(step / 200, tokens, "official") for step in range(1, 201)]
        assert row == sorted(row) and row[0] >= 1 and row[-1] == tokens
