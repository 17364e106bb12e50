"""The words of an answer: the tokens that make each of them, what stood next to them in the model's mind, and what each looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from unicodedata import east_asian_width

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from aim.kernels.trace import Trace, rounded

NEXT_BEST = 5
# A word is a run of letters and digits, with what joins them inside ("don't", "well-known", "3.5"); marks are words of their own, so that
# what a full stop looked at does not mix with what its word looked at.
_WORD = re.compile(r"\w+(?:[.,'’:-]\w+)*|[^\w\s]+")


@dataclass(frozen=True)
class Choice:
    """A token that could have come in a place.

    Attributes:
        id: in the tokenizer's vocabulary.
        text: what it reads as by itself, "" for a special token such as the end of the answer.
        probability: 0 to 1, by the model's own distribution, before sampling or a penalty changes it.
    """

    id: int
    text: str
    probability: float

    def to_dict(self) -> dict:
        """Plain values; the probability has three digits."""
        return {"id": self.id, "text": self.text, "probability": float(f"{self.probability:.3g}")}


@dataclass(frozen=True)
class SaidToken:
    """A token of the answer.

    Attributes:
        number: its place among the generated tokens, from 0, which is its place in `Trace.attention` too.
        choice: the token itself.
        next_best: the most probable tokens in its place other than itself, the most probable first.
    """

    number: int
    choice: Choice
    next_best: tuple[Choice, ...]

    def to_dict(self) -> dict:
        """Plain values."""
        return {"number": self.number, **self.choice.to_dict(), "next_best": [choice.to_dict() for choice in self.next_best]}


@dataclass(frozen=True)
class Word:
    """A word of an answer, or a run of punctuation marks.

    Attributes:
        text: what it reads as; `answer.text[start:end]`.
        start, end: its characters in the answer's text.
        tokens: the tokens that make it, one or more.
        attention: for each layer what the word looked at: the attention its tokens paid to the visual tokens alive there, their mean,
            float32 [visual] in the order of `Trace.survivors`. It is None for a layer without softmax attention, and empty where the memory
            for it was full.
    """

    text: str
    start: int
    end: int
    tokens: tuple[SaidToken, ...]
    attention: tuple[Tensor | None, ...] = field(default=(), repr=False, compare=False)

    @property
    def probability(self) -> float:
        """Of all its tokens, each after those before it: their product."""
        product = 1.0
        for token in self.tokens:
            product *= token.choice.probability
        return product

    @property
    def next_best(self) -> tuple[Choice, ...]:
        """What could have come in place of its first token, the most probable first."""
        return self.tokens[0].next_best

    def looked_at(self, trace: Trace, layer: int) -> Tensor:
        """What the word looked at in a layer, place by place, float32 in the shape of `trace.assignment`; see `Trace.attended`.

        Raises:
            IndexError: the word has no record, because the memory for it was full.
            ValueError: the layer has no attention to show.
        """
        return torch.stack([trace.attended(token.number, layer) for token in self.tokens]).mean(0)

    def to_dict(self, attention: bool = True) -> dict:
        """Plain numbers and lists, with `attention` those of every layer too."""
        plain = {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "probability": float(f"{self.probability:.3g}"),
            "tokens": [token.to_dict() for token in self.tokens],
        }
        return plain | ({"attention": [None if row is None else rounded(row) for row in self.attention]} if attention else {})


class NextTokens:
    """Notes the most probable tokens in every place and the probability of the one that was taken.

    Attributes:
        best: for each place (probabilities, ids) of the `NEXT_BEST` + 1 most probable tokens, on the CPU.
    """

    def __init__(self) -> None:
        self.best: list[tuple[list[float], list[int]]] = []
        self._latest: Tensor | None = None
        self._taken: list[float] = []

    def __call__(self, ids: Tensor, logits: Tensor) -> None:
        """The next place: the ids so far, [n], and the model's logits, float32 [vocabulary]."""
        self._note(int(ids[-1]))
        self._latest = logits.softmax(dim=-1)
        values, best = self._latest.topk(min(NEXT_BEST + 1, len(self._latest)))
        self.best.append((values.tolist(), best.tolist()))

    def taken(self, ids: list[int]) -> list[float]:
        """The probabilities of the tokens that were taken, `ids` being all of them."""
        if len(self._taken) < len(ids):
            self._note(ids[-1])
        return self._taken[: len(ids)]

    def _note(self, token: int) -> None:
        """The token that was taken in the latest place."""
        if self._latest is not None:
            self._taken.append(float(self._latest[token]))


