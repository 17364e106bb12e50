"""One run at a time: whoever asks in the middle of iterating is told, others wait, and nobody waits for ever."""

import gc
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

import pytest

import aim
from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.runtime.lock import ModelLock
from tests.fakes import make_clip

QUESTION = "what colour is the circle?"
SECONDS = 60  # far more than anything here takes


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


@pytest.fixture
def pool():
    """One thread that runs each call in a copy of the context, as Gradio's threads do."""
    with ThreadPoolExecutor(1) as threads:
        yield lambda work, *arguments: threads.submit(copy_context().run, work, *arguments)


def begun(vlm):
    """An iterator that has handed out its first answer."""
    answers = vlm.stream(make_clip(2), QUESTION, max_new_tokens=3)
    next(answers)
    return answers


def ask(vlm, **options):
    return vlm.ask(make_clip(2), QUESTION, max_new_tokens=3, **options)


def settled(future: Future) -> bool:
    time.sleep(0.3)
    return future.done()


def test_asking_in_the_middle_of_an_iterator_is_refused_and_harms_neither(vlm):
    alone = ask(vlm).text
    answers = begun(vlm)
    with pytest.raises(Refusal, match="still works on an answer .*MainThread.*close it"):
        ask(vlm)
    with pytest.raises(Refusal), vlm.encoded(make_clip(2)):
        pass
    assert list(answers)[-1].text == alone == ask(vlm).text


def test_it_is_refused_too_where_another_thread_than_the_first_advanced_it(vlm, pool):
    answers = begun(vlm)

    def advance_and_ask():
        next(answers)
        ask(vlm)

    with pytest.raises(Refusal, match="same caller"):
        pool(advance_and_ask).result(SECONDS)
    answers.close()


def test_a_thread_that_advanced_it_for_somebody_else_may_wait_for_its_end(vlm, pool):
    answers = vlm.stream(make_clip(2), QUESTION, max_new_tokens=3)
    pool(next, answers).result(SECONDS)
    waiting = pool(ask, vlm)  # the same thread, in another context
    assert not settled(waiting)
    *_, last = answers
    assert waiting.result(SECONDS).text == last.text


def test_who_holds_the_model_can_be_seen(vlm, pool):
    assert vlm.lock.holder is None
    answers = begun(vlm)
    holder = vlm.lock.holder
    assert holder.what == "an answer" and holder.resting_since is not None and "MainThread" in str(holder)
    pool(next, answers).result(SECONDS)
    assert vlm.lock.holder is holder and "ThreadPoolExecutor" in holder.thread.name
    list(answers)
    assert vlm.lock.holder is None and holder.over


@pytest.mark.parametrize("end", ["closed", "collected"])
def test_an_iterator_that_is_given_up_lets_go(vlm, end):
    answers = begun(vlm)
    if end == "closed":
        answers.close()
    else:
        circle = [answers]
        circle.append(circle)  # only the collector can find out
        del answers, circle
        gc.collect()
    assert vlm.lock.holder is None and ask(vlm).new_tokens


def test_an_error_lets_go(vlm, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(vlm.model.lm_head, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask(vlm)
    assert vlm.lock.holder is None and ask(vlm).new_tokens


def test_nobody_waits_for_ever_for_an_iterator_that_rests(vlm, pool, monkeypatch):
    monkeypatch.setattr(vlm.lock, "patience", 0.2)
    answers = begun(vlm)
    with pytest.raises(Refusal, match=r"held by an answer \(begun .*MainThread, not advanced for .* end or close it"):
        pool(ask, vlm).result(SECONDS)
    answers.close()


def test_a_stop_ends_the_waiting(vlm, pool):
    answers, stop = begun(vlm), threading.Event()
    waiting = pool(lambda: list(vlm.stream(make_clip(2), QUESTION, stop=stop)))
    assert not settled(waiting)
    stop.set()
    assert waiting.result(SECONDS) == []
    answers.close()


def test_patience_is_for_iterators_and_not_for_long_work(pool):
    lock = ModelLock(patience=0.05)

    def wait():
        with lock.held("another"):
            return True

    with lock.held("long work"):
        waiting = pool(wait)
        assert not settled(waiting)
    assert waiting.result(SECONDS) is True


def test_of_two_models_in_one_thread_each_is_refused_only_while_it_works():
    one, other = ModelLock(), ModelLock()
    with one.held("first"):
        with other.held("second"):
            pass
        with pytest.raises(Refusal, match="first"), one.held("third"):
            pass
    with one.held("fourth"), pytest.raises(Refusal, match="fourth"), one.held("fifth", lambda: True):
        pass
    with one.held("sixth"):
        assert one.holder.what == "sixth"


def test_many_threads_take_turns(pool):
    lock, inside, most = ModelLock(), [], []

    def work():
        with lock.held("work"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert most == [1] * 20


def test_stopped_is_raised_to_a_waiting_block(pool):
    lock = ModelLock()

    def wait():
        with lock.held("another", lambda: True):
            return None

    with lock.held("work"), pytest.raises(Stopped):
        pool(wait).result(SECONDS)
