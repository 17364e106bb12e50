"""One finished run as one HTML file that opens offline: answer, figures, layers, and the explorer itself. It loads nothing."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from aim.views import explorer
from aim.views.costs import cost_table
from aim.views.curve import curve_legend, token_curve
from aim.views.fates import telling_layer
from aim.views.figures import comparison, figures
from aim.views.shown_run import ShownRun
from aim.views.units import value_of

if TYPE_CHECKING:
    from aim.kernels.trace import Trace
    from aim.planning.plan import Plan
    from aim.runtime.vlm import Answer

ASSETS = Path(__file__).resolve().parents[2] / "assets"
NAME = "aim-report.html"
# The browser itself is told to load nothing from anywhere.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
START = """const payload = JSON.parse(document.getElementById("payload").textContent);
startFrames(document.getElementById("frames"), { value: payload }, () => {});
startTime(document.getElementById("time"), { value: payload }, () => {})"""


def write_report(
    answer: Answer, run: ShownRun, plan: Plan | None, folder: str | Path, question: str = "", python: str = "", full: Answer | None = None
) -> Path:
    """Write a run as `aim-report.html`, which needs no server and no network. It takes about 1 MB for 16 frames.

    Args:
        answer: the finished answer, with trace, timings and cost.
        run: the frames it was given, and the same trace.
        plan: drawn as a line over the executed layers; None leaves it out.
        folder: an existing folder of this run's own.
        question: what was asked; shown as text, whatever it contains.
        python: the lines that reproduce the run, shown as text.
        full: the full model's answer to the same question, to be shown beside.

    Returns:
        The path of the file.

    Raises:
        ValueError: the answer is not finished, so there is nothing to report.
    """
    if answer.trace is None or not answer.trace.tokens_per_layer:
        raise ValueError("The answer is not finished, so it has no trace to report. Let the run end first.")
    path = Path(folder) / NAME
    path.write_text(_page(answer, run, plan, question, python, full), encoding="utf-8")
    return path


def _page(answer: Answer, run: ShownRun, plan: Plan | None, question: str, python: str, full: Answer | None) -> str:
    trace = run.trace
    value = explorer.payload(run.frames, run.timestamps, trace)
    styles = [ASSETS / "report.css", ASSETS / "style.css"]
    style = "\n".join([*(sheet.read_text(encoding="utf-8") for sheet in styles), explorer.stylesheet()])
    code = f"<h2>The same run in Python</h2><pre><code>{escape(python)}</code></pre>" if python else ""
    beside = f"<h2>Beside the full model</h2>{_answers(answer, full)}{comparison(answer, full)}" if full else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>AIM report</title>
<style>
{style}
</style>
</head>
<body>
<main>
<header><h1>AIM Explorer: report of one run</h1>
<p>Which visual tokens the language model got, which were merged, and when the others were dropped.
This page is complete and works offline.</p></header>
<p class="report-question">{escape(question)}</p>
<p class="report-answer">{escape(answer.text)}</p>
{figures(answer)}
{_knobs(answer)}
{beside}
<h2>Frames</h2>
<div id="frames"></div>
<h2>Tokens in each layer</h2>
{_layers(answer, trace, plan)}
<h2>Moments of the clip</h2>
<div id="time"></div>
<h2>What it cost</h2>
{cost_table(answer)}
{code}
</main>
<script type="application/json" id="payload">{_json(value)}</script>
<script>
(() => {{
{explorer.script(START)}
}})();
</script>
</body>
</html>
"""


def _json(value: dict) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _knobs(answer: Answer) -> str:
    inside = {} if answer.tower is None else {f"tower {name}": value for name, value in answer.tower.params().items()}
    knobs = {"model": answer.model, "method": answer.method.name, **answer.method.params(), **inside}
    items = "".join(f"<li>{escape(name.replace('_', ' '))} <b>{escape(value_of(value))}</b></li>" for name, value in knobs.items())
    return f'<ul class="report-knobs">{items}</ul>'


def _answers(answer: Answer, full: Answer) -> str:
    return f"<p>These knobs: <b>{escape(answer.text)}</b><br>Full model: <b>{escape(full.text)}</b></p>"


def _layers(answer: Answer, trace: Trace, plan: Plan | None) -> str:
    planned = plan.tokens_per_layer if plan else None
    return (
        f"{token_curve(trace, answer.method, telling_layer(trace), planned)}{curve_legend(bool(trace.scored_layers), bool(planned))}"
        '<p class="aim-reading">Each bar is what one layer really ran on. '
        "Fewer tokens mean less work in that layer and less to remember while the answer is written.<br>"
        "Visual tokens fall where the method drops them; text is never dropped. Point at a layer, or tap it, for its numbers.</p>"
    )
