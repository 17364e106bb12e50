"""What a parameter accepts, declared once: the same declaration checks a value, words the refusal and is printed in the documentation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import cast

from aim.kernels.refusal import Refusal


@dataclass(frozen=True)
class Bounds:
    """A range of finite numbers. As a string it is what a sentence calls it, for example "a number above 0 and up to 1".

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
        if not isinstance(value, Real):
            return False
        number = cast(float, value)  # the annotations of Real leave out that it compares with a float
        if not abs(number) < inf or (self.whole and number % 1 != 0):
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
            raise refusal(name, value, str(self), advice)


SHARE, CHANCE, ABOVE_0 = Bounds(0, 1, above=True), Bounds(0, 1, below=True), Bounds(0, above=True)
FROM_0, FROM_1 = Bounds(0, whole=True), Bounds(1, whole=True)


def check_choice(name: str, value: object, choices: Collection[object], advice: str) -> None:
    """Refuse a value that is not one of `choices`.

    Raises:
        Refusal: as `Bounds.check`.
    """
    if value not in choices:
        raise refusal(name, value, in_words(choices), advice)


def in_words(choices: Collection[object]) -> str:
    """The choices as a sentence lists them: '"a", "b" or "c"'."""
    *most, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(most)} or {last}" if most else last


def refusal(name: str, value: object, accepted: str, advice: str) -> Refusal:
    """The refusal of a value: what was given under which name, what is accepted, and a sentence that says what to do instead."""
    given = repr(value) if isinstance(value, str) else value
    return Refusal(f"{name} is {given}; accepted: {accepted}. {advice}".strip())
