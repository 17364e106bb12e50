"""What the knobs will do, before the model runs: figures, the curve of planned tokens, and the nearest published result."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aim.methods.published import Row
from aim.views.units import flops, times

if TYPE_CHECKING:
    from aim.planning.plan import Plan


def plan_panel(plan: Plan, visual_tokens: int, published: Row | None = None, remark: str = "") -> str:
    """The panel beside the knobs.

    Args:
        visual_tokens: what the vision tower makes of the clip, before merging.
        published: the nearest row of the paper, for the model it was published for.
        remark: what the plan takes for granted about the clip.
    """
    visual = [count for count, _ in plan.tokens_per_layer]
    bars = "".join(f'<i style="--kept:{100 * count / max(1, visual_tokens):.1f}%"></i>' for count in visual)
    paper = f'<div class="aim-plan-paper">{escape(published.sentence())}</div>' if published else ""
    words = f"<b>{visual_tokens:,} → {visual[0]:,} visual tokens.</b> {escape(' '.join(filter(None, (in_words(visual), remark))))}"
    return (
        '<div class="aim-plan"><div class="aim-plan-figures"><span class="aim-kind">modelled:</span> '
        f"LLM prefill FLOPs <b>{flops(plan.prefill_tflops)}</b>, "
        f"<b>{times(plan.speedup)} less</b> · KV cache <b>{times(plan.baseline_kv_bytes / max(1, plan.kv_bytes))} smaller</b></div>"
        f'<div class="aim-plan-curve" role="img" aria-label="Planned visual tokens in each layer">{bars}</div>'
        f'<div class="aim-plan-detail">{words}</div>{paper}</div>'
    )


def hint(text: str) -> str:
    """What is wrong with the knobs, shown in place of the panel."""
    return f'<div class="aim-plan aim-plan-hint">{escape(text)}</div>'


def in_words(visual: list[int]) -> str:
    """Which layers see all merged tokens, fewer and fewer, or none."""
    layers, merged = len(visual), visual[0]
    full = next((layer for layer, count in enumerate(visual) if count < merged), layers)
    gone = next((layer for layer, count in enumerate(visual) if count == 0), layers)
    parts = [f"{_span(0, full)} all {merged:,}"] if full else []
    if gone > full:
        parts.append(f"{_span(full, gone)} fewer and fewer")
    if gone < layers:
        parts.append(f"{_span(gone, layers)} none")
    sentence = ", ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def _span(first: int, end: int) -> str:
    return f"layer {first} sees" if end - first == 1 else f"layers {first}–{end - 1} see"
