"""What was measured, for people and for programs: text, JSON, CSV and a page of charts."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import plotly.graph_objects as go

from aim.evaluation.findings import shares, shown, signed, source_of
from aim.evaluation.settings import Setting
from aim.evaluation.summary import ALL, Evaluation, Summary
from aim.views.text_tables import plain_table

COLUMNS = (
    *("frames", "method", "params", "tower", "shrunk", "type", "right", "low", "high", "constant_guess", "questions", "agreement"),
    "prefill_gflops",
)


def text_of(summaries: list[Summary]) -> str:
    """An overview with a line a setting, and for each setting its accuracy by type and its layers."""
    rows = [["setting", "right", "95 % interval", "as full", "GFLOP", "less", "KV kB", "prefill ms", "tower GFLOP"]]
    for summary in summaries:
        cost = summary.cost
        rows.append(
            [
                summary.setting.label,
                *_accuracy(vars(summary.accuracy[ALL])),
                "-" if summary.agreement is None else f"{100 * summary.agreement:.1f} %",
                f"{1000 * cost['prefill_tflops']:.3g}",
                f"{cost['speedup']:.2f} x",
                f"{cost['kv_bytes'] / 1000:.0f}",
                f"{summary.milliseconds:.1f}",
                f"{1000 * cost['vision_tflops']:.3g}",
            ]
        )
    note = "GFLOP and KV are modelled (without vision tower, merging, scoring), ms is the measured median with merging and scoring."
    return "\n\n".join([plain_table(rows), note, *map(_details, summaries)])


def tower_text(evaluation: Evaluation, settings: list[Setting]) -> str:
    """What a reduced vision tower costs in points, and shrunken frames beside it: a line for each such setting, against the same method on
    frames of full size with its full tower; "" without."""
    rows = [["against the full tower", "points", "95 % interval, clips kept whole"]]
    for setting in settings:
        if setting != setting.with_full_tower:
            told = evaluation.difference(setting, setting.with_full_tower)
            rows.append([setting.label, signed(told.value), f"{signed(told.low)} to {signed(told.high)}"])
    return plain_table(rows) if rows[1:] else ""


def _details(summary: Summary) -> str:
    rows = [["type", "right", "95 % interval", "constant guess", "questions"]]
    for kind, accuracy in summary.accuracy.items():
        rows.append([kind, *_accuracy(vars(accuracy)), f"{100 * accuracy.constant_guess:.0f} %", f"{accuracy.questions:,}"])
    layers = [
        ["layer", *map(str, range(len(summary.visual_per_layer)))],
        ["visual tokens", *map(str, summary.visual_per_layer)],
        ["evidence recall", *("-" if value is None else f"{100 * value:.0f} %" for value in summary.recall)],
        ["localisation", *("-" if value is None else f"{value:.2f}" for value in summary.localisation)],
    ]
    return "\n".join([summary.setting.label, plain_table(rows), plain_table(layers)])


def findings_text(findings: list[dict]) -> str:
    """The verdicts, and for each finding its claim, sentence, points and checks (`findings.judge`)."""
    verdicts = [["finding", "", "verdict"], *([str(f["number"]), f["title"], f["verdict"]] for f in findings)]
    return "\n\n".join([plain_table(verdicts), *map(_finding_text, findings)])


def _finding_text(finding: dict) -> str:
    points = [
        [
            "",
            finding["axis"],
            "tokens",
            "GFLOP",
            *(part for kind in finding["kinds"] for part in (f"{shown(finding)}, {kind}", "95 % interval")),
        ]
    ]
    for point in finding["points"]:
        cells = [part for kind in finding["kinds"] for part in _accuracy(shares(finding, point, kind))]
        points.append([point["series"], point["x"], f"{point['visual_per_layer'][0]:,}", f"{point['prefill_gflops']:.3g}", *cells])
    checks = [["check", "questions", "points", "95 % interval", "expected", ""]]
    for check in finding["checks"]:
        interval = f"{signed(check['low'])} to {signed(check['high'])}"
        outcome = {True: "confirmed", False: "not confirmed", None: ""}[check["confirmed"]]
        questions = f"{check['questions']:,}"
        checks.append([check["label"], questions, signed(check["difference"]), interval, check["expected"] or "-", outcome])
    head = f"{finding['number']}. {finding['title']}: {finding['verdict'].upper()}"
    told = [f"{source_of(finding)}: {finding['claim']}", f"Here: {finding['sentence']}"]
    return "\n".join([head, *told, plain_table(points), plain_table(checks)])


def write_json(file: Path, summaries: list[Summary]) -> None:
    """One JSON object: `settings`, which are the same in every run, and the measured `milliseconds` of each setting apart from them."""
    settings = []
    for summary in summaries:
        figures = asdict(summary)
        del figures["milliseconds"], figures["tower_milliseconds"]
        settings.append({**figures, "setting": json.loads(summary.setting.key)})
    times = {summary.setting.label: summary.milliseconds for summary in summaries}
    file.write_text(json.dumps({"settings": settings, "milliseconds": times}, indent=1) + "\n", encoding="utf-8")


def write_csv(file: Path, summaries: list[Summary]) -> None:
    """One row for each setting and type of question, with the columns `COLUMNS`."""
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, COLUMNS)
        table.writeheader()
        for summary in summaries:
            method = summary.setting.method
            same = {
                "frames": summary.setting.frames,
                "method": method.name,
                "params": json.dumps(method.params()),
                "tower": json.dumps(tower.params()) if (tower := summary.setting.tower) else "",
                "shrunk": summary.setting.shrunk or "",
                "agreement": summary.agreement,
                "prefill_gflops": 1000 * summary.cost["prefill_tflops"],
            }
            table.writerows({**same, "type": kind, **asdict(accuracy)} for kind, accuracy in summary.accuracy.items())


def write_page(file: Path, charts: Sequence[tuple[str, go.Figure]]) -> None:
    """Charts under their headings, as one HTML page that needs no network."""
    parts = [f"<h2>{title}</h2>{chart.to_html(full_html=False, include_plotlyjs=not n)}" for n, (title, chart) in enumerate(charts)]
    body = "\n".join(parts)
    file.write_text(f'<!doctype html><meta charset="utf-8"><title>AIM Explorer: benchmark</title>\n{body}\n', encoding="utf-8")


def _accuracy(row: dict) -> list[str]:
    return [f"{100 * row['right']:.1f} %", f"{100 * row['low']:.1f}-{100 * row['high']:.1f} %"]
