"""What a parameter accepts, said once: the same declaration checks a value, words the refusal and is printed in the documentation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from numbers import Real


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
        if not isinstance(value, Real) or not abs(value) < inf or (self.whole and value % 1 != 0):
            return False
        long_enough = self.low is None or (value > self.low if self.above else value >= self.low)
        short_enough = self.high is None or (value < self.high if self.below else value <= self.high)
        return long_enough and short_enough

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
            ValueError: with what was given, what is accepted, and the advice.
        """
        if value not in self:
            raise _refusal(name, value, str(self), advice)


SHARE, CHANCE, ABOVE_0 = Bounds(0, 1, above=True), Bounds(0, 1, below=True), Bounds(0, above=True)
FROM_0, FROM_1 = Bounds(0, whole=True), Bounds(1, whole=True)


def check_choice(name: str, value: object, choices: Collection[object], advice: str) -> None:
    """Refuse a value that is not one of `choices`.

    Raises:
        ValueError: as `Bounds.check`.
    """
    if value not in choices:
        raise _refusal(name, value, in_words(choices), advice)


def in_words(choices: Collection[object]) -> str:
    """The choices as a sentence lists them: '"a", "b" or "c"'."""
    *most, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(most)} or {last}" if most else last


def _refusal(name: str, value: object, accepted: str, advice: str) -> ValueError:
    given = repr(value) if isinstance(value, str) else value
    return ValueError(f"{name} is {given}; accepted: {accepted}. {advice}".strip())
