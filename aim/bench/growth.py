"""Time and memory as clips grow, and the number of frames at which each variant ends."""

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
    """Run every variant on more and more frames, until it runs out of memory or its prefill would take longer than the limit.

    Args:
        run: (variant, frames) → a measurement, or why there is none.
        flops: (variant, frames) → modelled FLOPs of the prefill; by their growth a variant's next time is foreseen from its last.
        variants: names of the variants.
        frames: numbers of frames, in any order.
        seconds_limit: the longest prefill that is started, in seconds.
        progress: receives a line of text after each point.

    Returns:
        One dict a variant and number of frames, ascending: `variant`, `frames`, `ended` ("" where it ran), and of a run `prefill_seconds`,
        `first_token_seconds`, `peak_bytes`, `working_bytes`, `kv_bytes`, and of one from end to end the seconds of its stages and
        `to_first_token_seconds`. A variant has no more points after one that ended.
    """
    points: list[dict] = []
    last: dict[str, tuple[int, float]] = {}
    over: set[str] = set()
    for number in sorted(frames):
        for name in variants:
            if name in over:
                continue
            result = _foreseen(name, number, last, flops, seconds_limit) or run(name, number)
            point: dict = {"variant": name, "frames": number, "ended": result if isinstance(result, str) else ""}
            if isinstance(result, str):
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
                if result.before:
                    point |= {f"{stage}_seconds": value for stage, value in result.before.items()}
                    point["to_first_token_seconds"] = result.to_first_token
            points.append(point)
            told = result if isinstance(result, str) else f"prefill {result.prefill:.3g} s"
            progress(f"{number} frames, {name}: {told}")
    return points


def _foreseen(name: str, frames: int, last: dict[str, tuple[int, float]], flops: Callable[[str, int], float], seconds_limit: float) -> str:
    """Why a run is not started, by the variant's last time and the growth of its FLOPs; "" where it is."""
    if name not in last:
        return ""
    before, seconds = last[name]
    expected = seconds * flops(name, frames) / flops(name, before)
    return f"would take {expected:.3g} s, over the limit of {seconds_limit:.3g} s" if expected > seconds_limit else ""
