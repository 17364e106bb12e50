"""The tabs of the page, one file each."""

from __future__ import annotations

from importlib import import_module

from aim.ui.tab import Tab

# In the order of the page: each tab's class and the file it is in. A new tab is one file and one line here.
FILES = {
    "Layers": "layers",
    "Moments": "moments",
    "Cost": "cost",
    "Methods": "methods",
    "Tune": "tune",
    "Evidence": "evidence",
    "Export": "export",
}


def make_tabs() -> list[Tab]:
    """New tabs for one page, in their order."""
    return [getattr(import_module(f"aim.ui.tabs.{file}"), name)() for name, file in FILES.items()]
