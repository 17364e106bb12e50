"""What a parameter accepts, declared once: the same declaration checks a value, words the refusal and is printed in the documentation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import cast

from aim.kernels.refusal import Refusal

LARGEST = 2**63 - 1  # what 64 bits hold
_LONGEST = 80  # characters of a value that a sentence quotes


@dataclass(frozen=True)
class Bounds:
    """A range of numbers of at most `LARGEST`. As a string it is what a sentence calls it, for example "a number above 0 and up to 1".

    True and False are no numbers, and 7.0 is no whole one.

    Attributes:
        low, high: the ends; None leaves that side open.
        above: `low` itself is refused.
        below: `high` itself is refused.
        whole: only whole numbers are accepted.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Integral if self.whole else Real) or isinstance(value, bool):
            return False
        number = cast(float, value)  # the annotations of Real leave out that it compares with a float
        if not abs(number) <= LARGEST:
            return False
        high_enough = self.low is None or (number > self.low if self.above else number >= self.low)
        low_enough = self.high is None or (number < self.high if self.below else number <= self.high)
        return high_enough and low_enough

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        if None not in (self.low, self.high) and not self.above and not self.below:
            return f"{number} from {self.low} to {self.high}"
        low = "" if self.low is None else f"{'above' if self.above else 'of at least'} {self.low}"
        high = "" if self.high is None else f"{'below' if self.below else 'up to'} {self.high}"
        return " ".join(filter(None, [number, " and ".join(filter(None, [low, high]))]))

    def check(self, name: str, value: object, advice: str) -> None:
        """Refuse a value that is not in the range.

        Args:
            name: what the value is called in the message.
            advice: a sentence that says what to do instead.

        Raises:
            Refusal: with what was given, what is accepted, and the advice.
        """
        if value not in self:
            too_large = isinstance(value, Integral) and abs(cast(int, value)) > LARGEST
            raise refusal(name, value, f"{self}, at most 2**63 - 1" if too_large else str(self), advice)


@dataclass(frozen=True)
class Kind:
    """Values of one type or several. As a string it is what a sentence calls them.

    Attributes:
        types: what `isinstance` accepts.
        words: such as "a clip".
        advice: a sentence that follows a refusal and says what to do.
    """

    types: type | tuple[type, ...]
    words: str
    advice: str

    def __str__(self) -> str:
        return self.words

    def check(self, name: str, value: object) -> None:
        """Refuse a value of another type. `name` is what it is called in the message.

        Raises:
            Refusal: with what was given, what is accepted, and what to do.
        """
        if not isinstance(value, self.types):
            raise refusal(name, value, self.words, self.advice)


TEXT = Kind(str, "text", "Write it as a string.")
SHARE, CHANCE, ABOVE_0 = Bounds(0, 1, above=True), Bounds(0, 1, below=True), Bounds(0, above=True)
FROM_0, FROM_1 = Bounds(0, whole=True), Bounds(1, whole=True)


def check_choice(name: str, value: object, choices: Collection[object], advice: str) -> None:
    """Refuse a value that is not one of `choices`.

    Raises:
        Refusal: as `Bounds.check`.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise refusal(name, value, in_words(choices), advice)


def in_words(choices: Collection[object]) -> str:
    """The choices as a sentence lists them: '"a", "b" or "c"', '1, 2 or 4'."""
    *most, last = (f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in choices)
    return f"{', '.join(most)} or {last}" if most else last


def refusal(name: str, value: object, accepted: str, advice: str) -> Refusal:
    """The refusal of a value: what was given under which name, what is accepted, and a sentence that says what to do instead."""
    return Refusal(f"{name} is {shown(value)}; accepted: {accepted}. {advice}".strip())


def shown(value: object) -> str:
    """A value as a sentence quotes it: on one line and not long, whatever it is."""
    try:
        text = " ".join((str(value) if isinstance(value, Real) else repr(value)).split())
    except Exception:  # a type of the caller's may fail in any way, and Python refuses to write out numbers of thousands of digits
        return f"of the type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
