"""What happens on every click, as functions of plain values: no component, no browser, no global state.

Expected mistakes are `ValueError`s with a sentence for the visitor; the layout turns them into messages.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from aim.methods import AIM
from aim.trace import Trace
from aim.video import Clip, read_video
from aim.views.charts import layer_chart
from aim.views.figures import STAGES, figures, plan_line, seconds
from aim.views.frames import VIEWS, draw_frames, scored_layer, scored_layers

MAX_QUESTION = 2000
TYPICAL_TEXT_TOKENS = 20
CLIPS_KEPT = 2
STOPPED_EARLY = "Stopped, before there was anything new to show."
READY = "Pick an example or upload a video, ask, and press Run."


class StopSignal(threading.Event):
    """One visitor's Stop button. `asked` tells a visitor's stop from a run that ended by itself; `busy` says there is something to stop.

    Gradio copies a state's first value for every session; a copy is a fresh signal, because locks cannot be copied.
    """

    asked = busy = False

    def __deepcopy__(self, memo: dict) -> StopSignal:
        return StopSignal()

    def ask(self) -> None:
        self.asked = True
        self.set()

    def begin(self) -> None:
        """A run was asked for. While one is waiting or running, its own stop stays as it is."""
        if not self.busy:
            self.busy, self.asked = True, False
            self.clear()

    def end(self) -> None:
        self.busy = False


@dataclass(frozen=True)
class Request:
    """What the visitor asks for: one field a component, in the order the layout passes them."""

    video: str | None
    question: str | None
    merge_ratio: float
    l1: int
    l2: int
    num_frames: int
    positions: str = "compact"
    max_new_tokens: int = 64
    score_every_layer: bool = False

    def method(self) -> AIM:
        """Raises ValueError when knobs contradict each other."""
        return AIM(merge_ratio=float(self.merge_ratio), l1=int(self.l1), l2=int(self.l2), positions=self.positions)


@dataclass(frozen=True)
class Run:
    """What is left of a finished run for drawing it again without the model."""

    frames: np.ndarray
    timestamps: np.ndarray
    trace: Trace


@dataclass(frozen=True)
class Screen:
    """What to show; None leaves a component as it is. The last screen of a run has a value for each."""

    status: str
    answer: str | None = None
    figures: str | None = None
    chart: go.Figure | None = None
    download: str | None = None
    run: Run | None = None
    clips: dict | None = None


@dataclass(frozen=True)
class Pictures:
    """The frames of a run in one view, as (path, caption), and for views by layer which layers there are and which is shown."""

    images: list[tuple[str, str]]
    legend: str
    columns: int = 4
    layers: list[int] = field(default_factory=list)
    layer: int | None = None
    by_layer: bool = False


def check(request: Request, max_frames: int) -> None:
    """Raises ValueError, worded for the visitor, when something is missing or out of range."""
    if not request.video:
        raise ValueError("There is no video yet. Upload one or pick an example.")
    question = (request.question or "").strip()
    if not question:
        raise ValueError("There is no question yet. Type one, for example: what happens?")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"The question has {len(question):,} characters; up to {MAX_QUESTION:,} are accepted. Please shorten it.")
    if not 1 <= request.num_frames <= max_frames:
        raise ValueError(f"{request.num_frames:,} frames were asked for; this model takes 1 to {max_frames}. Choose a number in between.")
    request.method()


def answer(
    vlm, request: Request, clips: dict, stop: StopSignal, folder: str | Path | None = None, read: Callable[..., Clip] = read_video
) -> Iterator[Screen]:
    """Run the model, yielding what to show while it works.

    Args:
        clips: the session's decoded clips, (path, frames) → clip.
        stop: already asked for while waiting in the queue, or any time later.
        folder: where the trace for download is written; default the system's temporary folder.

    Raises:
        ValueError: see `check`, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    if stop.asked:
        yield Screen(status(STOPPED_EARLY))
        return
    known = (request.video, request.num_frames) in clips
    yield Screen(status("Frames are still here from the last run." if known else "Reading the video…", busy=True), answer="")
    clips = remember(clips, request, read)
    clip = clips[request.video, request.num_frames]
    yield Screen(status("Looking at the frames and the question…", {} if known else {"decode_video": clip.decode_seconds}, busy=True))
    current = None
    scores = "all" if request.score_every_layer else "pruning"
    for current in vlm.stream(clip, request.question, request.method(), int(request.max_new_tokens), stop=stop, scores=scores):
        if current.trace is None:
            yield Screen(status("Answering…", current.timings, busy=True), answer=current.text)
    if current is None or current.trace is None or not current.trace.tokens_per_layer:
        yield Screen(status(STOPPED_EARLY), clips=clips)
        return
    trace = current.trace
    text_tokens = trace.tokens_per_layer[0][1]
    planned = vlm.plan(trace.frames, text_tokens, request.method()).tokens_per_layer
    yield Screen(
        status=status("Stopped." if stop.asked else f"Done in {seconds(current.timings['total'])}.", note=_reuse(current)),
        answer=current.text,
        figures=figures(trace.visual_tokens, trace.merged_tokens, current.cost, current.timings, current.features_reused),
        chart=layer_chart(trace, planned),
        download=save_trace(current.to_json(), folder),
        run=Run(clip.frames, clip.timestamps, trace),
        clips=clips,
    )


