"""`python -m aim ask`: one question about one clip or picture, with its account."""

from __future__ import annotations

import argparse
import json

from aim.commands.arguments import add_json, add_question
from aim.commands.knobs import add_knobs, methods_of

SUMMARY = "answer a question about a clip or picture with fewer visual tokens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    add_question(parser)
    add_knobs(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> str:
    """The answer and what it cost, as text or as one JSON object.

    Raises:
        Refusal: flags out of range, and whatever reading the clip, loading the model and asking it refuse.
    """
    # Imported here, since torch and transformers take seconds, for which --help need not wait.
    from aim.runtime.vlm import load
    from aim.video.media import read_media

    [method] = methods_of(options)
    clip = read_media(options.clip, options.frames)
    answer = load(options.model, options.device, quantization=options.quantization).ask(
        clip, options.question, method, options.max_new_tokens
    )
    if options.json:
        return json.dumps(answer.account())
    cost, times = answer.cost, answer.timings
    note = f"{answer.note}\n\n" if answer.note else ""
    return (
        f"{answer.text}\n\n{note}"
        f"{answer.trace.visual_tokens} visual tokens, {answer.trace.merged_tokens} after merging, "
        f"{answer.trace.tokens_per_layer[-1][0]} in the last layer\n"
        f"prefill {cost['prefill_tflops'] * 1000:.3g} GFLOP, {cost['speedup']:.2f} x less than the full model's; "
        f"KV cache {cost['kv_bytes'] / 1e6:.3g} MB, {cost['baseline_kv_bytes'] / cost['kv_bytes']:.2f} x less\n"
        + ", ".join(f"{stage.replace('_', ' ')} {seconds * 1000:.0f} ms" for stage, seconds in times.items())
    )
