"""Live runs in the browser: the answer, the picture and the curve follow a slider without Run, and nothing old is ever shown unmarked."""

from __future__ import annotations

import pytest

import aim
from aim.ui.gpu import placed
from tests.fakes import FakeVlm
from tests.visitor import EXAMPLES, examples, needs_browser, serve

pytestmark = needs_browser
SHOWN = "window.aimPage.shown"
# From the first move on, notes every moment at which something old is shown without a veil: at most one screen's refresh may pass.
WATCH = """() => {
    window.unmarked = 0;
    const value = name => Number(document.querySelector(`#${name} input[type=number]`).value);
    const look = () => {
        const { asked } = window.aimPage.shown, names = window.aimPage.facts.names;
        const old = asked[names.indexOf('merge_ratio')] !== value('merge-ratio');
        if (old && document.querySelector('.aim-veil').hidden) window.unmarked += 1;
        else if (window.unmarked < 3) window.unmarked = 0;
        requestAnimationFrame(look);
    };
    look();
}"""


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def library(vlm, visitor, number: int = 0):
    """The answer to the present setting, without the app."""
    clip = aim.read_video(EXAMPLES / examples()[number]["file"], int(visitor.knob("frames")))
    method = aim.AIM(merge_ratio=visitor.knob("merge-ratio"), l1=int(visitor.knob("l1")), l2=int(visitor.knob("l2")))
    return vlm.ask(clip, visitor.question.input_value(), method, max_new_tokens=8)


def canvas(visitor) -> str:
    return visitor.tab.locator("#screen .aim-x-large").evaluate("canvas => canvas.toDataURL()")


def test_the_answer_and_the_picture_follow_a_drag_without_run_and_nothing_old_is_unmarked(visit, vlm):
    visitor = visit()
    visitor.settled()
    before = canvas(visitor)
    slider = visitor.tab.locator("#merge-ratio input[type=range]")
    box = slider.bounding_box()
    mouse, middle = visitor.tab.mouse, box["y"] + box["height"] / 2
    visitor.tab.evaluate(WATCH)
    mouse.move(box["x"] + box["width"] * 0.25, middle)
    mouse.down()
    for place in (0.5, 0.3, 0.12):
        mouse.move(box["x"] + box["width"] * place, middle, steps=4)
        visitor.settled()
        expected = library(vlm, visitor)
        assert visitor.answer() == expected.text
        counts = [visual for visual, _ in expected.trace.tokens_per_layer]
        assert visitor.bars(counts[0]) == counts
        assert f"{expected.trace.visual_tokens:,} → {counts[0]:,} visual tokens" in visitor.text("#plan")
    mouse.up()
    assert visitor.tab.evaluate("window.unmarked") < 3
    visitor.tab.locator("#screen .aim-x-sheet[aria-busy=false]").wait_for()
    assert canvas(visitor) != before


def test_the_opening_example_breaks_as_tokens_go_and_the_full_model_stands_beside(visit):
    visitor = visit()
    visitor.settled()
    assert visitor.text(".aim-verdict") == "✓ same as the full model"
    visitor.set("merge-ratio", 0.02)
    visitor.tab.wait_for_function(f"{SHOWN}.setting.startsWith('2 %')")
    visitor.wait_for_text(".aim-verdict", f"✗ the full model says: {examples()[0]['answer']}")
    assert visitor.answer() != examples()[0]["answer"]


@pytest.mark.long
def test_an_example_that_is_picked_and_a_preset_that_is_chosen_are_answered_at_once(visit, vlm):
    visitor = visit()
    visitor.pick_example(1)
    visitor.tab.wait_for_function(f"question => {SHOWN}.asked[1] === question", arg=examples()[1]["question"])
    visitor.settled()
    assert visitor.answer() == examples()[1]["answer"]
    choice = visitor.tab.locator("#preset")
    choice.get_by_label("Full model").check()
    visitor.wait_for_knob("merge-ratio", 1)
    visitor.settled()
    assert "as many FLOPs as the full model" in visitor.text(".aim-facts")
    visitor.set("merge-ratio", 0.4)
    visitor.tab.wait_for_function("!document.querySelector('#preset input:checked')")
    choice.get_by_label("Paper").check()
    visitor.wait_for_knob("merge-ratio", 0.25)


def test_l1_and_l2_push_each_other_and_what_is_asked_is_never_contradictory(visit, vlm):
    visitor = visit()
    visitor.set("l1", 12)
    visitor.wait_for_knob("l2", 13)
    visitor.settled()
    visitor.wait_for_text("#plan", "l1 = 12")
    visitor.set("l2", 3)
    visitor.wait_for_knob("l1", 2)
    visitor.settled()
    assert visitor.answer() == library(vlm, visitor).text
    assert visitor.tab.locator("#status .aim-error").count() == 0


