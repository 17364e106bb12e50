"""Which layers see how many visual tokens, in words."""

from __future__ import annotations


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
