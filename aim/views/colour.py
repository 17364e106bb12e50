"""Numbers to colours: a perceptually uniform colour map, linear and logarithmic scales, and the bar that explains them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

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


def colour_bar(title: str, labels: list[str], colours: np.ndarray | None = None, note: str = "") -> str:
    """An HTML strip from the first label to the last, evenly spaced.

    Args:
        title: what is measured, with its unit.
        labels: numbers under the bar, from its left end to its right end; one label means everything has that value.
        colours: [n, 3] from left to right (0 to 255); the colour map when not given.
        note: a remark shown at the right, such as what grey means.
    """
    stops = VIRIDIS if colours is None else np.asarray(colours)
    if len(labels) == 1:
        stops = stops[-1:].repeat(2, axis=0)
    gradient = ",".join(f"rgb({int(r)},{int(g)},{int(b)})" for r, g, b in stops)
    ticks = "".join(f"<span>{escape(label)}</span>" for label in labels)
    remark = f'<span class="aim-legend-note">{escape(note)}</span>' if note else ""
    return (
        f'<div class="aim-legend"><span class="aim-legend-title">{escape(title)}</span>'
        f'<div class="aim-bar"><div class="aim-bar-strip" style="background:linear-gradient(90deg,{gradient})"></div>'
        f'<div class="aim-bar-ticks">{ticks}</div></div>{remark}</div>'
    )
