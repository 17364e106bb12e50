"""`python -m aim compare`: every method at one budget on one clip and question."""

from __future__ import annotations

import argparse
import json

from aim.commands.arguments import add_json, add_question, add_tower, tower_of
from aim.methods import COMPARABLE

SUMMARY = "answer it with every method at equal cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    add_question(parser)
    parser.add_argument("--methods", nargs="+", choices=list(COMPARABLE), help="(default: all)")
    parser.add_argument("--tflops", type=float, help="modelled TFLOP of the prefill (default: what the paper's setting takes)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each prefill is timed, in turns (default: %(default)s)")
    add_tower(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> str:
    """The table of all runs, as text or as one JSON object.

    Raises:
        Refusal: flags out of range, and whatever reading the clip, loading the model and comparing refuse.
    """
    from aim.runtime.compare import compare
    from aim.runtime.vlm import load
    from aim.video.media import read_media
    from aim.views.side_by_side import comparison_text

    clip = read_media(options.clip, options.frames)
    vlm = load(options.model, options.device, quantization=options.quantization)
    kinds = {"methods": options.methods, "tflops": options.tflops, "tower": tower_of(options)}
    *_, comparison = compare(vlm, clip, options.question, max_new_tokens=options.max_new_tokens, rounds=options.rounds, **kinds)
    return json.dumps(comparison.to_dict()) if options.json else comparison_text(comparison)