def remember(clips: dict, request: Request, read: Callable[..., Clip] = read_video) -> dict:
    """The session's clips with the requested one among them, read if it is new, the oldest ones let go."""
    key = (request.video, request.num_frames)
    clip = clips[key] if key in clips else read(request.video, num_frames=int(request.num_frames))
    others = [item for item in clips.items() if item[0] != key]
    return dict([*others[-(CLIPS_KEPT - 1) :], (key, clip)])


def redraw(run: Run | None, view: str, layer: int | None = None, folder: str | Path | None = None) -> Pictures:
    """The frames of the last run in another view, without running the model."""
    if run is None:
        return Pictures([], "")
    chosen = VIEWS[view]
    layer = scored_layer(run.trace, layer)
    images = save_pictures(draw_frames(run.frames, run.timestamps, run.trace, view, layer), folder)
    legend = f'{chosen.legend(run.trace, layer)}<p class="aim-reading">{escape(chosen.reading)}</p>'
    return Pictures(images, legend, 4 if len(images) <= 12 else 6, scored_layers(run.trace), layer, chosen.by_layer)


def plan(vlm, question: str | None, merge_ratio: float, l1: int, l2: int, num_frames: int) -> str:
    """The planned cost of these knobs, as HTML, without running the model. Knobs in between two valid settings give a hint instead."""
    try:
        method = replace(AIM(), merge_ratio=float(merge_ratio), l1=int(l1), l2=int(l2))
        text_tokens = vlm.text_tokens(question.strip()[:MAX_QUESTION]) if (question or "").strip() else TYPICAL_TEXT_TOKENS
        planned = vlm.plan(int(num_frames), text_tokens, method)
    except ValueError as error:
        return f'<div class="aim-plan">{escape(str(error))}</div>'
    return plan_line(int(num_frames) * vlm.tokens_per_frame, planned.tokens_per_layer, planned.prefill_tflops, planned.speedup)


def follow_l1(l1: int, l2: int) -> int:
    """Where l2 belongs after l1 was moved: l1 < l2."""
    return max(int(l2), int(l1) + 1)


def follow_l2(l1: int, l2: int) -> int:
    """Where l1 belongs after l2 was moved: l1 < l2."""
    return min(int(l1), int(l2) - 1)


def request_stop(stop: StopSignal) -> str:
    """Ask the run to end; the status line."""
    if not stop.busy:
        return status("Nothing is running.")
    stop.ask()
    return status("Stopping…", busy=True)


def status(text: str, timings: dict[str, float] | None = None, busy: bool = False, note: str = "") -> str:
    """The status line: what goes on, and the stages finished so far with their times."""
    done = "".join(f"<span>{STAGES[name][0]} {seconds(spent)}</span>" for name, spent in (timings or {}).items() if name in STAGES)
    remark = f"<span>{escape(note)}</span>" if note else ""
    return f'<div class="aim-status{" aim-busy" if busy else ""}" role="status">{escape(text)}{done}{remark}</div>'


def save_pictures(pictures: list[tuple[Image.Image, str]], folder: str | Path | None = None) -> list[tuple[str, str]]:
    """Write the pictures to a folder of their own, as JPEG with full colour resolution (thin lines need it); (path, caption) each."""
    folder = Path(tempfile.mkdtemp(prefix="aim-", dir=folder))
    written = []
    for number, (picture, caption) in enumerate(pictures, start=1):
        path = folder / f"frame-{number:02d}.jpg"
        picture.save(path, quality=90, subsampling=0)
        written.append((str(path), caption))
    return written


def save_trace(text: str, folder: str | Path | None = None) -> str:
    """Write the JSON to a folder of its own, so that two visitors' files never meet; the path."""
    path = Path(tempfile.mkdtemp(prefix="aim-", dir=folder)) / "aim-trace.json"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _reuse(current) -> str:
    return "Vision features reused: only the language model ran." if current.features_reused else ""
