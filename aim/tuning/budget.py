"""What a reduced prefill may cost: FLOPs, a share of the full model's, milliseconds or bytes of KV cache."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from aim.kernels.bounds import ABOVE_0, TEXT, Bounds, Kind, check_choice
from aim.kernels.refusal import Refusal
from aim.planning.plan import Plan
from aim.tuning.budget_kinds import KINDS

EXAMPLES = '"4x", "0.5 TFLOP", "500 GFLOP", "800 ms" or "20 MB"'


@dataclass(frozen=True)
class Budget:
    """The most a prefill may cost.

    Attributes:
        kind: "tflop" (modelled FLOPs of the LLM's prefill / 10^12), "times" (so many times fewer of them than the full model), "ms" (of
            merging, scoring and the LLM's prefill) or "mb" (10^6 bytes of KV cache after the prefill).
        amount: > 0; for "times" ≥ 1.
        milliseconds_per_tflop: for "ms", the measured time of a modelled TFLOP; None before one was measured.
        milliseconds_besides: for "ms", the measured time that a prefill takes however few tokens it has.

    Raises:
        Refusal: an unknown kind or an amount out of range.
    """

    kind: str
    amount: float
    milliseconds_per_tflop: float | None = None
    milliseconds_besides: float = 0.0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS, "Use one of these.")
        amounts = Bounds(1) if self.kind == "times" else ABOVE_0
        amounts.check("The budget's amount", self.amount, f"Write {EXAMPLES}.")

    @classmethod
    def of(cls, given: Budget | str) -> Budget:
        """The budget itself, or what its text says.

        Raises:
            Refusal: anything else.
        """
        Kind((Budget, str), "a budget or its text", f"Write {EXAMPLES}.").check("budget", given)
        return cls.parse(given) if isinstance(given, str) else given

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as people write it: "0.5 TFLOP", "500 GFLOP", "4x", "800 ms", "20 MB"; capitals and spaces do not matter.

        Raises:
            Refusal: anything else.
        """
        TEXT.check("budget", text)
        number = r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)"
        found = re.fullmatch(rf"{number}\s*([a-z×]+)", text.strip().lower())
        unit = found and found[2].replace("×", "x").removesuffix("s" if found[2].endswith("flops") else "\0")
        known = {written: (kind, factor) for kind, entry in KINDS.items() for written, factor in entry.written.items()}
        if not found or unit not in known:
            raise Refusal(f"The budget is {text[:40]!r}; accepted: a number and a unit. Write {EXAMPLES}.")
        kind, factor = known[unit]
        return cls(kind, float(found[1]) * factor)

    def __str__(self) -> str:
        return f"{self.amount:g}x less" if self.kind == "times" else f"{self.amount:g} {self.unit}"

    @property
    def unit(self) -> str:
        """The unit of `cost` and `limit`."""
        return KINDS[self.kind].unit

    def cost(self, plan: Plan | dict) -> float:
        """What a plan (or its `to_dict()`) takes, in `unit`.

        Milliseconds are the measured time of a TFLOP times the modelled TFLOP, merging and scoring included, plus what every prefill takes
        besides.

        Raises:
            ValueError: the budget is in milliseconds and `calibrated` was not called yet.
        """
        account = plan if isinstance(plan, dict) else plan.to_dict()
        modelled = KINDS[self.kind].modelled(account)
        if self.kind != "ms":
            return modelled
        if self.milliseconds_per_tflop is None:
            raise ValueError("What a TFLOP takes was not measured yet; call `calibrated` with a prefill's time first.")
        return modelled * self.milliseconds_per_tflop + self.milliseconds_besides

    def limit(self, full: Plan | dict) -> float:
        """The most that `cost` may be, in `unit`. `full` is the plan of the full model's prefill."""
        if self.kind != "times":
            return self.amount
        account = full if isinstance(full, dict) else full.to_dict()
        return account["prefill_tflops"] / self.amount

    def calibrated(self, measured: list[tuple[Plan, float]]) -> Budget:
        """This budget with the time of a TFLOP, measured on one or two prefills.

        Two prefills tell the time of a TFLOP and what every prefill takes besides. One tells the time of a TFLOP alone.

        Args:
            measured: for each prefill its plan and the seconds it took, the dearer one first.
        """
        (dear, slow), (cheap, fast) = measured[0], measured[-1]
        most, least = (KINDS["ms"].modelled(plan.to_dict()) for plan in (dear, cheap))
        if most <= least:
            return replace(self, milliseconds_per_tflop=1000 * slow / most, milliseconds_besides=0.0)
        per_tflop = max(0.0, 1000 * (slow - fast) / (most - least))
        return replace(self, milliseconds_per_tflop=per_tflop, milliseconds_besides=max(0.0, 1000 * fast - per_tflop * least))
