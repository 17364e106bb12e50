"""From end to end at 7B sizes: stock and AIM, each behind the vision tower in full and behind one that merges."""

from __future__ import annotations

from collections.abc import Callable

from aim.bench.gpu.parts import Found, Setting
from aim.bench.gpu.prefill import rounds, variants
from aim.bench.printing import bench_text
from aim.bench.result import bench_result
from aim.bench.variants import BASE, with_towers
from aim.methods.tower import Tower

SHARES = (0.5, 0.3)


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Rounds from the frames to the last token."""
    bench = setting.bench(stop, end_to_end=True, new_tokens=3 if setting.small else 17)
    report = rounds(setting, bench, with_towers(variants(bench, [BASE, "aim"]), [Tower(merge=share) for share in SHARES]), vision_frames=0)
    ended = [f"{variant['title']}: {variant['ended']}" for variant in report["variants"] if variant["ended"]]
    return Found(bench_result(report), bench_text(report), left_out=ended)
