"""Training, stage 1: the language model learns to answer. The vision tower stays as stage 0 left it.

Each clip comes with many questions, of each type as many as it is often wrong. In the first part of the training each has one plain
wording, since the model learns late to find the thing that is asked about. Clips are short at first and have 2 to 64 frames in the second
half. Besides the answers there are two dense targets after layer `TOLD_AFTER`, read by heads that are thrown away later: every visual
token must tell what its item has done so far (`told`), and the place that answers must point at the visual tokens of the items that it is
asked about (`Pointer`). Nothing is ever merged or dropped. Later in the training some clips have their visual positions closer together or
further apart by a random factor. No token is removed then, but the model gets to know positions such as the compact ones of a merged clip.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aim.shapes.drawing import camera, owner_of_tokens
from aim.shapes.model import GRID, IMAGE_SIZE, MAX_POSITIONS, TOKENS_PER_FRAME, build_tokenizer
from aim.shapes.packing import NO_LABEL, pack, packed_forward, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.pointing import POINTING, Pointer, evidence
from aim.shapes.questions import TYPES, WEIGHTS, ask_about, choose
from aim.shapes.scenes import frame_times
from aim.shapes.tally import Tally
from aim.shapes.told import TARGETS, so_far
from aim.shapes.world import make_scene

CLIPS_PER_STEP = {2: 32, 4: 24, 8: 14, 16: 7, 32: 4, 64: 2}
QUESTIONS_PER_CLIP = {2: 8, 4: 10, 8: 14, 16: 16, 32: 20, 64: 24}
# (share of the training until which it holds, {frames of a clip: how often such clips come}).
CURRICULUM = (
    (0.12, {2: 0.5, 4: 0.5}),
    (0.30, {2: 0.1, 4: 0.5, 8: 0.4}),
    (0.50, {4: 0.2, 8: 0.5, 16: 0.2, 32: 0.1}),
    (1.00, {2: 0.03, 4: 0.07, 8: 0.35, 16: 0.20, 32: 0.25, 64: 0.10}),
)
PLAIN_UNTIL, PLAIN_LATER = 0.35, 0.3
STRIDES_FROM, STRIDED, STRIDES = 0.45, 0.3, (0.2, 1.5)
TOLD_AFTER = 5  # layers
SCENES_BEFORE = 100_000  # steps of stage 1 that have scenes of their own


class AnswerStage:
    """Loss and parameters of stage 1. The tally receives the right answers to each type of question, and those of the dense targets."""

    learning_rate, warm_up, follows = 1.5e-3, 100, False
    names = (*TYPES, *TARGETS, POINTING)

    def __init__(self, model, token: dict[str, int], seed: int, tally: Tally, share):
        self.model, self.seed, self.tally, self.share = model, seed, tally, share
        self.tokenizer, self.end = build_tokenizer(), token["<|im_end|>"]
        hidden = model.config.text_config.hidden_size
        self.head = nn.ModuleDict({"told": nn.Linear(hidden, sum(TARGETS.values())), "pointer": Pointer(hidden)}).to(model.device)
        use_packed_attention(model)

    def parameter_groups(self) -> list[dict]:
        """What is trained, for the optimizer: everything but the vision tower."""
        self.model.model.vision_tower.requires_grad_(False)
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        decayed = [p for name, p in named if p.dim() >= 2 and "embed" not in name]
        others = [p for name, p in named if p.dim() < 2 or "embed" in name]
        return [{"params": decayed, "weight_decay": 0.05}, {"params": [*others, *self.head.parameters()], "weight_decay": 0.0}]

    def loss(self, step: int, progress: float) -> Tensor:
        """The loss of a step, a scalar, when `progress` (0 to 1) of the training is done."""
        frames = frames_of_step(progress, np.random.default_rng([self.seed, 1, step]).random())
        weights = question_weights(self.tally.means)
        times, clips, questions, strides, told, pointed = frame_times(frames), [], [], [], [], []
        for index in self.share(step, CLIPS_PER_STEP[frames], reserve=max(CLIPS_PER_STEP.values())):
            rng = np.random.default_rng([self.seed, 2, index])
            scene = make_scene("train", index)
            pictures, masks = camera(scene, times, IMAGE_SIZE, rng)
            owners = owner_of_tokens(masks, GRID)
            plain = progress < PLAIN_UNTIL or rng.random() < PLAIN_LATER
            asked = choose(ask_about(scene, rng, times, plain), QUESTIONS_PER_CLIP[frames], rng, weights)
            clips.append(pictures)
            questions.append(asked)
            strides.append(_stride(rng, frames) if progress > STRIDES_FROM and rng.random() < STRIDED else 1.0)
            told.append(so_far(scene, times, owners))
            pointed.append(evidence(scene, asked, owners))
        device = self.model.device
        batch = pack(questions, TOKENS_PER_FRAME * frames + 1, self.tokenizer, strides).to(device)
        visual = visual_embeddings(self.model, to_pixels(np.stack(clips)).to(device))
        logits, tokens, places = packed_forward(self.model, batch, visual, TOLD_AFTER)
        targets = torch.from_numpy(np.stack(pointed)).to(device)
        pointing, hits = self.head["pointer"](tokens, places.view(*targets.shape[:2], -1), targets)
        self.tally.note(POINTING, hits)
        dense = self._told_loss(tokens, torch.from_numpy(np.stack(told)).to(device)) + pointing
        return self._answer_loss(logits.float(), batch) + (1.0 if progress < PLAIN_UNTIL else 0.5) * dense

    def _answer_loss(self, logits: Tensor, batch) -> Tensor:
        """Logits [labelled places, vocabulary] → the mean cross entropy, in which an end token counts little beside an answer."""
        labelled = batch.labels != NO_LABEL
        truth, types = batch.labels[labelled], batch.types[labelled]
        weight = torch.where(truth == self.end, 0.05, 1.0)
        right = logits.argmax(-1) == truth
        for number, name in enumerate(TYPES):
            self.tally.note(name, right[types == number])
        return (cross_entropy(logits, truth, reduction="none") * weight).sum() / weight.sum()

    def _told_loss(self, tokens: Tensor, told: Tensor) -> Tensor:
        """tokens [clips, F·T, hidden], told long [clips, F·T, targets] → mean over targets of the cross entropy."""
        owned = (told != NO_LABEL).any(-1)
        guesses, truths = self.head["told"](tokens[owned]).float().split(list(TARGETS.values()), -1), told[owned].unbind(-1)
        losses = []
        for name, guess, truth in zip(TARGETS, guesses, truths, strict=True):
            known = truth != NO_LABEL
            if known.any():
                losses.append(cross_entropy(guess[known], truth[known]))
                self.tally.note(name, (guess.argmax(-1) == truth)[known])
        return torch.stack(losses).mean() if losses else tokens.sum() * 0

    def finish(self) -> None:
        """Nothing is left to do."""


class LaterAnswerStage(AnswerStage):
    """Stage 2: stage 1 goes on, with a learning rate that rises and falls anew, on scenes that it has not seen.

    Clips, wordings and position strides come as in the second half of stage 1.
    """

    learning_rate, follows = 9e-4, True

    def loss(self, step: int, progress: float) -> Tensor:
        """As in `AnswerStage`."""
        return super().loss(SCENES_BEFORE + step, (1 + progress) / 2)


def question_weights(means: dict[str, float]) -> dict[str, float]:
    """How much likelier a question of each type is chosen, given the running accuracies: by how often it is wrong, and a little always."""
    return {name: WEIGHTS.get(name, 1.0) ** 0.5 * (1.1 - means.get(name, 0.0)) for name in TYPES}


def frames_of_step(progress: float, luck: float) -> int:
    """How many frames the clips of a step have: few at first, mostly eight later, sometimes up to 64.

    Args:
        progress: how much of the training is done, 0 to 1 (excluded).
        luck: a uniform random number in [0, 1).
    """
    shares = next(shares for until, shares in CURRICULUM if progress < until)
    bounds = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(bounds, luck * bounds[-1], side="right"))]


def _stride(rng: np.random.Generator, frames: int) -> float:
    """A factor on the distance of neighbouring visual positions, spread evenly in its logarithm, that fits the context."""
    least, most = STRIDES
    most = min(most, (MAX_POSITIONS - 512) / (frames * TOKENS_PER_FRAME))
    return math.exp(rng.uniform(math.log(least), math.log(most)))
