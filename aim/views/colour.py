"""Numbers to colours: a perceptually uniform colour map, linear and logarithmic scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Viridis at nine equally spaced points (matplotlib's map, CC0); linear interpolation between them stays within 1 % of it.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float32,
)
GREY = (110, 110, 110)
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue


def colour_map(fractions: np.ndarray) -> np.ndarray:
    """Colours float32 [..., 3] (0 to 255) for fractions [...] from 0 (dark violet) to 1 (yellow); values outside are clipped."""
    place = np.clip(fractions, 0, 1) * (len(VIRIDIS) - 1)
    below = np.minimum(place.astype(np.int64), len(VIRIDIS) - 2)
    part = (place - below)[..., None]
    return (VIRIDIS[below] * (1 - part) + VIRIDIS[below + 1] * part).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """Maps low...high onto 0...1, logarithmically when `log`. A scale without extent (low = high) maps everything onto 1."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, values: np.ndarray, log: bool = False, decades: float | None = None) -> Scale:
        """The scale that spans these values; on a logarithmic one, what is not positive counts as the smallest positive value.

        `decades` keeps a logarithmic scale from being stretched by a few tiny values: it begins at high / 10^decades at the lowest.
        """
        values = np.asarray(values, np.float64)
        if log:
            values = values[values > 0]
        if not values.size:
            return cls(1.0, 1.0, log)
        low, high = float(values.min()), float(values.max())
        return cls(max(low, high / 10**decades) if log and decades else low, high, log)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Fractions float64 in 0...1, the shape of `values`."""
        values = np.clip(np.asarray(values, np.float64), self.low, self.high)
        if self.high <= self.low:
            return np.ones_like(values)
        if self.log:
            return np.log(values / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def middle(self) -> float:
        """The value half-way along the scale."""
        return float(np.sqrt(self.low * self.high)) if self.log else (self.low + self.high) / 2
