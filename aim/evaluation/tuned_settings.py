"""`python -m aim.evaluation.tuned_settings`: tuned settings against the paper's at equal cost, on held-out clips of the synthetic world.

The figure is agreement with the full model: the same answer to the same question. Tuning has seen that answer, as it has in use. The
setting of the column "one setting for all" has not: it was tuned on other clips, those of the validation split.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from aim.evaluation.clips import film, held_out_clip, tokens_a_side
from aim.evaluation.statistics import paired_difference, wilson
from aim.kernels.refusal import Refusal
from aim.methods import Full, Method
from aim.runtime.vlm import VLM, load
from aim.shapes.questions import Question
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES
from aim.tuning.costs import Costs
from aim.tuning.search import tune
from aim.tuning.transfer import tune_many
from aim.video.clip import Clip, clip_from_frames
from aim.views.text_tables import markdown_table

FRAMES, QUESTIONS, SEED = 8, 2, 7
SHARED_CLIPS = 16
ARMS = ("tuned", "one setting for all", "paper's", "paper's, original positions")


def asked(vlm: VLM, split: str, index: int) -> list[tuple[Clip, Question]]:
    """A held-out clip with up to `QUESTIONS` of its questions, chosen by a seed."""
    held_out = held_out_clip(index, split)
    pictures, _ = film(held_out, FRAMES, tokens_a_side(vlm))
    clip = clip_from_frames(pictures, 2.0)
    count = min(QUESTIONS, len(held_out.questions))
    chosen = np.random.default_rng([SEED, index]).choice(len(held_out.questions), count, replace=False)
    return [(clip, held_out.questions[number]) for number in chosen]


def share(vlm: VLM, budgets: list[str]) -> dict[str, Method]:
    """For each budget one setting for all, tuned on `SHARED_CLIPS` clips of the validation split.

    Raises:
        Refusal: whatever `tune_many` refuses.
    """
    pairs = [(clip, question.text) for index in range(SHARED_CLIPS) for clip, question in asked(vlm, "validation", index)[:1]]
    shared: dict[str, Method] = {}
    for text in budgets:
        transfer = tune_many(vlm, pairs, text)
        print(f"{text}, one setting for all: {transfer}", file=sys.stderr, flush=True)
        if transfer.method is not None:  # None only where it was stopped, which nobody does here
            shared[text] = transfer.method
    return shared


def measure(vlm: VLM, index: int, shared: dict[str, Method]) -> list[dict]:
    """Test clip number `index`: for each question and budget whether each arm agrees with the full model, and what share of the limit it
    spends."""
    rows = []
    for clip, question in asked(vlm, "test", index):
        full = vlm.ask(clip, question.text, Full(), max_new_tokens=8).text
        for text, method in shared.items():
            rows.append({"clip": index, "type": question.type, "budget": text} | _row(vlm, clip, question, text, method, full))
    return rows


@cache
def _loaded() -> VLM:
    """This worker process's model, on one core."""
    torch.set_num_threads(1)
    return load("bundled", device="cpu")


def _measure(index: int, shared: dict[str, Method]) -> list[dict]:
    return measure(_loaded(), index, shared)


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


def table(rows: list[dict]) -> str:
    """Markdown: agreement with the full model by budget, and paired differences with clustered 95 % intervals, in points."""
    lines = [["budget", *ARMS, "tuned − paper's", "tuned − paper's, original positions", "one for all − paper's"]]
    for text in dict.fromkeys(row["budget"] for row in rows):
        own = [row for row in rows if row["budget"] == text]
        values = {arm: np.array([row[arm] for row in own]) for arm in ARMS}
        clips = np.array([row["clip"] for row in own])
        cells = []
        for arm in ARMS:
            share = wilson(int(values[arm].sum()), len(own))
            spent = np.mean([row[f"{arm}: cost"] for row in own])
            cells.append(f"{100 * share.value:.1f} % ({100 * share.low:.1f}–{100 * share.high:.1f}; spends {100 * spent:.0f} %)")
        for first, second in ((ARMS[0], ARMS[2]), (ARMS[0], ARMS[3]), (ARMS[1], ARMS[2])):
            gap = paired_difference(values[first], values[second], clips)
            cells.append(f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})".replace("-", "−"))
        lines.append([f"{text} less", *cells])
    return markdown_table(lines)


def overruns(rows: list[dict]) -> str:
    """On how many questions each arm took more than a budget allows, and how much more at most: a line a case, "" without any.

    Args:
        rows: as `measure` gives them, one a question and budget; their costs are shares of the budget, above 1 where they go over it.
    """
    told = []
    for text in dict.fromkeys(row["budget"] for row in rows):
        for arm in ARMS:
            over = [row[f"{arm}: cost"] for row in rows if row["budget"] == text and row[f"{arm}: cost"] > 1]
            if over:
                told.append(f"{text} less, {arm}: {len(over)} of the questions over the budget, by {100 * (max(over) - 1):.0f} % at most.")
    return "\n".join(told)


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement and print its table."""
    parser = argparse.ArgumentParser(prog="python -m aim.evaluation.tuned_settings", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, help=f"held-out clips, {QUESTIONS} questions each (default: %(default)s)")
    parser.add_argument("--budgets", nargs="+", default=["4x", "10x", "25x"], help="(default: 4x 10x 25x)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep every row there as JSON, and resume from it")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="(default: one a core)")
    options = parser.parse_args(arguments)
    rows = json.loads(options.write.read_text(encoding="utf-8")) if options.write and options.write.exists() else []
    left = sorted(set(range(options.clips)) - {row["clip"] for row in rows})
    try:
        shared = share(load("bundled", device="cpu"), options.budgets)
        with get_context("spawn").Pool(options.processes) as pool:
            for done in pool.imap_unordered(partial(_measure, shared=shared), left):
                rows += done
                print(f"clip {done[0]['clip']}", file=sys.stderr, flush=True)
                if options.write:
                    options.write.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    except Refusal as error:
        raise SystemExit(f"tuned_settings: {error}") from None
    questions = len(rows) // len(options.budgets)
    print(f"{questions} questions on {options.clips} held-out clips, {FRAMES} frames, bundled model\n\n{table(rows)}\n\n{overruns(rows)}")


if __name__ == "__main__":
    main()
