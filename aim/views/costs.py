"""Where the work of a run went: modelled FLOPs and measured time of every stage side by side, overhead included."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from aim.views.html_tables import row, table
from aim.views.units import flops, seconds

if TYPE_CHECKING:
    from aim.runtime.vlm import Answer


@dataclass(frozen=True)
class Stage:
    """A row: its name, and the entries of `Answer.timings` and `Answer.cost` that measure and model it; "" where there is none."""

    name: str
    timing: str
    cost: str
    remark: str = ""


STAGES = (
    Stage("read the video", "decode_video", ""),
    Stage("resize frames", "preprocess", ""),
    Stage("vision tower", "vision_tower", "vision_tflops"),
    Stage("merging", "merge", "merge_tflops", "overhead"),
    Stage("importance", "importance", "importance_tflops", "overhead"),
    Stage("extra scores, display only", "inspection", "", "not part of the method"),
    Stage("LLM prefill", "llm_prefill", "prefill_tflops", "the paper's figure"),
    Stage("output layer", "", "lm_head_tflops", "timed within the first word"),
    Stage("further words", "decode", "decode_tflops"),
)
FEWER = "FLOPs: of the frames that the method takes; time: of all frames"
ONCE_A_CLIP = ("decode_video", "preprocess", "vision_tower")
READING = (
    "Blue: modelled FLOPs, each bar its share of all FLOPs. Orange: measured time, its share of all time. "
    "Where orange is much longer than blue, the stage costs more time than its arithmetic explains.<br>"
    "Merging and importance are what the method adds; the paper's FLOPs leave them out, and the vision tower too."
)


def cost_table(answer: Answer) -> str:
    """The table of one finished run. A stage that an earlier run on the same clip had already done shows "reused" instead of a time."""
    timings, cost = answer.timings, answer.cost
    shown = [stage for stage in STAGES if stage.timing in timings or cost.get(stage.cost) or stage.timing in ONCE_A_CLIP]
    all_flops = sum(cost.get(stage.cost, 0.0) for stage in shown) or 1.0
    all_time = sum(timings.get(stage.timing, 0.0) for stage in shown) or 1.0
    rows = [_row(stage, answer, all_flops, all_time) for stage in shown]
    heads = ("stage", *(f'{what} <span class="aim-kind">{kind}</span>' for what, kind in (("FLOPs", "modelled"), ("time", "measured"))))
    heading = "".join(f'<th scope="col">{head}</th>' for head in heads)
    total = row("Total", (flops(all_flops), seconds(all_time)))
    costs = table("Cost of each stage", f"<thead><tr>{heading}</tr></thead>", [*rows, total], "aim-costs")
    return f'{costs}<p class="aim-reading">{READING}</p>'


def _row(stage: Stage, answer: Answer, all_flops: float, all_time: float) -> str:
    work, spent = answer.cost.get(stage.cost), answer.timings.get(stage.timing)
    absent = "reused" if stage.timing in ONCE_A_CLIP else "–"
    words = (_about_tower(answer) if work and stage.cost == "vision_tflops" else "") or stage.remark
    remark = f"<small>{escape(words)}</small>" if words else ""
    left = f"{flops(work)}{_bar(work / all_flops, 'modelled')}" if work else "–"
    right = f"{seconds(spent)}{_bar(spent / all_time, 'measured')}" if spent is not None else absent
    return row(f"{escape(stage.name)}{remark}", (left, right))


def _about_tower(answer: Answer) -> str:
    """How the vision tower was reduced, and whether the method takes fewer frames than it saw; "" where neither is so."""
    frames = answer.trace.frames if answer.trace else answer.frames
    fewer = FEWER if answer.method.frames_seen(frames) < frames else ""
    return "; ".join(filter(None, ("" if answer.tower is None else answer.tower.words, fewer)))


def _bar(share: float, kind: str) -> str:
    return f'<i class="aim-share aim-share-{kind}" style="width:{max(0.5, 100 * share):.1f}%" title="{share:.1%}"></i>'
