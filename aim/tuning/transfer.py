"""One setting for many clips: what an engineer fixes the knobs to, with its spread from clip to clip."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean, median

from aim.kernels.bounds import Bounds, refusal
from aim.kernels.refusal import Refusal
from aim.kernels.stop import STOP
from aim.methods import AIM, Full
from aim.methods.tower import Tower
from aim.runtime.limits import MAX_PREFILLS
from aim.runtime.vlm import LOADED, VLM
from aim.tuning.budget import Budget
from aim.tuning.candidates import Candidate, Space, proposals
from aim.tuning.costs import Costs
from aim.tuning.fidelity import Subject
from aim.tuning.outcome import label_of
from aim.video.clip import CLIP, Clip


@dataclass(frozen=True)
class Shared:
    """One setting on all clips: its divergences in nats, in the order of the clips. A setting that was given up has fewer."""

    method: AIM
    divergences: tuple[float, ...]
    rejected: bool

    @property
    def mean(self) -> float | None:
        """The mean divergence in nats; None where the setting was given up."""
        return None if self.rejected else fmean(self.divergences)


@dataclass(frozen=True)
class Transfer:
    """The setting with the least mean divergence over the clips.

    Attributes:
        method: the setting, every knob filled in; None where the search was stopped before any had been run on all clips.
        divergences: of `method` on each clip, in nats.
        spread: the least, the median and the largest divergence.
        tried: every setting that was run, the paper's first.
        complete: False where the search was stopped.
    """

    method: AIM | None
    divergences: tuple[float, ...]
    spread: tuple[float, float, float] | None
    tried: tuple[Shared, ...]
    complete: bool

    def to_dict(self) -> dict:
        """Plain numbers, strings and lists."""
        return {
            "method": self.method and self.method.name,
            "params": self.method and self.method.params(),
            "divergences": list(self.divergences),
            "spread": self.spread and dict(zip(("min", "median", "max"), self.spread, strict=True)),
            "tried": [{"params": one.method.params(), "mean": one.mean, "rejected": one.rejected} for one in self.tried],
            "complete": self.complete,
        }

    def __str__(self) -> str:
        if self.method is None or self.spread is None:
            return "stopped before any setting was run on all clips"
        clips = len(self.divergences)
        least, middle, most = self.spread
        return f"{label_of(self.method)}: over {clips} clips KL {least:.3g} to {most:.3g} nats, median {middle:.3g}"


def tune_many(
    vlm: VLM,
    asked: Sequence[tuple[Clip, str]],
    budget: Budget | str,
    *,
    max_prefills: int = MAX_PREFILLS,
    seed: int = 0,
    stop: threading.Event | None = None,
    tower: Tower | None = None,
) -> Transfer:
    """As `aim.tune`, for one setting that is within the budget on every clip and has the least mean divergence over them.

    Args:
        asked: clips, each with its question; at least one.
        budget: no milliseconds; "4x" is four times less than the full model takes on each clip.
        max_prefills: the most on each clip, at least 2.
        tower: how the vision tower is reduced for every setting, as in `aim.tune`.

    Raises:
        Refusal: no clip, a budget in milliseconds or one that cannot be met, a clip the full model has no memory for, and whatever
            `aim.tune` refuses.
    """
    budget = Budget.of(budget)
    LOADED.check("vlm", vlm)
    STOP.check("stop", stop)
    stop = threading.Event() if stop is None else stop
    pairs = isinstance(asked, (list, tuple)) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in asked)
    if not pairs or not asked:
        raise refusal("asked", asked, "a list with one pair or more of a clip and a question", "Make clips with aim.read_video.")
    for clip, _ in asked:
        CLIP.check("a clip of asked", clip)
    Bounds(2, whole=True).check("max_prefills", max_prefills, f"Use {MAX_PREFILLS}, for example.")
    Bounds(whole=True).check("seed", seed, "Use 0, for example.")
    if budget.kind == "ms":
        raise Refusal(f"The budget is {budget}; over several clips FLOPs or bytes are accepted. Write 4x, for example.")
    full, subjects, spaces, tower = Full(), list[Subject](), list[Space](), vlm.fit_tower(tower)
    for clip, question in asked:
        count = len(clip.frames)
        costs = Costs(vlm, question, {count: clip}, tower)
        vlm.check_context(costs.lengths[count], costs.grids[count], full)
        limit = budget.limit(costs.plan(full, count))
        spaces.append(costs.space(budget, limit))
        costs.check_possible(spaces[-1], budget, limit)
        subjects.append(Subject(vlm, clip, question, tower))
    for subject in subjects:
        if not subject.refer(full, stop):
            if stop.is_set():
                return _transfer([], False)
            raise Refusal("The full model does not fit in memory on one of the clips; use fewer frames.")
    space = spaces[0].narrowed(lambda candidate: all(other.fits(Candidate(candidate.method, other.frames[0])) for other in spaces))
    tried: list[Shared] = []

    def found() -> list[tuple[float, Candidate]]:
        return [(one.mean, Candidate(one.method, space.frames[0])) for one in tried if one.mean is not None]

    for count, candidate in enumerate(proposals(space, seed, max_prefills - 1, found), 2):
        if count > max_prefills or stop.is_set():
            break
        shared = _run(candidate.method, subjects, min((one.mean for one in tried if one.mean is not None), default=inf), stop)
        if shared is not None:
            tried.append(shared)
    return _transfer(tried, not stop.is_set())


def _run(method: AIM, subjects: list[Subject], best: float, stop: threading.Event) -> Shared | None:
    """Run a setting on one clip after the other. It is given up as soon as its mean must end above `best`; None where stopped."""
    divergences: list[float] = []
    for subject in subjects:
        measured = subject.measure(method, bound=best * len(subjects) - sum(divergences), stop=stop)
        if measured is None and stop.is_set():
            return None
        if measured is None or measured.divergence is None:
            return Shared(method, tuple(divergences), rejected=True)
        divergences.append(measured.divergence)
    return Shared(method, tuple(divergences), rejected=False)


def _transfer(tried: list[Shared], complete: bool) -> Transfer:
    finished = [(one.mean, one) for one in tried if one.mean is not None]
    if not finished:
        return Transfer(None, (), None, tuple(tried), complete)
    _, best = min(finished, key=lambda entry: entry[0])
    spread = min(best.divergences), median(best.divergences), max(best.divergences)
    return Transfer(best.method, best.divergences, spread, tuple(tried), complete)
