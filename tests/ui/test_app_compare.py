"""The Methods tab as a visitor meets it."""

from __future__ import annotations

import pytest

import aim
from tests.visitor import EXAMPLES, examples, needs_browser

pytestmark = needs_browser


@pytest.mark.long
def test_all_methods_answer_side_by_side_and_a_layer_can_be_looked_at(visit):
    visitor = visit()
    visitor.open("Methods")
    visitor.tab.locator("#compare-start").click()
    visitor.tab.locator("#compare-status").filter(has_text="Done.").wait_for()
    names = [text.split("\n")[0] for text in visitor.tab.locator("#compare-table tbody th").all_inner_texts()]
    assert names == ["Full", *(method.__name__ for method in aim.methods.COMPARABLE.values() if method is not aim.Full)]
    assert visitor.tab.locator("#compare-table tbody tr").nth(0).locator("td").nth(0).inner_text() == examples()[0]["answer"]
    visitor.tab.wait_for_function("document.querySelector('#compare-chart .js-plotly-plot')?.data?.length === " + str(2 * len(names)))
    visitor.wait_for_text("#compare-overlap caption", "layer 3")
    sheet = visitor.tab.locator("#compare-sheet img.aim-sheet")
    before = sheet.get_attribute("src")
    visitor.set("compare-layer", 1)
    visitor.wait_for_text("#compare-overlap caption", "layer 1")
    assert sheet.get_attribute("src") != before
    visitor.tab.locator("#compare-methods").get_by_text("FastV", exact=True).click()
    visitor.tab.wait_for_function("document.querySelectorAll('#compare-table tbody tr').length === " + str(len(names) - 1))
    visitor.tab.wait_for_function("document.querySelectorAll('#compare-overlap tbody tr').length === " + str(len(names) - 1))
    visitor.tab.wait_for_function("document.querySelectorAll('#compare-table .aim-lines li').length === " + str(len(names) - 1))
    assert visitor.tab.locator("#compare-overlap tbody th").all_inner_texts() == [name for name in names if name != "FastV"]
    assert "layer 1" in visitor.text("#compare-overlap caption")


@pytest.mark.every  # tests/runtime/test_comparing.py holds budgets and answers; the test above is the page's
def test_chosen_methods_and_budget_are_followed(visit):
    visitor = visit()
    visitor.open("Methods")
    for name in (method.__name__ for method in aim.methods.COMPARABLE.values() if method not in (aim.Full, aim.AIM, aim.VTW)):
        visitor.tab.locator("#compare-methods").get_by_text(name, exact=True).click()
    visitor.set("compare-budget", 3)
    visitor.tab.locator("#compare-start").click()
    visitor.tab.locator("#compare-status").filter(has_text="Done.").wait_for()
    rows = visitor.tab.locator("#compare-table tbody tr")
    assert rows.count() == 3
    clip = aim.read_video(EXAMPLES / examples()[0]["file"], int(visitor.knob("frames")))
    vlm = aim.load("bundled")
    full = vlm.ask(clip, examples()[0]["question"], aim.Full(), max_new_tokens=8)
    assert "3.0× fewer" in rows.nth(1).inner_text()
    assert full.text == rows.nth(0).locator("td").nth(0).inner_text()


def test_comparing_without_a_question_or_a_method_says_so_and_keeps_everything(tab):
    visitor = tab()
    visitor.open("Methods")
    words = visitor.tab.locator(".aim-methods")
    words.locator("summary").click()
    assert words.locator("dt").all_inner_texts() == [method.__name__ for method in aim.methods.COMPARABLE.values()]
    assert all(len(said) > 30 for said in words.locator("dd").all_inner_texts())
    visitor.question.fill("")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.locator("#compare-start").click()
    visitor.wait_for_text("#compare-status", "Not run: There is no question yet")
    assert visitor.knob("merge-ratio") == 0.5
