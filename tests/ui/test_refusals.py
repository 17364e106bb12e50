"""Only a refusal's text reaches a visitor. Libraries raise ValueErrors too: those are faults of ours, told in one sentence and logged."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from aim.kernels.refusal import Refusal
from aim.ui import errors, jobs, knobs, link_events, spending
from aim.ui.request import Request, check
from aim.ui.status import not_run
from aim.ui.trust_check import UNCHECKED
from tests.fakes import FakeVlm
from tests.page import PATIENCE, Page
from tests.visitor import EXAMPLES, examples, serve

QUESTION = "what is at /srv/secret?"
MENDABLE = "There is no such <b>thing</b>. Choose another."


def broadcast():
    return np.zeros(2) + np.zeros(3)


def unequal():
    return list(zip("ab", "abc", strict=True))


def unreadable():
    return QUESTION.encode("utf-16").decode()


def refused():
    raise Refusal(MENDABLE)


FAULTS = {broadcast: "ValueError", unequal: "ValueError", unreadable: "UnicodeDecodeError"}
faults = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)


@pytest.fixture(scope="module")
def opened():
    demo, address = serve(FakeVlm())
    page = Page(address)
    page.upload(EXAMPLES / examples()[0]["file"])
    page.set("question", QUESTION)
    yield page
    page.close()
    demo.close()


@pytest.fixture
def broken(monkeypatch):
    """`broken(job, fault)`: that job raises what the fault raises."""

    def change(job: str, fault) -> None:
        def work(_vlm, _stop, **_arguments):
            yield fault()

        monkeypatch.setitem(jobs.JOBS, job, jobs.Job(work, jobs.JOBS[job].needs))

    return change


@pytest.fixture
def log(caplog):
    """What was logged: the outcomes of runs, and the faults."""
    caplog.set_level(logging.INFO, "aim")

    def read():
        runs = [record.getMessage() for record in caplog.records if record.name == "aim.runs"]
        runs = [line for line in runs if "model=fake/model " in line]  # a page of another test may end its last run now
        told = [record.getMessage() for record in caplog.records if record.name == "aim.ui"]
        return SimpleNamespace(outcomes=[line.split("outcome=")[1] for line in runs], faults=told, all=runs + told)

    return read


def logged_as(told, kind: str, place: str) -> bool:
    """Whether the one fault in the log has its type and its place, and nothing of what was asked."""
    [fault] = told.faults
    return fault.startswith(kind + "\n") and f"in {place}" in fault and not any(QUESTION in line for line in told.all)


def press(page: Page, button: str) -> str:
    """The status line of a job that is started by a button, once it has ended."""
    begun = page.event(button)["id"]
    work = next(one for one in page.config["dependencies"] if one["trigger_after"] == begun and not one["trigger_only_on_failure"])
    return page.do(work)[-1]["output"]["data"][0]


def ask(page: Page) -> str:
    """What `/ask` ends with, over HTTP."""
    stored = page.values[page.by_name["video"]]
    described = page.http.get("gradio_api/info").json()["named_endpoints"]["/ask"]["parameters"]
    data = [stored, QUESTION, *(parameter["parameter_default"] for parameter in described[2:])]
    begun = httpx.post(f"{page.address}gradio_api/call/ask", json={"data": data}, timeout=PATIENCE)
    text = httpx.get(f"{page.address}gradio_api/call/ask/{begun.json()['event_id']}", timeout=PATIENCE).text
    return text.partition("event: error\ndata: ")[2]


BUTTONS = {"ask": "run", "compare": "compare-start", "tune": "tune-start", "spend": "spend"}


@faults
@pytest.mark.parametrize("job", BUTTONS)
def test_a_fault_in_a_job_is_one_sentence_on_the_page_its_type_in_the_log_and_a_failed_run(opened, broken, log, job, fault):
    broken(job, fault)
    assert not_run(errors.UNEXPECTED) == press(opened, BUTTONS[job])
    assert log().outcomes == ["failed"] and logged_as(log(), FAULTS[fault], fault.__name__)


@pytest.mark.parametrize("job", BUTTONS)
def test_a_refusal_in_a_job_is_told_in_its_own_words_and_logged_as_refused(opened, broken, log, job):
    broken(job, refused)
    told = press(opened, BUTTONS[job])
    assert MENDABLE.replace("<", "&lt;").replace(">", "&gt;") in told and "aim-error" in told
    assert log().outcomes == ["refused"] and log().faults == []


@faults
def test_a_fault_is_one_sentence_of_the_api_too(opened, broken, log, fault):
    broken("ask", fault)
    assert json.loads(ask(opened).split("\n")[0])["error"] == errors.UNEXPECTED
    assert log().outcomes == ["failed"] and logged_as(log(), FAULTS[fault], fault.__name__)


def test_a_refusal_is_told_by_the_api_in_its_own_words(opened, broken, log):
    broken("ask", refused)
    assert json.loads(ask(opened).split("\n")[0])["error"] == MENDABLE
    assert log().outcomes == ["refused"] and log().faults == []


@faults
def test_a_fault_in_the_check_after_a_run_leaves_the_answer_and_is_logged(opened, broken, log, fault):
    broken("guard", fault)
    opened.set("guard", True)
    run = opened.after(opened.event("run"))
    opened.do(run)
    look = next(
        one for one in opened.config["dependencies"] if one["trigger_after"] == run["id"] and one["outputs"] == [opened.by_name["note"]]
    )
    [note] = opened.do(look)[-1]["output"]["data"]
    assert UNCHECKED in note and log().outcomes == ["ok", "failed"] and logged_as(log(), FAULTS[fault], fault.__name__)


def test_a_fault_in_the_checks_before_a_run_is_logged_as_failed(opened, monkeypatch, log):
    monkeypatch.setattr("aim.ui.handlers.check", lambda *_: broadcast())
    assert press(opened, "run") == not_run(errors.UNEXPECTED)
    assert log().outcomes == ["failed"] and logged_as(log(), "ValueError", "broadcast")


@faults
def test_the_plan_and_the_saving_tell_a_fault_in_one_sentence_and_a_refusal_in_its_own(log, monkeypatch, fault):
    model = FakeVlm()
    usual = [knobs.defaults(model)[name] for name in knobs.PLANNED]
    for show in (lambda: knobs.plan(model, QUESTION, *usual), lambda: spending.saving(model, QUESTION, *usual)[0]):
        monkeypatch.setattr(model, "plan", lambda *_: fault())
        before = len(log().faults)
        assert errors.UNEXPECTED in show()
        assert log().faults[before].startswith(FAULTS[fault] + "\n") and len(log().faults) == before + 1
        monkeypatch.setattr(model, "plan", lambda *_: refused())
        assert "There is no such &lt;b&gt;thing&lt;/b&gt;." in show() and len(log().faults) == before + 1


@faults
def test_a_fault_while_a_link_is_followed_is_told_in_the_status_line(opened, log, monkeypatch, fault):
    monkeypatch.setattr(link_events, "restore", lambda *_: fault())
    [follow] = [one for one in opened.config["dependencies"] if one["targets"][0][1] == "load"]
    body = {"data": [""], "fn_index": follow["id"], "session_hash": opened.session}
    told = opened.http.post("gradio_api/run/predict", json=body).raise_for_status().json()["data"]
    assert errors.UNEXPECTED in told[-2] and logged_as(log(), FAULTS[fault], fault.__name__)


@pytest.mark.parametrize("value", [None, 2.5, "x", True, float("nan"), float("inf")])
def test_a_number_of_frames_that_is_no_whole_number_is_refused_in_a_sentence(value):
    request = Request.of(video="clip.mp4", question=QUESTION, num_frames=value)
    with pytest.raises(Refusal, match="The number of frames is .*; a whole number is accepted."):
        check(request, max_frames=8)
    with pytest.raises(Refusal, match="The longest answer, in tokens, is"):
        check(replace(request, num_frames=2, max_new_tokens=value), max_frames=8)
    usual = knobs.defaults(FakeVlm()) | {"num_frames": value}
    assert "a whole number is accepted" in knobs.plan(FakeVlm(), QUESTION, *(usual[name] for name in knobs.PLANNED))
