"""`aim.tune`: within a budget, the AIM setting that strays least from the full model on one clip and question."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from aim.methods import Full
from aim.runtime.limits import MAX_PREFILLS
from aim.runtime.vlm import VLM
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES, Candidate, proposals
from aim.tuning.costs import Costs, clips_of
from aim.tuning.fidelity import Measured, Subject, ladder
from aim.tuning.outcome import Tried, Tuned, choose
from aim.video.clip import Clip


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
        max_prefills: the most prefills, the full model's included, at least 2 (4 for milliseconds).
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
    clips = clips_of(clip, frames)
    costs = Costs(vlm, question, clips)
    timed = budget.kind == "ms"
    if max_prefills < 2 + 2 * timed:
        raise ValueError(
            f"max_prefills is {max_prefills}; the full model and one setting take {2 + 2 * timed}. Use {MAX_PREFILLS}, for example."
        )
    subject = Subject(vlm, clip, question)
    vlm.check_context(costs.lengths[len(clip.frames)], costs.grids[len(clip.frames)], Full())
    full = costs.plan(Full(), len(clip.frames))
    tuned = Tuned(budget, budget.limit(full))
    space = costs.space(budget, tuned.limit)
    if not timed:
        costs.check_possible(space, budget, tuned.limit)
    yield tuned

    for method in ladder(vlm.num_layers):
        # Timed the second time, since the first warms up the machine.
        runs = range(min(1 + timed, max_prefills - subject.prefills - 1))
        if not runs or stop.is_set() or all(subject.refer(method, stop) for _ in runs) or stop.is_set():
            break
    tuned = replace(tuned, prefills=subject.prefills)
    if stop.is_set():
        yield tuned
        return
    if subject.reference is None:
        raise ValueError(f"No reference fits in memory after {subject.prefills} prefills, however reduced; use fewer frames.")
    reference = subject.reference
    plan, cheapest = costs.plan(reference.method, len(clip.frames)), space.cheapest()
    if timed:
        quick = subject.measure(cheapest.method, clips[cheapest.frames], stop=stop)
        if quick is None:
            yield replace(tuned, prefills=subject.prefills)
            return
        samples = [(plan, reference.seconds), (costs.plan(cheapest.method, cheapest.frames), quick.seconds)]
        tuned = replace(tuned, budget=budget.calibrated(samples))
    # Where the full model does not fit in memory, what takes more than its stand-in will not either.
    space = costs.space(tuned.budget, tuned.limit, plan.prefill_tflops)
    costs.check_possible(space, tuned.budget, tuned.limit)
    first = costs.tried(reference.method, len(clip.frames), Measured(0.0, 0.0, reference.seconds), tuned)
    tuned = grown(replace(tuned, reference=reference.title), first, subject.prefills)
    yield tuned
    if timed:
        tuned = grown(tuned, costs.tried(cheapest.method, cheapest.frames, quick, tuned), subject.prefills)
        yield tuned

    def found() -> list[tuple[float, Candidate]]:
        usable = [one for one in tuned.tried[1:] if one.within_budget and one.divergence is not None]
        return [(one.divergence, Candidate(one.method, one.frames)) for one in usable]

    for candidate in proposals(space, seed, max_prefills - subject.prefills, found):
        if stop.is_set() or subject.prefills >= max_prefills:
            break
        is_preset = candidate == space.preset(PLACES[0])
        cost = tuned.budget.cost(costs.plan(candidate.method, candidate.frames))
        bound = inf if is_preset else bound_for(cost, tuned)
        measured = subject.measure(candidate.method, clips[candidate.frames], bound, stop)
        tuned = replace(tuned, prefills=subject.prefills)
        if measured is None:  # stopped, or more memory than there is
            continue
        tuned = grown(tuned, costs.tried(candidate.method, candidate.frames, measured, tuned), subject.prefills)
        if is_preset:
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
