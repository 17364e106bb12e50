"""The soak in small: `python -m tests.soak` is the whole one, or set AIM_SOAK to a number of runs."""

import os

import pytest

from tests.soak import CLIENTS, SETTLED, draw, report

RUNS = int(os.environ.get("AIM_SOAK", 40))


@pytest.fixture(scope="module")
def soaked():
    return report(RUNS)


def test_every_answer_equals_the_same_run_alone(soaked):
    assert soaked["exit"] == 0 and soaked["runs"] == RUNS and soaked["wrong"] == []
    assert soaked["ended"]["answered"] >= soaked["ways"]["page"] + soaked["ways"]["api"] > CLIENTS


def test_nothing_is_left_on_the_model_or_in_the_queue(soaked):
    assert (soaked["hooks"], soaked["waiting"], soaked["attention"]) == (0, 0, "sdpa")


def test_memory_stays_within_a_twentieth_of_what_it_was_after_twenty_runs(soaked):
    assert RUNS > SETTLED and soaked["memory_end"] <= 1.05 * soaked["memory_settled"]


def test_the_runs_drawn_cover_every_way_to_end():
    assert {draw(number).way for number in range(40)} == {"page", "api", "stop", "closed tab", "hang up"}
