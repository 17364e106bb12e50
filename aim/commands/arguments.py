"""Flags that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from aim.methods.knob import knobs_of
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.methods.tower import Tower
from aim.runtime.limits import QUANTIZATIONS


def add_question(parser: argparse.ArgumentParser) -> None:
    """A clip, a question, and the model that answers it."""
    parser.add_argument("clip", help="a video file; ask and compare take a picture too")
    parser.add_argument("question")
    add_model(parser)
    add_frames(parser)
    parser.add_argument("--max-new-tokens", type=int, default=64, help="longest answer (default: %(default)s)")
    add_device(parser)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, help="of the LLM's weights, on CUDA with bitsandbytes")


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`, of real weights."""
    parser.add_argument("--model", default="bundled", help='"bundled", a checkpoint folder or a Hub id (default: %(default)s)')


def add_frames(parser: argparse.ArgumentParser) -> None:
    """`--frames`, of one clip."""
    parser.add_argument("--frames", type=int, default=8, help="frames sampled uniformly in time (default: %(default)s)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1..., mps (untested; default: cuda where there is one)")


TOWER_FLAGS = {"merge": ("SHARE", "merge patches inside the vision tower."), "reuse": ("DIFFERENCE", "reuse what stands still.")}


def add_tower(parser: argparse.ArgumentParser) -> None:
    """`--tower-merge` and `--tower-reuse`."""
    for name, (value, told) in TOWER_FLAGS.items():
        told = f"{told} {knobs_of(Tower)[name].explained} Without these flags the tower runs in full."
        parser.add_argument(f"--tower-{name}", type=float, metavar=value, help=told.replace("%", "%%"))


def tower_of(options: argparse.Namespace) -> Tower | None:
    """The setting of the vision tower that `--tower-merge` and `--tower-reuse` name; None without them.

    Raises:
        Refusal: a number out of range.
    """
    given = {name: value for name in TOWER_FLAGS if (value := getattr(options, f"tower_{name}")) is not None}
    return Tower(**given) if given else None


def add_text_tokens(parser: argparse.ArgumentParser) -> None:
    """`--text-tokens`, as many as in the paper's account."""
    told = "tokens of the prompt that are not patches (default: %(default)s)"
    parser.add_argument("--text-tokens", type=int, default=PAPER_TEXT_TOKENS, help=told)


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def new_file(text: str) -> Path:
    """A file to be written, as the type of a flag, so that a long run does not end without a place for its results.

    Raises:
        argparse.ArgumentTypeError: it is a folder, or its own folder does not exist.
    """
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is no folder here; make it first, or give another one")
    return path
