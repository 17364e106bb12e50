"""The app as a visitor meets it: the real bundled model, a real server, headless Chromium.

Set AIM_CHROMIUM to a Chromium or Chrome that is not on the path. Without one these tests are skipped, except in CI, where they fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import numpy as np
import pytest

import aim
from aim.shapes.examples import write_clip
from aim.shapes.scenes import make_scene
from aim.ui import layout
from tests.fakes import FakeVlm

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = os.environ.get("AIM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # milliseconds; a busy machine of two cores is slow, and nothing waits longer than it must
pytestmark = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here; set AIM_CHROMIUM to one")


def serve(vlm):
    demo = layout.build_demo(vlm)
    demo.queue(max_size=16)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, inbrowser=False, share=False, **layout.launch_options())
    return demo, address


@pytest.fixture(scope="module")
def app():
    demo, address = serve(aim.load("bundled"))
    yield address
    demo.close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.fail("CI has no Chromium, so the browser tests cannot run. Install it or set AIM_CHROMIUM.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Visitor:
    """One tab, and what a person does and sees in it. Complaints of the browser are collected."""

    def __init__(self, browser, address: str, width: int = 1400, dark: bool = False):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.tab.on("console", lambda entry: self.complaints.append(entry.text) if entry.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._check_request)
        self.address = address
        self.tab.goto(address)
        self.tab.locator("#run").wait_for()

    def _check_request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")

    @property
    def question(self):
        return self.tab.locator("#question textarea, #question input")

    def upload(self, path: Path) -> None:
        self.tab.locator("#video input[type=file]").set_input_files(str(path))
        self.tab.locator("#video video").wait_for(state="attached")

    def run(self, status: str = "Done") -> None:
        """Press Run and wait for the answer and for the pictures that belong to it."""
        before = self.sources()
        self.tab.locator("#run").click()
        self.wait_for_status(status)
        self.wait_for_pictures(before)

    def wait_for_status(self, text: str) -> None:
        self.tab.locator("#status").filter(has_text=text).wait_for()

    def sources(self) -> list[str]:
        return self.tab.locator("#gallery .grid-container img").evaluate_all("images => images.map(image => image.src)")

    def wait_for_pictures(self, before: list[str]) -> None:
        """Every drawing has addresses of its own, so new ones mean new pictures."""
        script = """before => {
            const now = [...document.querySelectorAll('#gallery .grid-container img')].map(image => image.src);
            return now.length > 0 && now.every(source => !before.includes(source));
        }"""
        self.tab.wait_for_function(script, arg=before)

    def answer(self) -> str:
        return self.tab.locator("#answer textarea").input_value()

    def pictures(self) -> list[bytes]:
        self.tab.locator("#gallery .grid-container img").first.wait_for()
        return [self.context.request.get(source).body() for source in self.sources()]

    def bars(self, first: int) -> list[int]:
        """Visual tokens of each layer, once the chart shows `first` for layer 0. Plotly draws a while after the status."""
        shown = "document.querySelector('#chart .js-plotly-plot')?.data?.[0]?.y"
        self.tab.wait_for_function(f"first => {shown}?.[0] === first", arg=first)
        return self.tab.evaluate(f"Array.from({shown})")

    def set(self, knob: str, value: float) -> None:
        box = self.tab.locator(f"#{knob} input[type=number]")
        box.fill(str(value))
        box.press("Enter")
        box.blur()

    def knob(self, knob: str) -> float:
        return float(self.tab.locator(f"#{knob} input[type=number]").input_value())

    def overflow(self) -> int:
        return self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture
def visit(browser, app):
    """`visit(...)` opens a tab; at the end no tab may have had anything to complain about."""
    visitors = []

    def open_tab(address: str = app, **options) -> Visitor:
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield open_tab
    for visitor in visitors:
        visitor.context.close()
        assert visitor.complaints == []


@pytest.fixture
def own_clip(tmp_path):
    path = tmp_path / "own clip.mp4"
    write_clip(make_scene("validation", 1000), path)
    return path


def pick_example(visitor: Visitor, number: int) -> None:
    visitor.tab.locator("#examples tbody tr").nth(number).click()
    visitor.tab.locator("#video video").wait_for(state="attached")


def test_every_example_is_answered_rightly(visit):
    examples = json.loads((layout.EXAMPLES / "examples.json").read_text())
    assert len(examples) >= 4
    for number, example in enumerate(examples):
        visitor = visit()
        pick_example(visitor, number)
        visitor.run()
        assert visitor.question.input_value() == example["question"]
        assert visitor.answer() == example["answer"]
        assert len(visitor.pictures()) == 8
        assert "modelled" in visitor.tab.locator("#figures").inner_text()


def test_a_lower_merge_ratio_changes_pictures_chart_and_figures(visit):
    visitor = visit()
    pick_example(visitor, 0)
    visitor.run()
    before = visitor.pictures(), visitor.bars(first=72), visitor.tab.locator("#figures").inner_text()
    plan = visitor.tab.locator("#plan").inner_text()
    visitor.set("merge-ratio", 0.1)
    visitor.tab.wait_for_function("before => document.querySelector('#plan').innerText !== before", arg=plan)
    visitor.run("Vision features reused")
    after = visitor.pictures(), visitor.bars(first=24), visitor.tab.locator("#figures").inner_text()
    assert len(after[0]) == len(before[0]) == 8
    assert all(new != old for new, old in zip(after[0], before[0], strict=True))
    # 8 frames of int(0.25 · 36) and then of int(0.1 · 36); the ramp from layer 6 to 9 takes a third a layer.
    assert before[1] == [72] * 6 + [48, 24, 0, 0, 0, 0]
    assert after[1] == [24] * 6 + [16, 8, 0, 0, 0, 0]
    assert "288 → 24" in after[2] and "288 → 72" in before[2]
    assert "288 → 24" in visitor.tab.locator("#plan").inner_text()


def test_an_upload_of_ones_own_is_answered(visit, own_clip):
    visitor = visit()
    visitor.upload(own_clip)
    visitor.question.fill("how many shapes are there?")
    visitor.question.press("Enter")
    visitor.wait_for_status("Done")
    visitor.wait_for_pictures([])
    assert visitor.answer() in ("one", "two", "three")
    assert visitor.tab.locator("#gallery .caption-label").first.inner_text().endswith("9 tokens")
    with visitor.tab.expect_download() as download:
        visitor.tab.locator("#download").click()
    record = json.loads(Path(download.value.path()).read_text())
    assert record["answer"] == visitor.answer() and [pair[0] for pair in record["tokens_per_layer"]] == visitor.bars(first=72)


def test_other_views_are_drawn_without_another_run(visit):
    visitor = visit()
    pick_example(visitor, 0)
    visitor.run()
    status, seen = visitor.tab.locator("#status").inner_text(), [visitor.pictures()]
    assert visitor.tab.locator("#layer").count() == 0
    for view in ("Group size", "Survival", "PageRank"):
        before = visitor.sources()
        visitor.tab.locator("#view").get_by_label(view).check()
        visitor.wait_for_pictures(before)
        seen.append(visitor.pictures())
    assert len({pictures[0] for pictures in seen}) == 4
    assert visitor.tab.locator("#layer").is_visible()
    assert re.search(r"PageRank in layer \d+", visitor.tab.locator("#legend").inner_text())
    assert visitor.tab.locator("#status").inner_text() == status


def test_a_file_that_is_no_video_gives_a_sentence_and_costs_nothing(browser, app, tmp_path):
    path = tmp_path / "<b>notes<b>.mp4"
    path.write_text("not a video, only its name says so")
    visitor = Visitor(browser, app)
    visitor.tab.locator("#video input[type=file]").set_input_files(str(path))
    visitor.question.fill("what is <i>this</i>?")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.locator("#run").click()
    message = visitor.tab.locator(".toast-body").filter(has_text="Accepted")
    message.wait_for()
    assert "/" not in message.inner_text() and "Traceback" not in message.inner_text()
    assert message.locator("b").count() == 0
    visitor.wait_for_status("Nothing was run")
    assert visitor.question.input_value() == "what is <i>this</i>?"
    assert visitor.knob("merge-ratio") == 0.5
    assert visitor.tab.locator("#video video").count() == 1
    visitor.context.close()


def test_run_without_video_or_question_says_what_is_missing(visit):
    visitor = visit()
    visitor.tab.locator("#run").click()
    visitor.tab.locator(".toast-body").filter(has_text="There is no video yet").wait_for()
    visitor.wait_for_status("Nothing was run")


def test_l1_and_l2_push_each_other(visit):
    visitor = visit()
    visitor.set("l1", 12)
    visitor.tab.wait_for_function("document.querySelector('#l2 input[type=number]').value === '13'")
    visitor.tab.wait_for_function("document.querySelector('#plan').innerText.includes('Layers 0–11 see all 72.')")
    visitor.set("l2", 3)
    visitor.tab.wait_for_function("document.querySelector('#l1 input[type=number]').value === '2'")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_one_column_in_the_order_of_use(visit, dark):
    visitor = visit(width=400, dark=dark)
    assert visitor.overflow() == 0
    pick_example(visitor, 0)
    visitor.run()
    visitor.bars(first=72)
    assert visitor.overflow() == 0
    order = ["#video", "#question", "#run", "#answer", "#figures", "#gallery", "#chart"]
    tops = [visitor.tab.locator(place).bounding_box()["y"] for place in order]
    assert tops == sorted(tops)
    colour = visitor.tab.evaluate("getComputedStyle(document.querySelector('#chart .xtick text')).fill")
    assert (np.mean([int(value) for value in re.findall(r"\d+", colour)[:3]]) > 128) == dark


@pytest.fixture
def talker():
    """A model that does not stop by itself, and its app."""
    vlm = FakeVlm(words=("<b>on</b> & ",) * 100_000, seconds=0.02)
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
    visitor.tab.wait_for_function("document.querySelector('#answer textarea').value.includes('<b>on</b> & <b>on</b>')")
    visitor.tab.locator("#stop").click()
    visitor.wait_for_status("Stopped.")
    said = vlm.said
    assert 2 <= said < 100_000
    visitor.tab.wait_for_timeout(300)
    assert vlm.said == said


def test_two_visitors_do_not_meet(visit, own_clip):
    first, second = visit(), visit()
    pick_example(first, 0)
    second.upload(own_clip)
    second.question.fill("how many shapes are there?")
    first.tab.locator("#run").click()
    second.tab.locator("#run").click()
    for visitor in (first, second):
        visitor.wait_for_status("Done")
        visitor.wait_for_pictures([])
    assert first.answer() == json.loads((layout.EXAMPLES / "examples.json").read_text())[0]["answer"]
    assert second.answer() in ("one", "two", "three")
    assert set(first.pictures()).isdisjoint(second.pictures())
