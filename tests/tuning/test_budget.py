"""Budgets as people write them."""

import pytest

import aim
from aim.kernels.refusal import Refusal


@pytest.mark.parametrize("text", ["", "4", "x", "-4x", "4 y", "0.5x", "0 ms", "nan ms", "1e999 MB", "4x 5x"])
def test_a_budget_that_cannot_be_read_is_refused_in_one_line(text):
    with pytest.raises(Refusal) as refusal:
        aim.Budget.parse(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text, kind, amount",
    [("0.5 TFLOP", "tflop", 0.5), ("500 gflops", "tflop", 0.5), ("4x", "times", 4), ("4 ×", "times", 4), ("800ms", "ms", 800),
     ("1.5 s", "ms", 1500), ("20 MB", "mb", 20), ("1 GB", "mb", 1000)],
)  # fmt: skip
def test_a_budget_is_written_as_people_do(text, kind, amount):
    budget = aim.Budget.parse(text)
    assert (budget.kind, budget.amount) == (kind, pytest.approx(amount))
