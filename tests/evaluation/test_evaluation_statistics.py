"""Intervals against the definitions they are derived from, and against resampling."""

import math

import numpy as np
import pytest

from aim.evaluation.statistics import Z, clustered_share, paired_difference, wilson
from aim.kernels.refusal import Refusal


@pytest.mark.parametrize(("right", "questions"), [(8, 10), (1, 7), (199, 200), (500, 1000), (1960, 2041)])
def test_wilsons_ends_are_the_shares_from_which_the_measured_one_is_just_z_deviations_away(right, questions):
    interval = wilson(right, questions)
    for end in (interval.low, interval.high):
        assert abs(right / questions - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / questions))
    assert interval.low < interval.value == right / questions < interval.high


def test_wilson_gives_the_published_figures():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (right, questions), (low, high) in published.items():
        interval = wilson(right, questions)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize(("right", "questions"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_what_is_no_share(right, questions):
    with pytest.raises(ValueError, match="is no share"):
        wilson(right, questions)


def answers(clips=150, seed=3):
    """Two settings' answers to 1 to 10 questions a clip, which go right and wrong together with how hard the clip is."""
    rng = np.random.default_rng(seed)
    of_clip = np.repeat(np.arange(clips), rng.integers(1, 11, clips))
    hard = rng.random(clips)[of_clip]
    first = rng.random(len(of_clip)) < 0.95 - 0.5 * hard
    second = first & (rng.random(len(of_clip)) < 0.95 - 0.2 * hard) | (rng.random(len(of_clip)) < 0.02)
    return first, second, of_clip


def test_a_paired_difference_agrees_with_drawing_clips_again_and_again():
    first, second, of_clip = answers()
    interval = paired_difference(first, second, of_clip)
    rng, rows = np.random.default_rng(0), [np.flatnonzero(of_clip == clip) for clip in range(150)]
    drawn = []
    for _ in range(3000):
        chosen = np.concatenate([rows[clip] for clip in rng.integers(0, 150, 150)])
        drawn.append(first[chosen].mean() - second[chosen].mean())
    assert interval.value == pytest.approx(first.mean() - second.mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert interval.low == pytest.approx(low, abs=0.004) and interval.high == pytest.approx(high, abs=0.004)


def test_questions_of_one_clip_count_as_less_than_as_many_clips():
    rng = np.random.default_rng(1)
    won = rng.random(40) < 0.6
    first = np.repeat(won, 10)
    together = paired_difference(first, ~first, np.repeat(np.arange(40), 10))
    once = paired_difference(won, ~won, np.arange(40))
    assert (together.low, together.high) == pytest.approx((once.low, once.high))
    apart = paired_difference(first, ~first, np.arange(400))
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_with_one_question_a_clip_it_is_the_textbook_interval_of_discordant_pairs():
    gained, lost, same = 30, 12, 158
    first = np.array([1] * gained + [0] * lost + [1] * same)
    second = np.array([0] * gained + [1] * lost + [1] * same)
    interval, n = paired_difference(first, second, np.arange(200)), 200
    variance = (gained + lost - (gained - lost) ** 2 / n) / n**2 * n / (n - 1)
    assert interval.value == pytest.approx(0.09)
    assert interval.high - interval.value == pytest.approx(Z * math.sqrt(variance))


def test_swapping_the_settings_turns_the_interval_round():
    first, second, of_clip = answers()
    there, back = paired_difference(first, second, of_clip), paired_difference(second, first, of_clip)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_too_few_clips_and_lengths_that_differ_are_refused():
    with pytest.raises(Refusal, match="at least 2"):
        paired_difference(np.ones(3), np.ones(3), np.zeros(3, int))
    with pytest.raises(Refusal, match="at least 2"):
        paired_difference(np.ones(0), np.ones(0), np.zeros(0, int))
    with pytest.raises(ValueError, match="one answer under each setting"):
        paired_difference(np.ones(3), np.ones(2), np.zeros(3, int))


def test_a_share_that_keeps_clips_whole_agrees_with_drawing_clips_again_and_again():
    right, _, of_clip = answers()
    interval = clustered_share(right, of_clip)
    rng, rows = np.random.default_rng(0), [np.flatnonzero(of_clip == clip) for clip in range(150)]
    drawn = [right[np.concatenate([rows[clip] for clip in rng.integers(0, 150, 150)])].mean() for _ in range(2000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert interval.value == pytest.approx(right.mean())
    assert interval.low == pytest.approx(low, abs=0.006) and interval.high == pytest.approx(high, abs=0.006)
    alone = wilson(int(right.sum()), len(right))
    assert interval.high - interval.low > 1.1 * (alone.high - alone.low)


def test_a_share_without_spread_counts_each_clip_once():
    of_clip = np.repeat(np.arange(6), 5)
    assert clustered_share(np.ones(30), of_clip) == wilson(6, 6)
    assert clustered_share(np.zeros(30), of_clip) == wilson(0, 6)
    assert clustered_share(np.array([1, 0]), np.array([3, 3])) == wilson(0.5, 1)
    with pytest.raises(ValueError, match="at least one"):
        clustered_share(np.array([]), np.array([]))
