"""What a search has found so far: every setting tried, the chosen one, the front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aim.methods import AIM, Full, Method
from aim.methods.tower import Tower
from aim.tuning.budget import Budget

TIE = 1e-6  # nats; of settings nearer to each other than that the cheaper one is better


@dataclass(frozen=True)
class Tried:
    """One setting that was run.

    Attributes:
        method: every knob filled in.
        frames: how many it ran on.
        cost: modelled, `Plan.to_dict()` without `tokens_per_layer`.
        within_budget: whether it costs at most the limit; of milliseconds both the modelled and the measured ones must.
        divergence: mean KL from the reference along the reference's answer, in nats, ≥ 0; None where rejected.
        first_divergence: the KL of the first token alone.
        prefill_seconds: measured once, merging and scoring included.
        rejected: whether it was given up early, since a setting that costs no more had already done better.
        label: the setting in a few words.
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
    """What a search has found; it grows while the search runs.

    Attributes:
        budget: the one asked for; one in milliseconds comes with the measured time of a TFLOP.
        limit: the most a setting may cost, in `budget.unit`.
        tried: the settings in the order in which they were run, the reference first.
        chosen: the setting within the budget with the least divergence, the cheaper of equals; None before any within it was run.
        preset: the paper's setting with its merge ratio scaled down to the budget; None before it was run, or where it cannot fit.
        reference: "full model", or what stands in for it and why.
        prefills: how many were run so far.
        complete: whether the search came to its end: it was not stopped, and nothing is left to try within the number of prefills.
        tower: how the vision tower was reduced for all settings but the reference, with everything filled in; None where it ran in full.
    """

    budget: Budget
    limit: float
    tried: tuple[Tried, ...] = ()
    chosen: Tried | None = None
    preset: Tried | None = None
    reference: str = ""
    prefills: int = 0
    complete: bool = False
    tower: Tower | None = None

    def price(self, tried: Tried) -> float:
        """What a tried setting costs, in `budget.unit`: measured milliseconds, or what is modelled."""
        return 1000 * tried.prefill_seconds if self.budget.kind == "ms" else self.budget.cost(tried.cost)

    def front(self, cost: Callable[[Tried], float] | None = None) -> list[Tried]:
        """The settings that no other beats in both cost and divergence, from the cheapest up.

        Args:
            cost: what a tried setting costs; by default what is modelled, for milliseconds too.
        """
        cost = cost or (lambda one: self.budget.cost(one.cost))
        finished = [(cost(one), one.divergence, one) for one in self.tried if one.divergence is not None]
        front: list[tuple[float, Tried]] = []
        for _, divergence, one in sorted(finished, key=lambda entry: entry[:2]):
            if not front or divergence < front[-1][0]:
                front.append((divergence, one))
        return [one for _, one in front]

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
            "tower": None if self.tower is None else self.tower.params(),
        }


def choose(tried: tuple[Tried, ...], budget: Budget) -> Tried | None:
    """The setting within the budget that strays least; of those within `TIE` of it the cheapest."""
    possible = [(one.divergence, budget.cost(one.cost), one) for one in tried if one.within_budget and one.divergence is not None]
    if not possible:
        return None
    least = min(divergence for divergence, *_ in possible)
    *_, chosen = min((entry for entry in possible if entry[0] <= least + TIE), key=lambda entry: (entry[1], entry[0]))
    return chosen


def label_of(method: Method, frames: int | None = None) -> str:
    """A setting in a few words."""
    on = "" if frames is None else f", {frames} frames"
    if not isinstance(method, AIM):
        return f"{'full model' if method.name == Full.name else method.name}{on}"
    own = ", original positions" if method.positions == "original" else ""
    return f"merged to {100 * method.merge_ratio:.3g} %, layers {method.l1} → {method.l2}{own}{on}"
