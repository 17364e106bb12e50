"""What is compared: a table of ways to run the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from aim.bench.masked import masked
from aim.engine import seams
from aim.engine.features import taking_features
from aim.engine.reduce import reduce
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods import AIM, Full, Method
from aim.methods.tower import Tower


@dataclass(frozen=True)
class Variant:
    """One way to run a prompt.

    Attributes:
        title: its name for people.
        method: what it removes.
        enter: (model, method) → context in which the model runs that way. Under `aim.reduce` it gives a `Trace`, else anything.
        executes: the method whose token counts are computed and modelled: `method` itself, or `Full` where tokens are only hidden.
        paired: whether it runs in every round. Slow references run only in the first few.
        tower: how the vision tower is reduced, in runs from end to end; None runs it in full.
    """

    title: str
    method: Method
    enter: Callable[[PreTrainedModel, Method], AbstractContextManager[Any]]
    executes: Method
    paired: bool = True
    tower: Tower | None = None


def stock(attention: str) -> Callable[[PreTrainedModel, Method], AbstractContextManager[None]]:
    """The model as transformers runs it, with that attention in the LLM."""

    @contextmanager
    def enter(model: PreTrainedModel, _method: Method) -> Iterator[None]:
        parts = seams.parts_of(model)
        with seams.attending(parts, attention), taking_features(parts.core):
            yield

    return enter


@dataclass(frozen=True)
class _Row:
    title: str
    enter: Callable[[PreTrainedModel, Method], AbstractContextManager[Any]]
    derive: Callable[[AIM, int], Method]
    hides_only: bool = False
    paired: bool = True


def _full(_method: AIM, _layers: int) -> Method:
    return Full()


def _prune_only(method: AIM, _layers: int) -> Method:
    return replace(method, merge_ratio=1.0)


def _merge_only(method: AIM, layers: int) -> Method:
    return replace(method, l1=layers, l2=layers + 1)


BASE = "sdpa"
ROWS: dict[str, _Row] = {
    BASE: _Row("stock, SDPA", stock("sdpa"), _full),
    "eager": _Row("stock, eager", stock("eager"), _full, paired=False),
    "identity": _Row("nothing reduced, under aim.reduce", reduce, _full),
    "masked": _Row("prune only, by masks", masked, _prune_only, hides_only=True, paired=False),
    "prune": _Row("prune only", reduce, _prune_only, paired=False),
    "merge": _Row("merge only", reduce, _merge_only),
    "aim": _Row("AIM", reduce, lambda method, _layers: method),
}


def variants_of(names: list[str], methods: list[Method], layers: int, ramp: StatedRamp = PAPER_RAMP) -> dict[str, Variant]:
    """The named rows for the first AIM among the methods (or the paper's), and every other method as a row of its own.

    `ramp` is what the paper has for the model's family.

    Raises:
        Refusal: an unknown name.
    """
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise Refusal(f"There is no variant {', '.join(unknown)}; there are {', '.join(ROWS)}. Leave --variants out for all.")
    knobs = next((method for method in methods if isinstance(method, AIM)), AIM())
    chosen = {}
    for name in dict.fromkeys([BASE, *names]):
        row = ROWS[name]
        method = row.derive(knobs.for_depth(layers, ramp), layers)
        chosen[name] = Variant(row.title, method, row.enter, Full() if row.hides_only else method, row.paired)
    for method in methods:
        if method is not knobs:
            method = method.for_depth(layers, ramp)
            title = " ".join([method.name, *(f"{knob}={value}" for knob, value in method.params().items())])
            chosen[title] = Variant(title, method, reduce, method)
    return chosen


def with_towers(variants: dict[str, Variant], towers: list[Tower]) -> dict[str, Variant]:
    """The variants, and for each setting of the vision tower two more: it under the stock LLM, and under AIM where AIM is among them."""
    further = {}
    for tower in towers:
        for name in (BASE, "aim"):
            if name in variants:
                title = f"{variants[name].title}, {tower.words}"
                further[f"{name}, {tower.words}"] = replace(variants[name], title=title, tower=tower)
    return variants | further
