"""The app as a visitor meets it: the real bundled model, a real server, headless Chromium."""

from __future__ import annotations

import json

import pytest

import aim
from tests.fakes import FakeVlm
from tests.page import wait_until
from tests.visitor import examples, needs_browser, serve

pytestmark = needs_browser


@pytest.fixture(scope="module")
def vlm():
    """The bundled model in this process too, for a second opinion."""
    return aim.load("bundled")


def opinion(vlm, path, visitor) -> str:
    """The answer to what the visitor asks about a file, without the app."""
    clip = aim.read_video(path, int(visitor.knob("frames")))
    return vlm.ask(clip, visitor.question.input_value(), aim.AIM(), max_new_tokens=8).text


@pytest.mark.every
def test_every_example_can_be_picked_and_the_last_is_answered_rightly(visit):
    """What the model says to each of them is held in tests/runtime/test_bundled.py."""
    assert len(examples()) >= 4
    visitor = visit()
    for number in range(len(examples())):
        visitor.pick_example(number)
        visitor.question.fill("")  # so that the next example is seen to arrive
    visitor.pick_example(0)
    visitor.pick_example(len(examples()) - 1)
    visitor.run()
    assert visitor.answer() == examples()[-1]["answer"]


def test_a_first_result_is_there_without_a_click_and_run_gives_the_same(visit):
    visitor = visit()
    visitor.settled()
    assert visitor.question.input_value() == examples()[0]["question"]
    stored = visitor.answer(), visitor.text(".aim-verdict")
    assert stored[0] == examples()[0]["answer"]
    visitor.run()
    assert (visitor.answer(), visitor.text(".aim-verdict")) == stored
    visitor.wait_for_text("#plan", "importance: median")
    assert "modelled" in visitor.text(".aim-facts") and "measured" in visitor.text(".aim-facts")


@pytest.mark.every
def test_stages_are_named_with_their_times_and_a_second_run_reuses_the_clip(visit):
    visitor = visit()
    visitor.pick_example(1)
    visitor.run()
    stages = visitor.tab.locator("#status .aim-step-done")
    wait_until(lambda: [text.split()[0] for text in stages.all_inner_texts()] == ["read", "vision", "merge", "prefill", "answer"])
    visitor.run("The vision features of this clip were reused")
    assert stages.all_inner_texts()[:2] == ["read video reused", "vision reused"]


def test_an_upload_of_ones_own_is_answered_on_enter(visit, own_clip, vlm):
    visitor = visit()
    visitor.upload(own_clip)
    visitor.question.fill("how many shapes are there?")
    visitor.question.press("Enter")
    visitor.wait_for_status("Answered")
    visitor.settled()
    assert visitor.answer() == opinion(vlm, own_clip, visitor) != ""


def test_the_bundled_model_says_what_world_it_knows(visit):
    visitor = visit()
    assert "moving coloured shapes" in visitor.text("#model")
    visitor.tab.locator("#model summary").click()
    assert "Models of these families do: LLaVA-OneVision" in visitor.text("#model")


def test_a_file_that_is_no_video_gives_a_sentence_and_costs_nothing(tab, tmp_path):
    path = tmp_path / "<b>notes<b>.mp4"
    path.write_text("not a video, only its name says so")
    visitor = tab()
    visitor.upload(path)
    visitor.question.fill("what is <i>this</i>?")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.locator("#run").click()
    message = visitor.tab.locator("#status .aim-error").filter(has_text="Accepted")
    message.wait_for()
    assert "/" not in message.inner_text() and "Traceback" not in message.inner_text()
    assert message.locator("b").count() == 0 and visitor.tab.locator(".toast-body").filter(has_text="Accepted").count() == 0
    visitor.tab.locator(".aim-veil").filter(has_text="Changed since this answer").wait_for()
    assert visitor.question.input_value() == "what is <i>this</i>?"
    assert visitor.knob("merge-ratio") == 0.5


def test_run_without_a_question_says_what_is_missing_until_the_next_action(visit):
    visitor = visit()
    visitor.question.fill("")
    visitor.tab.locator("#run").click()
    visitor.wait_for_status("Not run: There is no question yet")
    visitor.tab.wait_for_timeout(1500)  # it stays until the next action
    visitor.wait_for_status("Not run: There is no question yet")
    visitor.tab.locator("#share button").first.click()
    assert "There is no question yet" in visitor.text(".aim-share-said")  # nothing of this visitor's can be shared
    visitor.tab.keyboard.press("Escape")
    visitor.question.fill(examples()[0]["question"])
    visitor.run()
    assert visitor.answer() == examples()[0]["answer"]


@pytest.fixture
def talker():
    """A model that does not stop by itself, and its app."""
    vlm = FakeVlm(words=("<b>on</b> & ",) * 100_000, seconds=0.02)
    vlm.note = 'it does not know "<b>dog</b>"'
    demo, address = serve(vlm)
    yield vlm, address
    demo.close()


def test_stop_ends_a_long_answer_and_markup_in_it_stays_text(talker, visit, own_clip):
    vlm, address = talker
    visitor = visit(address)
    visitor.upload(own_clip)
    visitor.set("frames", 2)
    visitor.question.fill("and then?")
    visitor.tab.locator("#run").click()
    visitor.tab.wait_for_function("document.querySelector('.aim-answer').textContent.includes('<b>on</b> & <b>on</b>')")
    assert 'it does not know "<b>dog</b>"' in visitor.text("#screen .aim-note.aim-warning")
    visitor.tab.locator("#stop").click()
    visitor.wait_for_status("Stopped.")
    said = vlm.said
    assert 2 <= said < 100_000
    visitor.tab.wait_for_timeout(300)
    assert vlm.said == said


@pytest.mark.every  # tests/drags.py and tests/soak.py have many visitors at once, without a browser
def test_two_visitors_with_different_clips_at_once_do_not_meet(visit, own_clip, vlm):
    first, second = visit(), visit()
    second.upload(own_clip)
    second.question.fill("how many shapes are there?")
    first.tab.locator("#run").click()
    second.tab.locator("#run").click()
    for visitor in (first, second):
        visitor.wait_for_status("Answered")
        visitor.settled()
    assert first.answer() == examples()[0]["answer"]
    assert second.answer() == opinion(vlm, own_clip, second)
    assert examples()[0]["file"] in first.link() and "example=" not in second.link()
    records = [json.loads(visitor.download("#trace").read_text()) for visitor in (first, second)]
    assert [record["answer"] for record in records] == [first.answer(), second.answer()]
    assert records[0]["trace"]["assignment"] != records[1]["trace"]["assignment"]
