"""The tokens each layer ran on and how importance was spread over them, as one inline SVG: no script, and redrawn in a millisecond.

It works in the page and in the offline report, in light and dark: letters and axes take the page's own ink, and the colours of the marks
reach 3 to 1 on either ground. Visual tokens are solid, text tokens outlined, the full model is dotted: no colour has to be told apart.
Pointing at a layer, or tapping it, writes its figures above the bars; `shown` writes them without a pointer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

import numpy as np

from aim.kernels.trace import Trace
from aim.methods import Method
from aim.views.layer_words import in_words

QUANTILES = (0, 25, 50, 75, 100)
SCORE_DECADES = 16  # the axis of the scores is no longer than that
LAYER_KNOBS = ("l1", "l2", "layer")  # knobs of the methods that name a layer
# Units of the view box; the letters are 12 units high, which are 10 pixels where the drawing is 358 pixels wide.
WIDTH, LEFT, RIGHT, TOP, BARS, GAP, SCORES = 430, 52, 8, 38, 112, 52, 78
LETTER = 6.6  # a letter's width, at most
BETWEEN = 8  # between two names
VISUAL, SCORE, QUIET = "#2f83c5", "#c4528c", "#868b95"
STYLE = (
    ".aim-curve{display:block;width:100%;height:auto;font-size:12px;font-variant-numeric:tabular-nums;fill:currentColor}"
    ".aim-curve :is(text,path){pointer-events:none}.aim-curve .hit{fill:transparent}.aim-curve .tip{visibility:hidden}"
    ".aim-curve g:hover>.tip,.aim-curve .shown>.tip{visibility:visible}"
    ".aim-curve g:hover>.hit,.aim-curve .shown>.hit{fill:currentColor;fill-opacity:.1;stroke:currentColor;stroke-opacity:.6}"
    ".aim-curve:has(g:hover>.hit) .shown:not(:hover)>.tip{visibility:hidden}"
)


def score_quantiles(trace: Trace) -> dict[int, np.ndarray]:
    """For each scored layer, the minimum, quartiles and maximum [5] of its surviving visual tokens' importance."""
    return {layer: np.percentile(np.asarray(trace.scores[layer], dtype=np.float64), QUANTILES) for layer in trace.scored_layers}


def token_curve(
    trace: Trace,
    method: Method | None = None,
    shown: int | None = None,
    planned: Sequence[tuple[int, int]] | None = None,
    compact: bool = False,
) -> str:
    """The curve of a finished run, see `curve_svg`, with marks where its method's knobs name a layer."""
    knobs = method.params() if method else {}
    marks = [(knobs[name], f"{name} = {knobs[name]}") for name in LAYER_KNOBS if isinstance(knobs.get(name), int)]
    return curve_svg(trace.tokens_per_layer, trace.visual_tokens, score_quantiles(trace), marks, shown, planned, compact)


