"""Many clients at once on the real app: a dozen runs by default, all of `python -m tests.soak` in CI."""

import pytest

from tests.soak import CLIENTS, RUNS, SETTLED, draw, report

# In one process, so that the runs are made once.
pytestmark = pytest.mark.xdist_group("soak")

FEW = 12
# 200 runs take some minutes.
ALL = pytest.param(RUNS, marks=[pytest.mark.long, pytest.mark.timeout(540)])


@pytest.fixture(scope="module", params=[FEW, ALL])
def soaked(request):
    return report(request.param)


def test_every_answer_equals_the_same_run_alone_and_nothing_is_left_on_the_model_or_in_the_queue(soaked):
    assert soaked["exit"] == 0 and soaked["wrong"] == []
    assert soaked["runs"] == sum(soaked["ways"].values()) >= FEW
    assert soaked["ended"]["answered"] >= sum(soaked["ways"][way] for way in ("page", "drag", "api")) > 0
    assert (soaked["hooks"], soaked["waiting"], soaked["attention"]) == (0, 0, "sdpa")


@pytest.mark.parametrize("soaked", [ALL], indirect=True)
def test_memory_of_the_last_fifty_runs_stays_within_a_twentieth_of_what_it_was_after_forty(soaked):
    assert soaked["runs"] > SETTLED and soaked["memory_end"] <= 1.05 * soaked["memory_settled"]


def test_the_runs_drawn_cover_every_way_to_end():
    assert {draw(number).way for number in range(FEW)} >= {"page", "drag", "api", "stop", "closed tab"}
    assert {draw(number).way for number in range(RUNS)} == {"page", "drag", "api", "stop", "closed tab", "hang up"}
    assert FEW > CLIENTS
