"""Training, stage 0: the vision tower and projector learn to say, in the language model's own words, what each visual token shows.

Single frames. A token's product with the embeddings of the colour and shape words must pick those of the item that fills it. The language
model, which then meets visual tokens that lie near the words for them, learns to answer in a fraction of the time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aim.shapes.drawing import camera, owner_of_tokens
from aim.shapes.model import GRID, IMAGE_SIZE
from aim.shapes.packing import to_pixels, visual_embeddings
from aim.shapes.scenes import COLOURS, SHAPES
from aim.shapes.world import make_scene

FRAMES_PER_STEP = 96
NOTHING = "nothing"


class VisionStage:
    """Loss and parameters of stage 0. `note(name, accuracy)` receives the share of tokens on items that are read right."""

    learning_rate, warm_up, planned_steps = 2e-3, 60, 2000

    def __init__(self, model, token: dict[str, int], seed: int, note, share):
        self.model, self.seed, self.note, self.share = model, seed, note, share
        self.head = nn.Linear(model.config.text_config.hidden_size, 5).to(model.device)  # for radius, centre and cell; thrown away later
        self.rows = {
            "colour": torch.tensor([token[word] for word in (*COLOURS, NOTHING)], device=model.device),
            "shape": torch.tensor([token[word] for word in (*SHAPES, NOTHING)], device=model.device),
        }

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
            places.append([(10 * item.radius_at(moment), *item.centre(moment)) if item else (0, 0, 0) for item in items])
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
            self.note(name, (logits.argmax(-1) == target)[shown].float().mean().item())
        guess = self.head(tokens)
        cells = torch.stack(torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"), -1).view(-1, 2)
        cells = (cells.to(device) / GRID - 0.5) * 4
        loss = loss + 0.5 * ((guess[..., :3] - geometry)[shown] ** 2).mean()
        return loss + 0.2 * ((guess[..., 3:] - cells) ** 2).mean()

    def finish(self) -> None:
        """Bring visual tokens to the norm of word embeddings: about 0.6, where the products left them near 14."""
        last = self.model.model.multi_modal_projector.linear_2
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.mul_(0.1)
