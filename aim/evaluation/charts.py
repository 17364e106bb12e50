"""Accuracy as plotly charts that can be read on light and dark grounds and on a narrow screen."""

from __future__ import annotations

import plotly.graph_objects as go

from aim.evaluation.findings import shares, shown
from aim.evaluation.summary import ALL, Summary
from aim.views.look import GRID, LINES, MARKS, layout

INK = "#5c6370"


def finding_chart(finding: dict) -> go.Figure:
    """The points of a finding (see `findings.judge`): accuracy with 95 % intervals, a line a series, a panel a type of question."""
    kinds, figure = finding["kinds"], go.Figure()
    series = list(dict.fromkeys(point["series"] for point in finding["points"]))
    height = 1 / len(kinds)
    for panel, kind in enumerate(kinds):
        axes = {"xaxis": f"x{panel + 1}", "yaxis": f"y{panel + 1}"} if panel else {}
        for number, name in enumerate(series):
            points = [point for point in finding["points"] if point["series"] == name]
            accuracy = [shares(finding, point, kind) for point in points]
            figure.add_scatter(
                x=[point["x"] for point in points],
                name=name,
                legendgroup=name,
                showlegend=panel == 0,
                customdata=[[point["setting"], point["prefill_gflops"]] for point in points],
                hovertemplate="%{y:.1f} %<br>%{customdata[0]}<br>%{customdata[1]:.3g} GFLOP prefill<extra></extra>",
                **_shares(accuracy),
                **_look(number, finding["lines"]),
                **axes,
            )
        rows = [shares(finding, point, kind) for point in finding["points"]]
        span = [100 * min(row["low"] for row in rows) - 2, 100 * max(row["high"] for row in rows) + 2]  # grouped points would start at 0
        top = 1 - panel * height
        figure.update_layout(
            {
                f"yaxis{panel + 1 if panel else ''}": {
                    **_percent_axis(f"{shown(finding)}, {'all questions' if kind == ALL else kind}"),
                    "range": span,
                    "domain": [top - height + (0.1 if len(kinds) > 1 else 0), top],
                },
                f"xaxis{panel + 1 if panel else ''}": {
                    "type": "category",
                    "title": {"text": finding["axis"] if panel == len(kinds) - 1 else ""},
                    "anchor": f"y{panel + 1 if panel else ''}",
                    "showgrid": False,
                    "zeroline": False,
                    "automargin": True,
                },
            }
        )
    # Points of several series at one place stand side by side, so that their intervals can be told apart.
    figure.update_layout(scattermode="group", scattergap=0.7)
    _dress(figure, height=180 + 180 * len(kinds) + 22 * len(series))
    return figure


def cost_chart(summaries: list[Summary]) -> go.Figure:
    """Accuracy over all questions against the modelled FLOPs of the prefill, a colour for each number of frames."""
    figure = go.Figure()
    for number, frames in enumerate(dict.fromkeys(summary.setting.frames for summary in summaries)):
        those = sorted((s for s in summaries if s.setting.frames == frames), key=lambda s: s.cost["prefill_tflops"])
        figure.add_scatter(
            x=[1000 * summary.cost["prefill_tflops"] for summary in those],
            name=f"{frames} frames",
            customdata=[[summary.setting.label, summary.milliseconds] for summary in those],
            hovertemplate="%{y:.1f} %, %{x:.3g} GFLOP<br>%{customdata[0]}<br>%{customdata[1]:.1f} ms prefill measured<extra></extra>",
            **_shares([vars(summary.accuracy[ALL]) for summary in those]),
            **_look(number, lines=True),
        )
    figure.update_layout(
        xaxis={"title": {"text": "modelled prefill, GFLOP"}, "type": "log", "gridcolor": GRID},
        yaxis=_percent_axis("correct answers, all questions"),
    )
    _dress(figure, height=480)
    return figure


def _shares(accuracy: list[dict]) -> dict:
    """Shares in percent with intervals."""
    return {
        "y": [100 * row["right"] for row in accuracy],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (row["high"] - row["right"]) for row in accuracy],
            "arrayminus": [100 * (row["right"] - row["low"]) for row in accuracy],
            "thickness": 1.5,
            "width": 3,
        },
    }


def _look(number: int, lines: bool) -> dict:
    colour = LINES[number % len(LINES)]
    return {
        "mode": "lines+markers" if lines else "markers",
        "line": {"color": colour, "width": 1.5},
        "marker": {"color": colour, "size": 8, "symbol": MARKS[number % len(MARKS)]},
    }


def _percent_axis(title: str) -> dict:
    return {"title": {"text": title}, "ticksuffix": " %", "gridcolor": GRID, "zeroline": False, "automargin": True}


def _dress(figure: go.Figure, height: int) -> None:
    figure.update_layout(layout(height, margin={"l": 56, "r": 12, "t": 12, "b": 48}, font={"color": INK, "size": 12}))
