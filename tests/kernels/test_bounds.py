"""What a range holds, what it is called, and what is said of a value outside it."""

import math

import pytest

from aim.kernels.bounds import ABOVE_0, CHANCE, FROM_0, FROM_1, SHARE, Bounds, check_choice
from aim.kernels.refusal import Refusal


@pytest.mark.parametrize(
    ("bounds", "words", "held", "outside"),
    [
        (SHARE, "a number above 0 and up to 1", [1, 0.5, 1e-9], [0, 1.01, -1]),
        (CHANCE, "a number of at least 0 and below 1", [0, 0.99], [1, -0.01]),
        (ABOVE_0, "a number above 0", [0.1, 10**400], [0, -1]),
        (FROM_0, "a whole number of at least 0", [0, 7, 7.0], [-1, 2.5]),
        (FROM_1, "a whole number of at least 1", [1, 10**400], [0]),
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
