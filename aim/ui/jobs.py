"""The jobs at the model: all that the page does with it. Each takes plain values, runs wholly where the model is, and yields plain values.

A job is a generator `(vlm, stop, **arguments)`. On ZeroGPU it runs in one call of the worker (`aim.ui.gpu`), and so the clip is encoded
once there. It ends before the model's next layer once `stop` is set. Reading the video and drawing are no part of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from aim.engine.stopping import Stopped
from aim.methods import Full, Method
from aim.methods.tower import Tower
from aim.planning.plan import Plan
from aim.runtime.answer import Answer
from aim.runtime.compare import ROUNDS, Comparison, whole_answer
from aim.runtime.compare import compare as compare_methods
from aim.runtime.faults import NotEnoughMemory
from aim.tuning import trust
from aim.tuning.budget import Budget
from aim.tuning.fidelity import ANSWER_TOKENS
from aim.tuning.outcome import Tuned
from aim.tuning.search import tune_steps
from aim.video.clip import Clip

FEW_ROUNDS = 2  # of a model of a billion weights or more, so that the next visitor need not wait


@dataclass(frozen=True)
class Said:
    """What the job `ask` yields.

    Attributes:
        answer: as it grows; None where the full model does not fit into memory.
        by_full: the full model gave it, after the asked setting's answer was complete.
    """

    answer: Answer | None
    by_full: bool = False


def ask(
    vlm,
    stop: threading.Event,
    clip: Clip,
    question: str,
    method: Method,
    max_new_tokens: int,
    scores: str = "pruning",
    compare: bool = False,
    words: bool = False,
    progress: bool = False,
    tower: Tower | None = None,
) -> Iterator[Said]:
    """The answer while it grows, with `progress` also how far it is before its first word, and with `compare` the full model's after it.

    See `VLM.stream`. The full model has the full vision tower.
    """
    answer, shown = None, {"scores": scores, "words": words, "progress": progress}
    for answer in vlm.stream(clip, question, method, max_new_tokens, stop=stop, tower=tower, **shown):
        yield Said(answer)
    if not compare or answer is None or answer.trace is None or stop.is_set():
        return
    try:
        for full in vlm.stream(clip, question, Full(), max_new_tokens, stop=stop, progress=progress):
            yield Said(full, by_full=True)
    except NotEnoughMemory:
        yield Said(None, by_full=True)


def compare(
    vlm,
    stop: threading.Event,
    clip: Clip,
    question: str,
    names: list[str],
    reduction: float,
    max_new_tokens: int,
    tower: Tower | None = None,
) -> Iterator[Comparison]:
    """Methods side by side, at a prefill that costs `reduction` times less than the full model's. See `aim.runtime.compare.compare`."""
    rounds = ROUNDS if sum(weight.numel() for weight in vlm.model.parameters()) < 1e9 else FEW_ROUNDS
    grid = vlm.grid(len(clip.frames), *clip.frames.shape[1:3])
    text_tokens = len(vlm.prompt_ids(question, grid, clip.timestamps.tolist())) - grid.tokens
    budget = vlm.plan(len(clip.frames), text_tokens, Full(), grid).prefill_tflops / reduction
    yield from compare_methods(vlm, clip, question, names, budget, max_new_tokens, rounds, stop, tower)


def tune(
    vlm, stop: threading.Event, clip: Clip, question: str, budget: Budget, max_prefills: int, tower: Tower | None = None
) -> Iterator[Tuned]:
    """What is known of the settings within a budget, growing. See `aim.tuning.search.tune_steps`."""
    yield from tune_steps(vlm, clip, question, budget, max_prefills=max_prefills, stop=stop, tower=tower)


def spend(
    vlm, stop: threading.Event, clip: Clip, more: Clip, question: str, method: Method, max_new_tokens: int, tower: Tower | None = None
) -> Iterator[Answer]:
    """The full model's answer on a clip, then the method's on more frames of it, behind a vision tower that `tower` reduces."""
    for frames, chosen, inside in ((clip, Full(), None), (more, method, tower)):
        answer = whole_answer(vlm, frames, question, chosen, max_new_tokens, stop, inside)
        if answer is None:
            return
        yield answer


