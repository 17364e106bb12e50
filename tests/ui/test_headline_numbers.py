"""What a run tells of itself, for a tiny model of every family: plan, panel, bars, cards, report, log and account say what was executed."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest

import aim
from aim.kernels.schedule import merged_per_frame
from aim.ui import knobs
from aim.ui.api import plan as api_plan
from aim.ui.export_files import save_report, save_trace
from aim.ui.gpu import placed
from aim.ui.handlers import FinishedRun, answer
from aim.ui.request import Request
from aim.ui.run_log import logged
from aim.ui.seen import UNSEEN, Seen
from aim.ui.spending import saving, spending
from aim.ui.stop import StopSignal
from aim.ui.texts import model_line
from aim.video.clip import Clip, clip_from_frames
from tests.tiny import ANY_SIZE, FEWER, TINY
from tests.tiny_checkpoints import save_checkpoint

QUESTION, KNOBS = "what is it?", {"merge_ratio": 0.5, "l1": 2, "l2": 5}
HEIGHT, WIDTH = 36, 60
# Visual tokens of a frame of that size, or of two: Qwen's are 4.5 x 7.5 tokens of 8 x 8 pixels, rounded to even, and Gemma 4 makes frames
# larger, of 70 tokens at most. The others resize frames to a square.
TOKENS = {name: 4 * 8 if name in ANY_SIZE else 25 for name in TINY} | {"gemma4": 6 * 10}
# Of a frame of 640 x 360 pixels, 45 x 80 tokens of 8 x 8 pixels, or of two, where that differs.
USUAL = dict.fromkeys(ANY_SIZE, 45 * 80) | {"gemma4": 6 * 11}


@pytest.fixture(scope="module", params=FEWER)
def vlm(request, tmp_path_factory):
    return aim.load(save_checkpoint(request.param, tmp_path_factory.mktemp(request.param), max_position_embeddings=65536))


def name_of(vlm) -> str:
    return vlm.model.config.model_type


def read(path, num_frames: int, stop=None) -> Clip:
    """A video of 11 frames."""
    frames = np.random.default_rng(0).integers(0, 256, (11, HEIGHT, WIDTH, 3), np.uint8)
    return clip_from_frames(frames[:num_frames], 4.0)


def asked(frames: int) -> Request:
    return Request.of(video="clip.mp4", question=QUESTION, num_frames=frames, max_new_tokens=3, **KNOBS)


def run(vlm, frames: int) -> tuple[FinishedRun, str]:
    """The finished run, and the first of the figures shown with it."""
    *_, last = answer(placed(vlm), asked(frames), StopSignal(), read)
    return last.run, last.screen["facts"][0][0]


def counts(vlm, frames: int) -> tuple[int, int, int]:
    """(steps, visual tokens, merged tokens) of so many frames."""
    name = name_of(vlm)
    steps = math.ceil(frames / TINY[name].step)
    return steps, steps * TOKENS[name], steps * merged_per_frame(KNOBS["merge_ratio"], TOKENS[name])


def told_by(svg: str) -> list[tuple[int, int]]:
    """(visual, text) tokens of each layer, as the curve tells them."""
    return [(int(count.replace(",", "")), int(words)) for count, words in re.findall(r"Layer \d+: ([\d,]+) visual \+ (\d+) text", svg)]


def dashed(svg: str) -> list[str]:
    """Heights of the planned line of a report, one for each layer."""
    path = re.search(r'<path d="M\S+ \S+?(V[^"]*)" fill="none"', svg)[1]
    return re.findall(r"V([\d.]+)", path)


def tops(svg: str) -> list[str]:
    """Heights of the bars, visual tokens on top of text."""
    return [re.findall(r' y="(\S+)"', bars)[1] for bars in re.findall(r"<g(?: class=\"shown\")?>(<rect.*?)<g class=\"tip\">", svg)]


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_everything_a_run_shows_is_what_it_executed(vlm, frames, tmp_path, caplog):
    finished, cards = run(vlm, frames)
    steps, visual, merged = counts(vlm, frames)
    executed = finished.trace.tokens_per_layer
    assert executed[0][0] == merged and (finished.trace.frames, finished.trace.visual_tokens) == (steps, visual)
    assert finished.plan.tokens_per_layer == executed
    for figure in ("prefill_tflops", "baseline_tflops", "speedup", "kv_bytes", "baseline_kv_bytes", "vision_tflops"):
        assert finished.answer.cost[figure] == getattr(finished.plan, figure), figure

    assert f"{visual:,} → {merged:,}" in cards
    panel = knobs.plan(vlm, QUESTION, *(asked(frames).values()[name] for name in knobs.PLANNED), seen=Seen.of(finished.frames, frames))
    assert f"{visual:,} → {merged:,} visual tokens" in panel
    assert told_by(panel) == executed

    report = Path(save_report(finished, None, tmp_path)).read_text(encoding="utf-8")
    svg = re.search(r'<svg class="aim-curve".*?</svg>', report, re.S)[0]
    assert told_by(svg) == executed and dashed(svg) == tops(svg) and f"{visual:,} → {merged:,}" in report

    account = json.loads(Path(save_trace(finished, tmp_path)).read_text(encoding="utf-8"))
    assert (account["frames"], account["steps"], account["visual_tokens"], account["merged_tokens"]) == (frames, steps, visual, merged)
    with caplog.at_level(logging.INFO, "aim.runs"), logged(placed(vlm), "aim", frames) as note:
        note(finished.answer)
    line = dict(item.split("=", 1) for item in caplog.messages[-1].split())
    assert (line["frames"], line["visual_tokens"], line["merged_tokens"]) == (str(frames), str(visual), str(merged))
    assert line.get("steps", str(frames)) == str(steps)


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_before_a_video_was_read_the_panel_is_for_that_many_frames_of_a_usual_size(vlm, frames):
    values = asked(frames).values()
    panel = knobs.plan(vlm, QUESTION, *(values[name] for name in knobs.PLANNED))
    steps = math.ceil(frames / TINY[name_of(vlm)].step)
    each = USUAL.get(name_of(vlm), 25)
    merged = steps * merged_per_frame(KNOBS["merge_ratio"], each)
    assert f"{steps * each:,} → {merged:,} visual tokens" in panel
    assert ("frames of 640 × 360 pixels" in panel) == (name_of(vlm) in USUAL)
    told = api_plan(vlm, asked(frames))
    assert told["tokens_per_layer"][0][0] == merged


def test_a_video_with_fewer_frames_than_asked_for_is_planned_with_those_it_has(vlm):
    finished, _ = run(vlm, 15)
    assert finished.answer.frames == 11 and finished.plan.tokens_per_layer == finished.trace.tokens_per_layer
    seen, values = Seen.of(finished.frames, 15), asked(15).values()
    panel = knobs.plan(vlm, QUESTION, *(values[name] for name in knobs.PLANNED), seen=seen)
    _, visual, merged = counts(vlm, 11)
    assert f"{visual:,} → {merged:,} visual tokens" in panel and "The video has 11 frames." in panel
    assert seen.frames(3) == 3 and UNSEEN.frames(15) == 15


def test_what_the_saving_pays_for_is_counted_in_frames_of_the_clip(vlm):
    noted = []
    *_, (status, table) = spending(placed(vlm), asked(3), StopSignal(), noted.append, lambda path, num_frames, stop: long(num_frames))
    full, reduced = noted
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r'<th scope="row">.*?</tr>', table)]
    assert [int(cells[1]) for cells in rows] == [full.frames, reduced.frames] and full.frames == 3 < reduced.frames
    assert reduced.cost["prefill_tflops"] <= full.cost["prefill_tflops"] < cost_of_frames(vlm, reduced.frames + 1)
    told, _ = saving(vlm, QUESTION, *(asked(3).values()[name] for name in knobs.PLANNED), seen=Seen.of(long(3).frames, 3))
    assert f"pay for {reduced.frames} frames" in told and "Done." in status


def long(frames: int) -> Clip:
    return clip_from_frames(np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8), 4.0)


def cost_of_frames(vlm, frames: int) -> float:
    """Executed FLOPs of one run of AIM on so many frames."""
    return vlm.ask(long(frames), QUESTION, asked(frames).method(), max_new_tokens=1).cost["prefill_tflops"]


def test_the_models_line_tells_for_how_many_frames_its_tokens_are(vlm):
    each = USUAL.get(name_of(vlm), 25)
    assert f"{each} visual tokens {'for 2 frames' if TINY[name_of(vlm)].step == 2 else 'a frame'}" in model_line(vlm)