@pytest.mark.long
def test_the_lesser_knobs_are_folded_away_and_reach_the_run_and_the_address(visit):
    visitor = visit()
    assert not visitor.tab.locator("#temperature").is_visible()
    visitor.unfold()
    visitor.set("temperature", 0.3)
    visitor.tab.locator("#restart").get_by_label("on the question").check()
    visitor.wait_for_knob("damping", 0.15)
    visitor.tab.locator("#merge-window").get_by_label("2 frames").check()
    visitor.settled()
    visitor.tab.wait_for_function(f"{SHOWN}.asked.includes('question')")
    parts = {"temperature=0.3", "restart=question", "damping=0.15", "merge_window=2"}
    visitor.tab.wait_for_function("location.search.includes('merge_window=2')")
    assert parts <= set(visitor.tab.url.split("?")[1].split("&"))
    link = visitor.link()
    assert parts <= set(link.split("?")[1].split("&")) and "restart='question'" in visitor.text("#code")


@pytest.mark.long
def test_a_reload_loses_nothing_and_a_link_runs_when_it_is_opened(visit):
    visitor = visit()
    visitor.pick_example(2)
    visitor.question.fill("what shape is blue & why?")
    visitor.set("merge-ratio", 0.5)
    visitor.set("l1", 3)
    visitor.tab.wait_for_function("location.search.includes('l1=3') && location.search.includes('why')")
    visitor.settled()
    said = visitor.answer()
    address = visitor.tab.url
    visitor.tab.reload()
    for opened in (visitor, visit(query=address.removeprefix(visitor.address))):
        opened.tab.wait_for_function(f"{SHOWN}?.asked[1] === 'what shape is blue & why?'")
        opened.settled()
        assert [opened.knob(knob) for knob in ("merge-ratio", "l1")] == [0.5, 3] and opened.answer() == said
        opened.wait_for_video(examples()[2]["file"])


@pytest.mark.long
def test_a_reload_brings_an_upload_back_and_a_new_tab_asks_for_it(visit, own_clip):
    visitor = visit()
    visitor.upload(own_clip)
    visitor.question.fill("What color is the circle?")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.wait_for_function("location.search.includes('merge_ratio=0.5') && location.search.includes('circle')")
    visitor.tab.wait_for_function(f"{SHOWN}.asked[1] === 'What color is the circle?'")
    visitor.settled()
    said = visitor.answer()
    visitor.tab.reload()
    visitor.wait_for_video(own_clip.name)
    visitor.tab.wait_for_function(f"{SHOWN}?.asked[1] === 'What color is the circle?'")
    visitor.settled()
    assert visitor.answer() == said and visitor.knob("merge-ratio") == 0.5
    other = visit(query=visitor.tab.url.removeprefix(visitor.address))
    other.wait_for_text("#note", "upload it, then press Run")


def test_a_link_that_cannot_be_followed_says_so_beside_the_result(visit):
    visitor = visit(query="?example=nope.mp4&merge_ratio=9&model=other")
    visitor.wait_for_text("#note", "This app has no such value for: example, merge_ratio.")
    visitor.run()
    assert visitor.answer() == examples()[0]["answer"]


@pytest.fixture
def costly():
    """A model that is too costly to run at each move, and its page. It is asked for before `visit`, whose tabs close first."""
    fake = FakeVlm()
    fake.spent = 26.0
    demo, address = serve(fake)
    yield fake, address
    demo.close()


@pytest.mark.long
def test_with_a_costly_model_a_moved_knob_veils_the_result_until_run(costly, visit):
    _, address = costly
    visitor = visit(address)
    assert "Press Run for a first answer" in visitor.text("#pins")
    visitor.set("frames", 2)
    visitor.run()
    assert not visitor.tab.locator(".aim-veil").is_visible() and not placed(FakeVlm()).live
    assert "Press Run for a new answer. A run takes 25.8 s here" in visitor.text("#pins")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.locator(".aim-veil").filter(has_text="Press Run for a new one").wait_for()
    visitor.wait_for_text("#plan", "12 → 6 visual tokens")
    visitor.set("merge-ratio", 0.25)
    visitor.tab.locator(".aim-veil").wait_for(state="hidden")  # it is the setting that is shown
    visitor.set("merge-ratio", 0.5)
    visitor.run()


@pytest.mark.long
def test_where_a_run_takes_seconds_the_model_answers_once_the_knob_is_let_go(costly, visit):
    fake, address = costly
    fake.spent = 2.0
    visitor = visit(address)
    visitor.set("frames", 2)
    visitor.run()
    assert "answers when you let go of a slider. A run takes 1.79 s." in visitor.text("#pins")
    box = visitor.tab.locator("#merge-ratio input[type=range]").bounding_box()
    mouse, middle, before = visitor.tab.mouse, box["y"] + box["height"] / 2, len(fake.asked)
    mouse.move(box["x"] + box["width"] * 0.25, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.8, middle, steps=20)
    visitor.tab.locator(".aim-veil").filter(has_text="Answering").wait_for()
    mouse.up()
    visitor.tab.wait_for_function("document.querySelector('.aim-veil').hidden")
    assert len(fake.asked) == before + 1 and fake.asked[-1].method.merge_ratio == visitor.knob("merge-ratio") > 0.5
