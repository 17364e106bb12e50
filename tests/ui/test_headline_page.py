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


def told(text: str) -> list[tuple[int, int]]:
    """(visual, text) tokens of each layer, as a curve tells them."""
    return [(int(count), int(words)) for count, words in re.findall(r"Layer \d+: (\d+) visual \+ (\d+) text", text)]


@pytest.fixture(params=[pytest.param("qwen2_vl", marks=pytest.mark.long), pytest.param("internvl", marks=pytest.mark.every)])
def page(request, context, tmp_path):
    vlm = aim.load(save_checkpoint(request.param, tmp_path / "model", max_position_embeddings=32768))
    demo, address = serve(vlm)
    visitor = Visitor(context, address)
    yield request.param, visitor
    visitor.close()
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
    assert f"{visual} → {merged}" in visitor.text(".aim-facts")

    bars = visitor.bars(merged)
    curves = [told(visitor.tab.locator(f"{place} .aim-curve").text_content()) for place in ("#layers", "#plan")]
    assert curves[0] == curves[1] and [count for count, _ in curves[0]] == bars and len(bars) == LAYERS

    visitor.open("Export")
    report = visitor.download("#report").read_text(encoding="utf-8")
    assert told(report) == curves[0]
    assert str(tmp_path) not in report  # the model's folder is this host's own business

    said = dict(item.split("=", 1) for item in caplog.messages[-1].split())
    assert (said["frames"], said["visual_tokens"], said["merged_tokens"]) == (str(FRAMES), str(visual), str(merged))
    assert said.get("steps") == (str(steps) if steps != FRAMES else None)

    visitor.upload(encode(tmp_path / "another.mp4", width=96))
    visitor.wait_for_text("#plan", f"{usual:,} →")
