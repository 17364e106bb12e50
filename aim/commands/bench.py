"""`python -m aim bench`: what it takes, and what it prints and writes."""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache, partial

from aim.commands.arguments import add_device, add_json, add_text_tokens, new_file
from aim.commands.knobs import add_knobs, methods_of
from aim.kernels.refusal import Refusal
from aim.runtime.limits import QUANTIZATIONS

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

    from aim.bench.machine import machine_of
    from aim.bench.variants import ROWS, variants_of
    from aim.families import family_of
    from aim.runtime.memory import available
    from aim.runtime.precision import device_and_dtype

    device, dtype = device_and_dtype(options.device, options.dtype and getattr(torch, options.dtype))
    if options.threads:
        torch.set_num_threads(options.threads)
    memory = int(options.limit_gb * 1e9) if options.limit_gb else available(device)
    model, pictures = _model(options, device, dtype, memory)
    layers, ramp = model.config.text_config.num_hidden_layers, family_of(model.config).ramp
    report = {
        "model": options.model,
        "machine": machine_of(model),
        "text_tokens": options.text_tokens,
        "new_tokens": options.new_tokens,
        "memory_limit_bytes": memory,
    }
    if options.growth:
        return _growth(options, report, model, pictures, methods, layers, ramp, memory)
    variants = variants_of(options.variants or list(ROWS), methods, layers, ramp)
    return _rounds(options, report, model, pictures, variants, memory)


def _rounds(options, report, model, pictures, variants, memory) -> str:
    from dataclasses import asdict

    from aim.bench.measure import attempt, interleave, measure_vision, run_once
    from aim.bench.printing import bench_text
    from aim.bench.summary import planned, summarise
    from aim.bench.workload import workload

    frames = (options.frames or [16])[0]
    # A GPU picks kernels by size and so warms up on the whole clip; a CPU need only have touched the code.
    on_gpu = model.device.type == "cuda"
    small = workload(model, pictures, frames if on_gpu else 1, options.text_tokens)
    for variant in variants.values():
        attempt(partial(run_once, model, variant, small, 2), model.device, memory)
    shown = min(options.vision_frames, frames)
    vision = attempt(lambda: asdict(measure_vision(model, pictures, shown)), model.device, memory) if shown else None
    work = workload(model, pictures, frames, options.text_tokens)
    measured = interleave(
        lambda name: attempt(lambda: run_once(model, variants[name], work, options.new_tokens), model.device, memory),
        variants,
        options.runs,
        _progress,
    )
    plans = {name: planned(model.config, variant, work, model.dtype.itemsize) for name, variant in variants.items()}
    report |= {
        "frames": frames,
        "visual_tokens": work.grid.tokens,
        "runs": options.runs,
        "vision": {"frames": shown, "ended": vision} if isinstance(vision, str) else vision,
        "variants": [summarise(name, variant, measured, plans[name]) for name, variant in variants.items()],
    }
    if options.json:
        report["measurements"] = {name: {number: asdict(run) for number, run in one.runs.items()} for name, one in measured.items()}
        return json.dumps(report)
    return bench_text(report)


def _growth(options, report, model, pictures, methods, layers, ramp, memory) -> str:
    from aim.bench.growth import FRAMES, VARIANTS, grow
    from aim.bench.measure import attempt, run_once
    from aim.bench.printing import growth_text
    from aim.bench.summary import planned
    from aim.bench.variants import variants_of
    from aim.bench.workload import workload

    variants = variants_of(options.variants or list(VARIANTS), methods, layers, ramp)
    small = workload(model, pictures, 1, options.text_tokens)
    for variant in variants.values():
        attempt(partial(run_once, model, variant, small, 2), model.device, memory)

    @cache
    def work(frames: int):
        return workload(model, pictures, frames, options.text_tokens)

    def run(name: str, frames: int):
        prompt = work(frames)
        if model.device.type == "cuda":  # the first run of a size pays for choosing kernels and for memory from the driver
            attempt(lambda: run_once(model, variants[name], prompt, 1), model.device, memory)
        return attempt(lambda: run_once(model, variants[name], prompt, options.new_tokens), model.device, memory)

    points = grow(
        run,
        lambda name, frames: planned(model.config, variants[name], work(frames), model.dtype.itemsize).prefill_tflops,
        list(variants),
        options.frames or FRAMES,
        options.limit_seconds,
        _progress,
    )
    report |= {"titles": {name: variant.title for name, variant in variants.items()}, "growth": points}
    if options.chart:
        from aim.bench.growth_chart import growth_chart, write_chart

        write_chart(options.chart, growth_chart(report))
    return json.dumps(report) if options.json else growth_text(report)


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
