"""What tuning found: tried settings as points of cost and divergence, the same as rows to pick, and two answers at one price."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from aim.methods import AIM
from aim.tuning.budget_kinds import KINDS
from aim.views.html_tables import head_row, row, scrolling, table
from aim.views.look import GRID, PLANNED, SCORE, TEXT, VISUAL, layout
from aim.views.units import UNITS, flops, number, seconds, size, times

if TYPE_CHECKING:
    from aim.runtime.answer import Answer
    from aim.tuning.outcome import Tried, Tuned

# The KL axis: straight from 0 to about here, logarithmic above, so that "the same as the full model" has a place on it.
LINEAR = 1e-3
PAPER_RATIO = AIM().merge_ratio
TICKS = (0, 1e-3, 1e-2, 0.1, 1, 10)
READING = (
    "KL: how far the words' distributions stray from the full model's along its own answer, in nats; 0 is the same. "
    "FLOPs and KV cache are modelled, the prefill is measured once. Press a row to set the knobs to it."
)


def bent(divergence: float) -> float:
    """Where a divergence ≥ 0 stands on the chart: log10(1 + KL / `LINEAR`)."""
    return log10(1 + divergence / LINEAR)


def strays(tried: Tried) -> float:
    """The divergence of a tried setting, or of its first token where it was given up after that."""
    return tried.first_divergence if tried.divergence is None else tried.divergence


def ranked(tuned: Tuned) -> list[int]:
    """Places in `tuned.tried`, best first: within the budget by divergence and cost, then what costs too much, then what was given up."""

    def order(place: int) -> tuple:
        tried = tuned.tried[place]
        return tried.rejected, not tried.within_budget, strays(tried), tuned.price(tried)

    return sorted(range(len(tuned.tried)), key=order)


def tradeoff_chart(tuned: Tuned) -> go.Figure:
    """Cost (logarithmic) against divergence: tried settings (hollow: given up early), Pareto front, the paper's, the chosen one."""
    written, figure = UNITS[tuned.budget.unit], go.Figure()

    def add(name: str, shown: list[Tried], mode: str = "markers", **style) -> None:
        if shown:
            figure.add_scatter(
                x=[tuned.price(tried) for tried in shown],
                y=[bent(strays(tried)) for tried in shown],
                customdata=[[tried.label, number(strays(tried)), written(tuned.price(tried))] for tried in shown],
                name=name,
                mode=mode,
                hovertemplate="%{customdata[0]}<br>KL %{customdata[1]}, %{customdata[2]}<extra></extra>",
                **style,
            )

    add("best at each cost", tuned.front(tuned.price), "lines", line={"color": PLANNED, "width": 2, "shape": "hv"})
    rejected, measured = ([tried for tried in tuned.tried if tried.rejected == given_up] for given_up in (True, False))
    add("tried", measured, marker={"size": 10, "color": VISUAL})
    add("stopped early", rejected, marker={"size": 9, "color": VISUAL, "symbol": "circle-open", "line": {"width": 1.5}})
    # The full model costs many times what is looked for: the settings get the width, and the axis' title says what it costs.
    low, high = _extent([tuned.price(tried) for tried in tuned.tried[1:] or tuned.tried] + [tuned.limit])
    seen = low <= tuned.price(tuned.tried[0]) <= high
    add("reference", list(tuned.tried[:1]), showlegend=seen, marker={"size": 11, "color": PLANNED, "symbol": "diamond"})
    add("paper's", _present(tuned.preset), marker={"size": 12, "color": SCORE, "symbol": "square"})
    add("chosen", _present(tuned.chosen), marker={"size": 19, "color": TEXT, "symbol": "star", "line": {"width": 1, "color": "#7a4f00"}})
    highest = max([bent(TICKS[2]), *(bent(strays(tried)) for tried in tuned.tried)])
    figure.add_scatter(
        x=[tuned.limit] * 2,
        y=[0, highest],
        name="budget",
        mode="lines",
        line={"color": PLANNED, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    shown = [tick for tick in TICKS if bent(tick) <= highest * 1.05]
    ticks = _ticks(low, high)
    figure.update_layout(
        layout(
            420,
            margin={"l": 64, "r": 16, "t": 76, "b": 70},
            hovermode="closest",
            legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}, "entrywidth": 100},
            xaxis={
                "title": {"text": f"{KINDS[tuned.budget.kind].title}<br>full model: {written(tuned.price(tuned.tried[0]))}"},
                "type": "log",
                "range": [log10(low), log10(high)],
                "tickvals": ticks,
                "ticktext": [written(tick) for tick in ticks],
                "zeroline": False,
                "gridcolor": GRID,
            },
            yaxis={
                "title": {"text": "KL from the full model, nats", "standoff": 12},
                "tickvals": [bent(tick) for tick in shown],
                "ticktext": [f"{tick:g}" for tick in shown],
                "range": [-0.08 * highest, 1.08 * highest],
                "automargin": True,
                "gridcolor": GRID,
                "zeroline": False,
            },
        )
    )
    return figure


