"""Training, stage 1: the language model learns to answer. The vision tower stays as stage 0 left it.

Each clip comes with ten questions. In the first part of the training each has one plain wording, since the model learns late to find the
thing that is asked about. Clips are short at first and have up to 64 frames at the end. Besides the answers there is a dense target: after
layer `TOLD_AFTER` a linear head reads from every visual token what its item has done so far (its way, its former colour, whether it came
late, grows, is the largest or the smallest). The head is thrown away after the training. Merging and pruning are never on. Later in the
training some clips have their visual positions closer together or further apart by a random factor. No token is removed then, but the
model gets to know positions such as the compact ones of a merged clip.
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
from aim.shapes.questions import TYPES, ask_about, choose
from aim.shapes.scenes import COLOURS, DIRECTIONS, Item, Scene, frame_times
from aim.shapes.world import make_scene

QUESTIONS_PER_CLIP = 10
CLIPS_PER_STEP = {2: 32, 4: 24, 8: 14, 16: 6, 32: 2, 64: 2}
# (share of the training until which it holds, {frames of a clip: how often such clips come}).
CURRICULUM = (
    (0.15, {2: 0.5, 4: 0.5}),
    (0.35, {2: 0.1, 4: 0.6, 8: 0.3}),
    (0.60, {4: 0.2, 8: 0.6, 16: 0.2}),
    (1.00, {4: 0.1, 8: 0.5, 16: 0.25, 32: 0.12, 64: 0.03}),
)
PLAIN_UNTIL, PLAIN_LATER = 0.4, 0.4
STRIDES_FROM, STRIDED, STRIDES = 0.45, 0.3, (0.2, 1.5)
TOLD_AFTER = 5  # layers
TARGETS = {"way": len(DIRECTIONS) + 1, "former colour": len(COLOURS) + 1, "came late": 2, "grows": 2, "extreme": 3}


class AnswerStage:
    """Loss and parameters of stage 1. `note(name, accuracy)` receives the share of right answers to each type of question."""

    learning_rate, warm_up, planned_steps = 1.5e-3, 100, 3600

    def __init__(self, model, token: dict[str, int], seed: int, note, share):
        self.model, self.seed, self.note, self.share = model, seed, note, share
        self.tokenizer, self.end = build_tokenizer(), token["<|im_end|>"]
        self.head = nn.Linear(model.config.text_config.hidden_size, sum(TARGETS.values())).to(model.device)
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
        times, clips, questions, strides, told = frame_times(frames), [], [], [], []
        for index in self.share(step, CLIPS_PER_STEP[frames], reserve=max(CLIPS_PER_STEP.values())):
            rng = np.random.default_rng([self.seed, 2, index])
            scene = make_scene("train", index)
            pictures, masks = camera(scene, times, IMAGE_SIZE, rng)
            plain = progress < PLAIN_UNTIL or rng.random() < PLAIN_LATER
            clips.append(pictures)
            questions.append(choose(ask_about(scene, rng, times, plain), QUESTIONS_PER_CLIP, rng))
            strides.append(_stride(rng, frames) if progress > STRIDES_FROM and rng.random() < STRIDED else 1.0)
            told.append(so_far(scene, times, owner_of_tokens(masks, GRID)))
        device = self.model.device
        batch = pack(questions, TOKENS_PER_FRAME * frames + 1, self.tokenizer, strides).to(device)
        visual = visual_embeddings(self.model, to_pixels(np.stack(clips)).to(device))
        logits, tokens = packed_forward(self.model, batch, visual, TOLD_AFTER)
        logits, truth = logits.float(), batch.labels[batch.labels != NO_LABEL]
        weight = torch.where(truth == self.end, 0.05, 1.0)
        right, types = logits.argmax(-1) == truth, batch.types[batch.labels != NO_LABEL]
        for number, name in enumerate(TYPES):
            if (types == number).any():
                self.note(name, right[types == number].float().mean().item())
        answers = (cross_entropy(logits, truth, reduction="none") * weight).sum() / weight.sum()
        dense = self._dense_loss(tokens, torch.from_numpy(np.stack(told)).to(device))
        return answers + (1.0 if progress < PLAIN_UNTIL else 0.5) * dense

    def _dense_loss(self, tokens: Tensor, told: Tensor) -> Tensor:
        """tokens [clips, F·T, hidden], told long [clips, F·T, targets] → mean over targets of the cross entropy."""
        owned = (told != NO_LABEL).any(-1)
        guesses, truths = self.head(tokens[owned]).float().split(list(TARGETS.values()), -1), told[owned].unbind(-1)
        losses = []
        for (name, _), guess, truth in zip(TARGETS.items(), guesses, truths, strict=True):
            known = truth != NO_LABEL
            if known.any():
                losses.append(cross_entropy(guess[known], truth[known]))
                self.note(name, (guess.argmax(-1) == truth)[known].float().mean().item())
        return torch.stack(losses).mean() if losses else tokens.sum() * 0

    def finish(self) -> None:
        """Nothing is left to do."""


def frames_of_step(progress: float, luck: float) -> int:
    """How many frames the clips of a step have: few at first, mostly eight later, sometimes up to 64.

    Args:
        progress: how much of the training is done, 0 to 1 (excluded).
        luck: a uniform random number in [0, 1).
    """
    shares = next(shares for until, shares in CURRICULUM if progress < until)
    bounds = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(bounds, luck * bounds[-1], side="right"))]


def so_far(scene: Scene, times: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """What each token's item has done up to the token's frame: int64 [F·T, targets], `NO_LABEL` where there is nothing to tell.

    Args:
        times: moments of the F frames.
        owners: int [F, T], index of the item that fills the token, or -1.
    """
    told = np.full((*owners.shape, len(TARGETS)), NO_LABEL, dtype=np.int64)
    for number, item in enumerate(scene.items):
        seen = [t for t in times if item.is_visible(t)]
        for frame, time in enumerate(times):
            if item.is_visible(time):
                deeds = _deeds(item, times, [t for t in seen if t <= time])
                told[frame, owners[frame] == number] = (*deeds, _extreme(item, scene, times[: frame + 1]))
    return told.reshape(-1, len(TARGETS))


def _deeds(item: Item, times: np.ndarray, seen: list[float]) -> tuple[int, int, int, int]:
    """What one item has done by the last of the moments in which it was seen so far: the first four of `TARGETS`."""
    way = NO_LABEL
    if len(seen) > 1 and item.bounces and item.progress(seen[0]) < 0.4 and item.progress(seen[-1]) > 0.6:
        way = len(DIRECTIONS)
    elif len(seen) > 1 and (not item.bounces or item.progress(seen[-1]) < 0.5):
        way = DIRECTIONS.index(item.direction)
    former, now = item.colour_at(seen[0]), item.colour_at(seen[-1])
    changed = list(COLOURS).index(former) if former != now else len(COLOURS)
    grows = int(item.growth > 1) if item.progress(seen[-1]) - item.progress(seen[0]) > 0.3 or item.growth == 1 else NO_LABEL
    return way, changed, int(seen[0] > times[0]), grows


def _extreme(item: Item, scene: Scene, times: np.ndarray) -> int:
    """1 for the largest, 2 for the smallest of the items seen so far, 0 for others; `NO_LABEL` while it is alone or where items grow."""
    radii = [other.radius for other in scene.items if any(other.is_visible(t) for t in times)]
    if len(radii) < 2 or any(other.growth > 1 for other in scene.items):
        return NO_LABEL
    return 1 if item.radius == max(radii) else 2 if item.radius == min(radii) else 0


def _stride(rng: np.random.Generator, frames: int) -> float:
    """A factor on the distance of neighbouring visual positions, spread evenly in its logarithm, that fits the context."""
    least, most = STRIDES
    most = min(most, (MAX_POSITIONS - 512) / (frames * TOKENS_PER_FRAME))
    return math.exp(rng.uniform(math.log(least), math.log(most)))
