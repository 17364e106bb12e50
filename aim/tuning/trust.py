"""A warning after a run: one more prefill with a milder setting tells whether the reduction probably changed the answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace

import torch

from aim.engine.reduce import reduce
from aim.methods import Method
from aim.runtime.answer import Answer
from aim.runtime.compare import divergence
from aim.runtime.vlm import VLM
from aim.video.clip import Clip

# Nats, from `python -m aim.evaluation.guard_threshold` on the bundled model: the best balanced accuracy over 50 validation clips (two
# questions each, the paper's layers at 4, 8, 16 and 25 times less), for telling which answers are not the full model's. On 50 test clips
# 85.7 %, AUC 0.917. Another model's answers are longer and its distributions wider: calibrate anew where the warning matters.
THRESHOLD = 0.0735


@dataclass(frozen=True)
class Verdict:
    """What the milder setting says.

    Attributes:
        milder: the same method with its knobs turned back.
        divergence: KL(milder ‖ run) of the first token, in nats, ≥ 0.
        doubtful: it exceeds the threshold.
        sentence: for people.
    """

    milder: Method
    divergence: float
    doubtful: bool
    sentence: str


# knob → (its value, layers of the model) → a milder value
_TURNED = {
    "merge_ratio": lambda value, layers: min(1.0, 2 * value),
    "keep_ratio": lambda value, layers: 0.5 if value is None else min(1.0, 2 * value),
    "ratio": lambda value, layers: (1 + value) / 2,
    "l1": lambda value, layers: max(value, min(layers, value + max(1, layers // 4))),
    "l2": lambda value, layers: max(value, min(layers + 1, value + max(1, layers // 4))),
    "layer": lambda value, layers: max(value, min(layers, value + max(1, layers // 4))),
}


def milder_than(method: Method, num_layers: int) -> Method:
    """The same method with shares of tokens doubled, up to all, and layers where tokens are dropped a quarter of the depth later."""
    method = method.for_depth(num_layers)
    known = [knob.name for knob in fields(method) if knob.name in _TURNED]
    return replace(method, **{name: _TURNED[name](getattr(method, name), num_layers) for name in known})


def guard(
    vlm: VLM, clip: Clip, question: str, answer: Answer, threshold: float = THRESHOLD, stop: threading.Event | None = None
) -> Verdict:
    """Compare a run's first token with a milder run's; the clip's features are not made again where they are kept.

    Args:
        answer: complete, of this clip and question; its trace is not needed.
        threshold: nats; above it the answer is doubtful.
        stop: set it to end before the model's next layer.

    Raises:
        ValueError: an answer without its first token's probabilities.
        NotEnoughMemory: a ValueError; the milder setting does not fit here.
        Stopped: `stop` was set.
    """
    if answer.next_token is None:
        raise ValueError("The answer has no first token; give one that has ended.")
    milder = milder_than(answer.method, vlm.num_layers)
    if milder == answer.method.for_depth(vlm.num_layers):
        return Verdict(milder, 0.0, False, "Nothing was left out, so nothing can have changed the answer.")
    with (
        vlm.within_memory(len(clip.frames), milder),
        vlm.encoded(clip, stop=stop) as encoded,
        torch.inference_mode(),
        reduce(vlm.model, milder),
    ):
        logits = vlm.model(**vlm.inputs(question, encoded), use_cache=False, logits_to_keep=1).logits
        calm = logits[0, -1].float().log_softmax(dim=-1).cpu()
    strayed = divergence(calm, answer.next_token)
    word = vlm.checkpoint.tokenizer.decode([int(calm.argmax())]).strip()
    differs = int(calm.argmax()) != int(answer.next_token.argmax())
    if strayed <= threshold:
        return Verdict(milder, strayed, False, "A milder setting gives nearly the same first word.")
    what = f"a milder setting would begin with “{word}”" if differs else "a milder setting is less or more sure of its first word"
    return Verdict(milder, strayed, True, f"The reduction may have changed this answer: {what}. Keep more tokens to be sure.")
