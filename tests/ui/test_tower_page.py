"""The settings of the vision tower as a visitor meets them: under Advanced, told beside the answer, brought back by the address."""

from __future__ import annotations

import pytest

from tests.visitor import needs_browser

pytestmark = [needs_browser, pytest.mark.whole]


def test_a_reduced_tower_is_told_beside_the_answer_and_comes_back_with_the_address(app, visit):
    visitor = visit(app)
    visitor.settled()
    assert "vision tower" not in visitor.text("#screen")
    visitor.unfold()
    visitor.set("tower-merge", 0.3)
    visitor.wait_for_text("#plan", "later layers run on 30 % of a frame's patches")
    visitor.tab.locator("#tower-reuse label", has_text="up to 8 of 255").click()
    visitor.wait_for_text("#plan", "only patches that have changed are computed")
    visitor.settled()
    fact = visitor.tab.locator("#screen .aim-facts li", has_text="vision tower")
    reduced = fact.inner_text()
    assert "fewer FLOPs" in reduced and "of all" in fact.get_attribute("title")
    visitor.tab.wait_for_function("() => location.search.includes('tower_merge=0.3') && location.search.includes('tower_reuse=0.0313')")
    again = visit(app, query=visitor.tab.evaluate("location.search"))
    again.wait_for_text("#screen .aim-facts", reduced.split("\n")[0])
    again.unfold()
    again.wait_for_knob("tower-merge", 0.3)
    assert again.tab.locator("#tower-reuse label", has_text="up to 8 of 255").locator("input").is_checked()
