"""The tabs of the page: which there are, and that a new one is one file and one line."""

from __future__ import annotations

import pytest

from aim.ui import tabs
from aim.ui.page import build_demo
from tests.fakes import FakeVlm

# Everything a tab can do: parts, and an event of its own.
MADE_UP = """
import gradio as gr

from aim.ui.tab import Tab


class MadeUp(Tab):
    title = "Made up"

    def build(self, vlm):
        self.press = gr.Button("Press", elem_id="made-up-press")
        self.count = gr.Number(vlm.num_layers, elem_id="made-up-count")

    def connect(self, page):
        self.press.click(len, page.asking.question, self.count)
"""


def tab_items(config: dict) -> list[dict]:
    return [part["props"] for part in config["components"] if part["type"] == "tabitem"]


def named(config: dict, name: str) -> dict:
    [part] = [part for part in config["components"] if part["props"].get("elem_id") == name]
    return part


def test_the_tabs_have_their_names_and_the_first_is_open():
    items = tab_items(build_demo(FakeVlm()).config)
    assert [item["label"] for item in items] == ["Layers", "Moments", "Cost", "Methods", "Tune", "Evidence", "Export"]
    assert all(item["interactive"] for item in items)


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """One file and one line."""
    (tmp_path / "made_up.py").write_text(MADE_UP)
    monkeypatch.setattr(tabs, "__path__", [*tabs.__path__, str(tmp_path)])
    monkeypatch.setitem(tabs.FILES, "MadeUp", "made_up")


def test_a_new_tab_is_one_file_and_one_line(made_up):
    config = build_demo(FakeVlm()).config
    assert tab_items(config)[-1]["label"] == "Made up"
    assert named(config, "made-up-count")["props"]["value"] == FakeVlm().num_layers
    press, count, question = (named(config, name)["id"] for name in ("made-up-press", "made-up-count", "question"))
    [clicked] = [event for event in config["dependencies"] if (press, "click") in event["targets"]]
    assert (clicked["inputs"], clicked["outputs"]) == ([question], [count])


def test_every_page_has_tabs_of_its_own():
    first, second = tabs.make_tabs(), tabs.make_tabs()
    assert [type(tab) for tab in first] == [type(tab) for tab in second]
    assert not {id(tab) for tab in first} & {id(tab) for tab in second}
