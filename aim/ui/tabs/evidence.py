"""The Evidence tab: what the benchmark measured of the paper's claims and of all methods, read from `assets`. Nothing runs here."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import gradio as gr

from aim.evaluation.board import BOARD_FILE
from aim.evaluation.charts import finding_chart
from aim.evaluation.findings import ACCURACY, DOES_NOT_HOLD, FINDINGS_FILE, HOLDS, MARGIN, PARTLY, shares, shown, signed, source_of
from aim.evaluation.stored import aged_words
from aim.ui.board import build_board
from aim.ui.tab import Tab

# Dark enough for white letters (WCAG AA), on either ground.
BADGES = {HOLDS: "#1e7d5f", PARTLY: "#8a5a00", DOES_NOT_HOLD: "#b03a5b"}

STYLE = """<style>
.aim-finding { overflow-wrap: anywhere; }
.aim-finding h3 { display: flex; flex-wrap: wrap; gap: 0.3rem 0.7rem; align-items: center; margin: 1.2rem 0 0.3rem; font-size: 1.1rem; }
.aim-finding p { margin: 0.25rem 0; line-height: 1.45; }
.aim-finding b { color: var(--body-text-color); }
.aim-finding .aim-badge { color: #fff !important; font-size: 0.8rem; font-weight: 600; padding: 0.1rem 0.6rem;
  border-radius: 999px; white-space: nowrap; }
.aim-checks { overflow-x: auto; }
.aim-checks table { border-collapse: collapse; font-size: 0.82rem; font-variant-numeric: tabular-nums; width: 100%; margin: 0.4rem 0; }
.aim-checks th, .aim-checks td { padding: 0.2rem 0.5rem !important; text-align: right; border: 0;
  border-bottom: 1px solid var(--border-color-primary); white-space: nowrap; overflow-wrap: normal; }
.aim-checks th:first-child, .aim-checks td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
.aim-finding-chart .main-svg text:not(.hoverlayer text) { fill: var(--body-text-color) !important; }
.aim-finding-chart .gridlayer path { stroke: var(--border-color-primary) !important; }
</style>"""

MISSING = """<p>Nothing has been measured yet. <code>python -m aim eval --findings --write</code> measures the paper's claims on this
model and puts them here.</p>"""


class Evidence(Tab):
    """Claim, verdict, sentence, chart, tables and command of each finding, and then the board of all methods.

    Args:
        file: what `python -m aim eval --findings --write` wrote. Without it the tab says how to get it.
        board: what `python -m aim eval --board --write` wrote, likewise.
    """

    title = "Evidence"

    def __init__(self, file: Path = FINDINGS_FILE, board: Path = BOARD_FILE):
        self.file, self.board = file, board

    def build(self, vlm) -> None:
        self._build_findings()
        build_board(self.board)

    def _build_findings(self) -> None:
        if not self.file.exists():
            gr.HTML(STYLE + MISSING)
            return
        report = json.loads(self.file.read_text(encoding="utf-8"))
        gr.HTML(STYLE + introduction(report), padding=False)
        for finding in report["findings"]:
            gr.HTML(heading(finding), padding=False)
            gr.Plot(finding_chart(finding), show_label=False, container=False, elem_classes="aim-finding-chart")
            gr.HTML(tables(finding), padding=False)


def introduction(report: dict) -> str:
    """How the findings were measured, and when a claim holds, as HTML."""
    questions = max(finding["questions"] for finding in report["findings"])
    aged = f" <b>All of this was {words}.</b>" if (words := aged_words(report)) else ""
    return (
        '<div class="aim-finding"><p>The papers measured large models. Does what they found hold for the tiny model bundled here? '
        f"Every setting answered the same <b>{questions:,} questions</b> about {report['clips']:,} held-out clips. Whiskers and ranges "
        "are 95 % intervals. Differences are paired by question, and their intervals keep each clip whole. “Better” is confirmed when "
        f"the whole interval is above 0 points, and “as good” when it is above {signed(-MARGIN)}. A finding holds when all of its checks "
        "are confirmed. It holds partly when some are, and does not hold here when none is. Intervals of the finding that looks at all "
        f"methods are widened, so that all of its checks hold at once.{aged}</p>"
        "<p>Below the findings stands the board, which compares all methods at equal budgets.</p></div>"
    )


def heading(finding: dict) -> str:
    """Title, verdict, claim and what was found, as HTML."""
    badge = f'<span class="aim-badge" style="background:{BADGES[finding["verdict"]]}">{escape(finding["verdict"])}</span>'
    return (
        f'<div class="aim-finding"><h3>{finding["number"]}. {escape(finding["title"])} {badge}</h3>'
        f"<p><b>{escape(source_of(finding))}:</b> {escape(finding['claim'])}</p><p><b>Here:</b> {escape(finding['sentence'])}</p></div>"
    )


def tables(finding: dict) -> str:
    """The measured points and the checks, folded away, and the command that prints them, as HTML."""
    kinds = finding["kinds"]
    points = [["", finding["axis"], "tokens", "prefill GFLOP", *(f"{shown(finding)}, {kind}" for kind in kinds)]]
    for point in finding["points"]:
        cells = [_share(shares(finding, point, kind)) for kind in kinds]
        points.append([point["series"], point["x"], f"{point['visual_per_layer'][0]:,}", f"{point['prefill_gflops']:.3g}", *cells])
    checks = [[f"difference in {finding.get('figure', ACCURACY)}", "questions", "points", "95 % interval", "expected", ""]]
    for check in finding["checks"]:
        interval = f"{signed(check['low'])} to {signed(check['high'])}"
        outcome = {True: "confirmed", False: "not confirmed", None: ""}[check["confirmed"]]
        checks.append([check["label"], f"{check['questions']:,}", signed(check["difference"]), interval, check["expected"] or "", outcome])
    return (
        f'<div class="aim-finding"><details><summary>Figures and checks</summary>{_table(points)}{_table(checks)}</details>'
        f"<p><code>{escape(finding['command'])}</code></p></div>"
    )


def _share(accuracy: dict) -> str:
    return f"{100 * accuracy['right']:.1f} % ({100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f})"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f'<div class="aim-checks"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'
