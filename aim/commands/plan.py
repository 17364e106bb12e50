"""`python -m aim plan`: what a setting costs, without weights."""

from __future__ import annotations

import argparse
import json

from aim.commands.arguments import add_json, add_text_tokens, add_tower, tower_of
from aim.commands.knobs import add_knobs, methods_of
from aim.views import units

SUMMARY = "what a setting costs, without weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("model", help='a known name such as llava-onevision-qwen2-7b, "bundled", or a folder with a config.json')
    parser.add_argument("--frames", type=int, default=32, help="frames (default: %(default)s)")
    add_text_tokens(parser)
    add_knobs(parser)
    add_tower(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> str:
    """The plan, as text or as one JSON object.

    Raises:
        Refusal: flags out of range, or an unknown model.
    """
    from aim.planning.plan import plan

    [method] = methods_of(options)
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


def _flop(teraflops: float) -> str:
    """With two decimals from 0.1 TFLOP up, as the paper's tables have it. Below, with three digits and a smaller prefix."""
    if teraflops == 0:
        return "0 FLOP"
    return f"{teraflops:.2f} TFLOP" if teraflops >= 0.1 else f"{units.flops(teraflops)}FLOP"
