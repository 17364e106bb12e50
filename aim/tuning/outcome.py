"""What a search has found so far: every setting tried, the chosen one, the front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aim.methods import Method
from aim.tuning.budget import Budget

TIE = 1e-6  # nats; nearer than that, the cheaper setting is the better one


@dataclass(frozen=True)
class Tried:
    """One setting that was run.

    Attributes:
        method: every knob filled in.
        frames: it ran on.
        cost: modelled, `Plan.to_dict()` without `tokens_per_layer`.
        within_budget: of milliseconds both the modelled and the measured ones are.
        divergence: mean KL from the reference along its answer, in nats, ≥ 0; None where rejected.
        first_divergence: that of the first token alone.
        prefill_seconds: measured once, merging and scoring included.
        rejected: given up early, since a setting that costs no more had already done better.
        label: for people.
    """

    method: Method
    frames: int
    cost: dict
    within_budget: bool
    divergence: float | None
    first_divergence: float
    prefill_seconds: float
    rejected: bool
    label: str

    def to_dict(self) -> dict:
        """Plain numbers and strings."""
        return {
            "label": self.label,
            "method": self.method.name,
            "params": self.method.params(),
            "frames": self.frames,
            "cost": self.cost,
            "within_budget": self.within_budget,
            "divergence": self.divergence,
            "first_divergence": self.first_divergence,
            "prefill_seconds": self.prefill_seconds,
            "rejected": self.rejected,
        }


@dataclass(frozen=True)
class Tuned:
    """A search, growing.

    Attributes:
        budget: asked for; of milliseconds with what a TFLOP was measured to take.
        limit: the most a setting may cost, in `budget.unit`.
        tried: in order, the reference first.
        chosen: within the budget, the least divergence; the cheaper of equals. None where nothing within it was run yet.
        preset: the paper's setting, its merge ratio scaled down to the budget; None before it was run or where it cannot fit.
        reference: "full model", or what stands in for it and why.
        prefills: run so far.
        complete: not stopped, and nothing left to try within the number of prefills.
    """

    budget: Budget
    limit: float
    tried: tuple[Tried, ...] = ()
    chosen: Tried | None = None
    preset: Tried | None = None
    reference: str = ""
    prefills: int = 0
    complete: bool = False

    def price(self, tried: Tried) -> float:
        """What a tried setting costs, in `budget.unit`: milliseconds as measured, all else as modelled."""
        return 1000 * tried.prefill_seconds if self.budget.kind == "ms" else self.budget.cost(tried.cost)

    def front(self, cost: Callable[[Tried], float] | None = None) -> list[Tried]:
        """The settings no other beats in both cost and divergence, from the cheapest up.

        Args:
            cost: of a tried setting; None: as modelled, milliseconds too.
        """
        cost = cost or (lambda one: self.budget.cost(one.cost))
        finished = [one for one in self.tried if one.divergence is not None]
        front: list[Tried] = []
        for one in sorted(finished, key=lambda one: (cost(one), one.divergence)):
            if not front or one.divergence < front[-1].divergence:
                front.append(one)
        return front

    def to_dict(self) -> dict:
        """Plain numbers, strings and lists; `front` holds places in `tried`."""
        return {
            "budget": {"kind": self.budget.kind, "amount": self.budget.amount, "unit": self.budget.unit, "text": str(self.budget)},
            "milliseconds_per_tflop": self.budget.milliseconds_per_tflop,
            "milliseconds_besides": self.budget.milliseconds_besides,
            "limit": self.limit,
            "tried": [one.to_dict() for one in self.tried],
            "chosen": self.chosen and self.chosen.to_dict(),
            "preset": self.preset and self.preset.to_dict(),
            "front": [self.tried.index(one) for one in self.front()],
            "reference": self.reference,
            "prefills": self.prefills,
            "complete": self.complete,
        }


def choose(tried: tuple[Tried, ...], budget: Budget) -> Tried | None:
    """The setting within the budget that strays least; of those within `TIE` of it the cheapest."""
    possible = [one for one in tried if one.within_budget and one.divergence is not None]
    if not possible:
        return None
    least = min(one.divergence for one in possible)
    return min((one for one in possible if one.divergence <= least + TIE), key=lambda one: (budget.cost(one.cost), one.divergence))


def label_of(method: Method, frames: int | None = None) -> str:
    """A setting in a few words."""
    on = "" if frames is None else f", {frames} frames"
    if method.name == "full":
        return f"full model{on}"
    own = ", original positions" if method.positions == "original" else ""
    return f"merged to {100 * method.merge_ratio:.3g} %, layers {method.l1} → {method.l2}{own}{on}"