def curve_svg(
    executed: Sequence[tuple[int, int]],
    patches: int,
    quantiles: Mapping[int, np.ndarray] | None = None,
    marks: Sequence[tuple[int, str]] = (),
    shown: int | None = None,
    planned: Sequence[tuple[int, int]] | None = None,
    compact: bool = False,
) -> str:
    """Bars of the (visual, text) tokens of each layer under the full model's dotted line, and below them quartiles of importance.

    Args:
        executed: one pair a layer; the bars are drawn to the scale of the full model, so that what is saved can be seen.
        patches: visual tokens of the full model.
        quantiles: by layer, minimum, quartiles and maximum [5] of its scores. Without any, their part is left out.
        marks: (layer, name) of what happens before a layer, such as (14, "l1 = 14"), as triangles below the axis.
        shown: the layer whose figures are written while nothing is pointed at.
        planned: one pair a layer, drawn as a dashed line.
        compact: about half as high, for beside the knobs.

    Raises:
        ValueError: no layers.
    """
    if not executed:
        raise ValueError("There are no layers to draw. Pass tokens_per_layer of a finished run.")
    quantiles = quantiles or {}
    layers, step = len(executed), (WIDTH - LEFT - RIGHT) / len(executed)
    full = patches + max(text for _, text in executed)
    highest = max([full, 1, *(sum(pair) for pair in [*executed, *(planned or [])])])
    tall, deep, label = (BARS // 2, SCORES // 2, 8) if compact else (BARS, SCORES, 22)
    floor_y = TOP + tall
    height = floor_y + GAP + (deep + label if quantiles else 0) - (14 if not (marks or quantiles) else 0)

    def y(tokens: float) -> float:
        return floor_y - tall * tokens / highest

    parts = [f'<path d="M{LEFT} {floor_y + 0.5}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".5"/>']
    parts += [
        f'<path d="M{LEFT} {y(full):.1f}H{WIDTH - RIGHT}" stroke="{QUIET}" stroke-width="1.5" stroke-dasharray="1.5 3"/>',
        _text(LEFT - 5, y(full) + 4, f"{full:,}", "end"),
        _text(LEFT - 5, floor_y, "0", "end"),
    ]
    boxes = _Scale(quantiles, floor_y + GAP, deep) if quantiles else None
    if boxes:
        parts += boxes.axis()
        if not compact:
            parts.append(_text(LEFT, floor_y + GAP + deep + 17, "importance of the tokens in each layer"))
    for layer, (visual, text) in enumerate(executed):
        x, wide = LEFT + (layer + 0.13) * step, 0.74 * step
        drawn = _bar(x, wide, y(text), floor_y, f'fill="none" stroke="{QUIET}" stroke-width="1.2"')
        drawn += _bar(x, wide, y(text + visual), y(text), f'fill="{VISUAL}"')
        if boxes and layer in quantiles:
            drawn += boxes.box(quantiles[layer], x, wide)
        told = "".join(_text(LEFT, TOP - 24 + 14 * line, words) for line, words in enumerate(_figures(layer, visual, text, quantiles)))
        kind = ' class="shown"' if layer == shown else ""
        hit = _bar(LEFT + layer * step, step, TOP - 4, floor_y + (GAP + deep if boxes else 16), 'class="hit"')
        parts.append(f'<g{kind}>{drawn}{hit}<g class="tip">{told}</g></g>')
    if planned:
        corners = "".join(f"V{y(sum(pair)):.1f}H{LEFT + (layer + 1) * step:.1f}" for layer, pair in enumerate(planned))
        parts.append(f'<path d="M{LEFT} {y(sum(planned[0])):.1f}{corners}" fill="none" stroke="currentColor" stroke-dasharray="4 3"/>')
    parts += _numbers(layers, step, floor_y)
    parts += _marks([(min(layer, layers), name) for layer, name in marks], step, floor_y)
    counts = [count for count, _ in executed]
    described = (
        f"{patches:,} patches became {counts[0]:,} visual tokens. {in_words(counts)} Each layer also has {executed[0][1]:,} text tokens."
    )
    return (
        f'<svg class="aim-curve" viewBox="0 0 {WIDTH} {height}" role="img"><title>Tokens in each layer of the language model</title>'
        f"<desc>{escape(described)}</desc><style>{STYLE}</style>{''.join(parts)}</svg>"
    )


def curve_legend(scored: bool = True, planned: bool = False) -> str:
    """What the curve's marks mean, as HTML with a small drawing for each."""
    keys = [
        (f'<rect x="4" y="1" width="10" height="12" fill="{VISUAL}"/>', "visual tokens"),
        (f'<rect x="4.6" y="1.6" width="9" height="11" fill="none" stroke="{QUIET}" stroke-width="1.2"/>', "text tokens"),
        (f'<path d="M0 7H18" stroke="{QUIET}" stroke-width="1.5" stroke-dasharray="1.5 3"/>', "full model"),
    ]
    if planned:
        keys.append(('<path d="M0 7H18" stroke="currentColor" stroke-dasharray="4 3"/>', "planned"))
    if scored:
        box = f'<rect x="4" y="1" width="10" height="12" fill="{SCORE}" fill-opacity=".45" stroke="{SCORE}"/>'
        keys.append((f'{box}<path d="M2 8H16" stroke="currentColor" stroke-width="2"/>', "importance: quartiles and median"))
    beside = 'width="18" height="14" style="display:inline;vertical-align:-2px" aria-hidden="true"'
    drawn = "".join(f"<span><svg {beside}>{mark}</svg> {name}</span> " for mark, name in keys)
    return f'<div class="aim-curve-keys" style="display:flex;flex-wrap:wrap;gap:0.2rem 1rem;font-size:0.84rem">{drawn}</div>'


class _Scale:
    """The logarithmic scale of the scores: where a score stands, and the axis beside it."""

    def __init__(self, quantiles: Mapping[int, np.ndarray], top: float, deep: float):
        table = np.stack(list(quantiles.values()))[:, 1:4]
        positive = table[table > 0]  # a score can underflow to 0, for which a logarithmic axis has no place
        low, high = (float(positive.min()), float(positive.max())) if positive.size else (1e-12, 1.0)
        self.high = ceil(log10(high))
        self.low = max(floor(log10(low)), self.high - SCORE_DECADES)
        self.clipped = float(table.min()) < 10.0**self.low  # what is smaller stands at the end of the axis
        self.high += self.low == self.high
        self.top, self.deep = top, deep

    def y(self, score: float) -> float:
        share = (log10(max(score, 10.0**self.low)) - self.low) / (self.high - self.low)
        return self.top + self.deep * (1 - min(1.0, share))

    def axis(self) -> list[str]:
        ends = []
        for power in (self.high, self.low):
            place = self.y(10.0**power)
            ends.append(f'<path d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".3"/>')
            less = "≤" if self.clipped and power == self.low else ""
            ends.append(_text(LEFT - 5, place + 4, f"{less}1e{power}" if power else "1", "end"))
        return ends

    def box(self, values: np.ndarray, x: float, wide: float) -> str:
        lower, median, upper = (self.y(float(value)) for value in values[1:4])
        quartiles = _bar(x, wide, upper, max(lower, upper + 1.5), f'class="score" fill="{SCORE}" fill-opacity=".45" stroke="{SCORE}"')
        out = min(2.5, 0.13 * wide / 0.74)
        middle = f"M{x - out:.1f} {median:.1f}h{wide + 2 * out:.1f}"
        return f'{quartiles}<path class="score" d="{middle}" stroke="currentColor" stroke-width="2"/>'


def _figures(layer: int, visual: int, text: int, quantiles: Mapping[int, np.ndarray]) -> list[str]:
    lines = [f"Layer {layer}: {visual:,} visual + {text:,} text tokens"]
    if layer in quantiles:
        lower, median, upper = quantiles[layer][1:4]
        lines.append(f"importance: median {median:.1e}, quartiles {lower:.1e} to {upper:.1e}")
    return lines


def _bar(x: float, wide: float, top: float, bottom: float, look: str) -> str:
    return f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{bottom - top:.1f}" {look}/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{side}>{escape(words)}</text>'


def _numbers(layers: int, step: float, floor_y: float) -> list[str]:
    every = ceil(layers / 14)
    return [_text(LEFT + (layer + 0.5) * step, floor_y + 14, str(layer), "middle") for layer in range(0, layers, every)]


def _marks(marks: list[tuple[int, str]], step: float, floor_y: float) -> list[str]:
    """Triangles at the left edges of their layers, with names that neither meet each other nor leave the drawing."""
    named = [(LEFT + layer * step, LETTER * len(name), name) for layer, name in sorted(marks)]
    starts, free = [], 0.0
    for x, wide, _ in named:
        starts.append(max(x - wide / 2, free))
        free = starts[-1] + wide + BETWEEN
    free = WIDTH
    for place in reversed(range(len(named))):
        starts[place] = min(starts[place], free - named[place][1])
        free = starts[place] - BETWEEN
    return [
        f'<path d="M{x:.1f} {floor_y + 18}l5 9h-10z" fill="currentColor"/>{_text(start, floor_y + 39, name)}'
        for (x, _, name), start in zip(named, starts, strict=True)
    ]
