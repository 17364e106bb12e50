"""`python -m aim.bench.gpu`: its flags, the order of its parts, what it prints, and the JSON that it writes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import set_verbosity_error

from aim.bench.gpu.parts import FAILED, Part, Setting, run_parts
from aim.bench.machine import described
from aim.bench.result import result_line
from aim.evaluation import stored
from aim.kernels.refusal import Refusal
from aim.runtime.precision import device_and_dtype
from aim.views.text_tables import markdown_table

SECONDS = 510  # with the start it stays under 9 minutes
PARTS = (
    Part("words and kept tokens", "aim.bench.gpu.words", 15, 160),
    Part("half precision", "aim.bench.gpu.finite", 15, 90),
    Part("waits of the host", "aim.bench.gpu.waits", 10, 30),
    Part("prefill", "aim.bench.gpu.prefill", 40, 110),
    Part("vision tower", "aim.bench.gpu.tower", 30, 90),
    Part("growth", "aim.bench.gpu.growth", 30, 120),
    Part("PageRank", "aim.bench.gpu.pagerank", 10, 30),
    Part("tests", "aim.bench.gpu.suite", 20, 120),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, and print what each found as soon as it has ended.

    Raises:
        SystemExit: with code 2, for a mistake of the user's or a machine without a GPU; with 1, where something failed or is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        setting = _setting(options)
    except Refusal as refusal:
        print(f"aim: {refusal}", file=sys.stderr)
        raise SystemExit(2) from None
    set_verbosity_error()
    report: dict[str, Any] = stored.about("gpu.json", stored.RANDOM)
    report |= {"machine": described(setting.device), "small": setting.small, "parts": []}
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()), flush=True)
    start = time.monotonic()
    for told in run_parts(PARTS, setting, options.seconds):
        report["parts"].append({name: value for name, value in told.items() if name != "text"})
        report["seconds"] = time.monotonic() - start
        _print_part(told)
        if options.out:  # after every part, so that nothing is lost where the machine goes away
            options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    failed = [told["name"] for told in report["parts"] if told["status"] == FAILED]
    rows = [[told["name"], told["status"], f"{told['seconds']:.1f} s", told["why"] or "-"] for told in report["parts"]]
    print("", "## All parts", "", markdown_table([["part", "status", "time", "why"], *rows]), "", sep="\n")
    print(result_line({"machine": report["machine"], "small": setting.small, "seconds": report["seconds"], "parts": _short(report)}))
    if failed:
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    told = "Check and measure on a GPU what this project computes: with random weights, offline, in under 9 minutes."
    parser = argparse.ArgumentParser(prog="python -m aim.bench.gpu", description=told)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1..., or cpu with --small (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny models and few runs, to try the command itself")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="parts that no longer fit are skipped (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON too")
    return parser


def _setting(options: argparse.Namespace) -> Setting:
    """Where to run.

    Raises:
        Refusal: there is no such device, or a flag that cannot be met.
    """
    device, _ = device_and_dtype(options.device, None)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Refusal(
            f"--device is {options.device}, and torch finds {torch.cuda.device_count()} GPUs here; run it on a machine with one, or try "
            "the command with --device cpu --small."
        )
    if device.type != "cuda" and not (options.small and device.type == "cpu"):
        raise Refusal(f"--device is {options.device}; accepted: cuda, or cpu with --small. This command measures GPUs.")
    if not options.seconds > 0:
        raise Refusal(f"--seconds is {options.seconds:g}; accepted: a number above 0. Leave it out for {SECONDS}.")
    if options.out and (options.out.is_dir() or not options.out.parent.is_dir()):
        raise Refusal(f"--out is {options.out}, which cannot be written; give a file in a folder that exists.")
    return Setting(device, options.small)


def _print_part(told: dict[str, Any]) -> None:
    why = f": {told['why']}" if told["why"] else ""
    print("", f"## {told['name']} ({told['status']}, {told['seconds']:.1f} s{why})", "", sep="\n")
    if told["text"]:
        print(told["text"], end="\n\n")
    for title, lines in (("WRONG", told["wrong"]), ("left out", told["left_out"])):
        for line in lines:
            print(f"{title}: {line}")
    sys.stdout.flush()


def _short(report: dict[str, Any]) -> dict[str, Any]:
    return {told["name"]: {name: told[name] for name in ("status", "seconds", "wrong")} for told in report["parts"]}
