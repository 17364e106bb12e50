"""The command line: `python -m aim` with ask, compare, tune, plan, eval or bench; see `python -m aim COMMAND --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys

from aim.bench.command import QUANTIZATIONS
from aim.bench.command import add_arguments as add_bench_arguments
from aim.evaluation.command import add_arguments
from aim.knobs import add_knobs, methods_of
from aim.methods import METHODS
from aim.tuning.command import add_arguments as add_tuning


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A mistake of the user's is one line on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        print(options.command(options))
    except (ValueError, ImportError) as error:
        print(f"aim: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aim", description="Ask a video, and see which visual tokens the model needs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ask = commands.add_parser("ask", help="answer a question about a clip with fewer visual tokens")
    ask.set_defaults(command=_ask)
    compare = commands.add_parser("compare", help="answer it with every method at equal cost")
    compare.set_defaults(command=_compare)
    for command in (ask, compare):
        command.add_argument("clip", help="a video file")
        command.add_argument("question")
        command.add_argument("--model", default="bundled", help='"bundled", a checkpoint folder or a Hub id (default: %(default)s)')
        command.add_argument("--frames", type=int, default=8, help="frames sampled uniformly in time (default: %(default)s)")
        command.add_argument("--max-new-tokens", type=int, default=64, help="longest answer (default: %(default)s)")
        command.add_argument("--device", help="cpu, cuda, cuda:1... (default: cuda where there is one)")
        command.add_argument("--quantization", choices=QUANTIZATIONS, help="of the LLM's weights, on CUDA with bitsandbytes")
    compare.add_argument("--methods", nargs="+", choices=list(METHODS), help="(default: all)")
    compare.add_argument("--tflops", type=float, help="modelled TFLOP of the prefill (default: what the paper's setting takes)")
    compare.add_argument("--rounds", type=int, default=3, help="how often each prefill is timed, in turns (default: %(default)s)")
    compare.add_argument("--json", action="store_true", help="print one JSON object")

    plan = commands.add_parser("plan", help="what a setting costs, without weights")
    plan.add_argument("model", help='a known name such as llava-onevision-qwen2-7b, "bundled", or a folder with a config.json')
    plan.add_argument("--frames", type=int, default=32, help="frames (default: %(default)s)")
    plan.add_argument("--text-tokens", type=int, default=100, help="tokens of the prompt that are not patches (default: %(default)s)")
    plan.set_defaults(command=_plan)

    for command in (ask, plan):
        add_knobs(command)
        command.add_argument("--json", action="store_true", help="print one JSON object")

    tune = commands.add_parser("tune", help="find the knobs that stray least from the full model within a budget")
    add_tuning(tune)
    tune.set_defaults(command=_tune)

    evaluation = commands.add_parser("eval", help="accuracy against cost on held-out clips, and the findings")
    add_arguments(evaluation)
    evaluation.set_defaults(command=_eval)

    bench = commands.add_parser("bench", help="time and memory beside the stock model, measured beside modelled")
    add_bench_arguments(bench)
    bench.set_defaults(command=_bench)
    return parser


def _ask(options: argparse.Namespace) -> str:
    _hush()
    from aim.runtime import load
    from aim.video import read_video

    [method] = methods_of(options)
    clip = read_video(options.clip, options.frames)
    answer = load(options.model, options.device, quantization=options.quantization).ask(
        clip, options.question, method, options.max_new_tokens
    )
    if options.json:
        report = answer.to_dict()
        del report["trace"]
        return json.dumps(report)
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


def _compare(options: argparse.Namespace) -> str:
    _hush()
    from aim.comparing import compare
    from aim.runtime import load
    from aim.video import read_video
    from aim.views.side_by_side import comparison_text

    clip = read_video(options.clip, options.frames)
    vlm = load(options.model, options.device, quantization=options.quantization)
    *_, comparison = compare(vlm, clip, options.question, options.methods, options.tflops, options.max_new_tokens, options.rounds)
    return json.dumps(comparison.to_dict()) if options.json else comparison_text(comparison)


def _plan(options: argparse.Namespace) -> str:
    from aim.planning import plan

    [method] = methods_of(options)
    result = plan(options.model, options.frames, options.text_tokens, method)
    if options.json:
        return json.dumps(result.to_dict())
    layers = "\n".join(f"  layer {i:2}: {visual:6} visual + {text} text" for i, (visual, text) in enumerate(result.tokens_per_layer))
    return (
        f"prefill {result.prefill_tflops:.2f} TFLOP, {result.speedup:.2f} x less than the full model's {result.baseline_tflops:.2f}\n"
        f"KV cache {result.kv_bytes / 1e6:.1f} MB, {result.baseline_kv_bytes / result.kv_bytes:.2f} x less\n"
        f"not counted above: vision tower {result.vision_tflops:.2f} TFLOP, merging {result.merge_tflops:.4f}, "
        f"scoring {result.importance_tflops:.4f}\n{layers}"
    )


def _tune(options: argparse.Namespace) -> str:
    _hush()
    from aim.tuning.command import tune_command

    return tune_command(options)


def _eval(options: argparse.Namespace) -> str:
    _hush()
    from aim.evaluation.command import evaluate

    return evaluate(options)


def _bench(options: argparse.Namespace) -> str:
    _hush()
    from aim.bench.command import bench

    return bench(options)


def _hush() -> None:
    """Let transformers say nothing of its own: what goes wrong is said in one line of ours. Its settings are read on import."""
    for library in ("TRANSFORMERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
