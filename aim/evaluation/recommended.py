"""What is recommended for the bundled model: the setting of AIM with the fewest FLOPs that still answers as well as the full model.

It is chosen on validation clips. "As well" is the findings' rule: the whole interval of the paired difference to the full model lies above
-`MARGIN`, widened until the intervals of all candidates hold at once. What the chosen one costs is then measured on test clips, which had
no part in the choice.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import product

from aim.evaluation.findings import MARGIN, signed
from aim.evaluation.settings import Setting
from aim.evaluation.statistics import widened
from aim.evaluation.stored import read
from aim.evaluation.summary import ALL, Evaluation
from aim.methods import AIM, Full
from aim.runtime.weights import bundled_digest

NAME, FILE = "Recommended", "recommended.json"
FRAMES = 8
FULL = Setting(Full(), FRAMES)
RATIOS = (1.0, 0.5, 0.25, 0.125)
RAMPS = ((12, 13), (9, 13), (6, 9))  # of the bundled model's 12 layers; the first drops nothing
PLACES = ("compact", "original")
KNOBS = ("merge_ratio", "l1", "l2", "positions")  # what is turned; the others are the paper's


def candidates() -> list[Setting]:
    """Every combination, each once: where nothing is merged, positions are the same, and where nothing is dropped either, it is `FULL`."""
    return [
        Setting(AIM(merge_ratio=ratio, l1=l1, l2=l2, positions=places), FRAMES)
        for ratio, (l1, l2), places in product(RATIOS, RAMPS, PLACES)
        if ratio < 1 or (places == PLACES[0] and (l1, l2) != RAMPS[0])
    ]


def chosen(evaluation: Evaluation) -> Setting | None:
    """The candidate with the fewest prefill FLOPs that answers as well as the full model; None where none does."""
    z = widened(len(candidates()))
    as_good = [setting for setting in candidates() if evaluation.difference(setting, FULL, z=z).low > -MARGIN]
    return min(as_good, key=lambda setting: evaluation.summary(setting).cost["prefill_tflops"], default=None)


def recommended_report(validation: Evaluation, setting: Setting | None, test: Evaluation | None) -> dict:
    """The choice and every candidate, as plain values for JSON. `test` holds the full model and the chosen setting; None without one."""
    z = widened(len(candidates()))
    rows = [{**_knobs(one), **_figures(validation, one, z)} for one in candidates()]
    found = None if setting is None or test is None else {**_knobs(setting), **_figures(test, setting), "questions": test.questions()}
    return {"margin": MARGIN, "validation_questions": validation.questions(), "candidates": rows, "chosen": found}


def _knobs(setting: Setting) -> dict:
    return {name: getattr(setting.method, name) for name in KNOBS}


def _figures(evaluation: Evaluation, setting: Setting, z: float | None = None) -> dict:
    summary = evaluation.summary(setting)
    difference = evaluation.difference(setting, FULL) if z is None else evaluation.difference(setting, FULL, z=z)
    speedup = summary.cost["baseline_tflops"] / summary.cost["prefill_tflops"]
    return {"accuracy": summary.accuracy[ALL].right, "speedup": speedup, "difference": asdict(difference)}


def recommendation() -> dict | None:
    """The stored choice, as long as it was made for the weights that the bundled model has now; else None."""
    report = read(FILE)
    return report["chosen"] if report and report["weights"] == bundled_digest() else None


def why(found: dict) -> str:
    """Why a setting is recommended, in words."""
    difference = found["difference"]
    return (
        f"Recommended: of {len(candidates())} settings, the one with the fewest FLOPs that answers as well as the full model. On "
        f"{found['questions']:,} held-out questions it takes {found['speedup']:.1f} times fewer prefill FLOPs, and "
        f"{signed(difference['value'])} points of accuracy ({signed(difference['low'])} to {signed(difference['high'])})."
    )
