"""The Export tab: a run as files, as Python, and as a link."""

from __future__ import annotations

import gradio as gr
from gradio.utils import get_upload_folder

from aim.runtime.memory import give_back_freed
from aim.ui import export_files
from aim.ui.errors import with_messages
from aim.ui.examples import example_of
from aim.ui.handlers import FinishedRun
from aim.ui.permalink import link_query
from aim.ui.starting import AT_ONCE, QUIET
from aim.ui.tab import Page, Tab

READING = """<p class="aim-reading">The trace is the whole record of the run. The report opens in any browser, without this app and without
a network.<br>The code and the link repeat the run. A link to an uploaded video holds the question and the knobs, but not the video.</p>"""
FULL_LINK = "query => query ? location.origin + location.pathname + query : ''"


class Export(Tab):
    title = "Export"
    needs_run = True

    def build(self, vlm) -> None:
        views = export_files.sheet_views()
        with gr.Row():
            self.report = gr.DownloadButton("Report (HTML, opens offline)", size="sm", elem_id="report")
            self.trace = gr.DownloadButton("Trace (JSON)", size="sm", elem_id="trace")
            self.sheet = gr.DownloadButton("All frames (PNG)", size="sm", elem_id="sheet")
        self.sheet_view = gr.Radio(views, value=views[0], label="View of all frames", elem_id="sheet-view")
        self.link = gr.Textbox(label="Link to this run", interactive=False, max_lines=3, buttons=["copy"], elem_id="link")
        self.code = gr.Code(label="The same run in Python", language=None, interactive=False, buttons=["copy"], elem_id="code")
        gr.HTML(READING)

    def connect(self, page: Page) -> None:
        """Save every run once it is drawn. Through the queue, because a full disk has to be told."""

        @with_messages
        def save(run: FinishedRun | None, view: str):
            if run is None:
                return [gr.skip()] * 5
            example, folder = example_of(run.request.video, page.examples), get_upload_folder()
            try:
                report = export_files.save_report(run, example, folder)
                trace = export_files.save_trace(run, folder)
                sheet = export_files.save_sheet(run, view, folder)
            finally:
                give_back_freed()
            return report, trace, sheet, export_files.python_code(run, example), link_query(run.request, page.vlm, page.examples)

        @with_messages
        def save_view(run: FinishedRun | None, view: str):
            return gr.skip() if run is None else export_files.save_sheet(run, view, get_upload_folder())

        of_view = [page.last_run, self.sheet_view]
        saved = page.drawn.success(save, of_view, [self.report, self.trace, self.sheet, self.code, self.link], **AT_ONCE)
        saved.success(None, self.link, self.link, js=FULL_LINK, **QUIET)
        self.sheet_view.input(save_view, of_view, self.sheet, trigger_mode="always_last", **QUIET)
