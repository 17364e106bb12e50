"""The board: every method at every budget, and by rule whether it beats the controls. Measured in a synthetic world with a small model.

A difference to a control is real where the whole interval of the paired difference in accuracy lies on one side of 0. The interval keeps
clips whole. A board has some hundred such comparisons, of which chance alone would make one in twenty look real at 95 % each. So the
intervals are widened until the chance of a single false one among all of them is at most 5 % (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean

from aim.evaluation.board_settings import CONTROLS, OVER, Cell
from aim.evaluation.settings import Setting
from aim.evaluation.statistics import Interval, widened
from aim.evaluation.summary import ALL, Evaluation, Summary
from aim.families.names import BUNDLED

BOARD_FILE = BUNDLED.parent / "board.json"
BETTER, WORSE, OPEN = "better", "worse", "not told apart"
CAVEAT = (
    "This is a synthetic world of moving shapes and a small model of 3.7 million parameters. Which method is ahead here says nothing of "
    "another model or of real videos."
)


def settings_of(cells: Sequence[Cell]) -> list[Setting]:
    """What has to be measured: the full model on each number of frames, and every setting within reach, each once."""
    full = [setting.reference for cell in cells if (setting := cell.setting)]
    return list(dict.fromkeys([*full, *(cell.setting for cell in cells if cell.setting)]))


def verdict(difference: Interval) -> str:
    """Whether a measured difference to a control is real, by the rule at the head of this module."""
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else OPEN


def judge_board(cells: Sequence[Cell], evaluation: Evaluation) -> dict:
    """The board as plain values for JSON: rows by frames, budget and method, the full model first at each number of frames.

    Times differ every run, and these are in it, because a reduction that saves FLOPs need not save time.
    """
    measured = {(cell.frames, cell.budget, cell.method): cell.setting for cell in cells if cell.setting}
    pairs = {
        (cell, control): theirs
        for cell in cells
        for control in CONTROLS
        if cell.setting and cell.method != control and (theirs := measured.get((cell.frames, cell.budget, control)))
    }
    # Two controls are compared with each other once, though each of them shows it.
    comparisons = len({frozenset((cell.setting, theirs)) for (cell, _), theirs in pairs.items()})
    z = widened(comparisons)
    summaries = {setting: evaluation.summary(setting) for setting in settings_of(cells)}

    def against(cell: Cell, control: str) -> dict | None:
        if cell.setting is None or (cell, control) not in pairs:
            return None
        theirs = pairs[cell, control]
        difference = evaluation.difference(cell.setting, theirs, z=z)
        cost = summaries[cell.setting].cost["prefill_tflops"] / summaries[theirs].cost["prefill_tflops"]
        return {**asdict(difference), "cost": cost, "verdict": verdict(difference)}

    rows = [
        {"method": setting.method.name, "frames": setting.frames, "budget": 1, **_figures(summary, evaluation), "against": {}}
        for setting, summary in summaries.items()
        if setting == setting.reference
    ]
    for cell in cells:
        place = {"method": cell.method, "frames": cell.frames, "budget": cell.budget}
        if cell.setting is None:
            rows.append({**place, "reaches": cell.reaches})
        else:
            compared = {control: against(cell, control) for control in CONTROLS}
            rows.append({**place, **_figures(summaries[cell.setting], evaluation), "against": compared})
    rows.sort(key=lambda row: row["frames"])
    return {"questions": evaluation.questions(), "over": OVER, "comparisons": comparisons, "rows": rows}


def _figures(summary: Summary, evaluation: Evaluation) -> dict:
    cost, setting = summary.cost, summary.setting
    seen = [share for share in summary.recall if share is not None]
    kinds = [ALL, *(kind for kind in summary.accuracy if kind != ALL)]
    return {
        "setting": setting.label,
        "speedup": cost["baseline_tflops"] / cost["prefill_tflops"],
        "prefill_gflops": 1000 * cost["prefill_tflops"],
        "vision_gflops": 1000 * cost["vision_tflops"],
        "overhead_gflops": 1000 * (cost["merge_tflops"] + cost["importance_tflops"]),
        "milliseconds": summary.milliseconds,
        "accuracy": {kind: {**asdict(evaluation.share(setting, kind)), "questions": evaluation.questions(kind)} for kind in kinds},
        "agreement": summary.agreement,
        "recall": fmean(seen) if seen else None,
        "visual_per_layer": summary.visual_per_layer,
    }
