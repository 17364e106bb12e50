"""Numbers as people read them: three significant digits and a unit that fits."""

from __future__ import annotations

from collections.abc import Callable

_PREFIXES = ((1, "T"), (1e-3, "G"), (1e-6, "M"), (1e-9, "k"))


def number(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{abs(value):.2e}".split("e")[1]))
    return f"{value:,.{digits}f}"


def flops(teraflops: float) -> str:
    """Floating-point operations with a prefix and without a unit, for where the heading says FLOPs: "14.8 T". A multiply-add counts two."""
    return _unit(teraflops, _PREFIXES)


def size(count: float) -> str:
    """Bytes in a unit that suits their size."""
    return _unit(count, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def seconds(value: float) -> str:
    """A time span in a unit that suits it."""
    return _unit(value, ((1, "s"), (1e-3, "ms"), (1e-6, "µs")))


# By the unit of a cost: how an amount of it is written.
UNITS: dict[str, Callable[[float], str]] = {
    "TFLOP": flops,
    "MB": lambda megabytes: size(1e6 * megabytes),
    "ms": lambda milliseconds: seconds(milliseconds / 1000),
}


def times(ratio: float) -> str:
    """A factor, for example "4.1×"."""
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.1f}×" if ratio >= 0.95 else f"{ratio:.2f}×"


def fewer(ratio: float) -> str:
    """How many times fewer FLOPs than the full model, for example "4.1× fewer FLOPs"."""
    return "as many FLOPs as the full model" if round(ratio, 1) == 1 else f"{times(ratio)} fewer FLOPs"


def smaller(ratio: float) -> str:
    """How many times smaller than the full model's, for example "4.1× smaller"."""
    return "as large as the full model's" if round(ratio, 1) == 1 else f"{times(ratio)} smaller"


def quicker(full: float, reduced: float) -> str:
    """How a time compares with the full model's, for example "4.1× faster" or "1.3× slower"."""
    return f"{times(full / reduced)} faster" if reduced <= full else f"{times(reduced / full)} slower"


def counted(tokens: int) -> str:
    """For example "1 token" or "1,620 tokens"."""
    return f"{tokens:,} token{'s' * (tokens != 1)}"


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    value = float(f"{value:.2e}")  # rounded first, or 0.9999 T would read 1,000 G
    for least, name in units:
        if value >= least:
            return f"{number(value / least)} {name}"
    least, name = units[-1]
    return f"{number(value / least)} {name}"


def value_of(value: object) -> str:
    """A knob's value in short; a part of `aim.Composed` is its method and its knobs: "aim, merge ratio 0.25, l1 14, l2 22"."""
    if isinstance(value, dict):
        knobs = (f"{name.replace('_', ' ')} {value_of(one)}" for name, one in value.items() if name != "method")
        return ", ".join([value["method"], *knobs])
    return f"{value:.4g}" if isinstance(value, float) else str(value)
