"""Methods side by side: a table of figures, one chart of all schedules, the overlap of what they keep, and the same frames under each."""

from __future__ import annotations

from html import escape
from statistics import median
from typing import TYPE_CHECKING, cast

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from aim.views.fates import Fate, fates
from aim.views.frames import Stack, first_of, kept_places
from aim.views.html_tables import head_row, row, scrolling, table
from aim.views.line_styles import style_of
from aim.views.look import GRID, layout
from aim.views.patterns import LOOKS, image
from aim.views.sheet import KEY, ROW_CELL, jpeg_url, pattern_key, row_sheet
from aim.views.text_tables import plain_table
from aim.views.units import counted, flops, number, quicker, seconds, size, times, value_of

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.runtime.compare import Compared, Comparison

FRAMES_SHOWN = 6
# What may have become of a patch by the layer that is looked at.
FATES = {
    Fate.MERGED: LOOKS[Fate.MERGED].words,
    Fate.MERGED_INSIDE: LOOKS[Fate.MERGED_INSIDE].words,
    Fate.DROPPED: "dropped inside the language model",
    Fate.LEFT_OUT: LOOKS[Fate.LEFT_OUT].words,
}
COLUMNS = (
    ("method", ""),
    ("answer", ""),
    ("same first word", "measured"),
    ("KL", "measured"),
    ("FLOPs", "modelled"),
    ("prefill", "measured"),
    ("KV cache", "counted"),
    ("visual tokens", "first → last layer"),
)
READING = (
    "Every method has its own knob turned until its prefill costs as much as the budget, or as near as its steps allow. "
    "KL is how far the first word's distribution strays from the full model's, in nats: 0 is the same. "
    "Times are medians of rounds in which the methods took turns; on a small model they follow FLOPs only roughly."
)


def comparison_table(comparison: Comparison) -> str:
    """What each method answered, how near it stayed to the full model, what it cost and how long it took, as HTML."""
    reference = comparison.runs[0]
    rows = [_row(run, reference) for run in comparison.runs]
    methods = table("Methods at equal cost", head_row(COLUMNS), rows, "aim-methods")
    left = "".join(f"<br>Left out: {escape(refused)}" for refused in comparison.left_out)
    return f'{scrolling("Methods", methods)}<p class="aim-reading">{READING}{left}</p>'


def _row(run: Compared, reference: Compared) -> str:
    answer, is_reference = run.answer, run is reference
    cost, pairs = answer.cost, answer.trace.tokens_per_layer
    spent, base = median(run.prefill_seconds), median(reference.prefill_seconds)
    faster = "" if is_reference else f"<small>{quicker(base, spent)}</small>"
    less = "" if is_reference else f"<small>{times(cost['speedup'])} fewer</small>"
    texts = (
        escape(answer.text) or "–",
        "–" if is_reference else "yes" if run.agrees else "<b>no</b>",
        "–" if is_reference else number(run.divergence),
        f"{flops(cost['prefill_tflops'])}{less}",
        f"{seconds(spent)}{faster}",
        size(answer.trace.key_value_bytes),
        f"{pairs[0][0]:,} → {pairs[-1][0]:,}",
    )
    swatch = style_of(answer.method.name).swatch()
    return row(f"{swatch}{escape(title(run))}<small>{escape(setting(run))}</small>", texts)


def trace_of(run: Compared) -> Trace:
    """The record of a compared run, which is always a finished one."""
    return cast("Trace", run.answer.trace)


def title(run: Compared) -> str:
    """The method's name, as every table, chart and sheet has it."""
    return type(run.answer.method).__name__


def setting(run: Compared) -> str:
    """The knobs that differ from the method's own defaults, for example "keep_ratio 0.199, layer 2"."""
    method = run.answer.method
    usual = type(method)().for_depth(run.answer.trace.num_layers).params()
    return ", ".join(f"{name} {value_of(value)}" for name, value in method.params().items() if value != usual[name])


def comparison_text(comparison: Comparison) -> str:
    """The table as text for a terminal."""
    rows = [("method", "answer", "same", "KL", "FLOPs", "prefill", "x faster", "KV cache", "setting")]
    base = median(comparison.runs[0].prefill_seconds)
    for run in comparison.runs:
        answer, spent = run.answer, median(run.prefill_seconds)
        figures = (f"{flops(answer.cost['prefill_tflops'])}", seconds(spent), f"{base / spent:.2f}", size(answer.trace.key_value_bytes))
        rows.append(
            (title(run), " ".join(answer.text.split())[:40], "yes" if run.agrees else "no", number(run.divergence), *figures, setting(run))
        )
    note = f"budget {flops(comparison.tflops)}; KL and the first word against the full model; prefill: medians, taking turns"
    return "\n".join([plain_table(rows, figures=False), note, *(f"left out: {refused}" for refused in comparison.left_out)])


