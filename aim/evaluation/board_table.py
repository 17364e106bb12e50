"""The board as rows of cells, for the terminal and the page."""

from __future__ import annotations

from aim.evaluation.board import BETTER, CAVEAT, OPEN, WORSE
from aim.evaluation.board_settings import CONTROLS
from aim.evaluation.findings import signed
from aim.evaluation.summary import ALL
from aim.shapes.questions import TYPES
from aim.views.text_tables import plain_table

NONE = "–"
HEAD = ("method", "frames", "x fewer", "FLOPs", "GFLOP", "prefill ms", "correct %", "95 % interval", "as full %", "evidence %")
CONTROL_HEAD = tuple(f"against {control}" for control in CONTROLS)
READING = (
    f"“{NONE}” in the column FLOPs means that the budget is out of the method's reach. The figure beside it is the most that it reaches. "
    "FLOPs and GFLOP are modelled, for the LLM's prefill alone, as a mean over the questions. “Prefill ms” is the measured median, with "
    "merging and scoring. “As full” is the share of answers that are the full model's. “Evidence” is the share of the asked objects' "
    "patches that a layer still ran on, as a mean over the layers."
)
NOTED = 0.05  # a difference in cost of more than this share of the control's is told beside the difference in accuracy


def board_rows(report: dict) -> list[list[str | float | None]]:
    """Every row of the board: the columns `HEAD`, `CONTROL_HEAD`, and the share of right answers for each of `kinds_of`.

    Numbers are rounded as they are shown. “x fewer” is the budget, 1 for the full model. What was not measured is None, so that a
    column of numbers can be sorted.
    """
    kinds = kinds_of(report)
    return [_row(row, kinds) for row in report["rows"]]


def kinds_of(report: dict) -> list[str]:
    """The types of question that were asked."""
    asked = {kind for row in report["rows"] for kind in row.get("accuracy", {})}
    return [kind for kind in TYPES if kind in asked]


def _row(row: dict, kinds: list[str]) -> list[str | float | None]:
    place = [row["method"], row["frames"], row["budget"]]
    if "setting" not in row:
        return [
            *place,
            f"{NONE} (most {row['reaches']:.1f}x)",
            None,
            None,
            None,
            NONE,
            None,
            None,
            *(NONE for _ in CONTROLS),
            *(None for _ in kinds),
        ]
    every = row["accuracy"][ALL]
    return [
        *place,
        f"{row['speedup']:.1f}x fewer" if row["budget"] > 1 else "full",
        float(f"{row['prefill_gflops']:.3g}"),
        round(row["milliseconds"], 1),
        _percent(every["value"]),
        f"{100 * every['low']:.1f}–{100 * every['high']:.1f}",
        _percent(row["agreement"]),
        _percent(row["recall"]),
        *(_compared(row["against"].get(control)) for control in CONTROLS),
        *(_percent(row["accuracy"][kind]["value"]) for kind in kinds),
    ]


def _compared(difference: dict | None) -> str:
    if difference is None:
        return NONE
    cost = f", at {difference['cost']:.2f}x its cost" if abs(difference["cost"] - 1) > NOTED else ""
    return f"{difference['verdict']} {signed(difference['value'])} ({signed(difference['low'])} to {signed(difference['high'])}){cost}"


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def rule(report: dict) -> str:
    """How a budget is met and when a difference to a control is real, in sentences."""
    return (
        "Each method is turned to the setting that spends most without costing more than the budget, give or take "
        f"{100 * report['over']:g} %. This is planned for a prompt of {report['text_tokens']} text tokens, so longer questions cost a "
        f"little more. A difference to a control, in points, is “{BETTER}” or “{WORSE}” when its whole interval is on one side of 0, and "
        f"“{OPEN}” otherwise. The intervals keep the questions of a clip together. Those of the differences are widened so that all "
        f"{report['comparisons']:,} of them hold at once with 95 %. Where the costs differ by more than {100 * NOTED:g} %, because a knob "
        "is too coarse, their ratio is told."
    )


def board_text(report: dict) -> str:
    """The board for the terminal: a table for each budget, accuracy by type below, and what the figures mean."""
    rows, kinds, parts = board_rows(report), kinds_of(report), []
    for frames, budget in dict.fromkeys((row[1], row[2]) for row in rows):
        chosen = [row for row in rows if (row[1], row[2]) == (frames, budget)]
        wide = len(HEAD) + len(CONTROL_HEAD)
        head = [["method", *HEAD[3:], *CONTROL_HEAD], ["method", *kinds]]
        cut = [[[row[0], *row[3:wide]] for row in chosen], [[row[0], *row[wide:]] for row in chosen]]
        tables = [plain_table([titles, *([_shown(cell) for cell in row] for row in body)]) for titles, body in zip(head, cut, strict=True)]
        parts += [f"{frames} frames, {'full' if budget == 1 else f'{budget}x fewer'}", *tables]
    return "\n\n".join([*parts, READING, rule(report), CAVEAT])


def _shown(cell: str | float | None) -> str:
    return NONE if cell is None else str(cell)
