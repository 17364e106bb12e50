"""Methods side by side on one clip at equal cost: their answers, how far they stray from the full model, their times, what they keep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from aim.methods import AIM, METHODS, Full, Method
from aim.planning.match import match
from aim.runtime.answer import Answer
from aim.runtime.vlm import VLM
from aim.video.clip import Clip

# Runs of each method after the first are only timed; they take turns, so that a busy machine treats all alike.
ROUNDS = 3


@dataclass(frozen=True)
class Compared:
    """One method's run beside the full model's.

    Attributes:
        answer: the run; its `cost["prefill_tflops"]` is what the method really executed, near the budget as its knob's steps allow.
        divergence: KL(full ‖ method) of the next-token distributions, in nats, ≥ 0; 0 for the full model itself.
        agrees: both find the same first token most likely.
        prefill_seconds: measured, merging and scoring included; one for each round.
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
    """All runs, the full model's first; not `complete` while it grows or where it was stopped.

    Attributes:
        tflops: the budget, modelled TFLOP of the LLM's prefill.
    """

    tflops: float
    runs: tuple[Compared, ...] = ()
    complete: bool = False

    def overlap(self, layer: int | None = None) -> Tensor:
        """Intersection over union of the patches whose places a layer's visual tokens hold, [runs, runs]; nan where neither has any.

        Args:
            layer: None is a quarter of the way in, where every method has begun to drop.
        """
        kept = [set(run.answer.trace.kept_patches(self._layer(layer)).tolist()) for run in self.runs]
        return torch.tensor([[_over(one, other) for other in kept] for one in kept], dtype=torch.float64)

    def _layer(self, layer: int | None) -> int:
        return self.runs[0].answer.trace.num_layers // 4 if layer is None else layer

    def to_dict(self) -> dict:
        """Plain numbers and lists; overlaps that are not defined are None."""
        overlap = [[None if value != value else value for value in row] for row in self.overlap().tolist()]
        return {"tflops": self.tflops, "runs": [run.to_dict() for run in self.runs], "overlap_layer": self._layer(None), "overlap": overlap}


def compare(
    vlm: VLM,
    clip: Clip,
    question: str,
    methods: list[str] | None = None,
    tflops: float | None = None,
    max_new_tokens: int = 64,
    rounds: int = ROUNDS,
    stop: threading.Event | None = None,
) -> Iterator[Comparison]:
    """Run the full model and every method, each with its own knob turned to one budget, on one encoded clip.

    Args:
        methods: keys of `METHODS`; default all. The full model is always the first, and the reference.
        tflops: the budget, modelled TFLOP of the LLM's prefill; default what the paper's AIM setting takes on this clip.
        rounds: how often each prefill is timed, in turns, ≥ 1.
        stop: set it to end before the model's next layer; what is done so far was yielded.

    Yields:
        The comparison after each run, and once more when all rounds are timed.

    Raises:
        ValueError: an unknown method, no method, a budget no method can meet, and whatever `VLM.ask` refuses.
    """
    names = list(dict.fromkeys(METHODS if methods is None else methods))
    unknown = [name for name in names if name not in METHODS]
    others = [name for name in names if name != Full.name]
    if unknown or not others:
        raise ValueError(f"methods is {methods!r}; choose one or more of {', '.join(name for name in METHODS if name != Full.name)}.")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; each prefill is timed at least once. Use {ROUNDS}, for example.")
    stop = stop or threading.Event()
    grid = vlm.grid(len(clip.frames), *clip.frames.shape[1:3])
    text_tokens = len(vlm.prompt_ids(question, grid)) - grid.tokens
    tflops = tflops or vlm.plan(len(clip.frames), text_tokens, AIM(), grid).prefill_tflops
    shape = vlm.model.config
    chosen = [match(name, shape, grid.frames, tflops, grid.tokens_per_frame, text_tokens, tolerance=None) for name in others]

    comparison = Comparison(tflops)
    for method in [Full(), *chosen]:
        answer = whole_answer(vlm, clip, question, method, max_new_tokens, stop)
        if answer is None:
            return
        reference = comparison.runs[0].answer if comparison.runs else answer
        agrees = _likeliest(reference) == _likeliest(answer)
        run = Compared(answer, divergence(reference.next_token, answer.next_token), agrees, (answer.trace.prefill_seconds,))
        comparison = replace(comparison, runs=(*comparison.runs, run))
        yield comparison
    # The first run of all also warms up the machine, so that only the rounds that follow are compared where there are any.
    seconds: list[list[float]] = [[] for _ in comparison.runs]
    for _ in range(rounds - 1):
        for times, run in zip(seconds, comparison.runs, strict=True):
            answer = whole_answer(vlm, clip, question, run.answer.method, 1, stop)
            if answer is None:
                return
            times.append(answer.trace.prefill_seconds)
    if rounds > 1:
        runs = tuple(replace(run, prefill_seconds=tuple(times)) for run, times in zip(comparison.runs, seconds, strict=True))
        comparison = replace(comparison, runs=runs)
    yield replace(comparison, complete=True)


def divergence(reference: Tensor, other: Tensor) -> float:
    """KL(reference ‖ other) of two distributions given as log probabilities [vocabulary], in nats; 0 where they are equal."""
    reference, other = reference.double(), other.double()
    terms = reference.exp() * (reference - other)
    return max(0.0, float(terms[reference > -torch.inf].sum()))


def whole_answer(vlm: VLM, clip: Clip, question: str, method: Method, max_new_tokens: int, stop: threading.Event) -> Answer | None:
    """`vlm.ask`, or None where `stop` was set before the answer was complete.

    Raises:
        ValueError: what `VLM.ask` refuses.
    """
    answer = vlm.ask(clip, question, method, max_new_tokens, stop=stop)
    return None if stop.is_set() or answer.trace is None else answer


def _likeliest(answer: Answer) -> int:
    return int(answer.next_token.argmax())


def _over(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else float("nan")
