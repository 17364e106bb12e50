"""Ask again without painted patches, or with only them. The full model answers, so that nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from aim.kernels.refusal import Refusal
from aim.methods.mask import ONLY, WITHOUT, Mask
from aim.ui.errors import sentence
from aim.ui.live import SENDING
from aim.ui.model import AppModel
from aim.ui.request import Request, check
from aim.ui.results import Results
from aim.ui.starting import ONE_AT_A_TIME
from aim.ui.stop import StopSignal
from aim.ui.turn import turn

MODES = {WITHOUT: "Without", ONLY: "With only"}


def ask_again(vlm: AppModel, request: Request, painted: list[int], mode: str, stop: StopSignal) -> str:
    """One sentence: what the full model says without some visual tokens, or with only them.

    Args:
        painted: places of visual tokens, frame · tokens of a frame + token.
        mode: a key of `MODES`.

    Raises:
        Refusal: see `check`; nothing or everything is painted; and whatever the reader and the model refuse.
    """
    if not painted or mode not in MODES:
        raise Refusal("Nothing is painted. Paint patches or take a moment, then ask again.")
    with turn(vlm, "mask", request, stop) as note:
        check(request, vlm.max_frames)
        clip = vlm.clips.clip(request.video, request.num_frames, stop)
        full = vlm.full_answers.of(clip, request.question, int(request.max_new_tokens))
        method = Mask(mask_places=tuple(painted), mask_mode=mode)
        asked = {"clip": clip, "question": request.question, "method": method, "max_new_tokens": int(request.max_new_tokens)}
        answer = None
        for said in vlm.run("ask", stop, **asked):
            answer = said.answer
        if answer is None or answer.trace is None:
            return "Stopped before there was an answer."
        note(answer)
    patches = f"{len(painted):,} patch{'es' * (len(painted) != 1)}"
    whole = f" With everything it says “{full.text}”." if full is not None else ""
    return f"{MODES[mode]} {'these' if len(painted) != 1 else 'this'} {patches} the full model says “{answer.text}”.{whole}"


def connect_counterfactual(vlm: AppModel, inputs: list, results: Results, client: gr.Textbox) -> None:
    """The screen's event `submit` asks. What was painted comes in the hidden component `client`."""
    signal = gr.State(StopSignal())

    def ask(stop: StopSignal, told: str | None, *values):
        painted, mode = painted_by(told)
        try:
            stop.begin()
            return {"again_said": ask_again(vlm, Request.of(*values), painted, mode, stop)}
        except Exception as error:
            stop.end()
            return {"again_said": f"Not run: {sentence(error)}"}

    results.screen.submit(ask, [signal, client, *inputs], results.screen, js=SENDING, trigger_mode="once", **ONE_AT_A_TIME)


def painted_by(told: Any) -> tuple[list[int], str]:
    """(places, mode) that a browser asks for. ([], "") for anything else than that."""
    try:
        mask = json.loads(told)["mask"] if isinstance(told, str) else {}
        places, mode = mask["places"], mask["mode"]
    except (ValueError, TypeError, KeyError):
        return [], ""
    if not isinstance(places, list) or not all(isinstance(place, int) and not isinstance(place, bool) and place >= 0 for place in places):
        return [], ""
    return sorted(set(places)), mode if isinstance(mode, str) else ""
