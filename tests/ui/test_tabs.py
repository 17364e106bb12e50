"""The tabs of the page: which there are, and that a new one is one file and one line."""

from __future__ import annotations

import pytest

from aim.ui import tabs
from aim.ui.page import build_demo
from tests.fakes import FakeVlm

# Everything a tab can do: state, parts, an event of its own, and a value drawn after a run.
MADE_UP = """
import gradio as gr

from aim.ui.tab import Tab


class MadeUp(Tab):
    title = "Made up"
    needs_run = True

    def build(self, vlm):
        self.press = gr.Button("Press", elem_id="made-up-press")
        self.count = gr.Number(vlm.num_layers, elem_id="made-up-count")
        self.outputs = [gr.Textbox(elem_id="made-up-text")]

    def draw(self, run):
        return [run.request.question]

    def connect(self, page):
        self.press.click(len, page.asking.question, self.count)
"""


def tab_items(config: dict) -> list[dict]:
    return [part["props"] for part in config["components"] if part["type"] == "tabitem"]


def named(config: dict, name: str) -> dict:
    [part] = [part for part in config["components"] if part["props"].get("elem_id") == name]
    return part


def test_the_tabs_have_their_names_and_those_of_a_run_wait_for_one():
    items = tab_items(build_demo(FakeVlm()).config)
    assert [item["label"] for item in items] == ["Frames", "Layers", "Moments", "Cost", "Methods", "Tune", "Evidence", "Export"]
    assert [item["label"] for item in items if not item["interactive"]] == ["Layers", "Moments", "Cost", "Export"]


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """One file and one line."""
    (tmp_path / "made_up.py").write_text(MADE_UP)
    monkeypatch.setattr(tabs, "__path__", [*tabs.__path__, str(tmp_path)])
    monkeypatch.setitem(tabs.FILES, "MadeUp", "made_up")


def test_a_new_tab_is_one_file_and_one_line(made_up):
    config = build_demo(FakeVlm()).config
    assert (tab_items(config)[-1]["label"], tab_items(config)[-1]["interactive"]) == ("Made up", False)
    assert named(config, "made-up-count")["props"]["value"] == FakeVlm().num_layers
    press, count, text, question = (named(config, name)["id"] for name in ("made-up-press", "made-up-count", "made-up-text", "question"))
    [clicked] = [event for event in config["dependencies"] if (press, "click") in event["targets"]]
    assert (clicked["inputs"], clicked["outputs"]) == ([question], [count])
    # It is drawn after a run by the event that draws the other tabs.
    [drawn] = [event for event in config["dependencies"] if text in event["outputs"]]
    assert named(config, "cost")["id"] in drawn["outputs"]


def test_every_page_has_tabs_of_its_own():
    first, second = tabs.make_tabs(), tabs.make_tabs()
    assert [type(tab) for tab in first] == [type(tab) for tab in second]
    assert not {id(tab) for tab in first} & {id(tab) for tab in second}
