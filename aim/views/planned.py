"""What the knobs will do, before the model runs: figures, the curve of planned tokens, and the nearest published result."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from aim.methods.published import Row
from aim.views.curve import curve_svg
from aim.views.layer_words import in_words
from aim.views.tower import tower_cost, tower_share
from aim.views.units import fewer, flops, smaller

if TYPE_CHECKING:
    from aim.methods.tower import Tower
    from aim.planning.plan import Plan


def plan_panel(
    plan: Plan,
    visual_tokens: int,
    ramp: tuple[int, int] | None = None,
    published: Row | None = None,
    remark: str = "",
    scores: Mapping[int, np.ndarray] | None = None,
    tower: Tower | None = None,
) -> str:
    """The panel beside the knobs: the tokens of each layer as a curve, and below it figures and words.

    Args:
        visual_tokens: what the vision tower makes of the clip, before merging.
        ramp: (l1, l2), which are marked on the curve.
        published: the nearest row of the paper, for the model it was published for.
        remark: what the plan takes for granted about the clip.
        scores: quantiles of a run with this setting, as in `curve_svg`.
        tower: how the vision tower is reduced, which is told with its cost; None where it runs in full.
    """
    visual = [count for count, _ in plan.tokens_per_layer]
    paper = f'<div class="aim-plan-paper">{escape(published.sentence())}</div>' if published else ""
    words = f"<b>{visual_tokens:,} → {visual[0]:,} visual tokens.</b> {escape(' '.join(filter(None, (in_words(visual), remark))))}"
    inside = f" {escape(tower_share(tower))}" if tower else ""
    seen = f" · vision tower <b>{tower_cost(plan.vision_tflops, plan.baseline_vision_tflops)}</b> ({flops(plan.vision_tflops)})"
    marks = [(layer, f"{name} = {layer}") for name, layer in zip(("l1", "l2"), ramp or (), strict=False)]
    curve = curve_svg(plan.tokens_per_layer, visual_tokens, scores, marks, _telling(visual), compact=True)
    return (
        f'<div class="aim-plan"><div class="aim-plan-curve">{curve}</div>'
        f'<div class="aim-plan-detail">{words}{inside}</div>'
        f'<div class="aim-plan-figures"><b>{fewer(plan.speedup)}</b> ({flops(plan.prefill_tflops)}) · '
        f"KV cache <b>{smaller(plan.baseline_kv_bytes / max(1, plan.kv_bytes))}</b>{seen if tower else ''} "
        f'<span class="aim-kind">modelled</span></div>{paper}</div>'
    )


def hint(text: str) -> str:
    """What is wrong with the knobs, shown in place of the panel."""
    return f'<div class="aim-plan aim-plan-hint">{escape(text)}</div>'


def _telling(visual: list[int]) -> int:
    """The layer whose figures are told until one is pointed at: the last that still sees visual tokens."""
    return max((layer for layer, count in enumerate(visual) if count), default=0)
