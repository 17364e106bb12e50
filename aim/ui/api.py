"""The app's API: `/ask` and `/plan`, two endpoints with plain JSON. Everything else the page does is private to it.

They are the events of hidden buttons. Only an input that is a `gr.Video` refuses files that the caller has not uploaded.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.data_classes import FileData
from pydantic import ValidationError

from aim.kernels.bounds import Bounds
from aim.methods import AIM
from aim.runtime.answer import Answer
from aim.runtime.limits import MAX_NEW_TOKENS, TYPICAL_TEXT_TOKENS
from aim.ui import handlers
from aim.ui.errors import sentence
from aim.ui.handlers import TOO_LARGE
from aim.ui.knobs import DECLARED, PLANNED, defaults
from aim.ui.model import AppModel
from aim.ui.request import KNOBS, Request, check, whole_number
from aim.ui.starting import IN_LINE
from aim.ui.stop import StopSignal
from aim.ui.texts import public_name
from aim.ui.turn import turn

# The method's knobs and the vision tower's settings as they are declared, and what else one can ask for.
TURNED = "\n".join(f"{name}: {knob.explained}" for name, knob in DECLARED.items())
ASK = f"""Ask a question about a video or a picture with fewer visual tokens, and get the answer with its account as JSON.

video: an uploaded MP4, MOV, MKV, WebM, AVI, MPG, GIF or TS file, or a JPEG, PNG, WebP or BMP picture. question: 1 to 2,000 characters.
num_frames: frames sampled evenly in time, of a picture one. {TURNED}
 max_new_tokens: longest answer. score_every_layer: also score layers that drop nothing.
compare: also run the full model with the full tower, returned as "full", which is null where it does not fit into memory. The vision
tower runs in full where tower_merge is 1 and tower_reuse is 0.

Returns answer, model, method, params, tower (null where it ran in full), tower_computed (the share of patches that a reduced tower
computed), frames, steps (fewer than frames where the model joins frames), visual_tokens, merged_tokens,
tokens_per_layer (visual, text), timings in seconds by stage (measured), cost (modelled: FLOPs in TFLOP, sizes in bytes), features_reused,
new_tokens, note (what the model wants said, or "")."""
PLAN = f"""What a setting would cost on this app's model, without running it, as JSON.

The frames are taken to have 640 x 360 pixels. question: only its length counts; may be empty. {", ".join(PLANNED)}: as in /ask.

Returns prefill_tflops, baseline_tflops, speedup, causal_speedup (what causal kernels compute), kv_bytes, baseline_kv_bytes, vision_tflops,
baseline_vision_tflops, merge_tflops, importance_tflops, lm_head_tflops, tokens_per_layer. All modelled."""


def ask(vlm: AppModel, request: Request) -> dict[str, Any]:
    """Read the video and answer. Returns the answer's account without the trace's tensors.

    With `compare` the entry "full" is the full model's account, or None where the full model does not fit into memory.

    Raises:
        Refusal: as the page does.
    """
    stop = StopSignal()
    with turn(vlm, AIM.name, request, stop) as note:  # it ends the run of a caller who hangs up
        check(request, vlm.max_frames)
        clip = vlm.clips.clip(request.video, request.num_frames, stop)
        asked = handlers.asked(vlm, request, clip) | {"words": False, "compare": request.compare}
        accounts: dict[bool, dict[str, Any] | None] = {}
        for said in vlm.run("ask", stop, **asked):
            accounts[said.by_full] = said.answer and said.answer.account()
            if said.answer is not None and said.answer.trace is not None:
                note(said.answer)
        account = accounts.get(False) or Answer(model=vlm.name).account()
        if request.compare:
            account["full"] = accounts.get(True)
            if True in accounts and accounts[True] is None:
                account["note"] = f"{account['note']} {TOO_LARGE}".strip()
    for told in filter(None, (account, account.get("full"))):
        told["model"] = public_name(told["model"])
    return account


def plan(vlm, request: Request) -> dict[str, Any]:
    """`Plan.to_dict()` for the knobs of a request.

    Raises:
        Refusal: knobs out of range.
    """
    question, frames = request.question.strip(), whole_number("The number of frames", request.num_frames)
    text_tokens = vlm.text_tokens(question, frames) if question else TYPICAL_TEXT_TOKENS
    return vlm.plan(frames, text_tokens, request.method(), tower=request.tower()).to_dict()


class Uploaded(FileData):
    """An uploaded file as Gradio hands it on. Anything else is told to the caller in a sentence, where Gradio would log a traceback."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Uploaded:
        try:
            return super().model_validate(obj, **options)
        except ValidationError:
            raise gr.Error(
                "The parameter video is no uploaded file; accepted: a file that was uploaded, or null. Give `handle_file(path)` of "
                "gradio_client by itself, without anything around it.",
                print_exception=False,
            ) from None


def build_api(vlm: AppModel) -> None:
    """Add the two endpoints to the page being built."""
    first = defaults(vlm)
    with gr.Row(visible=False):
        video, question = gr.Video(label="video", sources=["upload"]), gr.Textbox(label="question")
        video.data_model = Uploaded
        optional_question = gr.Textbox("", label="question")
        result = gr.JSON(label="result")
        knobs = {name: _parameter(vlm, name, first[name]) for name in KNOBS}
        ask_button, plan_button = gr.Button("ask"), gr.Button("plan")

    def answer(**values) -> dict[str, Any]:
        return _told(ask, vlm, Request.of(**values))

    def cost(**values) -> dict[str, Any]:
        return _told(plan, vlm, Request.of(video=None, **values))

    everything: dict[str, Block] = {"video": video, "question": question, **knobs}
    shape: dict[str, Block] = {"question": optional_question, **{name: knobs[name] for name in PLANNED}}
    ask_button.click(
        answer,
        outputs=result,
        inputs_kwargs=everything,
        api_name="ask",
        api_description=" ".join(ASK.split()),
        **IN_LINE,
    )
    plan_button.click(
        cost, outputs=result, inputs_kwargs=shape, api_name="plan", api_description=" ".join(PLAN.split()), concurrency_limit=None
    )


def _parameter(vlm: AppModel, name: str, default: Any) -> gr.JSON:
    """A parameter that takes any JSON, and is described as what it should be.

    The page's own sliders and lists would refuse a value themselves, in words of Gradio and with a traceback in the log. Here the value
    comes through, and is refused as in the library.
    """
    kind = DECLARED[name].kind if name in DECLARED else type(default)
    described: dict[str, Any] = {"type": _TYPES[kind], "description": _accepted(vlm, name)}
    if name in DECLARED and DECLARED[name].only:
        described["enum"] = list(DECLARED[name].only)
    part = gr.JSON(json.dumps(default), label=name)
    part.api_info = lambda: described  # type: ignore[method-assign]
    return part


# JSON's names of the types that parameters have.
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def _accepted(vlm: AppModel, name: str) -> str:
    if name in DECLARED:
        return DECLARED[name].accepted
    most = {"num_frames": vlm.max_frames, "max_new_tokens": MAX_NEW_TOKENS}
    return str(Bounds(1, most[name], whole=True)) if name in most else "true or false"


def _told(work, vlm, request: Request) -> dict[str, Any]:
    try:
        return work(vlm, request)
    except Exception as error:
        raise gr.Error(sentence(error), print_exception=False) from None  # plain text: no page renders it
