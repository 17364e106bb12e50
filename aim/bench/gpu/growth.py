"""Growth to 192 frames at 7B sizes, with the vision tower in it."""

from __future__ import annotations

from collections.abc import Callable

from aim.bench.gpu.parts import Found, Setting
from aim.bench.gpu.prefill import head, variants
from aim.bench.growth import VARIANTS
from aim.bench.printing import growth_text
from aim.bench.result import growth_result
from aim.bench.variants import with_towers
from aim.methods.tower import Tower

FRAMES, SMALL_FRAMES = (8, 32, 64, 128, 192), (1, 2, 3)
LONGEST = 30  # seconds of a prefill


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """One run a variant and number of frames."""
    bench = setting.bench(stop, end_to_end=True, new_tokens=2)
    rows = with_towers(variants(bench, list(VARIANTS)), [Tower()])
    report = head(setting, bench) | bench.growth(rows, SMALL_FRAMES if setting.small else FRAMES, LONGEST)
    ended = [f"{point['variant']}, {point['frames']} frames: {point['ended']}" for point in report["growth"] if point["ended"]]
    return Found(growth_result(report), growth_text(report), left_out=ended)
