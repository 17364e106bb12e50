"""What happens on Run, with a model that is not one."""

import copy
import re

import pytest

from aim.kernels.refusal import Refusal
from aim.methods import Full
from aim.ui import handlers
from aim.ui.gpu import placed
from aim.ui.handlers import answer, request_stop, status
from aim.ui.model import AppModel
from aim.ui.request import Request, check
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip


def request(**changes) -> Request:
    return Request.of(**{"video": "clip.mp4", "question": "what?", "merge_ratio": 0.5, "l1": 2, "l2": 4, "num_frames": 2} | changes)


class Reader:
    """Stands for `read_video` and counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, path, num_frames, stop=None):
        self.calls.append((path, num_frames))
        return make_clip(num_frames)


@pytest.fixture(autouse=True)
def every_word_is_shown(monkeypatch):
    monkeypatch.setattr(handlers, "GROWN_AFTER", 0)


def run(vlm, request, stop=None, read=None):
    return list(answer(vlm if isinstance(vlm, AppModel) else placed(vlm), request, stop or StopSignal(), read or Reader()))


@pytest.fixture
def video(tmp_path) -> str:
    """A file that the reader above takes for a video."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"frames")
    return str(file)


def said(updates, who: str = "answer") -> list[str]:
    """What the page shows of an answer, as it grows."""
    return [update.screen[who] for update in updates if update.screen and update.screen[who]]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_of_a_fast_model_the_first_word_and_the_whole_answer_are_shown_and_few_between(monkeypatch):
    monkeypatch.setattr(handlers, "GROWN_AFTER", 3600)
    assert said(run(FakeVlm(words=("a ",) * 50), request())) == ["a ", "a " * 50]


def test_the_answer_streams_and_the_last_update_has_a_value_for_everything():
    vlm = FakeVlm()
    updates = run(vlm, request())
    assert said(updates) == ["a ", "a red ", "a red circle", "a red circle"]
    assert [update.screen.get("growing", False) for update in updates if update.screen] == [True, True, True, False]
    last = updates[-1]
    assert all(value is not None for value in vars(last).values())
    assert last.screen["asked"] == list(request().values().values()) and last.screen["full"] is None
    assert "Answered" in last.status and "aim-busy" not in last.status and "aim-busy" in updates[0].status
    assert last.run.answer.text == "a red circle" and last.run.trace is last.run.answer.trace
    assert [pair[0] for pair in last.run.plan.tokens_per_layer] == [6, 6, 3, 0]
    assert vlm.asked[0].method.merge_ratio == 0.5 and vlm.asked[0].scores == "pruning"


def test_knobs_reach_the_model():
    vlm = FakeVlm()
    turned = {"positions": "original", "temperature": 0.3, "iterations": 7, "damping": 0.2, "restart": "question", "merge_window": 2}
    run(vlm, request(**turned, max_new_tokens=9, score_every_layer=True))
    asked = vlm.asked[0]
    assert (asked.method.l1, asked.method.l2) == (2, 4)
    assert turned == {name: getattr(asked.method, name) for name in turned}
    assert (asked.max_new_tokens, asked.scores) == (9, "all")


def test_stages_are_told_with_their_times_as_they_end():
    shown = [words(update.status) for update in run(FakeVlm(), request())]
    assert "decode 100 ms" not in shown[0]
    assert any("vision 210 ms" in text and "prefill 22.0 ms" not in text for text in shown)
    assert any("prefill 22.0 ms" in text and "answer 10.0 ms" not in text for text in shown)
    for stage in ("read video", "vision 210 ms", "merge 1.00 ms", "prefill 22.0 ms", "answer 10.0 ms"):
        assert stage in shown[-1]


def test_a_second_run_on_the_clip_skips_decode_and_vision_and_says_so(video):
    vlm, read = FakeVlm(), Reader()
    model = placed(vlm)
    first = run(model, request(video=video), read=read)[-1]
    again = run(model, request(video=video, question="and now?", merge_ratio=0.2), read=read)[-1]
    assert read.calls == [(video, 2)] and vlm.asked[0].clip is vlm.asked[1].clip
    assert "reused" not in words(first.status)
    assert "read video reused" in words(again.status) and "vision reused" in words(again.status) and handlers.REUSED in again.status


def test_a_finished_run_holds_no_frames_and_finds_them_in_the_store_or_the_file(video):
    model, read = placed(FakeVlm()), Reader()
    last = run(model, request(video=video), read=read)[-1].run
    assert last.frames is model.clips.clip(video, 2).frames and len(read.calls) == 1
    model.clips.limit = 0
    model.clips.clip(video, 3, read=read)
    assert len(model.clips) == 0 and (last.frames == make_clip(2).frames).all() and len(read.calls) == 3


def test_the_full_model_runs_after_the_knobs_when_asked_to():
    vlm = FakeVlm()
    updates = run(vlm, request(compare=True))
    assert [type(asked.method) is Full for asked in vlm.asked] == [False, True]
    assert vlm.asked[0].clip is vlm.asked[1].clip
    last = updates[-1]
    assert last.screen["full"] == last.screen["answer"] == "a red circle" and last.screen["same"] and last.run.full is not None
    assert "Both give the same answer." in last.screen["cost"] and "full model" in last.screen["cost"]
    assert said(updates, "full")[:2] == ["a ", "a red "]