def _present(tried: Tried | None) -> list[Tried]:
    return [] if tried is None else [tried]


def _extent(values: list[float]) -> tuple[float, float]:
    """From a little below the least to a little above the greatest positive value, on a logarithmic axis."""
    low, high = min(value for value in values if value > 0), max(values)
    margin = max(1.1, (high / low) ** 0.06)
    return low / margin, high * margin


def _ticks(low: float, high: float) -> list[float]:
    """Four places well inside low...high, evenly apart on a logarithmic axis, with as few digits as tell them apart."""
    places = [low * (high / low) ** share for share in (0.1, 0.37, 0.63, 0.9)]
    rounded = [sorted({float(f"{place:.{digits}g}") for place in places}) for digits in (1, 2, 3)]
    return next((ticks for ticks in rounded if len(ticks) >= 3 and low < ticks[0] and ticks[-1] < high), rounded[-1])


def tried_table(tuned: Tuned) -> str:
    """Every tried setting, best first, as an HTML table; each row has a button and its place in `tuned.tried` as `data-place`."""
    columns = (("setting", ""), ("KL", "measured"), ("FLOPs", "modelled"), ("KV cache", "modelled"), ("prefill", "measured"))
    rows = [_row(tuned, place) for place in ranked(tuned)]
    tried = table("Tried settings, best first", head_row(columns), rows, "aim-tried")
    return f'<div class="aim-tried-rows">{tried}</div><p class="aim-reading">{READING}</p>'


def _row(tuned: Tuned, place: int) -> str:
    tried = tuned.tried[place]
    marks = [
        name
        for name, applies in (
            ("chosen", tried is tuned.chosen),
            (
                "the paper's" if tried.method.params().get("merge_ratio") == PAPER_RATIO else "the paper's, merged further",
                tried is tuned.preset,
            ),
            (f"reference: {tuned.reference}", place == 0),
            ("over the budget", not tried.within_budget and place > 0),
            ("stopped after the first word", tried.rejected),
        )
        if applies
    ]
    less = f"<small>{times(tried.cost['speedup'])} fewer</small>" if "speedup" in tried.cost else ""
    figures = (
        number(strays(tried)),
        f"{flops(tried.cost['prefill_tflops'])}{less}",
        size(tried.cost["kv_bytes"]),
        seconds(tried.prefill_seconds),
    )
    name = f'<button type="button" class="aim-pick">{escape(tried.label)}</button><small>{escape(", ".join(marks))}</small>'
    chosen = ' class="aim-chosen"' if tried is tuned.chosen else ""
    return row(name, figures, f' data-place="{place}"{chosen}')


def progress(tuned: Tuned, most: int) -> str:
    """How far the search is, for the status line."""
    best = "" if tuned.chosen is None else f" Best so far: {tuned.chosen.label}, KL {number(strays(tuned.chosen))}."
    return f"{tuned.prefills} of at most {most} prefills…{best}"


def outcome(tuned: Tuned) -> str:
    """What the search ended with, for the status line."""
    told = "Done" if tuned.complete else "Stopped"
    if tuned.chosen is None:
        return f"{told}: no setting within the budget was measured."
    inside = "" if tuned.tower is None else f" All settings but the full model have {tuned.tower.words}."
    return f"{told}: {tuned.chosen.label}, KL {number(strays(tuned.chosen))}, after {tuned.prefills} prefills.{inside}"


def spent_table(full: Answer, reduced: Answer) -> str:
    """Both answers at one price: frames, FLOPs and measured time, as an HTML table."""
    columns = (("", ""), ("answer", ""), ("frames", ""), ("FLOPs", "modelled"), ("prefill", "measured"), ("vision tower", "measured"))
    rows = []
    for name, answer in (("full model", full), ("reduced", reduced)):
        tower = seconds(answer.timings["vision_tower"]) if "vision_tower" in answer.timings else "reused"
        figures = (
            escape(answer.text) or "–",
            f"{answer.frames:,}",
            flops(answer.cost["prefill_tflops"]),
            seconds(answer.trace.prefill_seconds),
            tower,
        )
        rows.append(row(name, figures))
    return scrolling("Both answers", table("The same FLOPs, spent twice", head_row(columns), rows, "aim-methods"))
