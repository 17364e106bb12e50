"""The stored files that are made from answers about held-out clips: which settings each needs, and what its report is made by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aim.evaluation.accuracy import COLUMNS, accuracy_report
from aim.evaluation.board import judge_board, settings_of
from aim.evaluation.board_settings import BUDGETS, board_cells, usual_text_tokens
from aim.evaluation.every_finding import every_finding, findings_report
from aim.evaluation.settings import Setting
from aim.evaluation.summary import Evaluation
from aim.runtime.vlm import VLM

# The settings to measure, and what makes of their answers the report, as plain values for JSON.
Recorded = tuple[list[Setting], Callable[[Evaluation], dict]]


def _accuracy(vlm: VLM) -> Recorded:
    return list(COLUMNS.values()), accuracy_report


def _findings(vlm: VLM) -> Recorded:
    findings = every_finding(vlm)
    settings = list(dict.fromkeys(setting for finding in findings for setting in finding.settings()))
    return settings, partial(findings_report, findings)


def _board(vlm: VLM) -> Recorded:
    text_tokens = usual_text_tokens(vlm)
    cells = board_cells(vlm, [], text_tokens, BUDGETS)
    return settings_of(cells), lambda evaluation: {"text_tokens": text_tokens} | judge_board(cells, evaluation)


RECORDED: dict[str, Callable[[VLM], Recorded]] = {"accuracy.json": _accuracy, "findings.json": _findings, "board.json": _board}
