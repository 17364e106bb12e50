"""The closed part "Model" of the page: what fits into the memory here, and a button that loads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.runtime.download import Far
from aim.runtime.offers import FRAMES, Offer
from aim.ui.choosing import Chooser, NothingToLoad
from aim.ui.connection import presence
from aim.ui.host import reason
from aim.ui.model import AppModel
from aim.ui.starting import ONE_AT_A_TIME, QUIET
from aim.ui.status import status
from aim.ui.stop import StopSignal
from aim.ui.texts import called
from aim.views.units import size

ASKING = "Asking the Hub for the files."
STOPPED = "Stopped. The model has not changed, and what was downloaded is kept for the next time."
# The address holds the knobs of the model before, so it is left behind. Gradio's own setting of the colours stays.
OPEN_ANEW = """name => {
  if (!name) return;
  const theme = new URLSearchParams(location.search).get("__theme");
  setTimeout(() => location.assign(location.pathname + (theme ? `?__theme=${theme}` : "")), 300);
}"""


def labelled(offer: Offer) -> tuple[str, str]:
    """An entry of the list: what is shown, and the name it stands for."""
    return f"{offer.name} · {size(offer.needs)} · {offer.good_for}", offer.name


def told_of_the_rest(rest: list[Offer], room: int | None) -> str:
    """How many models are not offered and why, in a line."""
    if room is None:
        return "This system does not tell how much memory it has, so all models are listed. Choose one that fits."
    if not rest:
        return f"All models fit into the {size(room)} that a model may take here."
    needed = sorted(offer.needs for offer in rest)
    span = size(needed[0]) if len(rest) == 1 else f"{size(needed[0])} to {size(needed[-1])}"
    named, need = ("One larger model is", "It needs") if len(rest) == 1 else (f"{len(rest)} larger models are", "They need")
    return f"{named} not listed. {need} {span}, and a model may take {size(room)} of the memory here."


def progress(text: str, far: Far | None = None) -> str:
    """A line with a bar as HTML. The bar runs without an end where it is not known how far it is."""
    bar, amount = "<progress></progress>", ""
    if far is not None and far.total > 0:
        bar = f'<progress max="{far.total}" value="{far.done}"></progress>'
        amount = f" {size(far.done)} of {size(far.total)}."
    return f'<div class="aim-loading" role="status"><label>{bar} {escape(text)}{amount}</label></div>'


class ChoosingPart:
    """Its components."""

    def __init__(self, chooser: Chooser):
        self.chooser = chooser
        fit, rest = chooser.fitting()
        present = called(chooser.vlm.name)
        with gr.Accordion(f"Model: {present}. Choose another", open=False, elem_id="choose-model"):
            gr.HTML(
                '<p class="aim-help">The app answers with one model for everybody who has it open. Each size is the memory for the weights '
                f"and for the KV cache of {FRAMES} frames. A model that is not on this machine yet is downloaded from the Hub first.</p>"
            )
            names = [offer.name for offer in fit]
            first = chooser.vlm.name if chooser.vlm.name in names else None
            self.pick = gr.Radio([labelled(offer) for offer in fit], value=first, label="Models that fit here", elem_id="models")
            gr.HTML(f'<p class="aim-help">{escape(told_of_the_rest(rest, chooser.room))}</p>', elem_id="models-rest")
            with gr.Row(elem_classes="aim-choose"):
                self.load = gr.Button("Load", variant="primary", size="sm", elem_id="load-model")
                self.stop = gr.Button("Stop", variant="secondary", size="sm", elem_id="stop-model")
            self.said = gr.HTML(elem_id="choose-status")

    def connect(self, vlm: AppModel) -> None:
        """Connect the buttons. The download runs beside the model. Loading waits for its turn at the model, as a run does."""
        signal, fetched, arrived = gr.State(StopSignal()), gr.State(""), gr.Textbox(visible=False)

        def begin(stop: StopSignal):
            stop.begin()
            return progress(ASKING)

        def fetch(stop: StopSignal, name: str | None) -> Iterator[list[Any]]:
            stop.follow(presence())
            done = False
            try:
                with closing(self.chooser.download(name or "", stop)) as steps:
                    for far in steps:
                        yield [progress("Downloading.", far) if far.total else progress(ASKING), ""]
                if stop.is_set():
                    raise Stopped
                done = True
                yield [progress("Waiting for the model's turn."), name]
            except Stopped:
                yield [status(STOPPED), ""]
            except Exception as error:
                yield [not_loaded(self.chooser, error), ""]
            finally:
                if not done:
                    stop.end()

        def load(stop: StopSignal, name: str) -> Iterator[list[Any]]:
            if not name:
                yield [gr.skip(), ""]
                return
            stop.follow(presence())
            try:
                with vlm.gate.run(presence()), closing(self.chooser.change(name, stop)) as steps:
                    yield [progress("Loading into memory."), ""]
                    for far in steps:
                        yield [progress("Loading into memory.", far), ""]
                yield [progress("Loaded. The page opens anew."), called(name)]
            except Stopped:
                yield [status(STOPPED), ""]
            except Exception as error:
                yield [not_loaded(self.chooser, error), ""]
            finally:
                stop.end()

        def halt(stop: StopSignal):
            stop.ask()
            return gr.skip() if stop.busy else status("Nothing is being loaded.")

        apart: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "once"}
        begun = self.load.click(begin, signal, self.said, **QUIET)
        had = begun.success(fetch, [signal, self.pick], [self.said, fetched], concurrency_limit=1, concurrency_id="choose", **apart)
        changed = had.success(load, [signal, fetched], [self.said, arrived], **{**ONE_AT_A_TIME, **apart})
        changed.success(None, arrived, None, js=OPEN_ANEW, api_visibility="private", show_progress="hidden")
        self.stop.click(halt, signal, self.said, **QUIET)


def not_loaded(chooser: Chooser, error: Exception) -> str:
    """What is said where a model could not be had: the reason, and which one still answers."""
    present = called(chooser.vlm.name)
    still = "" if isinstance(error, NothingToLoad) else f" For now {present} still answers."
    return status(f"{reason(error)}{still}", error=True)
