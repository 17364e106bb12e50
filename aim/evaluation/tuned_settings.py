"""`python -m aim.evaluation.tuned_settings`: tuned settings against the paper's at equal cost, on held-out clips of the synthetic world.

The figure is agreement with the full model: the same answer to the same question. Tuning has seen that answer, as it has in use. The
setting of the column "one setting for all" has not: it was tuned on other clips, those of the validation split.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from aim.evaluation.clips import film, held_out_clip, tokens_a_side
from aim.evaluation.findings import signed
from aim.evaluation.pool import loaded
from aim.evaluation.rows import Rows
from aim.evaluation.statistics import clustered_share, paired_difference
from aim.evaluation.stored import about
from aim.kernels.refusal import Refusal
from aim.methods import AIM, Full, Method
from aim.runtime.vlm import VLM, load
from aim.runtime.weights import weights_digest
from aim.shapes.questions import Question
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES
from aim.tuning.costs import Costs
from aim.tuning.search import tune
from aim.tuning.transfer import tune_many
from aim.video.clip import Clip, clip_from_frames
from aim.views.text_tables import markdown_table

FRAMES, QUESTIONS, SEED = 8, 2, 7
CLIPS, SHARED_CLIPS = 100, 16
BUDGETS = ("4x", "10x", "25x")
ARMS = ("tuned", "one setting for all", "paper's", "paper's, original positions")
PAIRS = ((ARMS[0], ARMS[2]), (ARMS[0], ARMS[3]), (ARMS[1], ARMS[2]))
WORK = Path(".evaluation")


def asked(vlm: VLM, split: str, index: int) -> list[tuple[Clip, Question]]:
    """A held-out clip with up to `QUESTIONS` of its questions, chosen by a seed."""
    held_out = held_out_clip(index, split)
    pictures, _ = film(held_out, FRAMES, tokens_a_side(vlm))
    clip = clip_from_frames(pictures, 2.0)
    count = min(QUESTIONS, len(held_out.questions))
    chosen = np.random.default_rng([SEED, index]).choice(len(held_out.questions), count, replace=False)
    return [(clip, held_out.questions[number]) for number in chosen]


def shared_setting(model: str, clips: int, budget: str) -> dict:
    """The knobs of one setting for all within a budget, tuned on the first clips of the validation split.

    Raises:
        Refusal: whatever `tune_many` refuses.
    """
    vlm = loaded(model)
    pairs = [(clip, question.text) for index in range(clips) for clip, question in asked(vlm, "validation", index)[:1]]
    return tune_many(vlm, pairs, budget).method.params()  # there is one, since nobody stops the search


def measure(model: str, shared: dict[str, dict], index: str) -> list[dict]:
    """Test clip number `index`: for each question and budget whether each arm agrees with the full model, and what share of the limit it
    spends. `shared` has the knobs of one setting for all by budget."""
    vlm, rows = loaded(model), []
    for clip, question in asked(vlm, "test", int(index)):
        full = vlm.ask(clip, question.text, Full(), max_new_tokens=8).text
        for text, knobs in shared.items():
            row = _row(vlm, clip, question, text, AIM(**knobs), full)
            rows.append({"clip": int(index), "type": question.type, "budget": text} | row)
    return rows


def _row(vlm: VLM, clip: Clip, question: Question, text: str, shared: Method, full: str) -> dict:
    budget, costs = Budget.parse(text), Costs(vlm, question.text, {FRAMES: clip})
    limit = budget.limit(costs.plan(Full(), FRAMES))
    space = costs.space(budget, limit)
    tuned = tune(vlm, clip, question.text, budget)
    # At a tight budget a long question leaves no room for the paper's layers, and its setting spends a little more than is allowed.
    papers = [space.paper_ramp(positions) or space.paper_least(positions) for positions in PLACES]
    methods = [tuned.chosen.method, shared, *(paper.method for paper in papers)]
    row: dict = {"prefills": tuned.prefills, "divergence": tuned.chosen.divergence}
    for arm, method in zip(ARMS, methods, strict=True):
        row[arm] = vlm.ask(clip, question.text, method, max_new_tokens=8).text == full
        row[f"{arm}: cost"] = budget.cost(costs.plan(method, FRAMES)) / limit
    return row


def compare(
    model: str,
    weights: str,
    clips: int,
    budgets: Sequence[str],
    processes: int,
    work: Path = WORK,
    done: Callable[[str], None] = lambda _name: None,
) -> dict:
    """Measure every arm on the first clips of the test split. It goes on where it was cut off, from the rows in `work`.

    Raises:
        Refusal: fewer than two clips, whatever `tune` and `tune_many` refuse, or rows of other weights or code.
    """
    head = about("tuned.json", weights)
    tuned_on = min(SHARED_CLIPS, clips)
    stem = f"{weights[:8]}-{head['code'][:8]}"
    settings = Rows(work / f"shared-{stem}-{tuned_on}.jsonl", head | {"clips": tuned_on})
    found = settings.all(list(budgets), partial(shared_setting, model, tuned_on), processes, lambda name: done(f"one setting for {name}"))
    shared = dict(zip(budgets, found, strict=True))
    rows = Rows(work / f"tuned-{stem}-{tuned_on}-{'-'.join(budgets)}.jsonl", head | {"settings": shared})
    measured = rows.all([str(index) for index in range(clips)], partial(measure, model, shared), processes, done)
    return head | {"clips": clips, "tuned_on": tuned_on, "settings": shared} | judged([row for part in measured for row in part])


def judged(rows: list[dict]) -> dict:
    """The figures of the rows that `measure` gives: by budget the agreement of each arm with the full model, what it spends, how often and
    how far it went over the budget, and paired differences. Intervals keep the questions of a clip together."""
    parts = []
    for text in dict.fromkeys(row["budget"] for row in rows):
        own = [row for row in rows if row["budget"] == text]
        values, clips = {arm: np.array([row[arm] for row in own]) for arm in ARMS}, np.array([row["clip"] for row in own])
        arms = {}
        for arm in ARMS:
            costs = [row[f"{arm}: cost"] for row in own]
            over = [cost for cost in costs if cost > 1]
            arms[arm] = asdict(clustered_share(values[arm], clips)) | {
                "spends": float(np.mean(costs)),
                "over": len(over),
                "most": max(over, default=1.0),
            }
        gaps = [{"first": one, "second": two} | asdict(paired_difference(values[one], values[two], clips)) for one, two in PAIRS]
        parts.append({"budget": text, "questions": len(own), "arms": arms, "differences": gaps})
    return {"budgets": parts}


def table(report: dict, aligned: bool = True) -> str:
    """Markdown: agreement with the full model by budget, and paired differences in points, all with 95 % intervals."""
    names = {"one setting for all": "one for all"}
    lines = [["budget", *ARMS, *(f"{names.get(one, one)} − {two}" for one, two in PAIRS)]]
    for part in report["budgets"]:
        cells = [
            f"{100 * one['value']:.1f} % ({100 * one['low']:.1f}–{100 * one['high']:.1f}; spends {100 * one['spends']:.0f} %)"
            for one in (part["arms"][arm] for arm in ARMS)
        ]
        cells += [f"{signed(gap['value'])} ({signed(gap['low'])} to {signed(gap['high'])})" for gap in part["differences"]]
        lines.append([f"{part['budget']} less", *cells])
    return markdown_table(lines, aligned)


def overruns(report: dict) -> list[str]:
    """On how many questions each arm took more than a budget allows, and how much more at most: a sentence a case."""
    return [
        f"{part['budget']} less, {arm}: {one['over']} of {part['questions']} questions over the budget, by {100 * (one['most'] - 1):.1f} % "
        "at most."
        for part in report["budgets"]
        for arm, one in part["arms"].items()
        if one["over"]
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement and print its table."""
    parser = argparse.ArgumentParser(prog="python -m aim.evaluation.tuned_settings", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"held-out clips, {QUESTIONS} questions each (default: %(default)s)")
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS), help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="(default: one a core)")
    options = parser.parse_args(arguments)
    weights = weights_digest(load("bundled", device="cpu").model)
    try:
        report = compare("bundled", weights, options.clips, options.budgets, options.processes, done=_tell)
    except Refusal as error:
        raise SystemExit(f"tuned_settings: {error}") from None
    print(tuned_text(report))


def tuned_text(report: dict) -> str:
    """The table, under what was asked, for the terminal."""
    head = f"{report['budgets'][0]['questions']} questions on {report['clips']} held-out clips, {FRAMES} frames"
    return "\n\n".join([head, table(report), *overruns(report)])


def _tell(name: str) -> None:
    print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
