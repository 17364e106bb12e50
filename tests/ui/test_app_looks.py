"""How the page looks and reads: one column on a phone, light and dark, accessible to everyone, quickly there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.visitor import needs_browser

pytestmark = needs_browser
TABS = ("Layers", "Moments", "Cost", "Methods", "Tune", "Evidence", "Export")


def lightness(colour: str) -> float:
    return float(np.mean([float(value) for value in re.findall(r"[\d.]+", colour)[:3]]))


def drawn(visitor, name: str) -> None:
    """Open a tab and wait for what is in it."""
    places = {
        "Layers": "#layers .aim-curve",
        "Moments": "#timeline canvas",
        "Cost": "#cost table",
        "Methods": "#compare-start",
        "Tune": "#tune-start",
        "Evidence": ".aim-finding-chart .main-svg",
        "Export": "#code .cm-content",
    }
    visitor.open(name)
    visitor.tab.locator(places[name]).first.wait_for()


def serious(visitor, part: str = "body") -> list:
    """What axe finds serious in a part of the page."""
    # Telling what passed, element by element, would take it twice as long.
    violations = Axe().run(visitor.tab, context=part, options={"resultTypes": ["violations"]}).response["violations"]
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
    visitor.tab.locator("#compare-sheet img.aim-sheet").wait_for()
    visitor.tab.locator("#compare-chart .main-svg").first.wait_for()


def test_the_core_loop_fits_on_one_screen_and_the_panels_follow(visit):
    visitor = visit()
    visitor.settled()
    for place in (
        "#strip",
        "#question",
        ".aim-answer",
        "#screen .aim-x-large",
        "#screen .aim-x-sheet",
        "#merge-ratio",
        "#plan",
        "#l1",
        "#frames",
    ):
        box = visitor.tab.locator(place).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 900, place
    assert visitor.overflow() == 0
    # The last of the lesser knobs is far down; the picture goes along.
    visitor.unfold()
    visitor.tab.locator("#score-all").evaluate("node => node.scrollIntoView({ block: 'end' })")
    picture, knob = (visitor.tab.locator(place).bounding_box() for place in ("#screen .aim-x-large", "#score-all"))
    assert picture["y"] >= 0 and picture["y"] + picture["height"] <= 900 and 0 <= knob["y"] <= 900


@pytest.mark.long
def test_a_phone_has_one_column_and_the_knobs_in_a_sheet_at_its_foot(visit):
    """Colours move nothing, so one scheme is enough."""
    visitor = visit(width=390, dark=True)
    visitor.settled()
    assert visitor.overflow() == 0
    order = ["#video", "#question", "#run", ".aim-answer", "#screen .aim-x-large", "#tabs"]
    tops = [visitor.tab.locator(place).bounding_box()["y"] for place in order]
    assert tops == sorted(tops)
    assert tops[order.index("#screen .aim-x-large")] < 500  # more than half of it is above the sheet
    assert visitor.tab.locator("#tabs [role=tab]:visible").all_inner_texts() == list(TABS)
    slider, sheet = visitor.tab.locator("#merge-ratio input[type=range]"), visitor.tab.locator(".aim-knobs")
    assert slider.bounding_box()["y"] > 700 and sheet.bounding_box()["height"] < 250
    assert not visitor.tab.locator("#l1").is_visible()
    visitor.set("merge-ratio", 0.02)
    visitor.wait_for_text(".aim-sheet-said", "✗")
    visitor.tab.locator("#handle button").click()
    visitor.tab.locator("#l1").wait_for()
    assert sheet.bounding_box()["height"] <= 0.8 * 900 and visitor.overflow() == 0
    visitor.tab.locator("#handle button").click()
    visitor.tab.locator("#l1").wait_for(state="hidden")
    for fill in (compare_methods, tune_and_spend):
        fill(visitor)
        assert visitor.overflow() == 0
    for name in TABS:
        drawn(visitor, name)
        assert visitor.overflow() == 0, name


@pytest.mark.timeout(290)  # eight looks of axe: half a minute, and more than two on a busy machine
@pytest.mark.parametrize("dark", [pytest.param(False, id="light"), pytest.param(True, id="dark", marks=pytest.mark.long)])
def test_the_page_follows_light_and_dark_and_axe_finds_nothing_serious(visit, dark):
    visitor = visit(dark=dark)
    visitor.settled()
    visitor.set("merge-ratio", 0.1)
    visitor.settled()
    visitor.tab.get_by_role("button", name="Pin as A").click()
    visitor.unfold()
    page, text = (
        visitor.tab.evaluate(f"getComputedStyle(document.querySelector('{place}')).{what}")
        for place, what in (("body", "backgroundColor"), ("#layers .aim-curve text", "fill"))
    )
    assert (lightness(page) < 128) == dark and (lightness(text) > 128) == dark
    assert serious(visitor) == []
    for name in TABS:
        drawn(visitor, name)
        assert serious(visitor, "#tabs") == [], name


# In the light the styles of these tables and charts are those of the Cost and Evidence tabs, which the test above looks at in both schemes.
@pytest.mark.parametrize(
    "dark", [pytest.param(False, id="light", marks=pytest.mark.every), pytest.param(True, id="dark", marks=pytest.mark.long)]
)
def test_axe_finds_nothing_serious_in_what_the_tabs_work_out(visit, dark):
    visitor = visit(dark=dark)
    for fill in (compare_methods, tune_and_spend):
        fill(visitor)
        assert serious(visitor, "#tabs") == [], fill.__name__


def test_everything_can_be_reached_and_run_by_keyboard_and_focus_is_seen(visit):
    visitor = visit()
    visitor.question.focus()
    visitor.tab.keyboard.press("Enter")
    visitor.wait_for_status("Answered")
    visitor.settled()
    visitor.tab.locator("#merge-ratio input[type=range]").focus()
    before = visitor.knob("merge-ratio")
    for _ in range(12):
        visitor.tab.keyboard.press("ArrowLeft")
    assert visitor.knob("merge-ratio") < before
    visitor.settled()
    wipe = visitor.tab.get_by_role("slider", name="Line between")
    wipe.focus()
    place = wipe.get_attribute("aria-valuenow")
    visitor.tab.keyboard.press("ArrowRight")
    assert wipe.get_attribute("aria-valuenow") != place
    for target in ("#merge-ratio input[type=range]", "#preset input >> nth=0", "#strip button >> nth=0", "#run"):
        visitor.tab.locator(target).focus()
        visitor.tab.keyboard.press("Shift")  # a key, so that focus is of the keyboard
        assert visitor.tab.evaluate(OUTLINED), target


# The focused control, or what stands for it, has a line around it.
OUTLINED = """() => [document.activeElement, document.activeElement.closest("label")]
    .some(node => node && parseFloat(getComputedStyle(node).outlineWidth) >= 2 && getComputedStyle(node).outlineStyle !== "none")"""


def test_the_first_paint_is_told(visit):
    """Told and not asserted: a clock says nothing on a busy machine."""
    visitor = visit()
    paint = visitor.tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first contentful paint after {paint:.0f} ms")
    assert visitor.tab.locator("#run").is_visible()
