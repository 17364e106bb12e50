"""How far a model gets as clips grow: time and memory against frames, and where each variant ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aim.bench.measure import Measurement

FRAMES = (8, 16, 32, 64, 96, 128, 192)
VARIANTS = ("sdpa", "merge", "aim")


def grow(
    run: Callable[[str, int], Measurement | str],
    flops: Callable[[str, int], float],
    variants: Sequence[str],
    frames: Sequence[int],
    seconds_limit: float,
    progress: Callable[[str], None] = lambda _text: None,
) -> list[dict]:
    """Run every variant on more and more frames, until its memory ends or its prefill would take longer than the limit.

    Args:
        run: (variant, frames) → a run, or why there is none.
        flops: (variant, frames) → modelled FLOPs of the prefill, by which the next time is foreseen from the last.

    Returns:
        One dict a variant and number of frames, ascending: `variant`, `frames`, `ended` ("" where it ran), and of a run `prefill_seconds`,
        `first_token_seconds`, `peak_bytes`, `working_bytes`, `kv_bytes`. After a point that ended its variant has no more.
    """
    points, last, over = [], {}, set()
    for number in sorted(frames):
        for name in variants:
            if name in over:
                continue
            ended, result = _foreseen(name, number, last, flops, seconds_limit), None
            if not ended:
                result = run(name, number)
                ended = result if isinstance(result, str) else ""
            point = {"variant": name, "frames": number, "ended": ended}
            if ended:
                over.add(name)
            else:
                last[name] = (number, result.prefill)
                point |= {
                    "prefill_seconds": result.prefill,
                    "first_token_seconds": result.first_token,
                    "peak_bytes": result.peak_bytes,
                    "working_bytes": result.working_bytes,
                    "kv_bytes": result.key_value_bytes,
                }
            points.append(point)
            progress(f"{number} frames, {name}: {ended or f'prefill {result.prefill:.3g} s'}")
    return points


def _foreseen(name: str, frames: int, last: dict, flops: Callable[[str, int], float], seconds_limit: float) -> str:
    """Why a run is not worth starting, from the variant's last time and the growth of its FLOPs; "" if it is."""
    if name not in last:
        return ""
    before, seconds = last[name]
    expected = seconds * flops(name, frames) / flops(name, before)
    return f"would take {expected:.3g} s, over the limit of {seconds_limit:.3g} s" if expected > seconds_limit else ""
