"""Another page in the place of the one that a running app shows.

Gradio gives each visitor's session a copy of the page's components and events when the session begins, and answers its later events by
that copy (`gradio.state_holder.SessionState`). So whoever opens the app after `show` gets the new page, and an open page keeps its own
events until it is loaded again. Nothing of this is in Gradio's documentation. The test of this module stands on it.
"""

from __future__ import annotations

import gradio as gr


def show(running: gr.Blocks, page: gr.Blocks) -> None:
    """Make the launched app `running` show `page`, which was built and never launched, to everybody who opens it from now on."""
    running.children = page.children
    page.default_config.root_block = running
    running.default_config = page.default_config
    running.temp_file_sets += page.temp_file_sets  # the files that the new page may show
    running.config = running.get_config_file()
    for app in {id(app): app for app in (running.app, running.server_app)}.values():
        app.api_info = app.all_app_info = None  # "Use via API" is written anew
        app.page_api_info = {}
