"""Visitors who drag at once never meet, and what they do leaves nothing behind."""

import pytest

from tests.drags import VISITORS
from tests.soak import of_its_own


@pytest.mark.long  # `python -m tests.drags` goes on for a minute
@pytest.mark.timeout(300)
def test_every_answer_is_that_of_the_visitors_own_setting_and_memory_stays_flat():
    dragged = of_its_own("tests.drags", "25", seconds=280)
    assert dragged["exit"] == 0 and dragged["wrong"] == [] and dragged["hooks"] == 0
    assert dragged["visitors"] == VISITORS and dragged["answers"] >= VISITORS
    assert dragged["memory_end"] <= 1.05 * dragged["memory_settled"]
