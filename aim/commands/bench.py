"""`python -m aim bench`: what it takes, and what it prints and writes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from aim.commands.arguments import TOWER_FLAGS, add_device, add_json, add_text_tokens, new_file
from aim.commands.knobs import add_knobs, methods_of
from aim.kernels.bounds import Bounds
from aim.kernels.refusal import Refusal
from aim.methods.tower import towers_of
from aim.runtime.limits import QUANTIZATIONS

# What is compared from end to end unless variants are named.
_FROM_END_TO_END = ("sdpa", "aim")
SHARE_STILL = Bounds(0, 1)
SUMMARY = "time and memory beside the stock model, measured beside modelled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument(
        "--model",
        default="llava-onevision-qwen2-0.5b",
        help='a size with random weights (such as qwen2-vl-7b), "bundled", a folder or a Hub id (default: %(default)s)',
    )
    add_knobs(parser, several=True)
    parser.add_argument("--frames", type=int, nargs="+", help="frames (default: 16; with --growth several, by default 8 to 192)")
    add_text_tokens(parser)
    parser.add_argument("--new-tokens", type=int, default=17, help="tokens of each answer (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", help="sdpa eager identity masked prune merge aim (default: all; sdpa always runs)")
    parser.add_argument("--growth", action="store_true", help="instead: time and memory as clips grow, one run each")
    parser.add_argument(
        "--end-to-end",
        nargs="?",
        const="",
        metavar="CLIP",
        help="runs begin with the frames, and so pass through the vision tower; with CLIP, a video, they begin with reading it",
    )
    for name, (value, told) in TOWER_FLAGS.items():
        also = f"with --end-to-end, also: {told} Several make a row each, and both flags together a row for each pair."
        parser.add_argument(f"--tower-{name}", type=float, nargs="+", metavar=value, help=also)
    parser.add_argument(
        "--still", type=float, default=0.0, metavar="SHARE", help="of each frame of noise: what stands still (default: %(default)s)"
    )
    parser.add_argument("--limit-gb", type=float, help="memory the process may hold (default: nine tenths of what is free)")
    parser.add_argument("--limit-seconds", type=float, default=120, help="with --growth: longest prefill (default: %(default)s)")
    parser.add_argument(
        "--vision-frames", type=int, default=2, help="frames the vision tower is timed on, 0 for none (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (default: PyTorch's)")
    add_device(parser)
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="(default: bfloat16 on CUDA, float16 on GPUs without it, else float32)"
    )
    parser.add_argument("--quantization", choices=QUANTIZATIONS, help="of a real checkpoint, on CUDA with bitsandbytes")
    add_json(parser)
    parser.add_argument("--chart", type=new_file, metavar="FILE", help="with --growth: write the chart as an HTML page")


def run(options: argparse.Namespace) -> str:
    """Measure what the flags ask for and return what is to be printed. Progress goes to stderr.

    Raises:
        Refusal: flags that are out of range or exclude each other, or a model that cannot be made.
    """
    _check(options)
    methods = methods_of(options)
    # Imported here, since torch and transformers take seconds, for which other commands and --help need not wait.
    import torch

    from aim.bench.growth import FRAMES, VARIANTS
    from aim.bench.machine import machine_of
    from aim.bench.printing import bench_text, growth_text
    from aim.bench.result import bench_result, growth_result, result_line
    from aim.bench.rounds import Bench
    from aim.bench.variants import ROWS, variants_of, with_towers
    from aim.families import family_of
    from aim.runtime.memory import available
    from aim.runtime.precision import device_and_dtype

    device, dtype = device_and_dtype(options.device, options.dtype and getattr(torch, options.dtype))
    if options.threads:
        torch.set_num_threads(options.threads)
    memory = int(options.limit_gb * 1e9) if options.limit_gb else available(device)
    model, pictures = _model(options, device, dtype, memory)
    layers, ramp = model.config.text_config.num_hidden_layers, family_of(model.config).ramp
    names = options.variants or list(VARIANTS if options.growth else _FROM_END_TO_END if _is_whole(options) else ROWS)
    towers = towers_of(options.tower_merge or [], options.tower_reuse or [])
    variants = with_towers(variants_of(names, methods, layers, ramp), towers)
    bench = Bench(
        model,
        pictures,
        options.text_tokens,
        options.new_tokens,
        memory,
        end_to_end=_is_whole(options),
        file=Path(options.end_to_end) if options.end_to_end else None,
        still=options.still,
        progress=_progress,
    )
    report = {
        "model": options.model,
        "machine": machine_of(model),
        "text_tokens": options.text_tokens,
        "new_tokens": options.new_tokens,
        "memory_limit_bytes": memory,
    }
    if options.growth:
        report |= bench.growth(variants, options.frames or FRAMES, options.limit_seconds)
        if options.chart:
            from aim.bench.growth_chart import growth_chart, write_chart

            write_chart(options.chart, growth_chart(report))
        text, result = growth_text, growth_result
    else:
        report |= bench.rounds(variants, (options.frames or [16])[0], options.runs, 0 if _is_whole(options) else options.vision_frames)
        text, result = bench_text, bench_result
    return json.dumps(report) if options.json else "\n".join([text(report), "", result_line(result(report))])


def _is_whole(options: argparse.Namespace) -> bool:
    return options.end_to_end is not None


def _check(options: argparse.Namespace) -> None:
    least = {
        "frames": min(options.frames or [1]),
        "text_tokens": options.text_tokens,
        "new_tokens": options.new_tokens,
        "runs": options.runs,
    }
    if options.threads is not None:
        least["threads"] = options.threads
    for name, value in least.items():
        if value < 1:
            raise Refusal(f"--{name.replace('_', '-')} is {value}; accepted: 1 or more. Leave it out for the default.")
    if options.vision_frames < 0:
        raise Refusal(f"--vision-frames is {options.vision_frames}; accepted: 0 or more. Use 0 to leave the vision tower out.")
    for name in TOWER_FLAGS:
        if getattr(options, f"tower_{name}") and not _is_whole(options):
            raise Refusal(
                f"--tower-{name} reduces the vision tower, which is part of a run from end to end only; give --end-to-end with it."
            )
    SHARE_STILL.check("--still", options.still, "Use 0.5, for example.")
    if options.still and (not _is_whole(options) or options.end_to_end):
        raise Refusal("--still is of frames of noise, which only a run from end to end without a clip has; give --end-to-end alone.")
    if options.chart and not options.growth:
        raise Refusal("--chart draws how cost grows; give --growth with it.")
    if not options.growth and len(options.frames or []) > 1:
        raise Refusal(f"--frames holds {len(options.frames)} numbers; without --growth one clip is measured. Give one number.")
    for name in ("limit_gb", "limit_seconds"):
        given = getattr(options, name)
        if given is not None and not given > 0:
            raise Refusal(f"--{name.replace('_', '-')} is {given}; accepted: a number above 0. Leave it out for the default.")


def _model(options: argparse.Namespace, device, dtype, memory: int | None):
    """The model and the settings of its pictures."""
    from aim.bench.measure import attempt
    from aim.bench.sizes import random_model
    from aim.families import PUBLISHED, family_of
    from aim.runtime.checkpoints import load_checkpoint

    if options.model in PUBLISHED:
        if options.quantization:
            raise Refusal(f"--quantization needs a real checkpoint, and {options.model} has random weights. Give a folder or a Hub id.")
        config = PUBLISHED[options.model].config()
        made = attempt(lambda: (random_model(config, device, dtype), family_of(config).picture_settings), device, memory)
    else:
        checkpoint = attempt(lambda: load_checkpoint(options.model, device, dtype, options.quantization), device, memory)
        made = checkpoint if isinstance(checkpoint, str) else (checkpoint.model, checkpoint.pictures)
    if isinstance(made, str):
        raise Refusal(f"The weights of {options.model} do not fit: {made}. Give a smaller model, a smaller --dtype or more --limit-gb.")
    return made


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
