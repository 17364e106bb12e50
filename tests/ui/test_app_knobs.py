"""The knobs in the browser: the plan follows while a slider is dragged, without the model; presets; knobs that push each other."""

from __future__ import annotations

import re

import pytest

import aim
from tests.visitor import needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def per_frame() -> int:
    return aim.load("bundled").tokens_per_frame


def planned(visitor) -> tuple[int, int]:
    """(before, after merging) as the panel says."""
    before, after = re.search(r"([\d,]+) → ([\d,]+) visual tokens", visitor.text("#plan")).groups()
    return int(before.replace(",", "")), int(after.replace(",", ""))


def heights(visitor) -> list[str]:
    return visitor.tab.locator("#plan .aim-plan-curve i").evaluate_all("bars => bars.map(bar => bar.style.getPropertyValue('--kept'))")


# Counts, in the browser, how long after a movement of the slider the panel has changed.
LATENCY = """() => {
    window.waits = [];
    let moved = null;
    document.querySelector('#merge-ratio input[type=range]').addEventListener('input', () => { moved ??= performance.now(); }, true);
    new MutationObserver(() => { if (moved !== null) { window.waits.push(performance.now() - moved); moved = null; } })
        .observe(document.querySelector('#plan'), { childList: true, subtree: true, characterData: true });
}"""

# The panel changed, and says what the slider's number means: int(ratio · T) tokens of each frame.
FOLLOWED = """([frames, perFrame, before]) => {
    const panel = document.querySelector('#plan').innerText;
    const kept = frames * Math.floor(Number(document.querySelector('#merge-ratio input[type=number]').value) * perFrame);
    return panel !== before && panel.includes(`→ ${kept.toLocaleString('en-US')} visual tokens`);
}"""


def test_the_plan_follows_while_a_slider_is_dragged(visit, per_frame):
    visitor = visit()
    slider = visitor.tab.locator("#merge-ratio input[type=range]")
    slider.scroll_into_view_if_needed()
    visitor.tab.evaluate(LATENCY)
    box, frames = slider.bounding_box(), int(visitor.knob("frames"))
    mouse, middle, seen = visitor.tab.mouse, box["y"] + box["height"] / 2, []
    mouse.move(box["x"] + box["width"] * 0.23, middle)
    mouse.down()
    for place in (0.4, 0.6, 0.8, 0.3):
        before = visitor.text("#plan")
        mouse.move(box["x"] + box["width"] * place, middle, steps=3)
        visitor.tab.wait_for_function(FOLLOWED, arg=[frames, per_frame, before])
        seen.append((planned(visitor), heights(visitor)[0]))
    mouse.up()
    assert len(set(seen)) == 4
    assert "modelled" in visitor.text("#plan") and "KV cache" in visitor.text("#plan")
    assert visitor.answer() == "" and "Press Run" in visitor.text("#status")
    print(f"plan after {sorted(round(wait) for wait in visitor.tab.evaluate('window.waits'))} ms")


def test_presets_set_the_knobs_and_hand_turned_knobs_name_none(visit, per_frame):
    visitor = visit()
    choice = visitor.tab.locator("#preset")
    assert choice.get_by_label("Paper").is_checked()
    choice.get_by_label("Full model").check()
    visitor.wait_for_knob("merge-ratio", 1)
    frames = int(visitor.knob("frames"))
    visitor.wait_for_text("#plan", f"{frames * per_frame:,} → {frames * per_frame:,} visual tokens")
    visitor.wait_for_text("#plan", "1.0× less")
    visitor.set("merge-ratio", 0.4)
    visitor.tab.wait_for_function("!document.querySelector('#preset input:checked')")
    choice.get_by_label("Paper").check()
    visitor.wait_for_knob("merge-ratio", 0.25)


def test_l1_and_l2_push_each_other(visit):
    visitor = visit()
    visitor.set("l1", 12)
    visitor.wait_for_knob("l2", 13)
    visitor.wait_for_text("#plan", "Layers 0–11 see all")
    visitor.set("l2", 3)
    visitor.wait_for_knob("l1", 2)


def test_the_lesser_knobs_are_folded_away_and_reach_the_run(visit):
    visitor = visit()
    assert not visitor.tab.locator("#temperature").is_visible()
    visitor.unfold()
    visitor.set("temperature", 0.3)
    visitor.tab.locator("#restart").get_by_label("on the question").check()
    visitor.wait_for_knob("damping", 0.15)
    visitor.tab.locator("#merge-window").get_by_label("2 frames").check()
    visitor.tab.locator("#merge-order").get_by_label("as the official code").check()
    visitor.run()
    link = visitor.link()
    parts = {"temperature=0.3", "restart=question", "damping=0.15", "merge_window=2", "merge_order=official"}
    assert parts <= set(link.split("?")[1].split("&"))
    assert "restart='question'" in visitor.text("#code") and "temperature=0.3" in visitor.text("#code")


def test_another_merge_ratio_changes_tokens_figures_chart_and_answer_stays_told(visit, per_frame):
    visitor = visit()
    visitor.run()
    frames = int(visitor.knob("frames"))
    merged = frames * int(0.25 * per_frame)
    layers, before = visitor.bars(first=merged), visitor.text("#figures")
    assert f"{frames * per_frame:,} → {merged:,}" in before and layers[0] == merged and layers[-1] == 0
    visitor.set("merge-ratio", 0.1)
    visitor.run("were reused")
    fewer = frames * int(0.1 * per_frame)
    assert visitor.bars(first=fewer)[0] == fewer
    assert f"{frames * per_frame:,} → {fewer:,}" in visitor.text("#figures")
