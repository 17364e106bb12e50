"""A link that brings a run back: model, example, question and knobs in its query.

It holds no video. An upload comes back where the same tab is loaded again while the server keeps the file, and elsewhere the rest does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aim.runtime.limits import MAX_QUESTION
from aim.ui.examples import example_of, load_examples
from aim.ui.knobs import CHOICES, defaults, offered, ranges
from aim.ui.request import FIRST, KNOBS, TOWER_KNOBS, Request
from aim.ui.texts import public_name

TRUTH = {"true": True, "false": False}


def link_query(request: Request, vlm, folder: Path) -> str:
    """The query of the link to this run, from its "?" on. Of the advanced knobs it holds only those that were turned."""
    entries: dict[str, str | None] = {
        "model": public_name(vlm.name),
        "example": example_of(request.video, folder),
        "question": request.question,
    }
    usual, values = defaults(vlm), request.values()
    for name in KNOBS:
        value = values[name]
        if name in FIRST or value != usual[name]:
            entries[name] = _written(value)
    return "?" + urlencode({name: value for name, value in entries.items() if value is not None})


def restore(query: Mapping[str, str], vlm, folder: Path, upload: str | None = None) -> tuple[dict[str, Any], str]:
    """What a link asks for, by the names in `FIELDS`, and a remark where it could not be followed. Nothing in a query is trusted.

    Args:
        upload: the path of the clip that this tab had uploaded, where the link names no example.
    """
    values: dict[str, Any] = {}
    refused = []
    examples = {example.path.name: str(example.path) for example in load_examples(folder)}
    if query.get("example") in examples:
        values["video"] = examples[query["example"]]
    elif "example" in query:
        refused.append("example")
    if "question" in query:
        values["question"] = query["question"][:MAX_QUESTION]
        values.setdefault("video", None if "example" in query else upload)
    for name in KNOBS:
        if name in query:
            try:
                values[name] = _read(name, query[name], vlm)
            except (ValueError, KeyError):
                refused.append(name)
    setting = defaults(vlm) | values
    if setting["l1"] >= setting["l2"]:
        refused += ["l1", "l2"]
        values = {name: value for name, value in values.items() if name not in ("l1", "l2")}
    return values, _remark(query, values, refused, public_name(vlm.name))


def _remark(query: Mapping[str, str], values: Mapping[str, Any], refused: list[str], model: str) -> str:
    parts = []
    if query.get("model", model) != model:
        parts.append(f"The link was made with the model {query['model'][:80]}; this app runs {model}, so the answer may differ.")
    if refused:
        parts.append(f"This app has no such value for: {', '.join(dict.fromkeys(refused))}.")
    if values and values.get("video") is None:
        parts.append("The link does not hold the clip: upload it, then press Run. An upload is deleted after an hour.")
    return " ".join(parts)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")  # as the browser writes them


def _read(name: str, text: str, vlm) -> Any:
    """A knob's value. Raises ValueError or KeyError for one the page could not show."""
    if name in TOWER_KNOBS and not offered(vlm, name):
        raise ValueError(name)
    if name in CHOICES:
        return {_written(value): value for _, value in CHOICES[name]}[text]
    known = ranges(vlm)
    if name not in known:
        return TRUTH[text]
    limits, value = known[name], float(text)
    if not limits.low <= value <= limits.high:
        raise ValueError(name)
    return int(value) if limits.step == 1 else value
