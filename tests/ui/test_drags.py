"""Visitors who drag at once never meet, and what they do leaves nothing behind: some seconds by default, a minute in CI."""

import pytest

from tests.drags import SECONDS, VISITORS, report

MINUTE = pytest.param(SECONDS, marks=[pytest.mark.long, pytest.mark.timeout(300)])


@pytest.mark.parametrize("seconds", [pytest.param(4, marks=pytest.mark.whole), MINUTE])
def test_every_answer_is_that_of_the_visitors_own_setting_and_memory_stays_flat(seconds):
    dragged = report(seconds)
    assert dragged["exit"] == 0 and dragged["wrong"] == [] and dragged["hooks"] == 0
    assert dragged["visitors"] == VISITORS and dragged["answers"] >= VISITORS
    if seconds == SECONDS:
        assert dragged["memory_end"] <= 1.05 * dragged["memory_settled"]
