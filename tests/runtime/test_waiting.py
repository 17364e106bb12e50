"""Waiting for the model: how far it is comes between, and whoever leaves early ends the work."""

import threading
import time

import numpy as np
import pytest

import aim
from aim.engine.progress import PREFILL, TOWER
from aim.runtime import vlm as module
from aim.runtime import waiting
from aim.runtime.waiting import working
from aim.video.clip import clip_from_frames
from tests.engine.at_a_layer import layers_of


@pytest.fixture
def slow(monkeypatch):
    """The bundled model, every layer of which takes a while, so that even a busy machine looks at it meanwhile."""
    for place in (waiting, module):
        monkeypatch.setattr(place, "LOOK_SECONDS", 0.001)
    vlm = aim.load("bundled")
    for layer in (*layers_of(vlm, "tower"), *layers_of(vlm, "llm")):
        layer.register_forward_hook(lambda *_: time.sleep(0.02))
    return vlm


def test_a_stream_tells_how_far_it_is_before_its_first_word_and_says_the_same(slow):
    vlm = slow
    frames = np.random.default_rng(1).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    clip = clip_from_frames(frames, frames_per_second=4)
    answers = list(vlm.stream(clip, "What color is the circle?", max_new_tokens=4, progress=True))
    told = [answer.progress for answer in answers if answer.progress is not None]
    assert {one.stage for one in told} == {TOWER, PREFILL} and told == sorted(told, key=lambda one: (one.stage == PREFILL, one.done))
    assert all(0 <= one.done <= one.total == (16 if one.stage == TOWER else vlm.num_layers) for one in told)
    assert len(set(told)) == len(told) and answers[-1].progress is None
    same = vlm.ask(clip, "What color is the circle?", max_new_tokens=4)
    assert answers[-1].text == same.text and same.features_reused


def test_leaving_while_the_clip_is_encoded_ends_the_work_and_frees_the_model(slow):
    vlm = slow
    clip = clip_from_frames(np.zeros((32, 64, 64, 3), np.uint8), frames_per_second=4)
    answers = vlm.stream(clip, "what?", progress=True)
    assert next(answers).progress.stage == TOWER
    answers.close()
    assert vlm.lock.holder is None and len(vlm.features) == 0


def test_what_the_work_raises_is_raised_and_a_block_that_is_left_ends_it():
    def broken():
        raise KeyError("broken")

    with working(broken, lambda: None) as work, pytest.raises(KeyError):
        work.result()
    stop = threading.Event()
    with pytest.raises(ZeroDivisionError), working(lambda: stop.wait(10), stop.set) as work:
        raise ZeroDivisionError
    assert work.result() is True
