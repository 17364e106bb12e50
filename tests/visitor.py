"""A person at the app's page, driven in headless Chromium, and the server that shows it.

Set AIM_CHROMIUM to a Chromium or Chrome that is not on the path. Without one the browser tests are skipped, except in CI, where they fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

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
PATIENCE = 60_000  # milliseconds; a busy machine of two cores is slow; a test's own limit is twice as long
EXAMPLES = Path(__file__).parent.parent / "assets" / "examples"
needs_browser = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here; set AIM_CHROMIUM to one")

# Notes that the status line was busy after this, or the last run's "Answered" would be taken for this one's.
WATCH = """() => {
    window.wasBusy = false;
    const status = document.querySelector('#status');
    const look = () => { window.wasBusy ||= status.querySelector('.aim-busy') !== null; };
    new MutationObserver(look).observe(status, { childList: true, subtree: true });
}"""

# The screen shows a run, and it is of the present setting.
SETTLED = "() => window.aimPage.shown !== null && document.querySelector('.aim-veil').hidden"

# Waits until the page has been drawn a few times.
DRAWN = """() => new Promise(done => {
    const count = left => left ? requestAnimationFrame(() => count(left - 1)) : setTimeout(done);
    count(4);
})"""


def serve(vlm):
    """(demo, address) of the app around a model, on a port of its own."""
    from aim.ui.page import build_demo, launch_options

    demo = build_demo(vlm)
    # `_frontend=False` only leaves out Gradio's look at its own page, for which it allows three seconds: too few on a busy machine.
    options = {"prevent_thread_lock": True, "quiet": True, "inbrowser": False, "share": False, "_frontend": False}
    _, address, _ = demo.launch(**options, **launch_options())
    return demo, address


def examples() -> list[dict[str, str]]:
    return json.loads((EXAMPLES / "examples.json").read_text())


class Visitor:
    """One tab, and what a person does and sees in it. Complaints of the browser, and requests to anywhere else, are collected.

    `browser` is a Browser, in which the tab has a context of its own, or a context that tabs share.
    """

    def __init__(self, browser, address: str, width: int = 1400, dark: bool = False, query: str = ""):
        self.tab = browser.new_page()
        self.tab.set_viewport_size({"width": width, "height": 900})
        self.tab.emulate_media(color_scheme="dark" if dark else "light")
        self.tab.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.tab.on("console", lambda entry: self.complaints.append(entry.text) if entry.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._check_request)
        self.address = address
        self.tab.goto(address + query)
        self.tab.locator("#run").wait_for()
        self.tab.wait_for_function("window.aimPage !== undefined")

    def close(self) -> None:
        self.tab.close()

    def _check_request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")

    @property
    def question(self):
        return self.tab.locator("#question textarea, #question input")

    def pick_example(self, number: int) -> None:
        self.tab.locator("#strip button").nth(number).click()
        expected = examples()[number]["question"]
        self.tab.wait_for_function(f"question => {_value('#question')} === question", arg=expected)
        self.wait_for_video(examples()[number]["file"])

    def upload(self, path: Path) -> None:
        """Through the button; what arrives is shown in the video's place."""
        with self.tab.expect_file_chooser() as chooser:
            self.tab.locator("#upload").click()
        chooser.value.set_files(str(path))
        self.wait_for_video(path.name)

    def wait_for_video(self, name: str) -> None:
        """Gradio keeps letters, digits, dots, dashes and underscores of a name."""
        kept = "".join(letter for letter in name if letter.isalnum() or letter in "._-")
        source = "decodeURIComponent(document.querySelector('#video video')?.src ?? '')"
        self.tab.wait_for_function(f"name => {source}.replace(/[^\\w.-]/g, '').endsWith(name)", arg=kept)

    def run(self, status: str = "Answered") -> None:
        """Press Run and wait for the answer; what is drawn after it, a test waits for where it looks at it."""
        self.tab.evaluate(WATCH)
        self.tab.locator("#run").click()
        self.tab.wait_for_function("text => window.wasBusy && document.querySelector('#status').innerText.includes(text)", arg=status)
        self.settled()

    def wait_for_status(self, text: str) -> None:
        self.tab.locator("#status").filter(has_text=text).wait_for()

    def answer(self) -> str:
        return self.tab.locator(".aim-answer").inner_text()

    def settled(self) -> None:
        """Wait until the screen shows the present setting."""
        self.tab.locator("#screen [data-ready]").wait_for()
        self.tab.wait_for_function(SETTLED)

    def text(self, place: str) -> str:
        return self.tab.locator(place).inner_text()

    def open(self, name: str) -> None:
        """Look at a tab; Playwright waits until it can be clicked.

        Gradio gives what a tab holds its first values once more, a frame after it was opened for the first time: quicker than any person,
        but not than a test, whose edit would be lost.
        """
        self.tab.get_by_role("tab", name=name, exact=True).click()
        self.tab.evaluate(DRAWN)

    def unfold(self) -> None:
        """Show the lesser knobs. As in a tab, their first values come once more when they are shown for the first time."""
        self.tab.locator("#more button").first.click()
        self.tab.locator("#temperature").wait_for()
        self.tab.evaluate(DRAWN)

    def link(self) -> str:
        """The link to the last run, which is written after everything else."""
        self.open("Export")
        self.tab.wait_for_function(f"{_value('#link')}?.startsWith('http')")
        return self.tab.evaluate(_value("#link"))

    def bars(self, first: int) -> list[int]:
        """Visual tokens of each layer, once the curve tells `first` for layer 0."""
        if not self.tab.locator("#layers").is_visible():
            self.open("Layers")
        curve = self.tab.locator("#layers .aim-curve")
        curve.filter(has_text=f"Layer 0: {first:,} visual").wait_for()
        return [int(count.replace(",", "")) for count in re.findall(r"Layer \d+: ([\d,]+) visual", curve.text_content())]

    def set(self, knob: str, value: float) -> None:
        box = self.tab.locator(f"#{knob} input[type=number]")
        box.fill(str(value))
        box.press("Enter")
        box.blur()

    def knob(self, knob: str) -> float:
        return float(self.tab.locator(f"#{knob} input[type=number]").input_value())

    def wait_for_knob(self, knob: str, value: float) -> None:
        self.tab.wait_for_function(
            "([knob, value]) => Number(document.querySelector(`#${knob} input[type=number]`)?.value) === value", arg=[knob, value]
        )

    def wait_for_text(self, place: str, text: str) -> None:
        self.tab.locator(place).filter(has_text=text).wait_for()

    def download(self, button: str) -> Path:
        with self.tab.expect_download() as download:
            self.tab.locator(button).click()
        return Path(download.value.path())

    def overflow(self) -> int:
        return self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def _value(place: str) -> str:
    return f"document.querySelector('{place} textarea, {place} input')?.value"
