"""The Export tab: a run as files, as Python, and as a link."""

from __future__ import annotations

import gradio as gr
from gradio.utils import get_upload_folder

from aim.runtime.memory import give_back_freed
from aim.ui import export_files
from aim.ui.errors import sentence
from aim.ui.examples import example_of
from aim.ui.handlers import FinishedRun
from aim.ui.parts import part
from aim.ui.permalink import link_query
from aim.ui.starting import QUIET
from aim.ui.status import not_run
from aim.ui.tab import Page, Tab

READING = """<p class="aim-reading">The trace is the whole record of the run. The report opens in any browser, without this app and without
a network.<br>The code and the link repeat the run. A link to an uploaded video holds
the question and the settings, but not the video.</p>"""
NOTHING = """<p class="aim-reading">There is no run yet. Press Run, and its files are here.</p>"""
FULL_LINK = """query => {
    if (!query && window.aimPage?.saveAgain?.()) return query;
    document.querySelector('.aim-saving')?.classList.remove('aim-saving');
    return query?.startsWith('?') ? location.origin + location.pathname + query : query;
}"""


class Export(Tab):
    title = "Export"

    def build(self, vlm) -> None:
        views = export_files.sheet_views()
        self.beacon = part("beacon", "export-beacon")
        self.note = gr.HTML(NOTHING, elem_id="export-note")
        with gr.Row():
            self.report = gr.DownloadButton("Report (HTML, opens offline)", size="sm", elem_id="report")
            self.trace = gr.DownloadButton("Trace (JSON)", size="sm", elem_id="trace")
            self.sheet = gr.DownloadButton("All frames (PNG)", size="sm", elem_id="sheet")
        self.sheet_view = gr.Radio(views, value=views[0], label="View of all frames", elem_id="sheet-view")
        self.link = gr.Textbox(label="Link to this run", interactive=False, max_lines=8, buttons=["copy"], elem_id="link")
        self.code = gr.Code(label="The same run in Python", language=None, interactive=False, buttons=["copy"], elem_id="code")
        gr.HTML(READING)

    def connect(self, page: Page) -> None:
        """Save the run that is shown, while the tab is open."""

        def save(run: FinishedRun | None, view: str):
            if run is None:
                return [NOTHING, *[gr.skip()] * 5]
            example, folder = example_of(run.request.video, page.examples), get_upload_folder()
            try:
                report = export_files.save_report(run, example, folder)
                trace = export_files.save_trace(run, folder)
                sheet = export_files.save_sheet(run, view, folder)
            except Exception as error:
                return [not_run(sentence(error)), *[gr.skip()] * 5]
            finally:
                give_back_freed()
            code, link = export_files.python_code(run, example), link_query(run.request, page.vlm, page.examples)
            return "", report, trace, sheet, code, link

        def save_view(run: FinishedRun | None, view: str):
            try:
                return gr.skip() if run is None else export_files.save_sheet(run, view, get_upload_folder()), ""
            except Exception as error:
                return gr.skip(), not_run(sentence(error))

        of_view = [page.last_run, self.sheet_view]
        files = [self.note, self.report, self.trace, self.sheet, self.code, self.link]
        saved = self.beacon.select(save, of_view, files, trigger_mode="always_last", **QUIET)
        saved.success(None, self.link, self.link, js=FULL_LINK, **QUIET)
        self.sheet_view.input(save_view, of_view, [self.sheet, self.note], trigger_mode="always_last", **QUIET)
