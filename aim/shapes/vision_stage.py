"""Training, stage 0: the vision tower and projector learn to say, in the language model's own words, what each visual token shows.

Single frames. A token's product with the embeddings of the colour and shape words must pick those of the item that fills it. Its product
with "largest" must grow with that item's size, and its product with "smallest" must fall. The language model, which then meets visual
tokens that lie near the words for them, learns to answer in a fraction of the time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aim.shapes.drawing import camera, owner_of_tokens
from aim.shapes.model import GRID, IMAGE_SIZE
from aim.shapes.packing import to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.scenes import COLOURS, SHAPES
from aim.shapes.tally import Tally
from aim.shapes.world import RADII, make_scene

FRAMES_PER_STEP = 96
NOTHING = "nothing"
# A product with these words must be SIZE_SCALE times the sign times the item's `bigness`.
SIZE_WORDS = {"largest": 1, "biggest": 1, "smallest": -1, "tiniest": -1}
SIZE_SCALE = 6.0


class VisionStage:
    """Loss and parameters of stage 0. The tally receives how many of the tokens on items are read right."""

    learning_rate, warm_up, follows = 2e-3, 60, False
    names = ("colour", "shape", "size")

    def __init__(self, model, token: dict[str, int], seed: int, tally: Tally, share):
        self.model, self.seed, self.tally, self.share = model, seed, tally, share
        use_packed_attention(model)
        self.head = nn.Linear(model.config.text_config.hidden_size, 4).to(model.device)  # for centre and cell; thrown away later
        self.rows = {
            "colour": torch.tensor([token[word] for word in (*COLOURS, NOTHING)], device=model.device),
            "shape": torch.tensor([token[word] for word in (*SHAPES, NOTHING)], device=model.device),
            "size": torch.tensor([token[word] for word in SIZE_WORDS], device=model.device),
        }
        self.signs = torch.tensor(list(SIZE_WORDS.values()), device=model.device, dtype=torch.float32)

    def parameter_groups(self) -> list[dict]:
        """What is trained, for the optimizer: the vision tower, the projector, the word embeddings and the head."""
        core = self.model.model
        trained = (core.vision_tower, core.multi_modal_projector, core.language_model.embed_tokens, self.head)
        return [{"params": [p for module in trained for p in module.parameters()], "weight_decay": 0.02}]

    def loss(self, step: int, progress: float) -> Tensor:
        """The loss of a step, a scalar. It does not depend on `progress`."""
        frames, colours, shapes, places = [], [], [], []
        for index in self.share(step, FRAMES_PER_STEP):
            rng = np.random.default_rng([self.seed, 0, index])
            scene = make_scene("pretrain", index)
            moment = rng.random()
            picture, masks = camera(scene, np.array([moment]), IMAGE_SIZE, rng)
            items = [scene.items[owner] if owner >= 0 else None for owner in owner_of_tokens(masks, GRID)[0]]
            frames.append(picture[0])
            colours.append([list(COLOURS).index(item.colour_at(moment)) if item else len(COLOURS) for item in items])
            shapes.append([SHAPES.index(item.shape) if item else len(SHAPES) for item in items])
            places.append([(bigness(item.radius_at(moment)), *item.centre(moment)) if item else (0, 0, 0) for item in items])
        device = self.model.device
        truth = {"colour": torch.tensor(colours, device=device), "shape": torch.tensor(shapes, device=device)}
        geometry = torch.tensor(places, device=device, dtype=torch.float32)
        tokens = visual_embeddings(self.model, to_pixels(np.stack(frames)[:, None]).to(device))[:, :-1]
        shown = truth["shape"] < len(SHAPES)
        words = self.model.model.language_model.embed_tokens.weight
        loss = torch.zeros((), device=device)
        for name, target in truth.items():
            logits = tokens @ words[self.rows[name]].T
            each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
            loss = loss + each[shown].mean() + each[~shown].mean()  # apart, since items fill only a sixth
            self.tally.note(name, (logits.argmax(-1) == target)[shown])
        sizes = tokens[shown] @ words[self.rows["size"]].T * self.signs / SIZE_SCALE
        size = geometry[shown][:, :1]
        loss = loss + 2 * ((sizes - size) ** 2).mean()
        known = torch.tensor([bigness(radius) for radius in RADII], device=device)
        self.tally.note("size", (sizes.mean(-1, keepdim=True) - known).abs().argmin(-1) == (size - known).abs().argmin(-1))
        guess = self.head(tokens)
        cells = torch.stack(torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"), -1).view(-1, 2)
        cells = (cells.to(device) / GRID - 0.5) * 4
        loss = loss + 0.5 * ((guess[..., :2] - geometry[..., 1:])[shown] ** 2).mean()
        return loss + 0.2 * ((guess[..., 2:] - cells) ** 2).mean()

    def finish(self) -> None:
        """Bring visual tokens to the norm of word embeddings: about 0.6, where the products left them near 14."""
        last = self.model.model.multi_modal_projector.linear_2
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.mul_(0.1)


def bigness(radius: float) -> float:
    """A radius on an even scale: about -1 for the smallest items, and 1 for the largest."""
    return math.log(radius / 0.112) / 0.4
