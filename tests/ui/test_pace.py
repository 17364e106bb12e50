"""When a moved knob is answered: by what the last run cost here, and never unasked where each run is charged."""

from dataclasses import replace

import pytest

from aim.runtime.answer import Answer
from aim.ui.gpu import placed
from aim.ui.pace import METERED, pace_of
from tests.fakes import FakeVlm

TOWER = {"preprocess": 1.0, "vision_tower": 23.0}


@pytest.mark.parametrize(
    ("timings", "pace", "told"),
    [
        ({"total": 0.07}, "drag", "while you drag. A run takes 70.0 ms."),
        ({"total": 24.5} | TOWER, "drag", "500 ms"),
        ({"total": 26.0} | TOWER, "release", "when you let go of a slider. A run takes 2.00 s."),
        ({"total": 40.0} | TOWER, "run", "Press Run for a new answer. A run takes 16.0 s"),
    ],
)
def test_the_last_run_decides_without_what_the_next_one_need_not_repeat(timings, pace, told):
    given = pace_of(placed(FakeVlm()), Answer(timings=timings))
    assert given["pace"] == pace and told in given["pace_told"]


def test_before_the_first_run_only_the_bundled_model_is_known_to_be_cheap():
    assert pace_of(placed(FakeVlm()))["pace"] == "run"
    bundled = FakeVlm()
    bundled.is_bundled = True
    assert pace_of(placed(bundled))["pace"] == "drag"


def test_where_each_job_is_charged_only_run_starts_one():
    metered = replace(placed(FakeVlm()), metered=True)
    assert pace_of(metered, Answer(timings={"total": 0.1})) == pace_of(metered) == {"pace": "run", "pace_told": METERED}
