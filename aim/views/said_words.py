"""The words of an answer as the page needs them: how sure the model was of each, what else could have come, and what it looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aim.views.explorer import pack

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.runtime.answer import Answer
    from aim.runtime.words import Word

ROOM = 600_000  # bytes of all words together. Words after that have no picture.
LEVELS = 255


def said_words(answer: Answer, room: int = ROOM) -> list[dict[str, Any]]:
    """The words of a complete answer, as plain JSON values.

    Returns:
        For each word: text, start and end (its place in the answer), probability, next ([text, probability] of the next best, at most
        three), and looked: None, or one entry a layer. An entry is None where the layer has no attention to visual tokens, else
        {top, levels}: levels packed uint8, one for each merged token alive in the layer in ascending order, 0...255 for 0...top.
    """
    told = []
    for word in answer.words:
        looked = _looked(word, answer.trace) if word.attention and answer.trace else None
        room -= sum(len(layer["levels"]["data"]) for layer in looked or [] if layer)
        options = [[choice.text or "(end)", float(f"{choice.probability:.3g}")] for choice in word.next_best[:3]]
        told.append(
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "probability": float(f"{word.probability:.3g}"),
                "next": options,
                "looked": looked if room >= 0 else None,
            }
        )
    return told


def _looked(word: Word, trace: Trace) -> list[dict[str, Any] | None]:
    layers: list[dict[str, Any] | None] = []
    for row, alive in zip(word.attention, trace.survivors, strict=False):
        if row is None or not len(alive):
            layers.append(None)
            continue
        values = np.asarray(row, np.float64)[np.argsort(np.asarray(alive))]
        top = float(values.max()) or 1.0
        layers.append({"top": float(f"{top:.3g}"), "levels": pack(np.round(LEVELS * values / top), "uint8")})
    return layers
