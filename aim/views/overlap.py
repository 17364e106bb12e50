"""How much of what methods keep is the same: of the places at which their tokens stand, and of the patches that these tokens stand for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from aim.views.colour import colour_map
from aim.views.fates import Fate, fates
from aim.views.html_tables import scrolling
from aim.views.side_by_side import title, trace_of

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.runtime.compare import Comparison

PLACES = (
    "Of the places at which a token of at least one of the two methods stands in that layer, at how many one of both stands "
    "(intersection over union)."
)
COVERED = "Small: the same of all patches in these tokens. A token stands at one place, and many patches may have been merged into it."


def overlap_table(comparison: Comparison, layer: int) -> str:
    """The overlaps of every two methods in a layer, as an HTML table coloured by the share of places."""
    names = [title(run) for run in comparison.runs]
    traces = [trace_of(run) for run in comparison.runs]
    places, covered = (overlap(traces, layer, upto) for upto in (Fate.STANDS, Fate.MERGED_INSIDE))
    merged = not np.array_equal(places, covered, equal_nan=True)  # without merging both are the same
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(shaded, row, of_patches if merged else [None] * len(row)))}</tr>'
        for name, row, of_patches in zip(names, places, covered, strict=True)
    )
    overlaps = (
        f'<table class="aim-table aim-overlap"><caption>What the methods keep in layer {layer}: overlap</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
    return f'{scrolling("Overlap", overlaps)}<p class="aim-reading">{PLACES}{f" {COVERED}" if merged else ""}</p>'


def overlap(traces: Sequence[Trace], layer: int, upto: Fate) -> np.ndarray:
    """Intersection over union, 0 to 1, of what every two runs on one clip have in a layer.

    Args:
        upto: `Fate.STANDS` compares the places at which tokens stand, `Fate.MERGED_INSIDE` the patches that these tokens stand for.

    Returns:
        float64 [runs, runs]; NaN where neither run has anything there.
    """
    has = np.stack([(fates(trace, layer) <= upto).reshape(-1) for trace in traces]).astype(np.float64)
    both, each = has @ has.T, has.sum(axis=1)
    either = each[:, None] + each - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def shaded(share: float, of_patches: float | None = None) -> str:
    """A cell in the colour of a share, 0 to 1 or NaN, with letters that can be read on it; below it the share of patches."""
    if np.isnan(share):
        return "<td>–</td>"
    red, green, blue = (int(value) for value in colour_map(np.array(share)))
    # Relative luminance as WCAG 2 defines it; from 0.179 on, black has the greater contrast.
    light = np.array([red, green, blue]) / 255
    linear = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    ink = "#000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#fff"
    below = "" if of_patches is None else f'<small style="color:inherit">{100 * of_patches:.0f} %</small>'
    return f'<td style="background:rgb({red},{green},{blue});color:{ink}">{100 * share:.0f} %{below}</td>'
