"""`python -m aim.evaluation.guard_threshold`: the trust guard's threshold, chosen on validation clips and judged on test clips.

It predicts that the first token of the reduced run is not the full model's, from that token's divergence from a milder run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from aim.evaluation.pool import loaded
from aim.evaluation.rows import Rows
from aim.evaluation.statistics import clustered_share
from aim.evaluation.stored import about
from aim.evaluation.tuned_settings import FRAMES, asked
from aim.kernels.refusal import Refusal
from aim.methods import Full
from aim.runtime.vlm import load
from aim.runtime.weights import weights_digest
from aim.tuning.budget import Budget
from aim.tuning.costs import Costs
from aim.tuning.trust import guard

BUDGETS = ("4x", "8x", "16x", "25x")
CLIPS = 50
SPLITS = ("validation", "test")
WORK = Path(".evaluation")


def runs_of(model: str, name: str) -> list[dict]:
    """The paper's setting at every budget on one clip.

    Args:
        name: the split and the clip's number in it, such as "test 3".

    Returns:
        Of each run its `divergence` from the milder run in nats, and whether it `differs`: its first token is not the full model's.
    """
    vlm, (split, index) = loaded(model), name.split()
    rows = []
    for clip, question in asked(vlm, split, int(index)):
        full = vlm.ask(clip, question.text, Full(), max_new_tokens=1)
        costs = Costs(vlm, question.text, {FRAMES: clip})
        for text in BUDGETS:
            budget = Budget.parse(text)
            space = costs.space(budget, budget.limit(costs.plan(Full(), FRAMES)))
            paper = space.paper_ramp("compact") or space.paper_least("compact")
            answer = vlm.ask(clip, question.text, paper.method, max_new_tokens=1)
            differs = int(answer.next_token.argmax()) != int(full.next_token.argmax())
            rows.append({"divergence": guard(vlm, clip, question.text, answer, threshold=0).divergence, "differs": differs})
    return rows


def balanced_accuracy(strayed: np.ndarray, differs: np.ndarray, threshold: float) -> float:
    """The mean of two shares, 0 to 1: changed answers that are warned of, and unchanged ones that are not."""
    warned = strayed > threshold
    return float((warned[differs].mean() + (~warned[~differs]).mean()) / 2)


def best_threshold(strayed: np.ndarray, differs: np.ndarray) -> float:
    """The threshold with the greatest balanced accuracy, half-way between two neighbouring divergences; the least of equals."""
    values = np.unique(strayed)
    between = np.concatenate([(values[:-1] + values[1:]) / 2, values[-1:]])
    return float(max(between, key=lambda threshold: balanced_accuracy(strayed, differs, threshold)))


def area(strayed: np.ndarray, differs: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a changed answer strays further than an unchanged one, ties counting half."""
    changed, same = strayed[differs][:, None], strayed[~differs][None, :]
    return float(((changed > same) + (changed == same) / 2).mean())


def calibrate(
    model: str, weights: str, clips: int, processes: int, work: Path = WORK, done: Callable[[str], None] = lambda _name: None
) -> dict:
    """Choose the threshold on the first clips of the validation split, and judge it on as many of the test split.

    It goes on where it was cut off, from the rows in `work`. Intervals keep the runs on one clip together.

    Raises:
        Refusal: so few clips that no answer changed, or every one did, or rows of other weights or code.
    """
    head = about("guard.json", weights)
    rows = Rows(work / f"guard-{weights[:8]}-{head['code'][:8]}.jsonl", head)
    names = [f"{split} {index}" for split in SPLITS for index in range(clips)]
    by_clip = dict(zip(names, rows.all(names, partial(runs_of, model), processes, done), strict=True))
    chosen, judged = (_arrays([by_clip[f"{split} {index}"] for index in range(clips)]) for split in SPLITS)
    for split, (_, differs, _) in zip(SPLITS, (chosen, judged), strict=True):
        if not 0 < differs.sum() < len(differs):
            raise Refusal(f"{int(differs.sum())} of {len(differs)} answers on {split} clips changed; some must, and some not. Use more.")
    # Three digits are what is told and what is warned by.
    threshold = float(f"{best_threshold(*chosen[:2]):.3g}")
    strayed, differs, numbers = judged
    warned = strayed > threshold
    return head | {
        "clips": clips,
        "budgets": list(BUDGETS),
        "threshold": threshold,
        "runs": len(strayed),
        "changed": int(differs.sum()),
        "warned_of_changed": asdict(clustered_share(warned[differs], numbers[differs])),
        "silent_on_unchanged": asdict(clustered_share(~warned[~differs], numbers[~differs])),
        "balanced_accuracy": balanced_accuracy(strayed, differs, threshold),
        "area": area(strayed, differs),
    }


def _arrays(clips: list[list[dict]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divergences, whether answers changed, and the clip of each run."""
    strayed = [row["divergence"] for rows in clips for row in rows]
    differs = [row["differs"] for rows in clips for row in rows]
    return np.array(strayed), np.array(differs, dtype=bool), np.repeat(range(len(clips)), [len(rows) for rows in clips])


def guard_text(report: dict) -> str:
    """What the threshold is worth, in lines for the terminal."""
    caught, spared = report["warned_of_changed"], report["silent_on_unchanged"]
    return (
        f"threshold {report['threshold']:.3g} nats, from {report['clips']} validation clips; on {report['clips']} test clips, "
        f"{report['runs']} runs at {', '.join(report['budgets'])} less, {report['changed']} of them changed the first token:\n"
        f"balanced accuracy {100 * report['balanced_accuracy']:.1f} %, AUC {report['area']:.3f}\n"
        f"warned of {100 * caught['value']:.1f} % of the changed ({100 * caught['low']:.1f}–{100 * caught['high']:.1f}), left alone "
        f"{100 * spared['value']:.1f} % of the others ({100 * spared['low']:.1f}–{100 * spared['high']:.1f})"
    )


def main(arguments: list[str] | None = None) -> None:
    """Choose the threshold and print what it is worth."""
    parser = argparse.ArgumentParser(prog="python -m aim.evaluation.guard_threshold", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips of each split, two questions each (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="(default: one a core)")
    options = parser.parse_args(arguments)
    try:
        print(guard_text(calibrate("bundled", weights_digest(load("bundled", device="cpu").model), options.clips, options.processes)))
    except Refusal as error:
        raise SystemExit(f"guard_threshold: {error}") from None


if __name__ == "__main__":
    main()
