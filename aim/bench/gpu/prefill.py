"""Time and memory of a prefill of 32 frames at 7B sizes: what `python -m aim bench` measures."""

from __future__ import annotations

from collections.abc import Callable

from aim.bench.gpu.parts import FULL_SIZE, Found, Setting
from aim.bench.machine import machine_of
from aim.bench.printing import bench_text
from aim.bench.result import bench_result
from aim.bench.rounds import Bench
from aim.bench.variants import ROWS, Variant, variants_of
from aim.families import family_of
from aim.methods.aim import AIM

IDENTITY = 0.02  # what `aim.reduce` may cost, where it reduces nothing
FASTER = 6  # times that AIM's prefill should be faster than stock SDPA's, at full size


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Rounds of all variants."""
    bench = setting.bench(stop, end_to_end=False, new_tokens=3 if setting.small else 17)
    report = rounds(setting, bench, variants(bench, list(ROWS)), vision_frames=0)
    figures = bench_result(report)
    ended = [f"{variant['title']}: {variant['ended']}" for variant in report["variants"] if variant["ended"]]
    return Found(figures, bench_text(report), _wrong(figures["variants"], setting.small), ended)


def variants(bench: Bench, names: list[str]) -> dict[str, Variant]:
    """The named rows of `aim.bench.variants`, AIM at the paper's setting, scaled to the model."""
    config = bench.model.config
    return variants_of(names, [AIM()], config.text_config.num_hidden_layers, family_of(config).ramp)


def rounds(setting: Setting, bench: Bench, variants: dict[str, Variant], vision_frames: int) -> dict:
    """A whole report, as `python -m aim bench` makes it."""
    return head(setting, bench) | bench.rounds(variants, 2 if setting.small else 32, 1 if setting.small else 3, vision_frames)


def head(setting: Setting, bench: Bench) -> dict:
    """What was measured, and where."""
    name = "a tiny model" if setting.small else FULL_SIZE
    return {
        "model": name,
        "machine": machine_of(bench.model),
        "text_tokens": bench.text_tokens,
        "new_tokens": bench.new_tokens,
    }


def _wrong(variants: dict[str, dict], small: bool) -> list[str]:
    wrong = [
        f"{name}: the KV cache has {variant['kv_bytes']} bytes, and {variant['modelled_kv_bytes']} are modelled"
        for name, variant in variants.items()
        if variant["kv_bytes"] is not None and variant["kv_bytes"] != variant["modelled_kv_bytes"]
    ]
    if small:  # where times say nothing
        return wrong
    speedup, identity = (variants[name]["measured_speedup"] for name in ("aim", "identity"))
    if speedup is not None and speedup < FASTER:
        wrong.append(f"AIM's prefill is {speedup:.2f} times as fast as stock SDPA's; expected: {FASTER} or more")
    if identity is not None and identity < 1 - IDENTITY:
        wrong.append(f"with nothing reduced the prefill is {identity:.3f} times as fast as stock SDPA's; expected: {1 - IDENTITY} or more")
    return wrong
