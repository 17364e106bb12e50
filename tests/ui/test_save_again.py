"""The Export tab asks for its files once more where the first link was lost on the way, and gives up after two more tries."""

from __future__ import annotations

import gradio as gr
import pytest

from aim.ui.parts import part, screen_part
from aim.ui.starting import QUIET
from aim.ui.tabs.export import FULL_LINK
from tests.explorer_page import FACTS, RUN, value_of
from tests.visitor import PATIENCE, needs_browser

pytestmark = [needs_browser, pytest.mark.whole]
QUERY = "?example=when.mp4&l1=6"
# Notes that files were waited for, however short.
WATCH = """() => {
    window.wasSaving = false;
    const look = () => { window.wasSaving ||= document.querySelector('.aim-saving') !== null; };
    new MutationObserver(look).observe(document.body, { attributes: true, subtree: true });
}"""
SAVED = "() => window.wasSaving && document.querySelector('.aim-saving') === null"


class Saving:
    """A page whose tab is saved as the Export tab is. The first `lost` links get lost."""

    def __init__(self):
        self.lost = self.asked = 0

    def save(self) -> str:
        self.asked += 1
        return "" if self.asked <= self.lost else QUERY

    def page(self) -> gr.Blocks:
        with gr.Blocks(analytics_enabled=False) as demo:
            run = gr.Button("run")
            screen = screen_part(None, FACTS)
            with gr.Tab("Other"):
                gr.HTML("Nothing is saved while this tab is open.")
            with gr.Tab("Export"):
                beacon = part("beacon", "export-beacon")
                link = gr.Textbox(elem_id="link")
            run.click(lambda: value_of("run", RUN), None, screen, api_visibility="private")
            saved = beacon.select(self.save, None, link, trigger_mode="always_last", **QUIET)
            saved.success(None, link, link, js=FULL_LINK, **QUIET)
        return demo


@pytest.fixture(scope="module")
def served():
    saving = Saving()
    demo = saving.page()
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, inbrowser=False, share=False, _frontend=False)
    yield saving, address
    demo.close()


@pytest.mark.parametrize(("lost", "asked"), [(0, 1), (1, 2), (2, 3), (9, 3)])
def test_a_lost_link_is_asked_for_again_and_no_more_than_twice(context, served, lost, asked):
    saving, address = served
    saving.lost, saving.asked = lost, 0
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(address)
    tab.get_by_role("button", name="run", exact=True).click()
    tab.locator("#screen [data-ready]").wait_for()
    assert saving.asked == 0
    tab.evaluate(WATCH)
    tab.get_by_role("tab", name="Export").click()
    tab.wait_for_function(SAVED)
    link = "" if lost >= asked else f"{address}{QUERY}"
    tab.wait_for_function("link => document.querySelector('#link textarea, #link input').value === link", arg=link)
    tab.close()
    assert saving.asked == asked
