"""The chart of a run, layer by layer: tokens as executed and as planned, and how their scores are spread."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from aim.kernels.trace import Trace
from aim.views.curve import score_quantiles
from aim.views.look import GRID, PLANNED, SCORE, TEXT, VISUAL, layout


def layer_chart(trace: Trace, planned: list[tuple[int, int]] | None = None) -> go.Figure:
    """Stacked bars of visual and text tokens in each layer; below them PageRank's quantiles on a second, logarithmic axis.

    Args:
        planned: (visual, text) tokens a layer as the schedule says, drawn as a dotted line.
    """
    layers = list(range(len(trace.tokens_per_layer)))
    visual, text = ([pair[part] for pair in trace.tokens_per_layer] for part in (0, 1))
    figure = go.Figure()
    figure.add_bar(x=layers, y=visual, name="visual tokens", marker_color=VISUAL, hovertemplate="%{y:,} visual tokens<extra></extra>")
    figure.add_bar(x=layers, y=text, name="text tokens", marker_color=TEXT, hovertemplate="%{y:,} text tokens<extra></extra>")
    if planned:
        figure.add_scatter(
            x=list(range(len(planned))),
            y=[sum(pair) for pair in planned],
            name="planned",
            mode="lines",
            line={"color": PLANNED, "dash": "dot", "width": 2, "shape": "hvh"},
            hovertemplate="%{y:,} planned in all<extra></extra>",
        )
    quantiles = score_quantiles(trace)
    figure.update_layout(
        layout(
            440 if quantiles else 320,
            margin={"l": 64, "r": 12, "t": 40, "b": 48},
            barmode="stack",
            bargap=0.25,
            hovermode="x unified",
            hoversubplots="axis",
            xaxis={
                "title": {"text": "layer of the language model"},
                "unifiedhovertitle": {"text": "layer %{x}"},
                "dtick": max(1, len(layers) // 14),
                "zeroline": False,
                "showgrid": False,
            },
            yaxis={
                "title": {"text": "tokens", "standoff": 12},
                "rangemode": "tozero",
                "automargin": True,
                "gridcolor": GRID,
                "zeroline": False,
            },
        )
    )
    if quantiles:
        _add_scores(figure, quantiles)
    return figure


def _add_scores(figure: go.Figure, quantiles: dict[int, np.ndarray]) -> None:
    layers = list(quantiles)
    table = np.stack(list(quantiles.values()))
    # A score can underflow to 0, which a logarithmic axis has no place for.
    positive = table[table > 0]
    drawn = np.maximum(table, positive.min() if positive.size else 1e-12)
    least, lower, median, upper, most = drawn.T
    for width, low, high, opacity in ((1.5, least, most, 0.9), (7, lower, upper, 0.75)):
        figure.add_scatter(
            x=np.repeat(layers, 3).tolist(),
            y=np.stack([low, high, np.full_like(low, np.nan)], axis=1).ravel().tolist(),
            mode="lines",
            line={"color": SCORE, "width": width},
            opacity=opacity,
            yaxis="y2",
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=layers,
        y=median.tolist(),
        name="PageRank of visual tokens: median, quartiles, range",
        mode="lines+markers",
        line={"color": SCORE, "width": 1.5},
        marker={"symbol": "diamond", "size": 9, "color": SCORE, "line": {"color": "#ffffff", "width": 1}},
        yaxis="y2",
        customdata=table.tolist(),
        hovertemplate="PageRank %{customdata[2]:.2e} median<br>%{customdata[1]:.2e} to %{customdata[3]:.2e} quartiles<br>"
        "%{customdata[0]:.2e} to %{customdata[4]:.2e} range<extra></extra>",
    )
    decades = float(np.log10(drawn.max() / drawn.min()))
    figure.update_layout(
        xaxis={"anchor": "y2"},
        yaxis={"domain": [0.44, 1]},
        yaxis2={
            "title": {"text": "PageRank", "standoff": 12},
            "domain": [0, 0.36],
            "type": "log",
            "dtick": max(1, round(decades / 4)),
            "exponentformat": "power",
            "automargin": True,
            "gridcolor": GRID,
            "zeroline": False,
        },
    )
