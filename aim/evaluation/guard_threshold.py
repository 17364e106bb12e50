"""`python -m aim.evaluation.guard_threshold`: the trust guard's threshold, chosen on validation clips and judged on test clips.

It predicts that the first token of the reduced run is not the full model's, from that token's divergence from a milder run.
"""

from __future__ import annotations

import argparse

import numpy as np

from aim.evaluation.statistics import wilson
from aim.evaluation.tuned_settings import FRAMES, asked
from aim.methods import Full
from aim.runtime.vlm import VLM, load
from aim.tuning.budget import Budget
from aim.tuning.costs import Costs
from aim.tuning.trust import guard

BUDGETS = ("4x", "8x", "16x", "25x")


def samples(vlm: VLM, split: str, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """The paper's setting at every budget on the first `clips` clips of a split.

    Returns:
        For each run its divergence from the milder run in nats, float [runs], and whether its first token differs from the full model's,
        bool [runs].
    """
    strayed, differs = [], []
    for index in range(clips):
        for clip, question in asked(vlm, split, index):
            full = vlm.ask(clip, question.text, Full(), max_new_tokens=1)
            costs = Costs(vlm, question.text, {FRAMES: clip})
            for text in BUDGETS:
                budget = Budget.parse(text)
                space = costs.space(budget, budget.limit(costs.plan(Full(), FRAMES)))
                paper = space.paper_ramp("compact") or space.paper_least("compact")
                answer = vlm.ask(clip, question.text, paper.method, max_new_tokens=1)
                strayed.append(guard(vlm, clip, question.text, answer).divergence)
                differs.append(int(answer.next_token.argmax()) != int(full.next_token.argmax()))
    return np.array(strayed), np.array(differs)


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


def main(arguments: list[str] | None = None) -> None:
    """Choose the threshold and print what it is worth."""
    parser = argparse.ArgumentParser(prog="python -m aim.evaluation.guard_threshold", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=50, help="clips of each split, two questions each (default: %(default)s)")
    options = parser.parse_args(arguments)
    vlm = load("bundled", device="cpu")
    threshold = best_threshold(*samples(vlm, "validation", options.clips))
    strayed, differs = samples(vlm, "test", options.clips)
    warned = strayed > threshold
    caught, spared = (wilson(int(x.sum()), len(x)) for x in (warned[differs], ~warned[~differs]))
    print(
        f"threshold {threshold:.3g} nats, from {options.clips} validation clips; on {options.clips} test clips, {len(strayed)} runs at "
        f"{', '.join(BUDGETS)} less, {int(differs.sum())} of them changed the first token:\n"
        f"balanced accuracy {100 * balanced_accuracy(strayed, differs, threshold):.1f} %, AUC {area(strayed, differs):.3f}\n"
        f"warned of {100 * caught.value:.1f} % of the changed ({100 * caught.low:.1f}–{100 * caught.high:.1f}), left alone "
        f"{100 * spared.value:.1f} % of the others ({100 * spared.low:.1f}–{100 * spared.high:.1f})"
    )


if __name__ == "__main__":
    main()
