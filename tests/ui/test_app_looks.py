"""How the page looks and reads: one column on a phone, light and dark, accessible to everyone, quickly there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.visitor import needs_browser

pytestmark = needs_browser
TABS = ("Frames", "Layers", "Moments", "Cost", "Methods", "Tune", "Evidence", "Export")
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


def lightness(colour: str) -> float:
    return float(np.mean([float(value) for value in re.findall(r"[\d.]+", colour)[:3]]))


def drawn(visitor, name: str) -> None:
    """Open a tab and wait for what is in it."""
    places = {
        "Frames": "#explorer canvas",
        "Layers": "#chart .main-svg",
        "Moments": "#timeline canvas",
        "Cost": "#cost table",
        "Methods": "#compare-start",
        "Tune": "#tune-start",
        "Evidence": ".aim-finding",
        "Export": "#code .cm-content",
    }
    visitor.open(name)
    visitor.tab.locator(places[name]).first.wait_for()


def serious(visitor, part: str = "body") -> list:
    """What axe finds serious in a part of the page."""
    violations = Axe().run(visitor.tab, context=part).response["violations"]
    found = [one for one in violations if one["impact"] in ("serious", "critical")]
    return [(part, violation["id"], [node["target"] for node in violation["nodes"]]) for violation in found]


def tune_and_spend(visitor) -> None:
    visitor.open("Tune")
    visitor.tab.locator("#tune-start").click()
    visitor.wait_for_text("#tune-status", "Done")
    visitor.tab.locator("#tune-chart .main-svg").first.wait_for()
    visitor.tab.locator("#spend").click()
    visitor.tab.locator("#spent table").wait_for()


def compare_methods(visitor) -> None:
    visitor.open("Methods")
    visitor.tab.locator("#compare-start").click()
    visitor.tab.locator("#compare-status").filter(has_text="Done.").wait_for()
    visitor.tab.locator("#compare-sheet img").wait_for()
    visitor.tab.locator("#compare-chart .main-svg").first.wait_for()


def test_a_phone_shows_one_column_in_the_order_of_use(visit):
    """Colours move nothing, so one scheme is enough."""
    visitor = visit(width=400, dark=True)
    assert visitor.overflow() == 0
    order = ["#video", "#question", "#run", "#answer", "#examples", "#tabs", "#merge-ratio"]
    tops = [visitor.tab.locator(place).bounding_box()["y"] for place in order]
    assert tops == sorted(tops)
    visitor.tab.locator("#compare input").check()
    visitor.run()
    for fill in (compare_methods, tune_and_spend):
        fill(visitor)
        assert visitor.overflow() == 0
    for name in TABS:
        drawn(visitor, name)
        assert visitor.overflow() == 0, name


@SCHEMES
def test_charts_follow_light_and_dark_and_axe_finds_nothing_serious_before_and_after_a_run(visit, dark):
    visitor = visit(dark=dark)
    assert serious(visitor) == []
    visitor.tab.locator("#compare input").check()
    visitor.run()
    visitor.unfold()
    drawn(visitor, "Layers")
    page, text = (
        visitor.tab.evaluate(f"getComputedStyle(document.querySelector('{place}')).{what}")
        for place, what in (("body", "backgroundColor"), ("#chart .xtick text", "fill"))
    )
    assert (lightness(page) < 128) == dark and (lightness(text) > 128) == dark
    assert serious(visitor) == []
    for name in TABS:
        drawn(visitor, name)
        assert serious(visitor, "#tabs") == [], name


@pytest.mark.long
@SCHEMES
def test_axe_finds_nothing_serious_in_what_the_tabs_work_out(visit, dark):
    visitor = visit(dark=dark)
    for fill in (compare_methods, tune_and_spend):
        fill(visitor)
        assert serious(visitor, "#tabs") == [], fill.__name__


def test_everything_can_be_reached_and_run_by_keyboard(visit):
    visitor = visit()
    visitor.question.focus()
    visitor.tab.keyboard.press("Enter")
    visitor.wait_for_status("Answered")
    visitor.tab.locator("#merge-ratio input[type=range]").focus()
    before = visitor.knob("merge-ratio")
    plan = visitor.text("#plan")
    for _ in range(12):
        visitor.tab.keyboard.press("ArrowLeft")
    assert visitor.knob("merge-ratio") < before
    visitor.tab.wait_for_function("plan => document.querySelector('#plan').innerText !== plan", arg=plan)


def test_the_first_paint_is_told(visit):
    """Told and not asserted: a clock says nothing on a busy machine."""
    visitor = visit()
    paint = visitor.tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first contentful paint after {paint:.0f} ms")
    assert visitor.tab.locator("#run").is_visible()
