"""A reduced vision tower in words: what of a frame it still computes, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aim.views.units import flops, times

if TYPE_CHECKING:
    from aim.methods.tower import Tower
    from aim.runtime.answer import Answer

UNKNOWN = "what has changed is known after a run, so every patch counts here"


def tower_cost(reduced: float, full: float) -> str:
    """How many times fewer FLOPs than the full tower's, for example "2.0× fewer FLOPs", from TFLOP > 0."""
    ratio = full / reduced
    return "as many FLOPs as in full" if round(ratio, 1) == 1 else f"{times(ratio)} fewer FLOPs"


def tower_share(tower: Tower, told: str = UNKNOWN) -> str:
    """What the tower still computes, in a sentence. `told` says how much had changed, where it reuses the rest."""
    merged = f"its later layers run on {100 * tower.merge:.3g} % of a frame's patches" if tower.merge not in (None, 1) else ""
    reused = f"only patches that have changed are computed, and {told}" if tower.reuse is not None else ""
    return f"Vision tower: {'; '.join(filter(None, (merged, reused))) or 'nothing is merged'}."


def tower_fact(answer: Answer) -> list[tuple[str, str, str]]:
    """The vision tower's figure of a finished run, as `aim.views.screen.facts` has them; nothing where the tower ran in full."""
    if answer.tower is None:
        return []
    cost, computed = answer.cost, answer.tower_computed
    told = UNKNOWN if computed is None else f"those were {100 * computed:.3g} % of all"
    spent = f"{flops(cost['vision_tflops'])} FLOPs instead of {flops(cost['baseline_vision_tflops'])}."
    return [
        (
            f"vision tower {tower_cost(cost['vision_tflops'], cost['baseline_vision_tflops'])}",
            "modelled",
            f"{tower_share(answer.tower, told)} {spent} The full model's answer is made with the full tower.",
        )
    ]
