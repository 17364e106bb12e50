"""The dense target of the questions: the place that answers must point at the visual tokens of the items that it is asked about."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from aim.shapes.questions import Question
from aim.shapes.scenes import Scene

POINTING = "pointing"
WIDTH = 64


def evidence(scene: Scene, questions: list[Question], owners: np.ndarray) -> np.ndarray:
    """Which visual tokens each question is about: bool [questions, F·T], all False where it is about none.

    Where the answer is the shape of one of several items, it is that item alone.

    Args:
        owners: int [F, T], index of the item that fills the token, or -1.
    """
    rows = []
    for question in questions:
        answer = [number for number in question.about if scene.items[number].shape == question.answer]
        rows.append(np.isin(owners.reshape(-1), answer or list(question.about)))
    return np.stack(rows)


class Pointer(nn.Module):
    """One attention step from the answering places to the visual tokens. It is trained with the model and thrown away later.

    Args:
        hidden: width of the language model.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.asked, self.shown = nn.Linear(hidden, WIDTH), nn.Linear(hidden, WIDTH)

    def forward(self, tokens: Tensor, places: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and for each question with a target whether the token pointed at most is one of it, bool.

        The loss is the mean of minus the logarithm of the attention on the target.

        Args:
            tokens: float [clips, F·T, hidden].
            places: float [clips, questions, hidden].
            targets: bool [clips, questions, F·T].
        """
        asked, shown = (layer_norm(states.float(), states.shape[-1:]) for states in (places, tokens))
        scores = (self.asked(asked) @ self.shown(shown).transpose(1, 2)).float() / WIDTH**0.5
        known = targets.any(-1)
        if not known.any():
            return scores.sum() * 0, known[known]
        scores, targets = scores[known], targets[known]
        on_target = scores.masked_fill(~targets, -torch.inf).logsumexp(-1)
        return (scores.logsumexp(-1) - on_target).mean(), targets.gather(1, scores.argmax(-1, keepdim=True))[:, 0]
