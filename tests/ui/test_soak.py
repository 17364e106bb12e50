"""Many clients at once on the real app: what `python -m tests.soak` does, with fewer runs."""

import pytest

from tests.soak import draw, of_its_own

RUNS, SETTLED, STRETCH = 64, 24, 20


@pytest.fixture(scope="module")
def soaked():
    return of_its_own("tests.soak", str(RUNS), str(SETTLED), str(STRETCH), seconds=520)


@pytest.mark.every
@pytest.mark.timeout(540)  # it takes minutes
def test_every_answer_equals_the_same_run_alone_and_nothing_is_left_on_the_model_or_in_the_queue(soaked):
    assert soaked["exit"] == 0 and soaked["wrong"] == []
    assert soaked["runs"] == sum(soaked["ways"].values()) == RUNS
    assert soaked["ended"]["answered"] >= sum(soaked["ways"][way] for way in ("page", "drag", "api")) > 0
    assert (soaked["hooks"], soaked["waiting"], soaked["attention"]) == (0, 0, "sdpa")


@pytest.mark.every
def test_memory_of_the_last_runs_stays_within_a_twentieth_of_what_it_was_once_settled(soaked):
    assert soaked["runs"] == RUNS and soaked["memory_end"] <= 1.05 * soaked["memory_settled"]


def test_the_runs_drawn_cover_every_way_to_end():
    assert {draw(number).way for number in range(RUNS)} == {"page", "drag", "api", "stop", "closed tab", "hang up"}
