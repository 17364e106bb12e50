"""Methods side by side on one clip at equal cost: their answers, their divergence from the full model, their times, and what they keep."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from aim.kernels.bounds import ABOVE_0, FROM_1, in_words, refusal
from aim.kernels.refusal import Refusal
from aim.kernels.stop import STOP
from aim.methods import AIM, COMPARABLE, Full, Method
from aim.methods.tower import Tower
from aim.planning.match import match
from aim.runtime.answer import Answer
from aim.runtime.vlm import LOADED, VLM
from aim.video.clip import CLIP, Clip

# Each method's runs after the first are only timed. The methods take turns, so that a busy machine slows all of them alike.
ROUNDS = 3


@dataclass(frozen=True)
class Compared:
    """One method's run beside the full model's.

    Attributes:
        answer: the run. Its `cost["prefill_tflops"]` is the cost of what the method really executed, as near the budget as its knob allows.
        divergence: KL(full ‖ method) of the next-token distributions, in nats, ≥ 0; 0 for the full model itself.
        agrees: whether both find the same first token most likely.
        prefill_seconds: measured in each round, merging and scoring included.
    """

    answer: Answer
    divergence: float
    agrees: bool
    prefill_seconds: tuple[float, ...]

    def to_dict(self) -> dict:
        """Plain numbers and lists, without the trace."""
        timed = {"prefill_seconds": list(self.prefill_seconds), "prefill_median_seconds": median(self.prefill_seconds)}
        return self.answer.account() | {"divergence": self.divergence, "agrees": self.agrees} | timed


@dataclass(frozen=True)
class Comparison:
    """All runs, the full model's first.

    Attributes:
        tflops: the budget, in modelled TFLOP of the LLM's prefill.
        runs: those that have ended.
        complete: whether all have ended and were timed. It is false while the comparison grows, and where it was stopped.
        left_out: of the methods that cannot take this clip, each one's sentence that says why.
    """

    tflops: float
    runs: tuple[Compared, ...] = ()
    complete: bool = False
    left_out: tuple[str, ...] = ()

    def only(self, names: Collection[str]) -> Comparison:
        """The same comparison with the full model and these methods alone."""
        return replace(self, runs=tuple(run for run in self.runs if run.answer.method.name in {Full.name, *names}))

    def overlap(self, layer: int | None = None) -> Tensor:
        """Intersection over union of the patches whose places a layer's visual tokens hold, 0 to 1.

        Args:
            layer: counted from 0. None is the layer at a quarter of the depth, where every method has begun to drop.

        Returns:
            float64 [runs, runs]; NaN where neither run has visual tokens there.
        """
        kept = [set(run.answer.trace.kept_patches(self._layer(layer)).tolist()) for run in self.runs]
        return torch.tensor([[_over(one, other) for other in kept] for one in kept], dtype=torch.float64)

    def _layer(self, layer: int | None) -> int:
        return self.runs[0].answer.trace.num_layers // 4 if layer is None else layer

    def to_dict(self) -> dict:
        """Plain numbers and lists. An overlap that is not defined is None."""
        overlap = [[None if value != value else value for value in row] for row in self.overlap().tolist()]
        runs, left_out = [run.to_dict() for run in self.runs], list(self.left_out)
        return {"tflops": self.tflops, "runs": runs, "left_out": left_out, "overlap_layer": self._layer(None), "overlap": overlap}


def compare(
    vlm: VLM,
    clip: Clip,
    question: str,
    methods: list[str] | None = None,
    tflops: float | None = None,
    max_new_tokens: int = 64,
    rounds: int = ROUNDS,
    stop: threading.Event | None = None,
    tower: Tower | None = None,
) -> Iterator[Comparison]:
    """Run the full model and every method, each with its own knob turned to one budget, on one encoded clip.

    A method that cannot take this clip, as `FewerFrames` cannot take a picture, is left out, and `Comparison.left_out` says why.

    Args:
        clip: from `aim.read_video`.
        question: 1 to 2,000 characters.
        methods: keys of `COMPARABLE`, by default all. The full model always comes first, and is the reference.
        tflops: the budget, in modelled TFLOP of the LLM's prefill, > 0. By default it is what the paper's AIM setting takes on this clip.
        max_new_tokens: for each answer, at least 1.
        rounds: how often each prefill is timed, at least 1.
        tower: how the vision tower is reduced for every method. The full model, which is the reference, keeps its full tower.
        stop: set it to end before the model's next layer. What is done by then was yielded.

    Yields:
        The comparison after each run, and once more when all rounds are timed.

    Raises:
        Refusal: a method is unknown or not comparable, there is none or none that can take this clip, another argument is not as said
            here, or `VLM.ask` refuses.
    """
    LOADED.check("vlm", vlm)
    tower = vlm.fit_tower(tower)
    CLIP.check("clip", clip)
    STOP.check("stop", stop)
    names = list(COMPARABLE) if methods is None else list(methods) if isinstance(methods, (list, tuple)) else []
    others = [name for name in COMPARABLE if name != Full.name]
    unknown = [name for name in names if not isinstance(name, str) or name not in COMPARABLE]
    if unknown or not set(names) - {Full.name}:
        raise refusal("methods", methods, f"a list with one or more of {in_words(others)}", "Leave it out for all.")
    FROM_1.check("rounds", rounds, f"Each prefill is timed at least once. Use {ROUNDS}, for example.")
    if tflops is not None:
        ABOVE_0.check("tflops", tflops, "It is the budget of a prefill. Leave it out for what the paper's setting takes.")
    stop = threading.Event() if stop is None else stop
    grid = vlm.grid_of(clip)
    text_tokens = vlm.text_tokens(question, grid=grid, times=clip.timestamps.tolist())
    if tflops is None:
        tflops = vlm.plan(len(clip.frames), text_tokens, AIM(), grid).prefill_tflops
    shape = vlm.model.config
    reduced = [name for name in dict.fromkeys(names) if name != Full.name]
    chosen, left_out = [], []
    for name in reduced:
        try:
            chosen.append(match(name, shape, grid.frames, tflops, grid.tokens_per_frame, text_tokens, tolerance=None))
        except Refusal as refused:
            left_out.append(str(refused))
    if not chosen:
        raise Refusal(left_out[0])

    # The clip is encoded before the first method that reads what the vision tower attends to, so it is recorded from the beginning.
    vlm.features.watched |= any(method.needs_tower for method in chosen)
    comparison = Comparison(tflops, left_out=tuple(left_out))
    for method in [Full(), *chosen]:
        try:
            answer = whole_answer(vlm, clip, question, method, max_new_tokens, stop, tower if comparison.runs else None)
        except Refusal as refused:
            if not comparison.runs or type(refused) is not Refusal:  # such as memory that ran out, which is not the method's doing
                raise
            comparison = replace(comparison, left_out=(*comparison.left_out, str(refused)))
            continue
        if answer is None:
            return
        reference = comparison.runs[0].answer if comparison.runs else answer
        expected, given = first_token(reference), first_token(answer)
        agrees = bool(expected.argmax() == given.argmax())
        run = Compared(answer, divergence(expected, given), agrees, (answer.trace.prefill_seconds,))
        comparison = replace(comparison, runs=(*comparison.runs, run))
        yield comparison
    # The very first run also warms up the machine. So only the rounds after it are compared where there are any.
    seconds: list[list[float]] = [[] for _ in comparison.runs]
    for _ in range(rounds - 1):
        for times, run in zip(seconds, comparison.runs, strict=True):
            answer = whole_answer(vlm, clip, question, run.answer.method, 1, stop, run.answer.tower)
            if answer is None:
                return
            times.append(answer.trace.prefill_seconds)
    if rounds > 1:
        runs = tuple(replace(run, prefill_seconds=tuple(times)) for run, times in zip(comparison.runs, seconds, strict=True))
        comparison = replace(comparison, runs=runs)
    yield replace(comparison, complete=True)


def divergence(reference: Tensor, other: Tensor) -> float:
    """KL(reference ‖ other) in nats, ≥ 0, of two distributions that are given as log probabilities [vocabulary]. Equal ones give 0."""
    reference, other = reference.double(), other.double()
    terms = reference.exp() * (reference - other)
    return max(0.0, float(terms[reference > -torch.inf].sum()))


def whole_answer(
    vlm: VLM, clip: Clip, question: str, method: Method, max_new_tokens: int, stop: threading.Event, tower: Tower | None = None
) -> Answer | None:
    """`vlm.ask`, or None where `stop` was set before the answer was complete.

    Raises:
        Refusal: what `VLM.ask` refuses.
    """
    answer = vlm.ask(clip, question, method, max_new_tokens, stop=stop, tower=tower)
    return None if stop.is_set() or answer.trace is None else answer


def first_token(answer: Answer) -> Tensor:
    """Log probabilities of an answer's first token, float32 [vocabulary].

    Raises:
        Refusal: the answer has none, as before its first token or where it was stopped there.
    """
    if answer.next_token is None:
        raise Refusal(
            "The answer has no first token; accepted: a complete answer. Take the last one that `VLM.stream` yields, or `VLM.ask`."
        )
    return answer.next_token


def _over(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else float("nan")
