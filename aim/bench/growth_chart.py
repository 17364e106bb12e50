"""Growth as a chart."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aim.bench.printing import head_of
from aim.views.look import LINES, MARKS


def growth_chart(report: dict) -> go.Figure:
    """Prefill time in seconds and working memory in GB against frames, with a line a variant. The legend says why a line ends.

    Args:
        report: what `python -m aim bench --growth --json` prints.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Prefill, seconds", "Working memory, GB"))
    for place, (name, title) in enumerate(report["titles"].items()):
        points = [point for point in report["growth"] if point["variant"] == name]
        ran = [point for point in points if not point["ended"]]
        ends = [f"{point['frames']} frames: {point['ended']}" for point in points if point["ended"]]
        label = f"{title} ({ends[0]})" if ends else title
        look = {"marker": {"symbol": MARKS[place % len(MARKS)], "color": LINES[place % len(LINES)], "size": 9}}
        for column, (key, unit) in enumerate((("prefill_seconds", 1), ("working_bytes", 1e9)), start=1):
            shown = [point for point in ran if point[key] is not None]
            heights = [point[key] / unit for point in shown]
            frames = [point["frames"] for point in shown]
            figure.add_scatter(
                x=frames, y=heights, name=label, legendgroup=name, showlegend=column == 1, mode="lines+markers", row=1, col=column, **look
            )
    most = max(point["frames"] for point in report["growth"])
    figure.update_xaxes(title="frames", range=[0, 1.05 * most])
    figure.update_yaxes(rangemode="tozero")
    legend = {"yanchor": "top", "x": 0, "y": -0.2}  # below, where no line can run through its words
    figure.update_layout(template="plotly_white", height=560, title=head_of(report).splitlines()[0], legend=legend)
    return figure


def write_chart(file: Path, figure: go.Figure) -> None:
    """Write the chart as one HTML page that needs no network."""
    file.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")
