"""The figures of a run as HTML: its stages with their times, the cards under the answer, and two runs side by side.

Every text that is not a number of ours is escaped. Modelled figures say so; the others are measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from aim.views.html_tables import row, table
from aim.views.tower import tower_fact
from aim.views.units import fewer, flops, number, seconds, size, smaller, times

if TYPE_CHECKING:
    from aim.runtime.vlm import Answer

# What the visitor waits for, in order, and the timings of `Answer` each stage is made of.
STEPS = {
    "read video": ("decode_video",),
    "vision": ("preprocess", "vision_tower"),
    "merge": ("merge",),
    "prefill": ("llm_prefill", "importance", "inspection"),
    "answer": ("decode",),
}
KEPT = ("read video", "vision")
COMPARING = (
    "One run each, so times vary. The modelled × counts FLOPs and bytes, not time: small models and short prompts save less time."
    "<br>Prefill includes merging and scoring. Peak memory includes the model's weights, and on a CPU the whole program."
)


def steps(timings: dict[str, float], reused: Iterable[str] = (), running: str | None = None) -> str:
    """The stages of a run as a list: those that ended with their times, those reused from an earlier run, and the one going on.

    Args:
        timings: `Answer.timings` so far, seconds.
        reused: keys of `STEPS` that did not have to run.
        running: the key of `STEPS` that is being worked on.
    """
    items = []
    for name, parts in STEPS.items():
        spent = [timings[part] for part in parts if part in timings]
        if name in reused:
            items.append(f'<li class="aim-step-done">{name} <b>reused</b></li>')
        elif spent and name != running:
            items.append(f'<li class="aim-step-done">{name} <b>{seconds(sum(spent))}</b></li>')
        else:
            items.append(f'<li class="{"aim-step-now" if name == running else "aim-step-later"}">{name}</li>')
    return f'<ol class="aim-steps">{"".join(items)}</ol>'


def card(label: str, value: str, detail: str = "", kind: str = "") -> str:
    """One figure: what it is, how much, compared to what, and whether it is "modelled" or "measured"."""
    tag = f' <span class="aim-kind">{escape(kind)}</span>' if kind else ""
    return (
        f'<div class="aim-card"><div class="aim-card-label">{escape(label)}{tag}</div>'
        f'<div class="aim-card-value">{escape(value)}</div><div class="aim-card-detail">{escape(detail)}</div></div>'
    )


def figures(answer: Answer) -> str:
    """The cards of one finished run."""
    trace, cost = answer.trace, answer.cost
    cards = [
        card(
            "Visual tokens",
            f"{trace.visual_tokens:,} → {trace.merged_tokens:,}",
            last_layer(trace.tokens_per_layer[-1][0]),
            "counted",
        ),
        card(
            "LLM prefill FLOPs",
            fewer(cost["speedup"]).removesuffix(" FLOPs"),
            f"{flops(cost['prefill_tflops'])} instead of {flops(cost['baseline_tflops'])}, without the vision tower",
            "modelled",
        ),
        card(
            "KV cache",
            smaller(kv_ratio(cost)),
            f"{size(cost['kv_bytes'])} instead of {size(cost['baseline_kv_bytes'])}",
            "modelled",
        ),
        card(
            "First word",
            seconds(first_word(answer)),
            "after the vision tower" if not answer.features_reused else "vision features reused",
            "measured",
        ),
    ]
    cards += [card("Vision tower FLOPs", told.removeprefix("vision tower "), detail, kind) for told, kind, detail in tower_fact(answer)]
    return f'<div class="aim-cards">{"".join(cards)}</div>'


def last_layer(visual: int) -> str:
    """What the last layer still sees."""
    return f"{visual:,} left in the last layer" if visual else "none in the last layers; by then the text has absorbed them"


def kv_ratio(cost: dict[str, float]) -> float:
    """How much smaller the modelled KV cache is than the full model's."""
    return cost["baseline_kv_bytes"] / max(1, cost["kv_bytes"])


def first_word(answer: Answer) -> float:
    """Seconds from the start of generation to the first token, without scores that are only looked at."""
    return answer.timings.get("first_token", 0.0) - answer.timings.get("inspection", 0.0)


def tokens_per_second(answer: Answer) -> float | None:
    """Tokens a second after the first; None for an answer too short to tell."""
    spent = answer.timings.get("decode", 0.0)
    return (answer.new_tokens - 1) / spent if answer.new_tokens > 1 and spent > 0 else None


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same, but for case and spaces at the ends."""
    return one.text.strip().lower() == other.text.strip().lower()


def comparison(reduced: Answer, full: Answer) -> str:
    """Both runs' measured figures side by side, and the measured ratio beside the modelled one where there is a model."""
    cost, ours, theirs = reduced.cost, reduced.trace, full.trace
    rows = [
        _compared("prefill", ours.prefill_seconds, theirs.prefill_seconds, seconds, cost["baseline_tflops"] / cost["prefill_tflops"]),
        _compared("first word", first_word(reduced), first_word(full), seconds),
        _compared("tokens a second", tokens_per_second(reduced), tokens_per_second(full), number, more_is_better=True),
        _compared("peak memory", ours.peak_memory_bytes, theirs.peak_memory_bytes, size),
        _compared("KV cache", ours.key_value_bytes, theirs.key_value_bytes, size, kv_ratio(cost)),
    ]
    same = same_answer(reduced, full)
    verdict = "Both give the same answer." if same else "The answers differ."
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("what", "this setting", "full model", "measured ×", "modelled ×"))
    return (
        f'<div class="aim-compare"><p class="aim-verdict aim-{"same" if same else "differ"}">{verdict}</p>'
        f'{table("This run beside the full model", f"<thead><tr>{heads}</tr></thead>", rows)}<p class="aim-reading">{COMPARING}</p></div>'
    )


def _compared(name: str, ours: float | None, full: float | None, write, modelled: float | None = None, more_is_better: bool = False) -> str:
    ratio = (ours / full if more_is_better else full / ours) if ours and full else None
    cells = [write(value) if value else "–" for value in (ours, full)] + [times(value) if value else "–" for value in (ratio, modelled)]
    return row(name, cells)
