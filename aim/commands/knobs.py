"""The methods' knobs on the command line: which flags there are, and which methods the given ones make."""

from __future__ import annotations

import argparse
from itertools import product

from aim.kernels.merging import MERGE_ORDERS
from aim.methods import METHODS, Method


def layers(text: str) -> tuple[int, ...]:
    """ "7,14,21" as numbers."""
    return tuple(int(number) for number in text.split(","))


KNOBS: dict[str, dict] = {
    "merge_ratio": {"type": float, "help": "share of visual tokens kept by merging, above 0 up to 1"},
    "l1": {"type": int, "help": "first layer whose input is pruned"},
    "l2": {"type": int, "help": "where the pruning ramp reaches zero"},
    "positions": {"choices": ("compact", "original"), "help": "positions of merged tokens"},
    "merge_window": {"type": int, "help": "frames merged together"},
    "merge_order": {"choices": MERGE_ORDERS, "help": "order of the merged tokens"},
    "temperature": {"type": float, "help": "of the softmax that PageRank walks on"},
    "iterations": {"type": int, "help": "PageRank steps"},
    "damping": {"type": float, "help": "chance to restart at every step, 0 to below 1"},
    "restart": {"choices": ("uniform", "question"), "help": "where a damped walk restarts"},
    "layer": {"type": int, "help": "first layer without the dropped tokens, from 1 up"},
    "keep_ratio": {"type": float, "help": "share of visual tokens kept, above 0 up to 1"},
    "ratio": {"type": float, "help": "share of visual tokens each stage leaves, above 0 up to 1"},
    "stages": {"type": layers, "help": "layers before which tokens are dropped, such as 7,14,21"},
    "seed": {"type": int, "help": "of what is drawn by lot"},
}


def add_knobs(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add `--method` and a flag for each knob; with `several` each takes any number of values, and `methods_of` combines them."""
    values = "+" if several else 1
    parser.add_argument("--method", nargs=values, choices=sorted(METHODS), default=["aim"], help="(default: aim)")
    for name, options in KNOBS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", nargs=values, **options)


def methods_of(options: argparse.Namespace) -> list[Method]:
    """Every chosen method with every combination of the given knobs that it takes, each once; other knobs stay at their defaults.

    Raises:
        ValueError: a knob that none of the chosen methods takes, or one out of range.
    """
    given = {name: getattr(options, name) for name in KNOBS if getattr(options, name) is not None}
    methods = []
    taken: set[str] = set()
    for chosen in options.method:
        fields = METHODS[chosen].__dataclass_fields__
        names = [name for name in given if name in fields]
        taken.update(names)
        methods += [METHODS[chosen](**dict(zip(names, values, strict=True))) for values in product(*(given[name] for name in names))]
    if taken != set(given):
        known = ", ".join(dict.fromkeys(name for chosen in options.method for name in METHODS[chosen].__dataclass_fields__)) or "none"
        raise ValueError(
            f"--method {' '.join(options.method)} takes these knobs: {known}; given: {', '.join(given)}. Leave the others out."
        )
    return list(dict.fromkeys(methods))
