"""The budget of the Tune tab: which kinds there are, and how far its slider goes for this model."""

from __future__ import annotations

from aim.methods import AIM, Full
from aim.runtime.limits import TYPICAL_TEXT_TOKENS
from aim.tuning import budget_kinds
from aim.tuning.budget import Budget
from aim.tuning.budget_kinds import Kind
from aim.ui.knobs import Range
from aim.ui.seen import UNSEEN, Seen

# Guesses of the FLOPs a second that a prefill reaches, by device. They set the slider of milliseconds until a prefill has been timed.
GUESSED = {"cpu": 5e10, "cuda": 1e14}

# The kinds that the page offers, by what they limit.
KINDS: dict[str, Kind] = {
    "FLOPs": budget_kinds.KINDS["times"],
    "KV cache": budget_kinds.KINDS["mb"],
    "Time": budget_kinds.KINDS["ms"],
}


def chosen_budget(kind: str, amount: float) -> Budget:
    """What the radio and the slider ask for.

    Raises:
        Refusal: an amount that is no budget.
    """
    return Budget(KINDS[kind].name, float(amount))


def budget_range(vlm, kind: str, num_frames: int, full_seconds: float | None = None, seen: Seen = UNSEEN) -> Range:
    """The range of the budget's slider for clips of this many frames, in the unit of the kind.

    It begins at what the paper's setting needs. For time it begins at half of the full model's prefill.

    Args:
        full_seconds: a measured prefill of the full model on such a clip. None: it is guessed from the FLOPs.
        seen: what is known of the video.
    """
    frames, grid = seen.frames(int(num_frames)), seen.grid(vlm, int(num_frames))
    usual, full = (vlm.plan(frames, TYPICAL_TEXT_TOKENS, method, grid) for method in (AIM(), Full()))
    if kind == "FLOPs":
        return _rounded(1.2, 20.0, usual.speedup)
    if kind == "KV cache":
        whole = full.kv_bytes / 1e6
        least = whole * TYPICAL_TEXT_TOKENS / sum(full.tokens_per_layer[0])
        return _rounded(1.2 * least, whole, usual.kv_bytes / 1e6)
    most = 1000 * (full_seconds or 1e12 * full.prefill_tflops / GUESSED.get(vlm.device.type, GUESSED["cpu"]))
    return _rounded(most / 20, most, most / 2)


def _rounded(low: float, high: float, value: float) -> Range:
    """The range in steps of a power of ten, from 40 to 2,000 of them."""
    step = 0.1
    while (high - low) / step < 40:
        step /= 10
    while (high - low) / step > 2000:
        step *= 10
    low, high = max(step, round(low / step) * step), max(3 * step, round(high / step) * step)
    value = min(high, max(low, round(value / step) * step))
    return Range(*(float(f"{number:.6g}") for number in (low, high, step, value)))
