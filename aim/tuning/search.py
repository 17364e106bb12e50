"""`aim.tune`: within a budget, the AIM setting that strays least from the full model on one clip and question."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

import numpy as np

from aim.methods import Method
from aim.planning import Plan, plan_for
from aim.runtime import VLM
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES, Candidate, Space, proposals
from aim.tuning.fidelity import Measured, Subject, ladder
from aim.tuning.outcome import Tried, Tuned, choose, label_of
from aim.video import Clip, clip_from_frames

MAX_PREFILLS = 24


def tune(
    vlm: VLM,
    clip: Clip,
    question: str,
    budget: Budget | str,
    *,
    frames: Sequence[int] | None = None,
    max_prefills: int = MAX_PREFILLS,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Tuned:
    """Search the AIM settings (merge ratio, l1, l2, positions) within a budget for the one that stays nearest to the full model.

    Near is the mean KL of next-token distributions, in nats, along the full model's own greedy answer (see `aim.tuning.fidelity`). The
    paper's setting, its merge ratio scaled down until it fits, is always tried first, so what is chosen is never further than that.

    Args:
        budget: a `Budget` or its text: "4x", "0.5 TFLOP", "800 ms", "20 MB".
        frames: numbers of the clip's frames, evenly spread, to choose from as well, each 1 to all of them. None: all of them only.
        max_prefills: the most prefills, the full model's included, at least 2 (3 for milliseconds).
        seed: of the order in which the coarse grid is tried; with equal arguments the search is the same (milliseconds are measured).
        stop: set it to end after the present token; what was tried stays.

    Raises:
        ValueError: a budget that cannot be read or met, numbers out of range, and whatever `VLM.ask` refuses.
    """
    *_, tuned = tune_steps(vlm, clip, question, budget, frames=frames, max_prefills=max_prefills, seed=seed, stop=stop)
    return tuned


def tune_steps(
    vlm: VLM,
    clip: Clip,
    question: str,
    budget: Budget | str,
    *,
    frames: Sequence[int] | None = None,
    max_prefills: int = MAX_PREFILLS,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Tuned]:
    """As `tune`, yielding what is known at the start and after every setting; the last one is complete unless it was stopped."""
    budget, stop = Budget.parse(budget) if isinstance(budget, str) else budget, stop or threading.Event()
    clips = _clips(clip, frames)
    costs = Costs(vlm, question, clips)
    timed = budget.kind == "ms"
    if max_prefills < 2 + timed:
        raise ValueError(
            f"max_prefills is {max_prefills}; the full model and one setting take {2 + timed}. Use {MAX_PREFILLS}, for example."
        )
    subject = Subject(vlm, clip, question)
    vlm.check_context(costs.lengths[len(clip.frames)], costs.grids[len(clip.frames)], ladder()[0])
    full = costs.plan(ladder()[0], len(clip.frames))
    tuned = Tuned(budget, budget.limit(full))
    space = costs.space(budget, tuned.limit)
    if not timed:
        check_possible(space, budget, tuned.limit, costs)
    yield tuned

    for method in ladder():
        # Timed the second time, since the first warms up the machine.
        runs = range(min(1 + timed, max_prefills - subject.prefills - 1))
        if not runs or stop.is_set() or all(subject.refer(method, stop) for _ in runs) or stop.is_set():
            break
    tuned = replace(tuned, prefills=subject.prefills)
    if subject.reference is None or stop.is_set():
        yield tuned
        return
    reference = subject.reference
    plan = costs.plan(reference.method, len(clip.frames))
    if timed:
        tuned = replace(tuned, budget=budget.calibrated(plan, reference.seconds))
    # Where the full model does not fit in memory, what takes more than its stand-in will not either.
    space = costs.space(tuned.budget, tuned.limit, plan.prefill_tflops)
    check_possible(space, tuned.budget, tuned.limit, costs)
    first = costs.tried(reference.method, len(clip.frames), Measured(0.0, 0.0, reference.seconds), tuned)
    tuned = grown(replace(tuned, reference=reference.title), first, subject.prefills)
    yield tuned

    def found() -> list[tuple[float, Candidate]]:
        return [(one.divergence, Candidate(one.method, one.frames)) for one in tuned.tried[1:] if one.divergence is not None]

    for candidate in proposals(space, seed, max_prefills - subject.prefills, found):
        if stop.is_set() or subject.prefills >= max_prefills:
            break
        cost = tuned.budget.cost(costs.plan(candidate.method, candidate.frames))
        measured = subject.measure(candidate.method, clips[candidate.frames], bound_for(cost, tuned), stop)
        tuned = replace(tuned, prefills=subject.prefills)
        if measured is None:  # stopped, or more memory than there is
            continue
        tuned = grown(tuned, costs.tried(candidate.method, candidate.frames, measured, tuned), subject.prefills)
        if candidate == space.preset(PLACES[0]):
            tuned = replace(tuned, preset=tuned.tried[-1])
        yield tuned
    yield replace(tuned, complete=not stop.is_set())


def bound_for(cost: float, tuned: Tuned) -> float:
    """Above this divergence a setting of that cost can be neither chosen nor on the front: one that costs no more is better already."""
    better = [
        one.divergence for one in tuned.tried if one.divergence is not None and one.within_budget and tuned.budget.cost(one.cost) <= cost
    ]
    return min(better, default=inf)


def grown(tuned: Tuned, one: Tried, prefills: int) -> Tuned:
    """With one more setting tried."""
    tried = (*tuned.tried, one)
    return replace(tuned, tried=tried, chosen=choose(tried, tuned.budget), prefills=prefills)


def check_possible(space: Space, budget: Budget, limit: float, costs: Costs) -> None:
    """Raises ValueError where no setting at all is within the budget."""
    cheapest = space.cheapest()
    if not space.fits(cheapest):
        least = budget.cost(costs.plan(cheapest.method, cheapest.frames))
        raise ValueError(
            f"The budget is {limit:.4g} {budget.unit}; the cheapest setting on {cheapest.frames} frames takes {least:.4g}. "
            "Allow at least that much, or use fewer frames."
        )


class Costs:
    """What settings cost on one question and a clip's frames, given by their number."""

    def __init__(self, vlm: VLM, question: str, clips: dict[int, Clip]):
        self.vlm = vlm
        self.grids = {count: vlm.grid(count, *clip.frames.shape[1:3]) for count, clip in clips.items()}
        self.lengths = {count: len(vlm.prompt_ids(question, grid)) for count, grid in self.grids.items()}

    def plan(self, method: Method, frames: int) -> Plan:
        """Modelled, in the model's own bytes per value."""
        grid = self.grids[frames]
        return plan_for(self.vlm.model.config, frames, self.lengths[frames] - grid.tokens, method, self.vlm.dtype.itemsize, grid)

    def space(self, budget: Budget, limit: float, most_tflops: float = inf) -> Space:
        """The settings within the limit, in the budget's unit, and within so many TFLOP."""

        def fits(candidate: Candidate) -> bool:
            plan = self.plan(candidate.method, candidate.frames)
            return budget.cost(plan) <= limit and plan.prefill_tflops <= most_tflops

        per_frame = next(iter(self.grids.values())).tokens_per_frame
        return Space(fits, self.vlm.num_layers, per_frame, tuple(self.grids), places_of(self.vlm))

    def tried(self, method: Method, frames: int, measured: Measured, tuned: Tuned) -> Tried:
        method, account = method.for_depth(self.vlm.num_layers), self.plan(method, frames).to_dict()
        del account["tokens_per_layer"]
        within = tuned.budget.cost(account) <= tuned.limit
        if tuned.budget.kind == "ms":
            within = within and 1000 * measured.seconds <= tuned.limit
        rejected, label = measured.divergence is None, label_of(method, frames)
        return Tried(method, frames, account, within, measured.divergence, measured.first, measured.seconds, rejected, label)


def places_of(vlm: VLM) -> tuple[str, ...]:
    """The values of `positions` that differ for a model: with several position axes (M-RoPE) tokens always keep their own."""
    text = vlm.model.config.text_config
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return PLACES[:1] if "mrope_section" in rope else PLACES


def _clips(clip: Clip, frames: Sequence[int] | None) -> dict[int, Clip]:
    """The clip by the number of its frames, itself first."""
    own = len(clip.frames)
    wrong = [count for count in frames or () if not 1 <= count <= own]
    if wrong:
        raise ValueError(f"frames holds {wrong[0]}; the clip has {own}. Choose from 1 to {own}.")
    clips = {own: clip}
    for count in frames or ():
        if count not in clips:
            chosen = (np.arange(count) + 0.5) * own // count
            clips[count] = clip_from_frames(clip.frames[chosen.astype(int)], count / clip.duration)
    return clips
