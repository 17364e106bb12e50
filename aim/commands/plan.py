"""`python -m aim plan`: what a setting costs, without weights."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from aim.commands.arguments import add_json, add_text_tokens, add_tower, tower_of
from aim.commands.knobs import add_knobs, methods_of
from aim.kernels.refusal import Refusal
from aim.runtime.byte_sizes import byte_size
from aim.serving.vllm.served import ANSWER_TOKENS, KV_BUDGET
from aim.views import units

if TYPE_CHECKING:
    from aim.methods import Method
    from aim.serving.capacity import Load

SUMMARY = "what a setting costs, without weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("model", help='a known name such as llava-onevision-qwen2-7b, "bundled", or a folder with a config.json')
    parser.add_argument("--frames", type=int, default=32, help="frames (default: %(default)s)")
    add_text_tokens(parser)
    add_knobs(parser)
    add_tower(parser)
    serving = parser.add_argument_group("a server")
    serving.add_argument(
        "--serving",
        action="store_true",
        help="tell what a vLLM server with AIM's merging holds: prompt tokens, KV bytes of a request, and requests at a time",
    )
    serving.add_argument("--kv-budget", metavar="SIZE", help=f"what the KV cache may take, over all GPUs (default: {KV_BUDGET})")
    serving.add_argument("--answer-tokens", type=int, help=f"longest answer (default: {ANSWER_TOKENS})")
    add_json(parser)


def run(options: argparse.Namespace) -> str:
    """The plan, as text or as one JSON object.

    Raises:
        Refusal: flags out of range, or an unknown model.
    """
    from aim.planning.plan import plan

    [method] = methods_of(options)
    if options.serving:
        return _serving(options, method)
    if (options.kv_budget, options.answer_tokens) != (None, None):
        raise Refusal("--kv-budget and --answer-tokens plan a server; give --serving with them, or leave them out.")
    result = plan(options.model, options.frames, options.text_tokens, method, tower_of(options))
    if options.json:
        return json.dumps(result.to_dict())
    layers = "\n".join(f"  layer {i:2}: {visual:6} visual + {text} text" for i, (visual, text) in enumerate(result.tokens_per_layer))
    tower = _flop(result.vision_tflops)
    if result.vision_tflops < result.baseline_vision_tflops:
        tower += f" of {_flop(result.baseline_vision_tflops)} in full on all frames"
    reduced, full = _flop(result.prefill_tflops), _flop(result.baseline_tflops)
    return (
        f"prefill {reduced}, {result.speedup:.2f} x less than the full model's {full}\n"
        f"KV cache {result.kv_bytes / 1e6:.1f} MB, {result.baseline_kv_bytes / result.kv_bytes:.2f} x less\n"
        f"not counted above: vision tower {tower}, merging {_flop(result.merge_tflops)}, "
        f"scoring {_flop(result.importance_tflops)}\n{layers}"
    )


def _serving(options: argparse.Namespace, method: Method) -> str:
    """What a server holds, as text or as one JSON object."""
    from aim.serving.capacity import capacity, served_ratio

    if options.tower_merge is not None:
        raise Refusal("--serving plans vLLM's own vision tower, which runs in full; --tower-merge was given. Leave it out.")
    merge_ratio = served_ratio(method)
    budget = byte_size(KV_BUDGET if options.kv_budget is None else options.kv_budget, "--kv-budget")
    answer = ANSWER_TOKENS if options.answer_tokens is None else options.answer_tokens
    result = capacity(options.model, options.frames, options.text_tokens, merge_ratio, budget, answer)
    if options.json:
        return json.dumps(result.to_dict())
    lines = [_load("unmerged", result.unmerged, budget)]
    if merge_ratio < 1:
        lines.append(_load(f"merge ratio {merge_ratio:g}", result.merged, budget))
    return "\n".join(lines)


def _load(name: str, load: Load, budget: int) -> str:
    held = f"{load.requests:,} request{'s' * (load.requests != 1)} at a time in {units.size(budget)}"
    return f"{name}: a prompt of {units.counted(load.prompt_tokens)}, {units.size(load.kv_bytes)} of KV cache a request, {held}"


def _flop(teraflops: float) -> str:
    """With two decimals from 0.1 TFLOP up, as the paper's tables have it. Below, with three digits and a smaller prefix."""
    if teraflops == 0:
        return "0 FLOP"
    return f"{teraflops:.2f} TFLOP" if teraflops >= 0.1 else f"{units.flops(teraflops)}FLOP"
