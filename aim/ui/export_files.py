"""A finished run as files, and as the Python that repeats it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from aim.methods import AIM
from aim.ui.handlers import FinishedRun
from aim.views.frames import VIEWS, draw_frames, keys_of, shown_layer
from aim.views.report import write_report
from aim.views.sheet import contact_sheet

TRACE = "aim-trace.json"


def save_trace(run: FinishedRun, folder: str | Path | None = None) -> str:
    """Write the whole record as JSON. Returns the path of the file."""
    path = _fresh(folder) / TRACE
    path.write_text(run.answer.to_json(), encoding="utf-8")
    return str(path)


def save_report(run: FinishedRun, example: str | None, folder: str | Path | None = None) -> str:
    """Write one HTML file that opens offline. Returns its path. `example` is as in `python_code`."""
    python = python_code(run, example)
    return str(write_report(run.answer, run, run.plan, _fresh(folder), run.request.question, python, run.full))


def save_sheet(run: FinishedRun, view: str, folder: str | Path | None = None) -> str:
    """Draw all frames in one view (a key of `VIEWS`) on one PNG. Returns its path."""
    pictures = draw_frames(run.frames, run.timestamps, run.trace, view)
    request, trace = run.request, run.trace
    params = run.answer.method.params()
    inside = "" if run.answer.tower is None else f", {run.answer.tower.words}"
    knobs = f"merge ratio {params['merge_ratio']:g}, l1 {params['l1']}, l2 {params['l2']}{inside}"
    shown = VIEWS[view]
    seen = f"{view}, layer {shown_layer(trace, view)}" if shown.layered else view
    subtitle = f"{seen} · {trace.visual_tokens:,} → {trace.merged_tokens:,} visual tokens · {knobs} · {run.answer.model}"
    path = _fresh(folder) / f"aim-{view.lower().replace(' ', '-')}.png"
    contact_sheet(pictures, f"{request.question} – {run.answer.text}", [subtitle, shown.reading], keys_of(trace, view)).save(path)
    return str(path)


def python_code(run: FinishedRun, example: str | None) -> str:
    """A script that gives the same answer from the same tokens. Knobs that are at their defaults are left out.

    Args:
        example: the example clip's file name, None for an upload, of which only the name is known.
    """
    request, method = run.request, run.answer.method
    clip = f"assets/examples/{example}" if example else Path(request.video).name
    default = AIM()
    changed = [(name, value) for name, value in method.params().items() if value != getattr(default, name)]
    arguments = ", ".join(f"{name}={value!r}" for name, value in changed)
    scores = ', scores="all"' if request.score_every_layer else ""
    given = {} if (tower := request.tower()) is None else {name: getattr(tower, name) for name in ("merge", "reuse")}
    inside = f", tower=aim.Tower({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not None)})" if given else ""
    return f"""import aim

vlm = aim.load({run.answer.model!r})
clip = aim.read_video({clip!r}, num_frames={int(request.num_frames)})
method = aim.AIM({arguments})
answer = vlm.ask(clip, {request.question!r}, method, max_new_tokens={int(request.max_new_tokens)}{scores}{inside})

print(answer.text)
print(answer.trace.tokens_per_layer)
"""


def sheet_views() -> list[str]:
    """The views a sheet can be made of."""
    return list(VIEWS)


def _fresh(folder: str | Path | None) -> Path:
    """A new folder, so that two visitors' files never meet."""
    return Path(tempfile.mkdtemp(prefix="aim-", dir=folder))
