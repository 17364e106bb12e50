"""Intervals for shares and for paired differences, by plain formulas without random numbers.

They do not cover differences between models: the questions are the same in all settings, and only one trained model is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from aim.kernels.refusal import Refusal

Z = 1.959963984540054  # normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


def widened(comparisons: int) -> float:
    """Half of an interval in standard errors, such that all of so many intervals hold at once with 95 %."""
    return NormalDist().inv_cdf(1 - 0.025 / max(1, comparisons))


def wilson(right: float, questions: float) -> Interval:
    """Share of right answers with Wilson's score interval, all in [0, 1].

    It takes questions to be independent. Those about one clip are not quite, so `paired_difference` judges differences. `clustered_share`
    calls this with the number of independent questions that tell as much, which need not be whole.

    Raises:
        ValueError: not 0 ≤ right ≤ questions with questions ≥ 1.
    """
    if not 0 <= right <= questions or questions < 1:
        raise ValueError(f"{right} right of {questions} questions is no share; give 0 ≤ right ≤ questions, at least one question.")
    share, spread = right / questions, Z**2 / questions
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / questions + spread / 4 / questions) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def clustered_share(right: np.ndarray, clips: np.ndarray) -> Interval:
    """Share of right answers, with an interval that keeps clips whole.

    It is Wilson's for the number of independent questions whose share would have the same variance: p·(1-p)/V, where V is the variance
    that `paired_difference` has, and never more than there are questions. Where V or p·(1-p) is 0 it tells nothing, and each clip counts
    as one question.

    Args:
        right: bool or 0/1 [questions], at least one.
        clips: int [questions], the clip each question is about.

    Raises:
        ValueError: no question, or lengths that differ.
    """
    if len(right) != len(clips) or len(right) == 0:
        raise ValueError(f"{len(right)} answers and {len(clips)} clips; give one clip for each answer, at least one.")
    share, independent = float(np.mean(right)), float(len(np.unique(clips)))
    if independent > 1 and 0 < share < 1:
        half = paired_difference(right, np.zeros(len(right)), clips).high - share
        if half > 0:
            independent = min(float(len(right)), share * (1 - share) * (Z / half) ** 2)
    return wilson(share * independent, independent)


def paired_difference(first: np.ndarray, second: np.ndarray, clips: np.ndarray, z: float = Z) -> Interval:
    """Accuracy under `first` less that under `second`, the same questions under both, with an interval that keeps clips whole.

    With d_c the difference in right answers and n_c the questions of clip c, D = Σd/Σn is a ratio whose variance, linearised, is
    C/(C-1) · Σ(d_c - D·n_c)² / (Σn)². Questions about one clip may go right and wrong together, but clips are independent.

    Args:
        first, second: bool or 0/1 [questions], right or not.
        clips: int [questions], the clip each question is about.
        z: half of the interval in standard errors, > 0. The default is that of a 95 % interval.

    Raises:
        ValueError: lengths that differ.
        Refusal: questions about fewer than two clips.
    """
    if not len(first) == len(second) == len(clips):
        raise ValueError(f"{len(first)}, {len(second)} and {len(clips)} entries; give one answer under each setting and a clip a question.")
    _, number = np.unique(clips, return_inverse=True)
    count = int(number.max(initial=-1)) + 1
    if count < 2:
        raise Refusal(f"The questions are about {count} clip(s); an interval needs at least 2. Measure more clips.")
    difference = np.bincount(number, np.asarray(first, float) - np.asarray(second, float))
    questions = np.bincount(number)
    value = difference.sum() / questions.sum()
    variance = count / (count - 1) * ((difference - value * questions) ** 2).sum() / questions.sum() ** 2
    half = z * math.sqrt(variance)
    return Interval(float(value), float(value - half), float(value + half))
