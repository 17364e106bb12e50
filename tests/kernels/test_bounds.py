"""What a range holds, what it is called, and what is said of a value outside it."""

import math

import numpy as np
import pytest

from aim.kernels.bounds import ABOVE_0, CHANCE, FROM_0, FROM_1, LARGEST, SHARE, TEXT, Bounds, check_choice
from aim.kernels.refusal import Refusal


@pytest.mark.parametrize(
    ("bounds", "words", "held", "outside"),
    [
        (SHARE, "a number above 0 and up to 1", [1, 0.5, 1e-9], [0, 1.01, -1]),
        (CHANCE, "a number of at least 0 and below 1", [0, 0.99], [1, -0.01]),
        (ABOVE_0, "a number above 0", [0.1, LARGEST], [0, -1, LARGEST + 1, 10**400]),
        (FROM_0, "a whole number of at least 0", [0, 7, np.int64(7)], [-1, 2.5, 7.0]),
        (FROM_1, "a whole number of at least 1", [1, 10**9], [0, 10**400, True]),
        (Bounds(1, 9, whole=True), "a whole number from 1 to 9", [1, 9], [0, 10, 1.5]),
        (Bounds(high=3), "a number up to 3", [-5, 3], [3.1]),
        (Bounds(), "a number", [-1e9, 0], []),
    ],
    ids=str,
)
def test_a_range_holds_the_numbers_that_its_words_say(bounds, words, held, outside):
    assert str(bounds) == words
    assert all(value in bounds for value in held)
    assert not any(value in bounds for value in [*outside, math.nan, math.inf, -math.inf, None, "1", [1]])


def test_a_refusal_says_what_was_given_what_is_accepted_and_what_to_do():
    with pytest.raises(Refusal) as number:
        SHARE.check("ratio", "half", "Use 0.5.")
    assert str(number.value) == "ratio is 'half'; accepted: a number above 0 and up to 1. Use 0.5."
    with pytest.raises(Refusal) as choice:
        check_choice("order", 3, ("a", "b", "c"), "Use a.")
    assert str(choice.value) == 'order is 3; accepted: "a", "b" or "c". Use a.'


@pytest.mark.parametrize("odd", [[], {}, np.ones(2), True, 2.0, "2", None])
def test_a_choice_is_told_from_what_only_resembles_it(odd):
    with pytest.raises(Refusal, match=r"accepted: 1, 2 or 4\. Use 1\."):
        check_choice("window", odd, (1, 2, 4), "Use 1.")
    check_choice("window", 2, (1, 2, 4), "Use 1.")


class Unspeakable:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize("odd", [5, None, b"what?", ["what?"], 10**5000, Unspeakable(), object(), [["x"] * 999]], ids=type)
def test_a_value_of_another_type_is_refused_in_one_short_sentence(odd):
    with pytest.raises(Refusal) as refused:
        TEXT.check("question", odd)
    text = str(refused.value)
    assert text.startswith("question is ") and text.endswith("; accepted: text. Write it as a string.")
    assert len(text) < 160 and "\n" not in text
    TEXT.check("question", "what?")


def test_a_number_too_large_to_count_with_is_told_the_limit():
    with pytest.raises(Refusal, match=r"frames is 1000.*…; accepted: a whole number of at least 1, at most 2\*\*63 - 1\."):
        FROM_1.check("frames", 10**400, "Use 8.")
