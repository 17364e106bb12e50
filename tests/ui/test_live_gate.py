"""Who runs live: one setting of a visitor at a time, the newest, and nobody while a Run is at the model."""

from __future__ import annotations

import threading
from html import escape

import pytest

from aim.engine.stopping import Stopped
from aim.ui.gate import MOST, Gate, Held
from aim.ui.gpu import placed
from aim.ui.live import AGAIN_MS, WAITS, kept_by, live
from aim.ui.request import Request
from tests.fakes import FakeVlm
from tests.visitor import EXAMPLES, examples

CLIP = str(EXAMPLES / examples()[0]["file"])


def request(**changes) -> Request:
    return Request.of(**{"video": CLIP, "question": "what?", "merge_ratio": 0.5, "l1": 2, "l2": 4, "num_frames": 2} | changes)


@pytest.fixture
def vlm():
    fake = FakeVlm()
    fake.is_bundled = True
    return fake


def test_a_newer_setting_of_the_same_visitor_ends_the_older_one_and_nobody_elses():
    gate = Gate()
    with gate.live("one") as older, gate.live("two") as other, gate.live("one") as newer:
        assert older.is_set() and not older.gave_way and not other.is_set() and not newer.is_set()


def test_a_run_ends_live_runs_and_none_begins_until_it_has_ended():
    gate = Gate()
    with gate.live("one") as live, gate.run():
        assert live.is_set() and live.gave_way
        with pytest.raises(Held), gate.live("two"):
            pass
    with gate.live("two") as live:
        assert not live.is_set()


def test_a_run_whose_visitor_has_left_holds_nobody_up_though_its_block_has_not_ended():
    gate, there = Gate(), [True]
    with gate.run(lambda: there[0]):
        with pytest.raises(Held), gate.live("one"):
            pass
        there[0] = False
        with gate.live("one") as live:
            assert not live.is_set()


def test_a_block_that_ends_inside_another_call_of_the_same_thread_does_not_wait_for_itself():
    gate = Gate()
    left = gate.run()
    left.__enter__()

    def present() -> bool:  # asked while the gate is locked, as the garbage collector may be at work then
        left.__exit__(None, None, None)
        return False

    with gate.run(present), gate.live("one") as live:
        assert not live.is_set()


def test_no_more_than_so_many_visitors_drag_at_once_and_leaving_makes_room():
    gate, entered = Gate(), []
    blocks = [gate.live(str(number)) for number in range(MOST)]
    for block in blocks:
        entered.append(block.__enter__())
    with pytest.raises(Held), gate.live("one more"):
        pass
    blocks[0].__exit__(None, None, None)
    with gate.live("one more"):
        assert entered[1].is_set() is False
    for block in blocks[1:]:
        block.__exit__(None, None, None)


def test_a_live_run_says_what_the_library_says_with_the_full_model_beside(vlm):
    update = live(placed(vlm), request(), "one")
    assert update.screen["answer"] == update.screen["full"] == "a red circle" and update.screen["same"] and update.run is not None
    assert [asked.method.name for asked in vlm.asked] == ["aim", "full"]


def test_a_live_run_that_gives_way_asks_to_be_asked_again(vlm):
    model, at_work, go_on = placed(vlm), threading.Event(), threading.Event()
    vlm.words = ("on ",) * 10_000
    vlm.seconds = 0.001
    told = []
    dragging = threading.Thread(target=lambda: (at_work.set(), told.append(live(model, request(), "one"))))
    dragging.start()
    at_work.wait(10)
    while not vlm.said:
        go_on.wait(0.01)
    with model.gate.run():
        dragging.join(10)
        assert told[0].screen == {"again": AGAIN_MS} and escape(WAITS) in told[0].status and told[0].run is None
        assert live(model, request(), "two").screen == {"again": AGAIN_MS}
    vlm.words = ("yes",)
    assert live(model, request(), "one").screen["answer"] == "yes"


UNREADABLE = {"question": "", "video": __file__}  # the file is told, since it was chosen last


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"question": ""}, "no question"), ({"video": None}, "no video"), ({"l1": 4}, "l1"), (UNREADABLE, "is not a video")],
)
def test_a_setting_that_cannot_run_is_one_sentence_and_leaves_the_screen(vlm, changes, words):
    update = live(placed(vlm), request(**changes), "one")
    assert update.screen is None and update.run is None and words in update.status and "aim-error" in update.status


@pytest.mark.parametrize("told", [None, "", "x", "[]", "{}", '{"kept": 3}', "null", 7, '{"kept": {"a": 1}}'])
def test_whatever_a_browser_says_of_itself_is_a_name_or_nothing(told):
    assert kept_by(told) == ""
    assert kept_by('{"kept": "abc-8"}') == "abc-8"


def test_a_live_run_that_ends_while_its_clip_is_read_is_no_error(vlm, monkeypatch, caplog):
    model = placed(vlm)

    def read(*_given):
        with model.gate.run():
            raise Stopped

    monkeypatch.setattr(type(model.clips), "clip", read)
    assert live(model, request(), "one").screen == {"again": AGAIN_MS} and not caplog.records
