"""When a moved knob is answered: while it moves, once it is let go, or on Run only. What the last run cost decides that."""

from __future__ import annotations

from aim.runtime.answer import Answer
from aim.ui.model import AppModel
from aim.views.units import seconds

DRAG, RELEASE, RUN = "drag", "release", "run"
# The most seconds that a run may take at each pace.
MOST = {DRAG: 1.0, RELEASE: 10.0}
AGAIN = ("preprocess", "vision_tower")  # stages that another setting on the same clip does not repeat
METERED = "Press Run for a new answer. Each run borrows a GPU, so a moved slider starts none."
UNKNOWN = "Press Run for a first answer. How long it takes decides whether later settings are answered by themselves."
TOLD = {
    DRAG: "● Live: the model answers while you drag. A run takes {seconds}.",
    RELEASE: "● Live: the model answers when you let go of a slider. A run takes {seconds}.",
    RUN: "Press Run for a new answer. A run takes {seconds} here, which is too long for one at each move.",
}
AT_FIRST = "● Live: the model answers while you drag."


def pace_of(vlm: AppModel, answer: Answer | None = None) -> dict[str, str]:
    """The pace after a run, and the sentence that says so.

    Args:
        answer: of the last run that came to its own end; None where there is none yet.

    Returns:
        pace: `DRAG`, `RELEASE` or `RUN`.
        pace_told: for the page.
    """
    if vlm.metered:
        return {"pace": RUN, "pace_told": METERED}
    if answer is None:
        return {"pace": DRAG, "pace_told": AT_FIRST} if vlm.live else {"pace": RUN, "pace_told": UNKNOWN}
    spent = again_seconds(answer)
    pace = next((name for name, most in MOST.items() if spent <= most), RUN)
    return {"pace": pace, "pace_told": TOLD[pace].format(seconds=seconds(spent))}


def again_seconds(answer: Answer) -> float:
    """How long another setting on the same clip takes: the run's total without what is kept of the clip."""
    timings = answer.timings
    return max(0.0, timings.get("total", 0.0) - sum(timings.get(stage, 0.0) for stage in AGAIN))
