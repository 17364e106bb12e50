"""The page of tiny models whose visual tokens lie otherwise than the bundled model's: all it shows of a run is what was executed."""

from __future__ import annotations

import logging
import re

import pytest

import aim
from tests.clips import encode
from tests.tiny_checkpoints import save_checkpoint
from tests.visitor import Visitor, needs_browser, serve

pytestmark = needs_browser
FRAMES, LAYERS, QUESTION = 3, 6, "what is it?"
# (visual tokens of three frames of 64 x 48 pixels, steps): Qwen2-VL makes 6 x 8 tokens of two frames and of the last one again.
EXPECTED = {"qwen2_vl": (2 * 6 * 8, 2), "internvl": (3 * 25, 3)}


@pytest.fixture(params=EXPECTED)
def page(request, browser, tmp_path):
    vlm = aim.load(save_checkpoint(request.param, tmp_path / "model", max_position_embeddings=32768))
    demo, address = serve(vlm)
    visitor = Visitor(browser, address)
    yield request.param, visitor
    visitor.context.close()
    demo.close()
    assert visitor.complaints == []


def test_what_the_page_shows_is_what_was_executed(page, tmp_path, caplog):
    name, visitor = page
    visual, steps = EXPECTED[name]
    merged = visual // 4 if name == "qwen2_vl" else 3 * (25 // 4)
    visitor.upload(encode(tmp_path / "clip.mp4"))
    visitor.question.fill(QUESTION)
    visitor.set("frames", FRAMES)
    visitor.tab.locator("#more button").first.click()
    visitor.set("max-new-tokens", 4)
    usual = {"qwen2_vl": 2 * 45 * 80, "internvl": visual}[name]
    visitor.wait_for_text("#plan", f"{usual:,} →")
    with caplog.at_level(logging.INFO, "aim.runs"):
        visitor.run()
    visitor.wait_for_text("#plan", f"{visual} → {merged} visual tokens")
    assert f"{visual} → {merged}" in visitor.text("#figures")

    bars = visitor.bars(merged)
    chart = "document.querySelector('#chart .js-plotly-plot').data"
    text, planned = (visitor.tab.evaluate(f"Array.from({chart}[{place}].y)") for place in (1, 2))
    assert planned == [count + words for count, words in zip(bars, text, strict=True)] and len(bars) == LAYERS
    widths = visitor.tab.locator("#plan .aim-plan-curve i").evaluate_all("bars => bars.map(bar => bar.style.getPropertyValue('--kept'))")
    assert widths == [f"{100 * count / visual:.1f}%" for count in bars]

    visitor.open("Export")
    report = visitor.download("#report").read_text(encoding="utf-8")
    told = re.findall(r"<title>layer \d+: (\d+) visual and (\d+) text tokens</title>", report)
    assert [(int(count), int(words)) for count, words in told] == list(zip(bars, text, strict=True))
    line = re.search(r'<path d="M\S+ \S+ ([^"]*)" fill="none"', report)[1]
    tops = [re.findall(r' y="(\S+)"', group)[1] for group in re.findall(r"<g><title>layer.*?</g>", report)]
    assert re.findall(r"V(\S+)", line) == tops

    said = dict(item.split("=", 1) for item in caplog.messages[-1].split())
    assert (said["frames"], said["visual_tokens"], said["merged_tokens"]) == (str(FRAMES), str(visual), str(merged))
    assert said.get("steps") == (str(steps) if steps != FRAMES else None)

    visitor.upload(encode(tmp_path / "another.mp4", width=96))
    visitor.wait_for_text("#plan", f"{usual:,} →")