def comparison_lines(comparison: Comparison) -> str:
    """The legend of `comparison_chart`, as HTML that wraps where the page is narrow."""
    lines = (f"<li>{style_of(run.answer.method.name).swatch()}{escape(title(run))}</li>" for run in comparison.runs)
    return f'<ul class="aim-lines" aria-label="Lines of the chart below">{"".join(lines)}</ul>'


def comparison_chart(comparison: Comparison) -> go.Figure:
    """Visual tokens in each layer, one line a method. Pointing at a line names all methods that run a layer on as many tokens."""
    figure = go.Figure()
    names = [title(run) for run in comparison.runs]
    counts = np.array([[visual for visual, _ in trace_of(run).tokens_per_layer] for run in comparison.runs])  # [runs, layers]
    runs, layers = counts.shape
    apart = min(layers, max(4, layers // 4))  # layers from one of a line's markers to the next
    for place, run in enumerate(comparison.runs):
        style, visual = style_of(run.answer.method.name), counts[place]
        same = ["<br>".join(name for name, other in zip(names, column, strict=True) if other == column[place]) for column in counts.T]
        figure.add_scatter(
            x=list(range(layers)),
            y=visual.tolist(),
            name=names[place],
            mode="lines",
            line={"color": style.colour, "width": 2.5, "shape": "hvh", "dash": style.plotly_dash},
            customdata=same,
            hovertemplate="layer %{x}: %{y:,} visual tokens<br>%{customdata}<extra></extra>",
        )
        # Each line has its markers at places of its own, so that lines which lie on one another can be told apart by them.
        places = np.arange(place * apart / runs, layers - 1, apart)
        figure.add_scatter(
            x=places.tolist(),
            y=visual[np.floor(places + 0.5).astype(int)].tolist(),
            name=names[place],
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 9},
            hoverinfo="skip",
        )
    axes = {
        "xaxis": {"title": {"text": "layer of the language model"}, "zeroline": False, "showgrid": False},
        "yaxis": {"title": {"text": "visual tokens", "standoff": 12}, "rangemode": "tozero", "automargin": True, "gridcolor": GRID},
    }
    margin = {"l": 64, "r": 12, "t": 12, "b": 48}
    figure.update_layout(layout(360, hovermode="closest", showlegend=False, margin=margin, **axes))
    return figure


def kept_sheet(frames: np.ndarray, timestamps: np.ndarray, comparison: Comparison, layer: int) -> Image.Image:
    """The same few frames under every method, one row each: clear where a visual token of that layer stands.

    What was merged away, dropped inside the model and dropped before it lies under a pattern each, explained below the rows.

    Args:
        frames: uint8 [N, H, W, 3], those of the runs; `timestamps` [N] in seconds.
    """
    trace = trace_of(comparison.runs[0])
    shown = [round(place) for place in np.linspace(0, trace.frames - 1, min(FRAMES_SHOWN, trace.frames))]
    stack, rows = Stack.of(frames, trace, ROW_CELL, shown), []
    for run in comparison.runs:
        record = trace_of(run)
        painted = [image(pixels) for pixels in kept_places(stack, record, layer)]
        rows.append((title(run), counted(len(record.survivors[layer])), painted))
    times = first_of(timestamps, trace.frames)[shown]
    return row_sheet([f"{float(time):.1f} s" for time in times], rows, _keys(comparison, layer))


def kept_keys(comparison: Comparison, layer: int) -> str:
    """What the patterns of `kept_sheet` mean, as HTML that wraps where the page is narrow."""
    keys = [
        f'<li><img width="34" height="{KEY}" src="{jpeg_url(pattern_key(fate), 95)}" alt="">{words}</li>'
        for fate, words in _keys(comparison, layer).items()
    ]
    return f'<ul class="aim-lines" aria-label="Patterns of the frames below">{"".join(keys)}</ul>'


def _keys(comparison: Comparison, layer: int) -> dict[Fate, str]:
    """What became of patches under at least one method, in words."""
    seen = {fate for run in comparison.runs for fate in np.unique(fates(trace_of(run), layer, just=False)).tolist()}
    return {fate: words for fate, words in FATES.items() if fate in seen}
