"""`python -m aim ask`: one question about one clip or picture, with its account."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from aim.commands.arguments import add_json, add_question, add_tower, tower_of
from aim.commands.knobs import add_knobs, methods_of

if TYPE_CHECKING:
    from aim.runtime.words import Choice, Word

SUMMARY = "answer a question about a clip or picture with fewer visual tokens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    add_question(parser)
    add_knobs(parser)
    add_tower(parser)
    parser.add_argument("--words", action="store_true", help="tell how probable each word was, and which were next best")
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
    tower = tower_of(options)
    clip = read_media(options.clip, options.frames)
    answer = load(options.model, options.device, quantization=options.quantization).ask(
        clip, options.question, method, options.max_new_tokens, words=options.words, tower=tower
    )
    if options.json:
        return json.dumps(answer.account())
    cost, times = answer.cost, answer.timings
    note = f"{answer.note}\n\n" if answer.note else ""
    return (
        f"{answer.text}\n\n{note}{_words(answer.words)}"
        f"{answer.trace.visual_tokens} visual tokens, {answer.trace.merged_tokens} after merging, "
        f"{answer.trace.tokens_per_layer[-1][0]} in the last layer\n"
        f"prefill {cost['prefill_tflops'] * 1000:.3g} GFLOP, {cost['speedup']:.2f} x less than the full model's; "
        f"KV cache {cost['kv_bytes'] / 1e6:.3g} MB, {cost['baseline_kv_bytes'] / cost['kv_bytes']:.2f} x less\n"
        + ", ".join(f"{stage.replace('_', ' ')} {seconds * 1000:.0f} ms" for stage, seconds in times.items())
    )


def _words(words: tuple[Word, ...]) -> str:
    """A line for each word with its probability and the next best; nothing where there are none."""
    lines = [f"{word.text}  {word.probability:.1%}, then {', '.join(map(_choice, word.next_best))}\n" for word in words]
    return "".join(lines) + "\n" * bool(lines)


def _choice(choice: Choice) -> str:
    return f"{choice.text or '(the end)'} {choice.probability:.1%}"
