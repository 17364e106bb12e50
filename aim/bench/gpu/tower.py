"""From end to end at 7B sizes: stock and AIM, each behind the vision tower in full, and behind one that merges, reuses or does both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aim.bench.gpu.parts import Found, Setting
from aim.bench.gpu.prefill import rounds, variants
from aim.bench.printing import bench_text
from aim.bench.result import bench_result
from aim.bench.variants import BASE, with_towers
from aim.methods.tower import Tower

TOWERS = (Tower(merge=0.5), Tower(merge=0.3), Tower(reuse=8 / 255), Tower(merge=0.3, reuse=8 / 255))
STILL = 0.5  # the share of each frame that stands still, without which there is nothing to reuse


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Rounds from the frames to the last token."""
    bench = replace(setting.bench(stop, end_to_end=True, new_tokens=3 if setting.small else 17), still=STILL)
    report = rounds(setting, bench, with_towers(variants(bench, [BASE, "aim"]), list(TOWERS)), vision_frames=0)
    ended = [f"{variant['title']}: {variant['ended']}" for variant in report["variants"] if variant["ended"]]
    return Found(bench_result(report), bench_text(report), left_out=ended)