def words_of(text: str, ids: list[int], next_tokens: NextTokens, trace: Trace, tokenizer: PreTrainedTokenizerBase) -> tuple[Word, ...]:
    """The words of an answer, in order.

    Args:
        text: of the answer.
        ids: of its tokens.
        next_tokens: what was noted while they were made.
        trace: of the run; its `attention` may be empty or end early.
        tokenizer: the model's.
    """
    ends = _ends(ids, tokenizer)
    # A token that is a part of a letter ends where it begins. It belongs to that letter, as one without text belongs to none.
    reach = [
        (token, begin, max(end, begin + 1))
        for token, (begin, end) in zip(_said(ids, next_tokens, tokenizer), pairwise([0, *ends]), strict=False)
        if token.choice.text
    ]
    # Where a streamed text and the decoded one differ, they differ in blanks alone, so that letters are counted without them.
    letters = [place for place, letter in enumerate(text) if not letter.isspace()]
    counted = {place: number for number, place in enumerate(letters)}
    words = []
    for start, end in _spans(text, {letters[end] for end in ends if end < len(letters)}):
        first, last = counted[start], counted[end - 1] + 1
        own = tuple(token for token, begin, stop in reach if begin < last and stop > first)
        if own:
            words.append(Word(text[start:end], start, end, own, _attention(own, trace)))
    return tuple(words)


def _said(ids: list[int], next_tokens: NextTokens, tokenizer: PreTrainedTokenizerBase) -> list[SaidToken]:
    """The tokens with the probabilities that were noted."""
    said = []
    for number, (token, probability, (values, others)) in enumerate(
        zip(ids, next_tokens.taken(ids), next_tokens.best, strict=False)  # a last place may have no token, where the run was stopped
    ):
        next_best = [_choice(other, value, tokenizer) for other, value in zip(others, values, strict=True) if other != token]
        said.append(SaidToken(number, _choice(token, probability, tokenizer), tuple(next_best[:NEXT_BEST])))
    return said


def _choice(token: int, probability: float, tokenizer: PreTrainedTokenizerBase) -> Choice:
    return Choice(token, tokenizer.decode([token], skip_special_tokens=True).strip(), probability)


def _ends(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """For each token how many letters, blanks not counted, the answer has with it. A letter counts once all its bytes are there."""
    decoded = [str(tokenizer.decode(ids[: number + 1], skip_special_tokens=True)) for number in range(len(ids))]
    ends = [len("".join(part.rstrip("�").split())) for part in decoded]
    return [*ends[:-1], len("".join(decoded[-1].split()))] if ids else []


def _spans(text: str, breaks: set[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of each word. In scripts without blanks a word ends where a token ends, which is one of the `breaks`."""
    for match in _WORD.finditer(text):
        start = match.start()
        for place in range(match.start() + 1, match.end()):
            if place in breaks and "W" in (east_asian_width(text[place - 1]), east_asian_width(text[place])):
                yield start, place
                start = place
        yield start, match.end()


def _attention(tokens: tuple[SaidToken, ...], trace: Trace) -> tuple[Tensor | None, ...]:
    """For each layer the mean of the tokens' rows; empty where one of them has none."""
    if tokens[-1].number >= len(trace.attention):
        return ()
    rows = [trace.attention[token.number] for token in tokens]
    return tuple(None if layer[0] is None else torch.stack(layer).float().mean(0) for layer in zip(*rows, strict=True))
