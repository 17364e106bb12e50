"""`python -m aim tune`: what it takes, and what it prints."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from aim.commands.arguments import add_device, add_frames, add_json, add_model, add_tower, tower_of
from aim.kernels.refusal import Refusal
from aim.runtime.limits import MAX_PREFILLS

SUMMARY = "find the knobs that stray least from the full model within a budget"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("clip", help="a video file, or a folder of them for one setting that suits all")
    parser.add_argument("question")
    parser.add_argument("--budget", required=True, help='such as "4x", "0.5 TFLOP", "500 GFLOP", "800 ms" or "20 MB"')
    add_model(parser)
    add_frames(parser)
    parser.add_argument("--max-prefills", type=int, default=MAX_PREFILLS, help="the most prefills on each clip (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the search (default: %(default)s)")
    parser.add_argument("--spend", action="store_true", help="then ask on as many frames as the full model's FLOPs pay for")
    add_tower(parser)
    add_device(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> str:
    """Search as the flags say and return what is to be printed.

    Raises:
        Refusal: flags that exclude each other, a folder without videos, and whatever `aim.tune` and `aim.read_video` refuse.
    """
    from aim.runtime.vlm import load
    from aim.tuning.budget import Budget
    from aim.tuning.search import tune
    from aim.tuning.transfer import tune_many
    from aim.video.clip import read_video
    from aim.video.intake.limits import SUFFIXES

    budget = Budget.parse(options.budget)
    search = {"max_prefills": options.max_prefills, "seed": options.seed, "tower": tower_of(options)}
    if Path(options.clip).is_dir():
        if options.spend:
            raise Refusal("--spend asks about one clip, and a folder was given; give one of its files.")
        files = sorted(path for path in Path(options.clip).iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise Refusal(f"There is no video in the folder; accepted: files that end in {', '.join(SUFFIXES)}. Give a folder with some.")
        clips = [read_video(path, options.frames) for path in files]
        transfer = tune_many(load(options.model, options.device), [(clip, options.question) for clip in clips], budget, **search)
        if options.json:
            return json.dumps(transfer.to_dict() | {"clips": [path.name for path in files]})
        rows = [f"  {path.name}: {divergence:.3g}" for path, divergence in zip(files, transfer.divergences, strict=True)]
        return "\n".join([str(transfer), *rows])
    clip, vlm = read_video(options.clip, options.frames), load(options.model, options.device)
    tuned = tune(vlm, clip, options.question, budget, **search)
    spent = _spend(vlm, options, tuned) if options.spend and tuned.chosen else None
    if options.json:
        return json.dumps(tuned.to_dict() | ({"spent": [answer.account() | {"trace": None} for answer in spent]} if spent else {}))
    return "\n".join([_text(tuned), *(f"{answer.frames} frames, {answer.method.name}: {answer.text}" for answer in spent or ())])


def _spend(vlm, options: argparse.Namespace, tuned):
    from aim.tuning.spending import spend
    from aim.video.clip import read_video

    read = partial(read_video, options.clip)
    return spend(vlm, read, options.question, tuned.chosen.method, options.frames, tower=tuned.tower)


def _text(tuned) -> str:
    def line(one) -> str:
        strayed = "given up" if one.divergence is None else f"KL {one.divergence:.3g}"
        mark = "→" if one is tuned.chosen else " "
        return f"{mark} {tuned.budget.cost(one.cost):9.4g} {tuned.budget.unit:5}  {strayed:12}  {one.label}"

    chosen = tuned.chosen
    found = (
        f"--merge-ratio {chosen.method.merge_ratio} --l1 {chosen.method.l1} --l2 {chosen.method.l2} --positions {chosen.method.positions}"
        if chosen and chosen.method.name == "aim"
        else f"{chosen.label} is within the budget"
        if chosen
        else "nothing that was run is within the budget"
    )
    inside = "" if tuned.tower is None else f", which has the full vision tower; the settings have {tuned.tower.words}"
    head = f"{found}\nat most {tuned.limit:.4g} {tuned.budget.unit}, against the {tuned.reference}{inside}, in {tuned.prefills} prefills"
    return "\n".join([head, *map(line, tuned.tried)])
