"""The settings of the board: every method at each budget, turned as near to it as its knobs go without spending more."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import chain
from statistics import median_low
from typing import TYPE_CHECKING

from aim.evaluation.clips import held_out_clip
from aim.evaluation.settings import Setting
from aim.kernels.refusal import Refusal
from aim.methods import COMPARABLE, Full, Method
from aim.planning.match import match
from aim.planning.plan import plan_for

if TYPE_CHECKING:
    from aim.runtime.vlm import VLM

BUDGETS: dict[int, tuple[int, ...]] = {8: (2, 4, 8), 32: (4, 10, 25)}  # frames → how many times fewer prefill FLOPs than the full model
CONTROLS = ("fewerframes", "pool", "random")  # which every clever method has to beat
OVER = 0.02  # a setting may cost so much more than the budget, as a share of it, since whole tokens a frame are a coarse step
ASKED_CLIPS = 20  # whose questions say how long a question usually is


@dataclass(frozen=True)
class Cell:
    """A method at a budget.

    Attributes:
        budget: how many times fewer prefill FLOPs than the full model on the same frames.
        setting: what is measured, or None where the budget is out of the method's reach.
        reaches: the most times fewer that the method can do, where the budget is out of its reach.
    """

    method: str
    frames: int
    budget: int
    setting: Setting | None
    reaches: float | None = None


def board_cells(vlm: VLM, methods: list[str], text_tokens: int, budgets: dict[int, tuple[int, ...]]) -> list[Cell]:
    """Every method and every control at every budget, by frames, budget and method in the order of `COMPARABLE`.

    Args:
        methods: keys of `COMPARABLE`; none stands for all.
        text_tokens: of the prompt for which the settings are chosen (`usual_text_tokens`).
        budgets: by the number of frames, as in `BUDGETS`.

    Raises:
        Refusal: a method that the model does not take.
    """
    names = [name for name in COMPARABLE if name != Full.name and (not methods or name in methods or name in CONTROLS)]
    return [_cell(vlm, name, frames, times, text_tokens) for frames, row in budgets.items() for times in row for name in names]


def usual_text_tokens(vlm: VLM, split: str = "test") -> int:
    """The median length of the prompts about the first clips of a split, without patches. It does not depend on how many are measured."""
    questions = chain.from_iterable(held_out_clip(index, split).questions for index in range(ASKED_CLIPS))
    return median_low(vlm.text_tokens(question.text) for question in questions)


def _cell(vlm: VLM, name: str, frames: int, times: int, text_tokens: int) -> Cell:
    config = vlm.model.config

    def cost(method: Method) -> float:
        return plan_for(config, frames, text_tokens, method.for_depth(vlm.num_layers, vlm.ramp)).prefill_tflops

    full = cost(Full())
    budget = full / times
    try:
        # The nearest setting is tried first, so that a method whose knob is fine enough spends the whole budget.
        return Cell(name, frames, times, Setting(match(name, config, frames, budget, text_tokens=text_tokens, tolerance=OVER), frames))
    except Refusal:
        rows = list(COMPARABLE[name]().dials(vlm.num_layers, vlm.ramp))
    within = [row[place - 1] for row in rows if (place := bisect_right(row, budget * (1 + OVER), key=cost)) > 0]
    if not within:
        return Cell(name, frames, times, None, full / min(cost(row[0]) for row in rows))
    return Cell(name, frames, times, Setting(max(within, key=cost).for_depth(vlm.num_layers, vlm.ramp), frames))
