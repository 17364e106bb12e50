"""How far a setting strays from the full model on one clip and question: the KL of next-token distributions along the full model's answer.

The full model's own answer is at most `ANSWER_TOKENS` long. A setting is prefilled under `aim.reduce`, and then made to say that answer
token by token through the cache, so that importance never sees the answer. At each token the two distributions are compared.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from aim.engine.reduce import reduce
from aim.engine.stopping import Stopped
from aim.families import Encoded
from aim.kernels.refusal import Refusal
from aim.methods import AIM, Full, Method
from aim.methods.tower import Tower
from aim.runtime.compare import divergence
from aim.runtime.faults import give_back, is_out_of_memory
from aim.runtime.vlm import VLM
from aim.video.clip import Clip

ANSWER_TOKENS = 16
# Merge ratios of what stands in for the full model where that does not fit in memory, the least reduced first.
MILDER = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)


@dataclass(frozen=True)
class Reference:
    """The run that settings are compared with.

    Attributes:
        method: the full model, or the least reduced setting that fits in memory.
        tokens: the ids of its greedy answer, 1 to `ANSWER_TOKENS` of them, the end token included.
        log_probabilities: float32 [tokens, vocabulary] on the CPU, its expectation at each of these tokens.
        seconds: the measured time of its prefill, merging and scoring included.
    """

    method: Method
    tokens: tuple[int, ...]
    log_probabilities: Tensor
    seconds: float

    @property
    def title(self) -> str:
        """The reference in a few words."""
        if isinstance(self.method, AIM):
            return f"model merged to {100 * self.method.merge_ratio:g} %, since the full one does not fit in memory"
        return "full model"


@dataclass(frozen=True)
class Measured:
    """One setting compared with the reference.

    Attributes:
        divergence: mean KL(reference ‖ setting) along the reference's answer, in nats, ≥ 0; None where the run was given up, because the
            mean would have been above the bound.
        first: the KL of the first token alone, in nats.
        seconds: the measured time of the prefill, merging and scoring included.
    """

    divergence: float | None
    first: float
    seconds: float


class Subject:
    """A clip and a question, on which settings are measured.

    Attributes:
        tower: how the vision tower is reduced for them; the reference always has the full one.
        reference: the run that settings are compared with; None until `refer` has made it.
        prefills: how many prefills there were, failed ones included.
    """

    def __init__(self, vlm: VLM, clip: Clip, question: str, tower: Tower | None = None):
        self.vlm, self.clip, self.question, self.tower = vlm, clip, question, tower
        self.reference: Reference | None = None
        self.prefills = 0
        self._encoded: dict[
            tuple[str, Tower | None, bool, bool], Encoded
        ] = {}  # kept as long as the search lasts, even where the runtime drops them

    def refer(self, method: Method, stop: threading.Event | None = None) -> bool:
        """Run a method as the reference. False where it was stopped, or does not fit in memory.

        Raises:
            Refusal: what `VLM.ask` refuses, other than memory.
        """
        recorder = _Recorder()
        try:
            tokens, seconds = self._generate(method, self.clip, None, recorder, ANSWER_TOKENS, stop or threading.Event())
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
        """A method's divergence from the reference; None where it was stopped, or does not fit in memory.

        Args:
            clip: other frames of the same video. None is the reference's own.
            bound: in nats. The run is given up as soon as its mean must come out above it.
            stop: set it to end before the model's next layer.

        Raises:
            ValueError: there is no reference yet; call `refer` first.
        """
        if self.reference is None:
            raise ValueError("A setting was measured before there was a reference. Call `refer` first.")
        follower, stop = _Follower(self.reference, bound), stop or threading.Event()
        given = method, clip or self.clip, self.tower, follower, len(self.reference.tokens), stop
        try:
            _, seconds = self._generate(*given, _Hopeless(follower))
        except Stopped:
            return None
        except Exception as error:
            forget(error)
            return None
        return Measured(follower.mean if follower.finished else None, follower.divergences[0], seconds)

    def divergence_of(self, method: Method) -> float:
        """Mean KL(full ‖ method) in nats, ≥ 0, along the reference's answer.

        Raises:
            Refusal: the method does not fit in memory.
        """
        measured = self.measure(method)
        if measured is None or measured.divergence is None:
            raise Refusal(f"{method} does not fit in memory here; keep fewer tokens or use fewer frames.")
        return measured.divergence

    def _generate(
        self,
        method: Method,
        clip: Clip,
        tower: Tower | None,
        processor: LogitsProcessor,
        tokens: int,
        stop: threading.Event,
        *criteria: StoppingCriteria,
    ) -> tuple[tuple[int, ...], float]:
        """Stock greedy `generate` under `aim.reduce`: (the ids that it gave, the seconds of the prefill).

        Raises:
            Stopped: `stop` was set.
        """
        key = clip.digest, tower, method.needs_tower, method.needs_pixels
        with (
            self.vlm.encoded(clip, self._encoded.get(key), stop, tower, *key[2:]) as encoded,
            torch.inference_mode(),
            reduce(self.vlm.model, method) as trace,
        ):
            self._encoded[key] = encoded
            inputs = self.vlm.inputs(self.question, encoded)
            self.prefills += 1
            said = self.vlm.model.generate(  # type: ignore[operator]  # as in aim.runtime.generation
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([processor]),
                stopping_criteria=StoppingCriteriaList(criteria),
            )
            answer = said[0, inputs["input_ids"].shape[1] :].tolist()
        return tuple(answer), trace.prefill_seconds


def forget(error: Exception) -> None:
    """Free what an out-of-memory error keeps alive. Any other error is raised again."""
    if not is_out_of_memory(error):
        raise error
    give_back(error)


def ladder(num_layers: int) -> list[Method]:
    """The references to try in turn: the full model, and then ever fewer visual tokens in all layers."""
    return [Full(), *(AIM(merge_ratio=share, l1=num_layers, l2=num_layers + 1) for share in MILDER)]


class _Recorder(LogitsProcessor):
    """Notes the log probabilities of every token, and changes none."""

    def __init__(self) -> None:
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
        """The mean over the whole answer, in nats. Before the end it is the least that this can become, since no divergence is negative."""
        return sum(self.divergences) / len(self.reference.tokens)

    @property
    def finished(self) -> bool:
        """Whether the whole answer was said."""
        return len(self.divergences) == len(self.reference.tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = len(self.divergences)
        seen = scores[0].float().log_softmax(dim=-1).cpu()
        self.divergences.append(divergence(self.reference.log_probabilities[step], seen))
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.reference.tokens[step]] = 0
        return forced


class _Hopeless(StoppingCriteria):
    """Ends generation as soon as the mean must come out above the bound."""

    def __init__(self, follower: _Follower):
        self._follower = follower

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        ended = self._follower.mean > self._follower.bound
        return torch.full((input_ids.shape[0],), ended, dtype=torch.bool, device=input_ids.device)
