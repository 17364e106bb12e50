"""The stored figures: files of JSON in `assets/`, each with the hash of the weights and of the code that made it.

A file whose hashes are not the present ones says so of itself, under "earlier": `marked` writes it there, and a test demands it. The page
and the documents show this mark.
"""

from __future__ import annotations

import json
from pathlib import Path

from aim.evaluation.provenance import ENTRIES, code_hash
from aim.families.names import BUNDLED
from aim.runtime.weights import are_earlier, bundled_digest

ASSETS = BUNDLED.parent
WEIGHTS, CODE = "weights", "code"  # what "earlier" may name
RANDOM = "random"  # in place of the hash of the weights, for times at the sizes of larger models
NAMES = tuple(name for name in ENTRIES if name.endswith(".json"))


def about(name: str, weights: str) -> dict:
    """The head of a stored file: the hashes of the weights and of the code that its figures are being made with."""
    return {"weights": weights, "code": code_hash(name)}


def earlier(name: str, report: dict, weights: str | None = None) -> list[str]:
    """What a stored file's figures were measured with that is no longer present: WEIGHTS, CODE, both or nothing.

    A file without a hash of its code was written before there were any. `weights` are by default those of the bundled model.
    """
    aged = []
    if report["weights"] not in (RANDOM, weights or bundled_digest()):
        aged.append(WEIGHTS)
    if report.get("code") != code_hash(name):
        aged.append(CODE)
    return aged


def marked(name: str, report: dict) -> dict:
    """The report, which says under "earlier" what of it is no longer present, and has no such entry where all is."""
    aged = earlier(name, report)
    rest = {key: value for key, value in report.items() if key != "earlier"}
    head = {key: rest.pop(key) for key in ("weights", "code") if key in rest}
    return head | ({"earlier": aged} if aged else {}) | rest


def read(name: str, folder: Path = ASSETS) -> dict | None:
    """A stored file, or None where it was not measured yet."""
    file = folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write(name: str, report: dict, folder: Path = ASSETS) -> None:
    """Store a report, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{name}.part"
    half.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    half.replace(folder / name)


def aged_words(report: dict) -> str:
    """What the page says of a report whose weights or code are no longer the present ones, as the end of a sentence; "" of a fresh one.

    Weights are looked at, and code is believed to be as the report is marked, since its hash takes a second.
    """
    aged = [WEIGHTS] * are_earlier(report["weights"]) + [CODE] * (CODE in report.get("earlier", []))
    return f"measured with earlier {' and '.join(aged)}" if aged else ""


def mark_all(folder: Path = ASSETS) -> list[str]:
    """Mark every stored file anew, and name those that changed."""
    changed = []
    for name in NAMES:
        report = read(name, folder)
        if report is not None and marked(name, report) != report:
            write(name, marked(name, report), folder)
            changed.append(name)
    return changed
