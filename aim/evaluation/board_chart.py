"""The board's chart: accuracy against modelled cost, a line for each method."""

from __future__ import annotations

import plotly.graph_objects as go

from aim.evaluation.charts import INK
from aim.evaluation.summary import ALL
from aim.views.line_styles import style_of
from aim.views.look import GRID, layout

TICKS = [digit * 10**power for power in range(-3, 6) for digit in (1, 2, 5)]  # GFLOP


def board_chart(report: dict, frames: int) -> go.Figure:
    """Right answers to all questions on so many frames, with 95 % intervals, against GFLOP of the prefill.

    Each method looks as it does in the other charts (`aim.views.line_styles`).
    """
    measured = [row for row in report["rows"] if row["frames"] == frames and "setting" in row]
    figure = go.Figure()
    for name in dict.fromkeys(row["method"] for row in measured):
        rows = sorted((row for row in measured if row["method"] == name), key=lambda row: row["prefill_gflops"])
        every, style = [row["accuracy"][ALL] for row in rows], style_of(name)
        figure.add_scatter(
            x=[row["prefill_gflops"] for row in rows],
            y=[100 * share["value"] for share in every],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * (share["high"] - share["value"]) for share in every],
                "arrayminus": [100 * (share["value"] - share["low"]) for share in every],
                "thickness": 1,
                "width": 2,
            },
            name=name,
            mode="lines+markers",
            line={"color": style.colour, "width": 1.5, "dash": style.plotly_dash},
            marker={"color": style.colour, "size": 9, "symbol": style.marker},
            customdata=[[row["setting"], row["milliseconds"]] for row in rows],
            hovertemplate="%{y:.1f} %, %{x:.3g} GFLOP<br>%{customdata[0]}<br>%{customdata[1]:.1f} ms prefill measured<extra></extra>",
        )
    figure.update_layout(
        layout(
            680,
            margin={"l": 56, "r": 12, "t": 12, "b": 48},
            font={"color": INK, "size": 12},
            legend={"orientation": "h", "x": 0, "y": -0.13, "yanchor": "top", "entrywidth": 74},
            xaxis={
                "title": {"text": f"modelled prefill on {frames} frames, GFLOP"},
                "type": "log",
                "gridcolor": GRID,
                "tickvals": TICKS,
                "ticktext": [f"{tick:g}" for tick in TICKS],
            },
            yaxis={
                "title": {"text": "correct answers, all questions"},
                "ticksuffix": " %",
                "gridcolor": GRID,
                "zeroline": False,
                "automargin": True,
            },
        )
    )
    return figure
