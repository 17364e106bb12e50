"""The figures of a run as HTML: cards with tokens, cost and time, the stages as a strip, and the plan while sliders move.

Every text that is not a number of ours is escaped. Modelled figures say so; the others are measured.
"""

from __future__ import annotations

from html import escape

# Stage → (label, colour) and its modelled cost. `first_token` and `total` overlap the others and are not stages.
STAGES = {
    "decode_video": ("read video", "#8a8f98"),
    "preprocess": ("resize", "#b7a46a"),
    "vision_tower": ("vision tower", "#3d8fd1"),
    "merge": ("merge", "#2a9d7f"),
    "importance": ("importance", "#d55e9c"),
    "llm_prefill": ("LLM prefill", "#e69f00"),
    "decode": ("further words", "#7a6fd0"),
}
STAGE_COSTS = {"vision_tower": "vision_tflops", "merge": "merge_tflops", "importance": "importance_tflops", "llm_prefill": "prefill_tflops"}


def number(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{abs(value):.2e}".split("e")[1]))
    return f"{value:,.{digits}f}"


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    value = float(f"{value:.2e}")  # rounded first, or 0.9999 TFLOP would read 1,000 GFLOP
    for size, name in units:
        if value >= size:
            return f"{number(value / size)} {name}"
    size, name = units[-1]
    return f"{number(value / size)} {name}"


def flops(teraflops: float) -> str:
    """Floating-point operations in a unit that suits their size; a multiply-add counts as two."""
    return _unit(teraflops, ((1, "TFLOP"), (1e-3, "GFLOP"), (1e-6, "MFLOP"), (1e-9, "kFLOP")))


def size(count: float) -> str:
    """Bytes in a unit that suits their size."""
    return _unit(count, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def seconds(value: float) -> str:
    """A time span in a unit that suits it."""
    return _unit(value, ((1, "s"), (1e-3, "ms"), (1e-6, "µs")))


def times(ratio: float) -> str:
    """A factor, for example "4.1×"."""
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.1f}×"


def card(label: str, value: str, detail: str = "", kind: str = "") -> str:
    """One figure: what it is, how much, compared to what, and whether it is "modelled" or "measured"."""
    tag = f' <span class="aim-kind">{escape(kind)}</span>' if kind else ""
    return (
        f'<div class="aim-card"><div class="aim-card-label">{escape(label)}{tag}</div>'
        f'<div class="aim-card-value">{escape(value)}</div><div class="aim-card-detail">{escape(detail)}</div></div>'
    )


def figures(visual_tokens: int, merged_tokens: int, cost: dict[str, float], timings: dict[str, float], reused: bool) -> str:
    """The cards and the stage strip of one finished run.

    Args:
        visual_tokens, merged_tokens: before and after merging.
        cost: `Answer.cost`; FLOPs in TFLOP, sizes in bytes.
        timings: `Answer.timings`, seconds by stage.
        reused: the vision features came from an earlier question about the clip.
    """
    cards = [
        card("Visual tokens", f"{visual_tokens:,} → {merged_tokens:,}", f"{merged_tokens / max(1, visual_tokens):.0%} kept by merging"),
        card(
            "LLM prefill cost",
            f"{times(cost['speedup'])} less",
            f"{flops(cost['prefill_tflops'])} instead of {flops(cost['baseline_tflops'])}",
            "modelled",
        ),
        card(
            "KV cache",
            f"{times(cost['baseline_kv_bytes'] / max(1, cost['kv_bytes']))} smaller",
            f"{size(cost['kv_bytes'])} instead of {size(cost['baseline_kv_bytes'])}",
            "modelled",
        ),
    ]
    if "llm_prefill" in timings:
        overhead = timings.get("merge", 0) + timings.get("importance", 0)
        cards.append(card("LLM prefill", seconds(timings["llm_prefill"]), f"and {seconds(overhead)} to merge and score", "measured"))
    if "first_token" in timings:
        detail = "vision features reused" if reused else "after the vision tower"
        cards.append(card("First word after", seconds(timings["first_token"]), detail, "measured"))
    if "total" in timings:
        cards.append(card("Whole answer after", seconds(timings["total"]), "without reading the video", "measured"))
    return f'<div class="aim-cards">{"".join(cards)}</div>{stage_strip(timings, cost, reused)}'


def stage_strip(timings: dict[str, float], cost: dict[str, float], reused: bool = False) -> str:
    """The measured stages as one bar, each as long as its share of the time; below it their times and, where modelled, their cost."""
    stages = [(name, timings[name]) for name in STAGES if name in timings]
    if not stages:
        return ""
    bar, keys = "", ""
    for name, spent in stages:
        label, colour = STAGES[name]
        modelled = f" · {flops(cost[STAGE_COSTS[name]])}" if cost.get(STAGE_COSTS.get(name)) else ""
        bar += f'<span style="flex-grow:{max(spent, 1e-6) * 1000:.4f};background:{colour}" title="{escape(label)} {seconds(spent)}"></span>'
        keys += f'<li><i style="background:{colour}"></i>{escape(label)} <b>{seconds(spent)}</b>{modelled}</li>'
    if cost.get("lm_head_tflops"):
        keys += f"<li>output layer {flops(cost['lm_head_tflops'])}</li>"
    if reused:
        keys += "<li>vision features reused from an earlier question</li>"
    return f'<div class="aim-stages"><div class="aim-stage-bar">{bar}</div><ul>{keys}</ul></div>'


def plan_line(visual_tokens: int, tokens_per_layer: list[tuple[int, int]], prefill_tflops: float, speedup: float) -> str:
    """What the knobs will do, without running the model: one line of figures, the curve, and where tokens go in words."""
    merged = tokens_per_layer[0][0]
    peak = max(1, max(visual for visual, _ in tokens_per_layer))
    bars = "".join(f'<i style="height:{max(4, 100 * visual / peak):.0f}%"></i>' for visual, _ in tokens_per_layer)
    return (
        '<div class="aim-plan"><div class="aim-plan-text">'
        f"<b>Plan: {visual_tokens:,} → {merged:,} visual tokens</b>, prefill {flops(prefill_tflops)}, <b>{times(speedup)} less</b>"
        f'<div class="aim-plan-detail">{escape(in_words([visual for visual, _ in tokens_per_layer]))}</div></div>'
        f'<div class="aim-plan-curve" aria-hidden="true">{bars}</div></div>'
    )


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
