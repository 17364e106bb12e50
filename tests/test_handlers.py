"""What happens on a click, with a model that is not one."""

import copy
import json
from pathlib import Path

import pytest
from PIL import Image

from aim.ui import handlers
from aim.ui.handlers import Pictures, Request, Run, StopSignal, answer, check, follow_l1, follow_l2, plan, redraw, request_stop
from tests.fakes import FakeVlm, make_clip, make_trace


def request(**changes) -> Request:
    return Request(**{"video": "clip.mp4", "question": "what?", "merge_ratio": 0.5, "l1": 2, "l2": 4, "num_frames": 2} | changes)


class Reader:
    """Stands for `read_video` and counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, path, num_frames):
        self.calls.append((path, num_frames))
        return make_clip(num_frames)


def run(vlm, request, clips=None, stop=None, folder=None, read=None):
    return list(answer(vlm, request, clips or {}, stop or StopSignal(), folder, read or Reader()))


def test_the_answer_streams_and_the_last_screen_has_a_value_for_everything(tmp_path):
    vlm = FakeVlm()
    screens = run(vlm, request(), folder=tmp_path)
    assert [screen.answer for screen in screens if screen.answer] == ["a ", "a red ", "a red circle", "a red circle"]
    last = screens[-1]
    assert all(value is not None for value in vars(last).values())
    assert "Done" in last.status and "aim-busy" not in last.status and "aim-busy" in screens[0].status
    assert json.loads(Path(last.download).read_text())["answer"] == "a red circle"
    assert Path(last.download).parent.parent == tmp_path
    assert list(last.chart.data[0].y) == [6, 6, 3, 0]
    assert vlm.asked[0].method.merge_ratio == 0.5 and vlm.asked[0].scores == "pruning"


def test_knobs_reach_the_model():
    vlm = FakeVlm()
    run(vlm, request(positions="original", max_new_tokens=7, score_every_layer=True))
    asked = vlm.asked[0]
    assert (asked.method.l1, asked.method.l2, asked.method.positions) == (2, 4, "original")
    assert (asked.max_new_tokens, asked.scores) == (7, "all")


def test_a_clip_is_read_once_for_the_same_video_and_frames():
    vlm, read = FakeVlm(), Reader()
    clips = run(vlm, request(), read=read)[-1].clips
    clips = run(vlm, request(question="and now?", merge_ratio=0.2), clips, read=read)[-1].clips
    assert read.calls == [("clip.mp4", 2)]
    assert vlm.asked[0].clip is vlm.asked[1].clip
    for num_frames in (3, 4, 5):
        clips = run(vlm, request(num_frames=num_frames), clips, read=read)[-1].clips
    assert len(clips) == handlers.CLIPS_KEPT and ("clip.mp4", 5) in clips


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
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_is_read(changes, words):
    read = Reader()
    with pytest.raises(ValueError, match=words):
        run(FakeVlm(), request(**changes), read=read)
    with pytest.raises(ValueError, match=words):
        check(request(**changes), max_frames=8)
    assert not read.calls


def test_stop_ends_the_run_within_a_word_and_keeps_what_was_said():
    vlm, stop = FakeVlm(words=("a ",) * 1000), StopSignal()
    screens = []
    for screen in answer(vlm, request(), {}, stop, read=Reader()):
        screens.append(screen)
        if screen.answer == "a a ":
            stop.ask()
    assert vlm.said == 2
    assert "Stopped." in screens[-1].status and screens[-1].answer == "a a " and screens[-1].run is not None


def test_a_stop_while_waiting_in_the_queue_runs_nothing():
    vlm, stop = FakeVlm(), StopSignal()
    stop.ask()
    screens = run(vlm, request(), stop=stop)
    assert not vlm.asked and "Stopped" in screens[-1].status


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


def test_another_view_is_drawn_from_what_is_left_of_the_run(tmp_path):
    clip = make_clip()
    last = Run(clip.frames, clip.timestamps, make_trace())
    first, second = (redraw(last, view, folder=tmp_path) for view in ("Merged regions", "PageRank"))
    assert (first.by_layer, second.by_layer) == (False, True)
    assert second.layers == [1, 2] and second.layer == 2
    assert redraw(last, "PageRank", 1).layer == 1 and redraw(last, "PageRank", 0).layer == 2
    assert [caption for _, caption in first.images] == [caption for _, caption in second.images]
    assert Path(first.images[0][0]).read_bytes() != Path(second.images[0][0]).read_bytes()
    with Image.open(first.images[0][0]) as picture:
        assert picture.size == (384, 256)
    assert redraw(None, "Survival") == Pictures([], "")


def test_the_plan_needs_no_run_and_follows_the_question():
    vlm = FakeVlm()
    assert "Plan: 12 → 6 visual tokens" in plan(vlm, "", 0.5, 2, 4, 2)
    assert "Plan: 12 → 12 visual tokens" in plan(vlm, "what is there?", 1, 2, 4, 2)
    assert "l1" in plan(vlm, None, 0.5, 4, 4, 2)
    assert not vlm.asked


def test_l1_and_l2_follow_each_other():
    assert follow_l1(5, 4) == 6 and follow_l1(4, 4) == 5 and follow_l1(2, 4) == 4
    assert follow_l2(5, 4) == 3 and follow_l2(4, 4) == 3 and follow_l2(2, 4) == 2


def test_what_a_visitor_typed_is_never_markup():
    assert "<img" not in handlers.status("<img src=x>", note="<img src=x>")