def guard(vlm, stop: threading.Event, clip: Clip, question: str, answer: Answer) -> Iterator[trust.Verdict]:
    """Whether the reduction may have changed an answer; nothing where it was stopped. See `aim.tuning.trust.guard`."""
    try:
        yield trust.guard(vlm, clip, question, answer, stop=stop)
    except Stopped:
        return


@dataclass(frozen=True)
class Job:
    """A job, and what it needs at most: (vlm, **arguments) → (TFLOP, tokens that are generated one by one)."""

    work: Callable[..., Iterator]
    needs: Callable[..., tuple[float, int]]


class Run(Protocol):
    """Runs a job of `JOBS` where the model is, and yields what it yields.

    Raises:
        KeyError: there is no such job.
        Refusal: what the job refuses.
    """

    def __call__(self, job: str, stop: threading.Event, **arguments: Any) -> Iterator: ...


def here(vlm) -> Run:
    """Runs jobs in this process."""
    return lambda job, stop, **arguments: JOBS[job].work(vlm, stop, **arguments)


def _plan(vlm, clip: Clip, question: str, method: Method) -> Plan:
    """For an estimate of time: the prompt may be a few tokens longer."""
    frames = len(clip.frames)
    grid = vlm.grid(frames, *clip.frames.shape[1:3])
    return vlm.plan(frames, vlm.text_tokens(question, frames), method, grid)


def _prefill(vlm, clip: Clip, question: str, method: Method) -> float:
    """TFLOP of one prefill with what the method itself costs, and without the vision tower."""
    plan = _plan(vlm, clip, question, method)
    return plan.merge_tflops + plan.prefill_tflops + plan.importance_tflops


def _tower(vlm, clip: Clip, question: str) -> float:
    """TFLOP of the full vision tower. A reduced one takes less, and beside it the full one runs where the full model is asked too."""
    return _plan(vlm, clip, question, Full()).vision_tflops


def _towers(vlm, clip: Clip, question: str, tower: Tower | None, full: bool = True) -> float:
    return _tower(vlm, clip, question) * (1 if tower is None or not full else 2)


def _ask_needs(vlm, clip, question, method, max_new_tokens, compare=False, tower=None, **_shown) -> tuple[float, int]:
    methods = [method, Full()] if compare else [method]
    work = sum(_prefill(vlm, clip, question, one) for one in methods)
    return _towers(vlm, clip, question, tower, compare) + work, len(methods) * max_new_tokens


def _compare_needs(vlm, clip, question, names, reduction, max_new_tokens, tower=None) -> tuple[float, int]:
    full = _prefill(vlm, clip, question, Full())
    work = ROUNDS * full * (1 + len(names) / reduction)
    return _towers(vlm, clip, question, tower) + work, (1 + len(names)) * (max_new_tokens + ROUNDS - 1)


def _tune_needs(vlm, clip, question, budget, max_prefills, tower=None) -> tuple[float, int]:
    work = max_prefills * _prefill(vlm, clip, question, Full())
    return _towers(vlm, clip, question, tower) + work, max_prefills * ANSWER_TOKENS


def _spend_needs(vlm, clip, more, question, method, max_new_tokens, tower=None) -> tuple[float, int]:
    towers = _tower(vlm, clip, question) + _tower(vlm, more, question)
    return towers + _prefill(vlm, clip, question, Full()) + _prefill(vlm, more, question, method), 2 * max_new_tokens


def _guard_needs(vlm, clip, question, answer) -> tuple[float, int]:
    return _tower(vlm, clip, question) + _prefill(vlm, clip, question, trust.milder_than(answer.method, vlm.num_layers)), 0


JOBS: dict[str, Job] = {
    "ask": Job(ask, _ask_needs),
    "compare": Job(compare, _compare_needs),
    "tune": Job(tune, _tune_needs),
    "spend": Job(spend, _spend_needs),
    "guard": Job(guard, _guard_needs),
}
