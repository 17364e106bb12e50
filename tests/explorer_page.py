"""The explorer in a page of its own, and a person who scrubs and points in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import numpy as np
from PIL import Image

from aim.ui.parts import part, screen_part
from aim.ui.tabs.moments import Moments
from aim.views.explorer import payload
from tests.made_run import absorb, last_layers, make_run
from tests.visitor import PATIENCE

RUN, OTHER = make_run(), make_run(seed=7, frames=3, rows=5, columns=3, window=1)
INSIDE = absorb(make_run(seed=2))
FACTS = {"names": ["video", "question"], "always": [], "usual": {}, "examples": [], "model": "", "pace": "run", "pace_told": ""}
ASSIGNMENT, LAST = RUN.trace.assignment.numpy(), last_layers(RUN.trace)


def value_of(name: str, run, answer: str = "cyan", **changes) -> dict:
    """What the screen shows of a run, without anything that was not asked of a model."""
    nothing = {"asked": None, "note": "", "full": None, "same": None, "layers": "", "cost": "", "seconds": 0.0}
    figures = [(f"{run.trace.visual_tokens} → {run.trace.merged_tokens} tokens", "counted", ""), (f"{name}× fewer FLOPs", "modelled", "")]
    names = {"picture": name, "setting": name}
    return {**nothing, **names, "answer": answer, "facts": figures, "run": payload(run.frames, run.timestamps, run.trace), **changes}


@contextmanager
def served() -> Iterator[str]:
    """The address of a page with the screen, the knobs' pins, the Moments tab, and a button for each run.

    "again" is the first run's clip with tokens merged otherwise. In "inside", tokens were averaged into others inside the model.
    """
    again = make_run(seed=3)
    again.frames = RUN.frames
    values = {
        "run": value_of("run", RUN),
        "other": value_of("other", OTHER),
        "inside": value_of("inside", INSIDE),
        "again": value_of("again", again, "blue", picture="run"),
    }
    with gr.Blocks(analytics_enabled=False) as demo:
        buttons = {name: gr.Button(name) for name in values}
        screen = screen_part(None, FACTS)
        part("pins")
        moments = Moments()
        with gr.Tab("Frames"):
            gr.HTML("The screen is above.")
        with gr.Tab(moments.title):
            moments.build(None)
        for name, button in buttons.items():
            button.click(lambda name=name: values[name], None, screen, api_visibility="private")
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, inbrowser=False, share=False)
    try:
        yield address
    finally:
        demo.close()


class Opened:
    """The tabs that tests share: opening one takes longer than anything that is done in it."""

    def __init__(self, browser, address: str):
        self.browser, self.address, self.tabs = browser, address, {}

    def open(self, **options) -> Explorer:
        """A tab of this width and colour scheme, as it is before the first run."""
        key = tuple(sorted(options.items()))
        if key in self.tabs:
            self.tabs[key].empty()
        else:
            self.tabs[key] = Explorer(self.browser, self.address, **options)
        return self.tabs[key]

    def check(self) -> None:
        """No tab may have had anything to complain about."""
        assert [complaint for explorer in self.tabs.values() for complaint in explorer.complaints] == []

    def close(self) -> None:
        for explorer in self.tabs.values():
            explorer.context.close()


class Explorer:
    """One tab with the explorer in it; whatever the browser complains about or asks for is collected."""

    def __init__(self, browser, address: str, width: int = 1400, dark: bool = False):
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme="dark" if dark else "light")
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.complaints, self.requests = [], []
        self.tab.on("console", lambda entry: self.complaints.append(entry.text) if entry.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(address)
        self.frames, self.time = self.tab.locator("#screen"), self.tab.locator("#timeline")
        self.large = self.frames.locator(".aim-x-large")

    def empty(self) -> None:
        """With the choices that a new tab has; the screen carries them from run to run."""
        self.tab.get_by_role("tab").first.click()
        if self.tab.get_by_role("button", name="Let A go").count():
            self.tab.get_by_role("button", name="Let A go").click()
        if self.large.count():
            self.large.press("Escape")
            self.frames.get_by_label("Fill with mean colour").set_checked(True)
            self.scrub("Layer", 6)
            self.view("Merged regions")

    def show(self, name: str = "run", frame: int | None = 0, wipe: int = 0) -> Explorer:
        """Show a run and turn to a frame; None stays where the screen is. The line stands so many hundredths from the left."""
        self.tab.get_by_role("button", name=name, exact=True).click()
        self.tab.wait_for_function("name => window.aimPage?.shown?.setting === name", arg=name)
        self.frames.locator("[data-ready]").wait_for()
        self.move_line(wipe)
        if frame is not None:
            self.scrub("Frame", frame)
        self.settle()
        return self

    def move_line(self, hundredths: int) -> None:
        line = self.frames.get_by_role("slider", name="Line between")
        line.press("Home")
        for _ in range(hundredths // 5):
            line.press("ArrowRight")

    def view(self, name: str) -> None:
        self.frames.get_by_label(name, exact=True).check()
        self.settle()

    def scrub(self, slider: str, value: int) -> None:
        self.frames.get_by_role("slider", name=slider).fill(str(value))
        self.settle()

    def settle(self) -> None:
        """Moves are drawn at the next refresh of the screen, thumbnails in the ones after it."""
        self.frames.locator(".aim-x-sheet[aria-busy=false]").wait_for()

    def said(self) -> str:
        return self.frames.locator(".aim-x-said").inner_text()

    def click_patch(self, row: int, column: int, run=RUN) -> None:
        box = self.large.bounding_box()
        position = {"x": (column + 0.5) * box["width"] / run.trace.columns, "y": (row + 0.5) * box["height"] / run.trace.rows}
        self.large.click(position=position)
        self.settle()

    def drag(self, first: tuple[int, int], last: tuple[int, int]) -> None:
        self.large.scroll_into_view_if_needed()
        box = self.large.bounding_box()
        across, down = box["width"] / RUN.trace.columns, box["height"] / RUN.trace.rows
        self.tab.mouse.move(box["x"] + (first[1] + 0.5) * across, box["y"] + (first[0] + 0.5) * down)
        self.tab.mouse.down()
        self.tab.mouse.move(box["x"] + (last[1] + 0.5) * across, box["y"] + (last[0] + 0.5) * down, steps=3)
        self.tab.mouse.up()
        self.settle()

    def overflow(self) -> int:
        return self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def pixels(canvas) -> np.ndarray:
    data = canvas.evaluate("canvas => canvas.toDataURL('image/png')").split(",", 1)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(float)


def patch_colours(shown: np.ndarray, run=RUN, of=np.mean) -> np.ndarray:
    """Mean colour [T, 3] of the middle of every patch on a canvas; the median looks past lines and dots."""
    rows, columns = run.trace.rows, run.trace.columns
    height, width = shown.shape[0] / rows, shown.shape[1] / columns
    middles = [
        shown[int((row + 0.3) * height) : int((row + 0.7) * height), int((column + 0.3) * width) : int((column + 0.7) * width), :3]
        for row in range(rows)
        for column in range(columns)
    ]
    return np.stack([of(middle, axis=(0, 1)) for middle in middles])
