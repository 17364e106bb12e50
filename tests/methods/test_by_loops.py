"""What AIM, FastV and PyramidDrop keep in every layer of a run, against plain loops over the queries and keys that they were given."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

import aim
from tests.tiny import clip_inputs, llava_onevision

FIRST, PATCHES, TEXT = 3, 50, 10  # of `clip_inputs(2)`: three words, two frames of 5 x 5 patches, then the newline and the question


def softmax(logits: list[float]) -> list[float]:
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def attention_row(query: list, keys: list, row: int, scaling: float) -> list[float]:
    return softmax([scaling * sum(q * k for q, k in zip(query[row], keys[column], strict=True)) for column in range(row + 1)])


def last_row(query: list, key: list, scaling: float) -> list[float]:
    """FastV and PyramidDrop: what the last token pays each token, the mean over heads."""
    group, n = len(query) // len(key), len(query[0])
    rows = [attention_row(query[head], key[head // group], n - 1, scaling) for head in range(len(query))]
    return [sum(row[token] for row in rows) / len(rows) for token in range(n)]


def page_rank(query: list, key: list, scaling: float) -> list[float]:
    """AIM: five steps of the walk from everywhere, at temperature 0.1, and over heads the root of the mean of squares."""
    group, n = len(query) // len(key), len(query[0])
    squares = [0.0] * n
    for head in range(len(query)):
        rows = [attention_row(query[head], key[head // group], row, scaling / 0.1) for row in range(n)]
        walk = [1 / n] * n
        for _ in range(5):
            walk = [sum(walk[row] * rows[row][token] for row in range(token, n)) for token in range(n)]
        squares = [square + share**2 for square, share in zip(squares, walk, strict=True)]
    return [math.sqrt(square / len(query)) for square in squares]


CASES = {
    "AIM": (aim.AIM(merge_ratio=1.0, l1=1, l2=5), page_rank, [Fraction(step, 4) for step in (4, 3, 2, 1, 0, 0)]),
    "FastV": (aim.FastV(layer=2, keep_ratio=0.35), last_row, [Fraction(1), Fraction(1), *[Fraction(35, 100)] * 4]),
    "PyramidDrop": (aim.PyramidDrop(ratio=0.6, stages=(1, 3, 5)), last_row, [Fraction(3, 5) ** cuts for cuts in (0, 1, 1, 2, 2, 3)]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_layer_keeps_the_best_by_the_loops(name: str, monkeypatch):
    method, score, shares = CASES[name]
    given, own = [], type(method).score

    def recorded(self, query, key, scaling, is_question):
        given.append((query.double().tolist(), key.double().tolist(), scaling))
        return own(self, query, key, scaling, is_question)

    monkeypatch.setattr(type(method), "score", recorded)
    model = llava_onevision(layers=6)
    with torch.no_grad(), aim.reduce(model, method) as trace:
        model(**clip_inputs(2))
    counts = [int(share * PATCHES) for share in shares]
    assert [visual for visual, _ in trace.tokens_per_layer] == counts
    alive, seen = list(range(PATCHES)), iter(given)
    for count, survivors in zip(counts, trace.survivors, strict=True):
        if 0 < count < len(alive):
            query, key, scaling = next(seen)
            assert len(query[0]) == len(alive) + TEXT  # dropped tokens have no vote
            scores = score(query, key, scaling)[FIRST : FIRST + len(alive)]
            best = sorted(range(len(alive)), key=lambda place: -scores[place])[:count]
            alive = [alive[place] for place in sorted(best)]
        elif count == 0:
            alive = []
        assert survivors.tolist() == alive
    assert next(seen, None) is None
