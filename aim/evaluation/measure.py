"""All questions about one clip under all settings. The clip is encoded once for each number of frames.

The answer is the greedy first token, among the whole vocabulary, of one forward under `aim.reduce`, so tokens are really removed. Prompts
about one clip begin alike, and what they share is computed once (`aim.engine.shared_prefix`). The time is that of the first one. Ground
truth adds two figures: *evidence recall*, the share of the asked items' patches that are in a token a layer still ran on, and
*localisation*, the mean score of those patches over the mean score elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aim.engine.reduce import reduce
from aim.engine.seams import parts_of
from aim.engine.shared_prefix import sharing_prefixes
from aim.evaluation.clips import HeldOutClip, film, tokens_a_side
from aim.evaluation.settings import Setting
from aim.evaluation.shrunken import shrunken
from aim.kernels.products import exact_products
from aim.kernels.trace import Trace
from aim.runtime.vlm import VLM
from aim.shapes.questions import Question


@dataclass(frozen=True)
class Outcome:
    """One question under one setting.

    Attributes:
        type, truth: of the question; `answer` is the model's word, `right` compares their tokens.
        text_tokens: tokens of the prompt that are not patches.
        recall: evidence recall for each layer, in [0, 1]; None where the question is about no item or no frame shows it.
        localisation: for each layer the ratio of mean scores, 1 = no preference; None where there were no scores to compare.
    """

    type: str
    truth: str
    answer: str
    right: bool
    text_tokens: int
    recall: list[float] | None
    localisation: list[float | None] | None


@dataclass(frozen=True)
class Record:
    """One clip under one setting.

    Attributes:
        setting: `Setting.key`.
        visual_per_layer: visual tokens each layer really ran on; the same for all questions.
        outcomes: in the order of the clip's questions.
        tower_lengths: for each frame the (queries, keys) of each layer of a reduced vision tower; empty where it ran in full.
        milliseconds: measured prefill of the first question, merging and scoring included. It differs every run and is no part of a result.
        tower_milliseconds: measured time of preparing and encoding the clip's frames, likewise. It is that of all `frames` of the setting.
    """

    setting: str
    clip: int
    visual_per_layer: list[int]
    outcomes: list[Outcome]
    milliseconds: float
    tower_lengths: list = field(default_factory=list)
    tower_milliseconds: float = 0.0


@torch.inference_mode()
def measure_clip(vlm: VLM, clip: HeldOutClip, settings: list[Setting]) -> Iterator[Record]:
    """One record for each setting, those of the same frames and the same tower together.

    All products are exact, so that figures do not depend on the processor.

    Raises:
        Refusal: a method or model that `aim.reduce` does not take, or a grid that `clips.film` does not.
    """
    with exact_products():
        for frames, tower, side in dict.fromkeys((setting.frames, setting.tower, setting.shrunk) for setting in settings):
            pictures, owners = film(clip, frames, tokens_a_side(vlm))
            seen = shrunken(pictures, side) if side else pictures
            start = time.perf_counter()
            encoded = vlm.encode(seen, tower, any(setting.method.needs_pixels for setting in settings))
            tower_milliseconds = 1000 * (time.perf_counter() - start)
            prompts = [vlm.inputs(question.text, encoded) for question in clip.questions]
            evidence = [torch.from_numpy(np.isin(owners, question.about)) for question in clip.questions]
            for setting in settings:
                if (setting.frames, setting.tower, setting.shrunk) != (frames, tower, side):
                    continue
                outcomes, seconds = [], []
                with reduce(vlm.model, setting.method) as trace, sharing_prefixes(parts_of(vlm.model)):
                    for question, prompt, patches in zip(clip.questions, prompts, evidence, strict=True):
                        logits = vlm.model(**prompt, use_cache=False, logits_to_keep=1).logits  # no cache: nothing is decoded
                        outcomes.append(_outcome(vlm, question, patches, trace, int(logits[0, -1].argmax())))
                        seconds.append(trace.prefill_seconds)
                visual = [visual for visual, _ in trace.tokens_per_layer]
                took = 1000 * seconds[0], list(encoded.tower_lengths), tower_milliseconds
                yield Record(setting.key, clip.index, visual, outcomes, *took)


def _outcome(vlm: VLM, question: Question, patches: Tensor, trace: Trace, token: int) -> Outcome:
    tokenizer = vlm.checkpoint.tokenizer
    return Outcome(
        type=question.type,
        truth=question.answer,
        answer=tokenizer.decode([token]).strip(),
        right=token == tokenizer(question.answer, add_special_tokens=False)["input_ids"][0],
        text_tokens=trace.tokens_per_layer[0][1],
        recall=evidence_recall(trace, patches),
        localisation=localisation(trace, patches),
    )


def evidence_recall(trace: Trace, evidence: Tensor) -> list[float] | None:
    """For each layer, the share (0 to 1) of evidence patches that are in a token it ran on; None without any. `evidence` is bool [F, T].

    A token that was averaged into another inside the model is in that one.
    """
    groups = trace.assignment[evidence]
    if len(groups) == 0:
        return None
    return [(_holders(trace, layer)[groups] >= 0).float().mean().item() for layer in range(len(trace.survivors))]


def localisation(trace: Trace, evidence: Tensor) -> list[float | None] | None:
    """For each layer, the mean score on evidence patches over the mean score elsewhere.

    A patch has the whole score of the token it is in, because that decides whether it stays. Patches dropped earlier have no score and
    count on neither side. A layer has None where it was not scored, where one side has no patch left, or where no score elsewhere is
    above 0.

    Args:
        evidence: bool [F, T].

    Returns:
        One ratio a layer, ≥ 0; None if there is no evidence.
    """
    if not bool(evidence.any()):
        return None
    ratios: list[float | None] = []
    for layer, (alive, scores) in enumerate(zip(trace.survivors, trace.scores, strict=True)):
        if scores is None:
            ratios.append(None)
            continue
        of_group = torch.zeros(trace.merged_tokens + 1, dtype=torch.float64).scatter_(0, alive, scores.double())
        holders = _holders(trace, layer)[trace.assignment]
        there, score = holders >= 0, of_group[holders]
        on, elsewhere = score[there & evidence], score[there & ~evidence]
        usable = len(on) > 0 and len(elsewhere) > 0 and elsewhere.mean() > 0
        ratios.append((on.mean() / elsewhere.mean()).item() if usable else None)
    return ratios


def _holders(trace: Trace, layer: int) -> Tensor:
    """Long [M + 1], `Trace.held_in` a layer. The last one, which index -1 reads, is for what was dropped before the LLM."""
    return torch.nn.functional.pad(trace.held_in(layer), (0, 1), value=-1)
