"""Share, in the header: a link to the run that is shown, a captioned picture of it, and a short animation of its layers."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import gradio as gr

from aim.runtime.memory import give_back_freed
from aim.ui.errors import sentence
from aim.ui.handlers import FinishedRun
from aim.ui.parts import part
from aim.ui.permalink import link_query
from aim.ui.starting import QUIET
from aim.views.share import share_picture
from aim.views.walk import share_animation

MOST_ADDRESS = 500  # characters of the page's own address
NOTHING = "There is no run yet. Press Run, then share it."
# The browser tells where the page is, because a server behind a proxy does not know.
HERE = "(run, client) => [run, location.origin + location.pathname]"


def build_share() -> gr.HTML:
    """Add the button to the page."""
    return part("share")


def connect_share(vlm, share: gr.HTML, last_run: gr.State, client: gr.Textbox, examples: Path) -> None:
    """The button's event `select` makes what can be shared."""

    def make(run: FinishedRun | None, page: str | None) -> dict[str, str]:
        if run is None:
            return {"error": NOTHING}
        try:
            return shared(run, own_address(page) + link_query(run.request, vlm, examples))
        except Exception as error:
            return {"error": f"Not made: {sentence(error)}"}
        finally:
            give_back_freed()

    share.select(make, [last_run, client], share, js=HERE, trigger_mode="once", **QUIET)


def shared(run: FinishedRun, address: str) -> dict[str, str]:
    """The link, and the picture (PNG) and the animation (WebP) as data URLs."""
    told: tuple[Any, ...] = (run, run.answer, run.request.question, run.full, address)
    return {
        "link": address,
        "picture": data_url("image/png", share_picture(*told)),
        "animation": data_url("image/webp", share_animation(*told)),
    }


def own_address(told: Any) -> str:
    """The page's address as a browser tells it. "" for anything that is none."""
    return told if isinstance(told, str) and told.startswith(("http://", "https://")) and len(told) <= MOST_ADDRESS else ""


def data_url(kind: str, data: bytes) -> str:
    """Bytes as a URL that holds them."""
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"
