"""The board in the Evidence tab: a chart for each number of frames and a table that sorts by any column."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import gradio as gr

from aim.evaluation.board import CAVEAT
from aim.evaluation.board_chart import board_chart
from aim.evaluation.board_table import CONTROL_HEAD, HEAD, READING, board_rows, kinds_of, rule
from aim.evaluation.stored import aged_words

COMMAND = "python -m aim eval --board"
TEXTS = ("method", "FLOPs", "95 % interval", *CONTROL_HEAD)  # the columns that hold no numbers
MISSING = f"""<div class="aim-finding"><h3>The board of all methods</h3><p>It has not been measured yet. <code>{COMMAND} --write</code>
runs every method at equal budgets, and puts accuracy and cost here.</p></div>"""

SORTING = """<div class="aim-finding"><p>To sort or filter the table by a column, press its head and open the menu ⋮ that appears
there.</p></div>"""


def build_board(file: Path) -> None:
    """Add the board to the open tab, or a hint of the command where the file is not there."""
    if not file.exists():
        gr.HTML(MISSING, padding=False)
        return
    report = json.loads(file.read_text(encoding="utf-8"))
    gr.HTML(board_introduction(report), padding=False)
    for frames in dict.fromkeys(row["frames"] for row in report["rows"]):
        gr.Plot(board_chart(report, frames), show_label=False, container=False, elem_classes="aim-finding-chart")
    gr.HTML(SORTING, padding=False)
    head = [*HEAD, *CONTROL_HEAD, *kinds_of(report)]
    # Without Gradio's search box, whose name a screen reader does not read: the menus of the heads filter too.
    gr.Dataframe(
        board_rows(report),
        headers=head,
        datatype=["str" if column in TEXTS else "number" for column in head],
        show_label=False,
        interactive=False,
        pinned_columns=1,
        column_widths=[_width(column) for column in head],
    )
    gr.HTML(f'<div class="aim-finding"><p>{escape(READING)}</p><p><code>{COMMAND}</code></p></div>', padding=False)


def board_introduction(report: dict) -> str:
    """What the board is, by which rule it judges, and what it does not say, as HTML."""
    aged = f" <b>All of this was {words}.</b>" if (words := aged_words(report)) else ""
    return (
        '<div class="aim-finding"><h3>The board of all methods</h3>'
        f"<p>Every method answered the same <b>{report['questions']:,} questions</b> about {report['clips']:,} held-out clips at equal "
        f"budgets. <b>{escape(CAVEAT)}</b>{aged}</p><p>{escape(rule(report))}</p></div>"
    )


def _width(column: str) -> str:
    return "330px" if column in CONTROL_HEAD else "150px" if column in TEXTS else "110px"
