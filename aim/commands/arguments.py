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


def add_tower(parser: argparse.ArgumentParser) -> None:
    """`--tower-merge`."""
    share = knobs_of(Tower)["merge"]
    told = f"merge patches inside the vision tower. {share.explained} Left out, the tower runs in full."
    parser.add_argument("--tower-merge", type=float, metavar="SHARE", help=told.replace("%", "%%"))


def tower_of(options: argparse.Namespace) -> Tower | None:
    """The setting of the vision tower that `--tower-merge` names; None without it.

    Raises:
        Refusal: a share out of range.
    """
    return None if options.tower_merge is None else Tower(merge=options.tower_merge)


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
