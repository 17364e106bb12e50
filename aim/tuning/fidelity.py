"""How far a setting strays from the full model on one clip and question: KL of next-token distributions along the full model's own answer.

The answer is the full model's, at most `ANSWER_TOKENS` long. A setting is prefilled under `aim.reduce` and then made to say that answer,
token by token through the cache, so that importance never sees it; at each token the two distributions are compared.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from aim.engine.reduce import reduce
from aim.engine.stopping import Stopped
from aim.families import Encoded
from aim.methods import AIM, Full, Method
from aim.runtime.compare import divergence
from aim.runtime.faults import give_back, is_out_of_memory
from aim.runtime.vlm import VLM
from aim.video.clip import Clip

ANSWER_TOKENS = 16
# What stands in for the full model where it does not fit in memory, the least reduced first.
MILDER = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)


@dataclass(frozen=True)
class Reference:
    """What settings are held against.

    Attributes:
        method: the full model, or the least reduced setting that fits in memory.
        tokens: ids of its greedy answer, the end token included, 1 to `ANSWER_TOKENS` of them.
        log_probabilities: float32 [tokens, vocabulary] on the CPU, what it expected at each of them.
        seconds: measured prefill, merging and scoring included.
    """

    method: Method
    tokens: tuple[int, ...]
    log_probabilities: Tensor
    seconds: float

    @property
    def title(self) -> str:
        """For people."""
        if isinstance(self.method, Full):
            return "full model"
        return f"model merged to {100 * self.method.merge_ratio:g} %, since the full one does not fit in memory"


@dataclass(frozen=True)
class Measured:
    """One setting against the reference, in nats; `divergence` is None where it was given up, since it would have been above the bound."""

    divergence: float | None
    first: float
    seconds: float


class Subject:
    """A clip and a question, with the reference once it was run. `prefills` counts every prefill, failed ones included."""

    def __init__(self, vlm: VLM, clip: Clip, question: str):
        self.vlm, self.clip, self.question = vlm, clip, question
        self.reference: Reference | None = None
        self.prefills = 0
        self._encoded: dict[str, Encoded] = {}  # for as long as the search lasts, whatever the runtime lets go

    def refer(self, method: Method, stop: threading.Event | None = None) -> bool:
        """Run a method as the reference; False where it was stopped or does not fit in memory."""
        recorder = _Recorder()
        try:
            tokens, seconds = self._generate(method, self.clip, recorder, ANSWER_TOKENS, stop or threading.Event())
        except Stopped:
            return False
        except Exception as error:
            forget(error)
            return False
        self.reference = Reference(method, tokens, torch.stack(recorder.seen), seconds)
        return True

    def measure(
        self, method: Method, clip: Clip | None = None, bound: float = float("inf"), stop: threading.Event | None = None
    ) -> Measured | None:
        """A method's divergence from the reference, given up as soon as it must end above `bound`; None where stopped or out of memory.

        Args:
            clip: other frames of the same video; None: the reference's own.
        """
        follower, stop = _Follower(self.reference, bound), stop or threading.Event()
        try:
            _, seconds = self._generate(method, clip or self.clip, follower, len(self.reference.tokens), stop, _Hopeless(follower))
        except Stopped:
            return None
        except Exception as error:
            forget(error)
            return None
        return Measured(follower.mean if follower.finished else None, follower.divergences[0], seconds)

    def divergence_of(self, method: Method) -> float:
        """Mean KL(full ‖ method) in nats, ≥ 0, along the reference's answer.

        Raises:
            ValueError: the method does not fit in memory.
        """
        measured = self.measure(method)
        if measured is None:
            raise ValueError(f"{method} does not fit in memory here; keep fewer tokens or use fewer frames.")
        return measured.divergence

    def _generate(
        self, method: Method, clip: Clip, processor: LogitsProcessor, tokens: int, stop: threading.Event, *criteria: StoppingCriteria
    ) -> tuple[tuple[int, ...], float]:
        """Stock greedy `generate` under `aim.reduce`: (ids it gave, seconds of the prefill). Raises Stopped once `stop` is set."""
        with (
            self.vlm.encoded(clip, self._encoded.get(clip.digest), stop) as encoded,
            torch.inference_mode(),
            reduce(self.vlm.model, method) as trace,
        ):
            self._encoded[clip.digest] = encoded
            inputs = self.vlm.inputs(self.question, encoded)
            self.prefills += 1
            said = self.vlm.model.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([processor]),
                stopping_criteria=StoppingCriteriaList(criteria),
            )
            answer = said[0, inputs["input_ids"].shape[1] :].tolist()
        return tuple(answer), trace.prefill_seconds


def forget(error: Exception) -> None:
    """Free what an out-of-memory error holds on to; any other error is raised again."""
    if not is_out_of_memory(error):
        raise error
    give_back(error)


def ladder(num_layers: int) -> list[Method]:
    """References to try in turn: the full model, then ever fewer tokens in all of its layers."""
    return [Full(), *(AIM(merge_ratio=share, l1=num_layers, l2=num_layers + 1) for share in MILDER)]


class _Recorder(LogitsProcessor):
    """Notes the log probabilities of every token, and changes none."""

    def __init__(self):
        self.seen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.seen.append(scores[0].float().log_softmax(dim=-1).cpu())
        return scores


class _Follower(LogitsProcessor):
    """Makes the model say the reference's answer and notes the divergence at each token."""

    def __init__(self, reference: Reference, bound: float):
        self.reference, self.bound = reference, bound
        self.divergences: list[float] = []

    @property
    def mean(self) -> float:
        """Over the whole answer; before its end the least it can still become, since no divergence is negative."""
        return sum(self.divergences) / len(self.reference.tokens)

    @property
    def finished(self) -> bool:
        return len(self.divergences) == len(self.reference.tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = len(self.divergences)
        seen = scores[0].float().log_softmax(dim=-1).cpu()
        self.divergences.append(divergence(self.reference.log_probabilities[step], seen))
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.reference.tokens[step]] = 0
        return forced


class _Hopeless(StoppingCriteria):
    """Ends generation once the mean must come out above the bound."""

    def __init__(self, follower: _Follower):
        self._follower = follower

    def __call__(self, input_ids: Tensor, scores, **kwargs) -> Tensor:
        ended = self._follower.mean > self._follower.bound
        return torch.full((input_ids.shape[0],), ended, dtype=torch.bool, device=input_ids.device)
