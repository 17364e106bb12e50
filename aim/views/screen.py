"""What the page shows of a run, as one value of plain JSON: answer, figures, pictures, layers and costs. The browser draws it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from aim.views.costs import cost_table
from aim.views.curve import curve_legend, token_curve
from aim.views.explorer import payload
from aim.views.fates import telling_layer
from aim.views.figures import comparison, first_word, kv_ratio, last_layer, same_answer
from aim.views.said_words import said_words
from aim.views.shown_run import ShownRun
from aim.views.tower import tower_fact
from aim.views.units import fewer, flops, quicker, seconds, size, smaller

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.methods.tower import Tower
    from aim.planning.plan import Plan
    from aim.runtime.vlm import Answer


def screen(
    answer: Answer, run: ShownRun, plan: Plan, asked: list[Any], names: Mapping[str, str], full: Answer | None = None, kept: str = ""
) -> dict[str, Any]:
    """A finished run.

    Args:
        asked: the values of the page's inputs that the run was made with, so that the browser can tell whether they have changed.
        names: `picture` is a name of the frames, `setting` one of the knobs.
        full: the full model's answer to the same question.
        kept: the name of the frames that the browser has already. They are not sent again.

    Returns:
        asked, names: as given.
        answer, note: what the model said, and what it wants said about that.
        words: the answer's words, see `aim.views.said_words`.
        full, same: the full model's answer and whether it is the same, None where it is not known.
        facts: [(what, kind, tooltip)], the figures in a few words each.
        run: the payload of the explorer, see `aim.views.explorer.payload`. Its picture has no data where the browser has it.
        layers, cost: HTML of the two panels.
        seconds: how long the run took without reading the video.
    """
    trace = run.trace
    return {
        "asked": asked,
        **names,
        "answer": answer.text,
        "note": answer.note,
        "words": said_words(answer),
        "full": full and full.text,
        "same": full and same_answer(answer, full),
        "facts": facts(answer, full),
        "run": payload(run.frames, run.timestamps, trace, picture=kept != names["picture"]),
        "layers": layers(answer, trace, plan),
        "cost": cost_table(answer) + (comparison(answer, full) if full else ""),
        "seconds": round(answer.timings.get("total", 0.0), 3),
    }


def layers(answer: Answer, trace: Trace, plan: Plan) -> str:
    """The tokens of each layer as a drawing with its legend, as HTML."""
    curve = token_curve(trace, answer.method, telling_layer(trace), plan.tokens_per_layer)
    return f"{curve}{curve_legend(bool(trace.scored_layers), planned=True)}"


def growing(text: str, note: str = "", full: str | None = None) -> dict[str, Any]:
    """An answer that is still being written."""
    return {"growing": True, "answer": text, "note": note, "full": full}


def facts(answer: Answer, full: Answer | None) -> list[tuple[str, str, str]]:
    """The figures of a run, each with its kind and with what it means."""
    trace, cost = answer.trace, answer.cost
    told = [
        (
            f"{trace.visual_tokens:,} → {trace.merged_tokens:,} tokens",
            "counted",
            f"Visual tokens before and after merging; {last_layer(trace.tokens_per_layer[-1][0])}.",
        ),
        (
            fewer(cost["speedup"]),
            "modelled",
            f"FLOPs: the arithmetic of the prefill, in which the model reads the prompt. {flops(cost['prefill_tflops'])} instead of "
            f"{flops(cost['baseline_tflops'])}, without the vision tower.",
        ),
        (
            f"KV cache {smaller(kv_ratio(cost))}",
            "modelled",
            f"KV cache: what the model remembers of the prompt while it writes. {size(cost['kv_bytes'])} instead of "
            f"{size(cost['baseline_kv_bytes'])}.",
        ),
    ]
    if full is not None and full.trace is not None and trace.prefill_seconds > 0:
        speed = f"{quicker(full.trace.prefill_seconds, trace.prefill_seconds)} prefill"
        here = f"{seconds(trace.prefill_seconds)} instead of {seconds(full.trace.prefill_seconds)}, one run each, so times vary."
        told.insert(2, (speed, "measured", f"Prefill: the pass in which the model reads the prompt. {here}"))
    else:
        told.append((f"first word {seconds(first_word(answer))}", "measured", "From the start of the prefill to the first word."))
    return [*told, *tower_fact(answer)]


def setting_in_words(merge_ratio: float, l1: int, l2: int, frames: int, tower: Tower | None = None) -> str:
    """A setting in a few words, for example "25 %, l1 6, l2 9, 8 frames, tower merge 0.3"."""
    inside = "" if tower is None else f", {tower.words}"
    return escape(f"{100 * merge_ratio:g} %, l1 {l1}, l2 {l2}, {frames} frame{'s' * (frames != 1)}{inside}")