def test_without_being_asked_to_the_full_model_does_not_run():
    vlm = FakeVlm()
    last = run(vlm, request())[-1]
    assert len(vlm.asked) == 1 and last.screen["full"] is last.screen["same"] is last.run.full is None
    assert "full model" not in last.screen["cost"]


def test_the_full_model_of_a_cheap_model_runs_once_for_a_clip_and_a_question():
    vlm = FakeVlm()
    vlm.is_bundled = True
    model = placed(vlm)
    for ratio, question, methods in ((0.5, "what?", 2), (0.25, "what?", 1), (0.25, "and now?", 2)):
        before = len(vlm.asked)
        last = run(model, request(merge_ratio=ratio, question=question))[-1]
        assert last.screen["full"] == "a red circle" and len(vlm.asked) - before == methods
    assert len(model.full_answers) == 2


def test_frames_that_the_browser_has_are_not_sent_again():
    model = placed(FakeVlm())
    first = run(model, request())[-1].screen
    [*_, again] = answer(model, request(merge_ratio=0.2), StopSignal(), Reader(), kept=first["picture"])
    assert first["run"]["picture"]["data"].startswith("data:image/jpeg") and again.screen["run"]["picture"]["data"] is None
    assert again.screen["picture"] == first["picture"] and again.screen["setting"] != first["setting"]


def test_what_the_model_wants_said_stands_beside_the_answer_and_is_no_markup():
    vlm = FakeVlm()
    vlm.note = 'it does not know "<b>dog</b>"'
    last = run(vlm, request())[-1]
    assert last.screen["note"] == vlm.note  # the browser sets it as text
    assert run(FakeVlm(), request())[-1].screen["note"] == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"video": None}, "no video"),
        ({"question": None}, "no question"),
        ({"question": "  \n"}, "no question"),
        ({"question": "x" * 10_000}, "10,000 characters; up to 2,000"),
        ({"num_frames": 0}, "0 frames were asked for; this model takes 1 to 8"),
        ({"num_frames": 10_000}, "10,000 frames"),
        ({"l1": 3, "l2": 3}, "l1"),
        ({"merge_ratio": 0}, "merge_ratio"),
        ({"restart": "question"}, "damping"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_is_read(changes, words):
    read = Reader()
    with pytest.raises(ValueError, match=words):
        run(FakeVlm(), request(**changes), read=read)
    with pytest.raises(ValueError, match=words):
        check(request(**changes), max_frames=8)
    assert not read.calls


def stop_at(vlm, stop, wanted, **changes):
    """Run, and press Stop when the page shows what is wanted."""
    updates = []
    for update in answer(placed(vlm), request(**changes), stop, read=Reader()):
        updates.append(update)
        if wanted(update):
            stop.ask()
    return updates


def test_stop_ends_the_run_within_a_word_and_keeps_what_was_said():
    vlm, stop = FakeVlm(words=("a ",) * 1000), StopSignal()
    updates = stop_at(vlm, stop, lambda update: update.screen and update.screen["answer"] == "a a ", compare=True)
    assert vlm.said == 2 and len(vlm.asked) == 1
    assert "Stopped." in updates[-1].status and updates[-1].screen["answer"] == "a a " and updates[-1].run is not None


def test_stop_ends_the_full_model_too():
    vlm, stop = FakeVlm(words=("a ",) * 50), StopSignal()
    updates = stop_at(vlm, stop, lambda update: update.screen and update.screen["full"] == "a a a ", compare=True)
    assert vlm.said == 50 + 3 and "Stopped." in updates[-1].status and updates[-1].screen["full"] == "a a a "


def test_a_stop_while_the_video_is_read_runs_nothing(monkeypatch):
    def reading(path, num_frames, stop):
        stop.set()
        raise Refusal("It was stopped.")

    vlm = FakeVlm()
    monkeypatch.setattr(handlers, "read_media", reading)
    updates = list(answer(placed(vlm), request(), StopSignal()))
    assert not vlm.asked and handlers.STOPPED_EARLY in updates[-1].status


def test_a_stop_while_waiting_in_the_queue_runs_nothing():
    vlm, stop = FakeVlm(), StopSignal()
    stop.ask()
    updates = run(vlm, request(), stop=stop)
    assert not vlm.asked and "Stopped" in updates[-1].status


def test_every_session_gets_a_stop_signal_of_its_own():
    first = StopSignal()
    second = copy.deepcopy(first)
    first.ask()
    assert first.is_set() and not second.is_set() and not second.asked
    first.begin()
    assert not first.is_set() and not first.asked and first.busy


def test_stop_says_whether_there_was_anything_to_stop():
    stop = StopSignal()
    assert "Nothing is running." in request_stop(stop) and not stop.is_set()
    stop.begin()
    assert "Stopping…" in request_stop(stop) and stop.is_set()
    stop.begin()  # Enter, pressed once more before the run has ended
    assert stop.is_set()
    stop.end()
    stop.begin()
    assert not stop.is_set()


def test_what_a_visitor_typed_is_never_markup():
    assert "<img" not in status("<img src=x>")
