"""`aim.tune`: within a budget, the AIM setting that strays least from the full model on one clip and question."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from aim.kernels.bounds import Bounds
from aim.kernels.refusal import Refusal
from aim.kernels.stop import STOP
from aim.methods import AIM, Full
from aim.methods.tower import Tower
from aim.runtime.limits import MAX_PREFILLS
from aim.runtime.vlm import LOADED, VLM
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES, Candidate, proposals
from aim.tuning.costs import Costs, clips_of
from aim.tuning.fidelity import Measured, Subject, ladder
from aim.tuning.outcome import Tried, Tuned, choose
from aim.video.clip import CLIP, Clip


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
    tower: Tower | None = None,
) -> Tuned:
    """Search the AIM settings (merge ratio, l1, l2, positions) within a budget for the one that stays nearest to the full model.

    The distance is the mean KL of next-token distributions, in nats, along the full model's own greedy answer (see `aim.tuning.fidelity`).
    The paper's setting is always tried first, with its merge ratio scaled down until it fits. So the chosen one is never further away.

    Args:
        clip: from `aim.read_video`.
        question: 1 to 2,000 characters.
        budget: a `Budget` or its text: "4x", "0.5 TFLOP", "800 ms", "20 MB".
        frames: further numbers of frames to choose from, each 1 to all of the clip's, spread evenly. None is all of its frames only.
        max_prefills: the most prefills, the full model's included, at least 2 (4 for a budget in milliseconds).
        seed: of the order in which the coarse grid is tried. Equal arguments give the same search, except for measured milliseconds.
        stop: set it to end before the model's next layer. What was tried by then is kept.
        tower: how the vision tower is reduced for every setting. The full model, which is the reference, keeps the full tower, so what a
            reduced tower changes is part of the distance.

    Returns:
        The search's result, with every setting that was tried.

    Raises:
        Refusal: the budget cannot be read or met, a number is out of range, no reference fits in memory, the tower cannot be reduced, or
            `VLM.ask` refuses.
    """
    *_, tuned = tune_steps(vlm, clip, question, budget, frames=frames, max_prefills=max_prefills, seed=seed, stop=stop, tower=tower)
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
    tower: Tower | None = None,
) -> Iterator[Tuned]:
    """As `tune`, but it yields what is known at the start and after every setting. The last one is complete unless it was stopped.

    Raises:
        Refusal: as `tune`.
    """
    budget = Budget.of(budget)
    LOADED.check("vlm", vlm)
    STOP.check("stop", stop)
    stop = threading.Event() if stop is None else stop
    CLIP.check("clip", clip)
    clips, tower = clips_of(clip, frames), vlm.fit_tower(tower)
    costs = Costs(vlm, question, clips, tower)
    timed = budget.kind == "ms"
    advice = f"The full model and one setting take {2 + 2 * timed}. Use {MAX_PREFILLS}, for example."
    Bounds(2 + 2 * timed, whole=True).check("max_prefills", max_prefills, advice)
    Bounds(whole=True).check("seed", seed, "Use 0, for example.")
    subject = Subject(vlm, clip, question, tower)
    vlm.check_context(costs.lengths[len(clip.frames)], costs.grids[len(clip.frames)], Full())
    full = costs.plan(Full(), len(clip.frames))
    tuned = Tuned(budget, budget.limit(full), tower=tower)
    space = costs.space(budget, tuned.limit)
    if not timed:
        costs.check_possible(space, budget, tuned.limit)
    yield tuned

    for method in ladder(vlm.num_layers):
        # The second run is the one that is timed, because the first warms up the machine.
        runs = range(min(1 + timed, max_prefills - subject.prefills - 1))
        if not runs or stop.is_set() or all(subject.refer(method, stop) for _ in runs) or stop.is_set():
            break
    tuned = replace(tuned, prefills=subject.prefills)
    if stop.is_set():
        yield tuned
        return
    if subject.reference is None:
        raise Refusal(
            f"No reference fits in memory on {len(clip.frames)} frames: the full model and ever fewer tokens were tried in "
            f"{subject.prefills} prefills; use fewer frames."
        )
    reference = subject.reference
    plan, cheapest = costs.plan(reference.method, len(clip.frames)), space.cheapest()
    quick: Measured | None = None
    if timed:
        quick = subject.measure(cheapest.method, clips[cheapest.frames], stop=stop)
        if quick is None:
            yield replace(tuned, prefills=subject.prefills)
            return
        samples = [(plan, reference.seconds), (costs.plan(cheapest.method, cheapest.frames), quick.seconds)]
        tuned = replace(tuned, budget=budget.calibrated(samples))
    # Where the full model does not fit in memory, no setting that takes more than its stand-in fits either.
    space = costs.space(tuned.budget, tuned.limit, plan.prefill_tflops)
    costs.check_possible(space, tuned.budget, tuned.limit)
    first = costs.tried(reference.method, len(clip.frames), Measured(0.0, 0.0, reference.seconds), tuned, full_tower=True)
    tuned = grown(replace(tuned, reference=reference.title), first, subject.prefills)
    yield tuned
    if quick is not None:
        tuned = grown(tuned, costs.tried(cheapest.method, cheapest.frames, quick, tuned), subject.prefills)
        yield tuned

    def found() -> list[tuple[float, Candidate]]:
        usable = [one for one in tuned.tried[1:] if one.within_budget]
        return [
            (one.divergence, Candidate(one.method, one.frames))
            for one in usable
            if one.divergence is not None and isinstance(one.method, AIM)
        ]

    for candidate in proposals(space, seed, max_prefills - subject.prefills, found):
        if stop.is_set() or subject.prefills >= max_prefills:
            break
        is_preset = candidate == space.preset(PLACES[0])
        cost = tuned.budget.cost(costs.plan(candidate.method, candidate.frames))
        bound = inf if is_preset else bound_for(cost, tuned)
        measured = subject.measure(candidate.method, clips[candidate.frames], bound, stop)
        tuned = replace(tuned, prefills=subject.prefills)
        if measured is None:  # it was stopped, or does not fit in memory
            continue
        tuned = grown(tuned, costs.tried(candidate.method, candidate.frames, measured, tuned), subject.prefills)
        if is_preset:
            tuned = replace(tuned, preset=tuned.tried[-1])
        yield tuned
    yield replace(tuned, complete=not stop.is_set())


def bound_for(cost: float, tuned: Tuned) -> float:
    """The divergence in nats above which a setting of that cost can be neither chosen nor on the front.

    It is the least divergence of the settings within the budget that cost no more; infinite where there is none.
    """
    better = [
        one.divergence for one in tuned.tried if one.divergence is not None and one.within_budget and tuned.budget.cost(one.cost) <= cost
    ]
    return min(better, default=inf)


def grown(tuned: Tuned, one: Tried, prefills: int) -> Tuned:
    """The result of a search with one more setting tried, after so many prefills."""
    tried = (*tuned.tried, one)
    return replace(tuned, tried=tried, chosen=choose(tried, tuned.budget), prefills=prefills)
