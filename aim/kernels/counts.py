"""From a share to a whole number of tokens, in the one place that does it: the floor of the exact number.

A share that somebody typed means the decimal number that was typed. In floats `int(0.29 * 100)` is 28, because 0.29 is stored as a little
less. Shares that are computed, such as those of a ramp, are therefore passed as fractions.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TypeAlias

Share: TypeAlias = float | Fraction


def exact(share: Share) -> Fraction:
    """A share as a fraction: 0.29 → 29/100. A float stands for the shortest decimal number that gives it, the one that Python prints."""
    return share if isinstance(share, Fraction) else Fraction(repr(float(share)))


def tokens_of(share: Share, total: int) -> int:
    """How many of `total` tokens a share is: ⌊share · total⌋, without rounding errors. (0.29, 100) → 29."""
    return exact(share) * total // 1


def share_of(tokens: int, total: int, steps: int = 10_000) -> float:
    """The least share in steps of 1 / `steps` that is `tokens` of `total`: (12, 49) → 0.245. `tokens_of` leads back where total ≤ steps."""
    return ceil(Fraction(tokens * steps, total)) / steps
