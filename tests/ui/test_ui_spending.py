"""What a saving pays for, and both runs of it."""

from __future__ import annotations

import re

import pytest

import aim
from aim.ui.gpu import placed
from aim.ui.request import Request
from aim.ui.spending import saving, spending
from aim.ui.stop import StopSignal
from tests.visitor import EXAMPLES, examples

FILE, QUESTION = str(EXAMPLES / examples()[0]["file"]), examples()[0]["question"]
REQUEST = Request.of(FILE, QUESTION, 0.25, 6, 9, 4, max_new_tokens=4)


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


@pytest.fixture
def model(vlm):
    return placed(vlm)


def promised(html: str) -> int:
    return int(re.search(r"pay for (\d+) frames", html)[1])


def test_one_more_frame_than_promised_would_cost_more_than_the_full_model(vlm):
    told, label = saving(vlm, QUESTION, 0.5, 6, 9, 4, 1)
    frames, text, method = promised(told), vlm.text_tokens(QUESTION), aim.AIM(merge_ratio=0.5, l1=6, l2=9)
    full = vlm.plan(4, text, aim.Full()).prefill_tflops
    assert vlm.plan(frames, text, method).prefill_tflops <= full < vlm.plan(frames + 1, text, method).prefill_tflops
    assert label == f"Compare: full model on 4 frames, AIM on {frames}"


def test_where_nothing_is_saved_there_is_nothing_to_run(vlm):
    assert saving(vlm, QUESTION, 1, 12, 13, 4, 1)[1] == ""
    told, label = saving(vlm, QUESTION, 0.5, 9, 6, 4, 1)
    assert "l1 &lt; l2" in told and label == ""
    assert "the most this model takes" in saving(vlm, QUESTION, 0.05, 1, 2, 8, 1)[0]


def test_both_answers_are_those_of_the_model_asked_alone(vlm, model):
    frames = promised(saving(vlm, QUESTION, 0.25, 6, 9, 4, 1)[0])
    noted = []
    *_, (status, table) = spending(model, REQUEST, StopSignal(), noted.append)
    full = vlm.ask(aim.read_video(FILE, 4), QUESTION, aim.Full(), 4)
    reduced = vlm.ask(aim.read_video(FILE, frames), QUESTION, REQUEST.method(), 4)
    rows = re.findall(r'<th scope="row">.*?</tr>', table)
    for row, answer in zip(rows, (full, reduced), strict=True):
        cells = re.findall(r"<td>(.*?)</td>", row)
        assert cells[:2] == [answer.text, str(answer.trace.frames)]
    assert reduced.cost["prefill_tflops"] <= full.cost["prefill_tflops"]
    assert [answer.text for answer in noted] == [full.text, reduced.text]
    assert "Done." in status and (FILE, 4) in model.clips and (FILE, frames) in model.clips


@pytest.mark.parametrize("before", [1, 2, 3])
def test_stop_ends_it_before_the_next_run_and_shows_no_half_of_it(model, before):
    stop = StopSignal()
    steps = []
    for step in spending(model, REQUEST, stop, [].append):
        steps.append(step)
        if len(steps) == before:
            stop.ask()
    assert len(steps) <= before + 2
    assert "Stopped" in steps[-1][0] and steps[-1][1] == ""


def test_a_short_video_is_told(model):
    def read(path: str, num_frames: int, stop=None):
        return aim.read_video(path, min(num_frames, 6))

    *_, (status, _) = spending(model, REQUEST, StopSignal(), [].append, read)
    assert "The video has 6 frames" in status
