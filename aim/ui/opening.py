"""The first result, which the page shows before anybody has asked for one: what the bundled model said about the first example.

It is stored without its picture, which is made from the clip. `python -m aim.ui.opening` makes it anew, as after a training.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from aim.kernels.refusal import Refusal
from aim.ui.examples import FOLDER, Example, load_examples
from aim.ui.gpu import placed
from aim.ui.handlers import answer
from aim.ui.knobs import defaults, plan_of
from aim.ui.model import AppModel
from aim.ui.request import FIELDS, Request
from aim.ui.seen import Seen
from aim.ui.stop import StopSignal
from aim.ui.texts import public_name
from aim.video.clip import read_video
from aim.views.curve import score_quantiles
from aim.views.explorer import picture_of

FILE = Path(__file__).resolve().parents[2] / "assets" / "opening.json"
STORED = "This first result was stored. The tiny bundled model gave it. Press Run to ask {model}."


def opening(vlm: AppModel, examples: list[Example]) -> dict[str, Any] | None:
    """The value of the screen for a page with these examples. None where the stored result is of another clip or question.

    Where another model answers than the bundled one, the value says so.
    """
    if not examples or not FILE.exists():
        return None
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    asked = dict(zip(FIELDS, stored["asked"], strict=False))
    first = examples[0]
    if (asked["video"], asked["question"], asked["num_frames"]) != (first.path.name, first.question, first.frames):
        return None
    picture = _picture(first.path, first.frames)
    if picture is None:
        return None
    own = {"run": stored["run"] | {"picture": picture}, "stored": True}  # it says nothing of the pace here
    # A knob that came later was at its default when the result was made.
    shown = stored | own | {"asked": [(defaults(vlm) | asked)[name] for name in FIELDS]}
    return shown if vlm.is_bundled else shown | {"note": STORED.format(model=public_name(vlm.name)), "asked": None}


@lru_cache(maxsize=4)
def _picture(path: Path, num_frames: int) -> dict | None:
    try:
        return picture_of(read_video(path, num_frames=num_frames).frames)
    except Refusal:
        return None


def fresh(vlm: AppModel) -> dict[str, Any]:
    """What is stored: a run of the page's first setting on the first example."""
    first = load_examples(FOLDER)[0]
    values = defaults(vlm) | {"num_frames": first.frames, "video": str(first.path), "question": first.question}
    list(answer(vlm, Request.of(**values), StopSignal()))
    *_, last = answer(vlm, Request.of(**values), StopSignal())  # the second one is timed without what a first run has to set up
    shown, scores, request = last.screen or {}, score_quantiles(last.run.trace), last.run.request
    plan = plan_of(vlm, request, Seen.of(last.run.frames, request.num_frames), scores)
    shown = {name: value for name, value in shown.items() if not name.startswith("pace")}
    return shown | {"plan": plan, "asked": [first.path.name, *shown["asked"][1:]], "run": shown["run"] | {"picture": None}}


if __name__ == "__main__":
    import aim

    FILE.write_text(json.dumps(fresh(placed(aim.load("bundled"))), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"Wrote {FILE}.")
