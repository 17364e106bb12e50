"""A warning after a run. One more prefill with a milder setting tells whether the reduction probably changed the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from aim.engine.reduce import reduce
from aim.kernels.bounds import Bounds
from aim.methods import Method
from aim.runtime.answer import ANSWER, Answer
from aim.runtime.compare import divergence, first_token
from aim.runtime.vlm import LOADED, VLM
from aim.runtime.weights import EARLIER, are_earlier
from aim.tuning.calibration import calibration
from aim.video.clip import CLIP, Clip

UNCHECKED = "Nothing was left out, so nothing can have changed the answer."
UNCHECKED_TOWER = "No visual token was left out. What the reduced vision tower changes is not checked."


@dataclass(frozen=True)
class Verdict:
    """What the milder setting tells about an answer.

    Attributes:
        milder: the milder setting of the same method.
        divergence: KL(milder ‖ run) of the first token, in nats, ≥ 0.
        doubtful: whether the divergence exceeds the threshold.
        sentence: the verdict in words.
    """

    milder: Method
    divergence: float
    doubtful: bool
    sentence: str


# Knob → (its value, number of the model's layers) → a milder value.
_TURNED: dict[str, Callable[[Any, int], Any]] = {
    "merge_ratio": lambda value, layers: min(1.0, 2 * value),
    "keep_ratio": lambda value, layers: 0.5 if value is None else min(1.0, 2 * value),
    "pixel_threshold": lambda value, layers: value / 2,
    "ratio": lambda value, layers: (1 + value) / 2,
    "l1": lambda value, layers: max(value, min(layers, value + max(1, layers // 4))),
    "l2": lambda value, layers: max(value, min(layers + 1, value + max(1, layers // 4))),
    "layer": lambda value, layers: max(value, min(layers, value + max(1, layers // 4))),
}


def milder_than(method: Method, num_layers: int) -> Method:
    """The same method with milder knobs: shares of tokens are doubled, up to all, and tokens are dropped a quarter of
    the depth later or for half the difference."""
    method = method.for_depth(num_layers)
    known = [knob.name for knob in fields(method) if knob.name in _TURNED]
    return replace(method, **{name: _TURNED[name](getattr(method, name), num_layers) for name in known})


def guard(
    vlm: VLM, clip: Clip, question: str, answer: Answer, threshold: float | None = None, stop: threading.Event | None = None
) -> Verdict:
    """Compare a run's first token with that of a milder run. The clip's features are not made again where they are kept.

    The vision tower is reduced as in the run, so what that changes is not noticed.

    Args:
        answer: a complete answer to this question about this clip. Its trace is not needed.
        threshold: in nats, ≥ 0; above it the answer is doubtful. By default it is the stored one, which tells best on the bundled model, by
            balanced accuracy, which answers are not the full model's. Other models give longer answers and wider distributions, so
            calibrate anew where the warning matters.
        stop: set it to end before the model's next layer.

    Raises:
        Refusal: the answer has no first token, or `VLM.ask` refuses.
        aim.runtime.faults.NotEnoughMemory: a Refusal; the milder setting does not fit into memory here.
        Stopped: `stop` was set.
    """
    LOADED.check("vlm", vlm)
    CLIP.check("clip", clip)
    ANSWER.check("answer", answer)
    stored = None
    if threshold is None:
        stored = calibration()
        threshold = stored.threshold
    Bounds(0).check("threshold", threshold, "It is in nats. Use 0.07, for example.")
    given = first_token(answer)
    milder = milder_than(answer.method, vlm.num_layers)
    if milder == answer.method.for_depth(vlm.num_layers):
        return Verdict(milder, 0.0, False, UNCHECKED if answer.tower is None else UNCHECKED_TOWER)
    with (
        vlm.within_memory(len(clip.frames), milder),
        vlm.encoded(clip, stop=stop, tower=answer.tower, watched=milder.needs_tower, compared=milder.needs_pixels) as encoded,
        torch.inference_mode(),
        reduce(vlm.model, milder),
    ):
        logits = vlm.model(**vlm.inputs(question, encoded), use_cache=False, logits_to_keep=1).logits
        calm = logits[0, -1].float().log_softmax(dim=-1).cpu()
    strayed = divergence(calm, given)
    word = vlm.checkpoint.tokenizer.decode([int(calm.argmax())]).strip()
    differs = int(calm.argmax()) != int(given.argmax())
    if strayed <= threshold:
        return Verdict(milder, strayed, False, "A milder setting gives nearly the same first word.")
    aged = f" The threshold of this warning was {EARLIER}." if stored and are_earlier(stored.weights) else ""
    what = f"a milder setting would begin with “{word}”" if differs else "a milder setting is less or more sure of its first word"
    return Verdict(milder, strayed, True, f"The reduction may have changed this answer: {what}. Keep more tokens to be sure.{aged}")
