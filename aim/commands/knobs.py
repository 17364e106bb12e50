"""The methods' knobs on the command line: which flags there are, and which methods the given ones make."""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

from aim.kernels.refusal import Refusal
from aim.methods import METHODS, Method
from aim.methods.knob import Knob, knobs_by_name

KNOBS: dict[str, Knob] = knobs_by_name(METHODS.values())


def whole_numbers(text: str) -> tuple[int, ...]:
    """ "7,14,21" as numbers."""
    return tuple(int(number) for number in text.split(","))


def switch(text: str) -> bool:
    """ "on" or "off", the page's words, as a truth value; "true" and "false" are understood too."""
    values = {"on": True, "off": False, "true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return values[text.lower()]


# How a flag's text is read, where the knob's own type cannot do it.
READERS: dict[type, Any] = {tuple: whole_numbers, bool: switch}


def add_knobs(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add `--method` and a flag for each knob; with `several` each takes any number of values, and `methods_of` combines them."""
    values = "+" if several else 1
    parser.add_argument("--method", nargs=values, choices=sorted(METHODS), default=["aim"], help="(default: aim)")
    first = parser.add_argument_group("knobs")
    rest = parser.add_argument_group("advanced knobs")
    for name, knob in KNOBS.items():
        group = rest if knob.advanced else first
        reader = READERS.get(knob.kind, knob.kind)
        shown = "{on,off}" if knob.kind is bool else None
        group.add_argument(flag(name), nargs=values, type=reader, choices=knob.only or None, metavar=shown, help=_help(knob))


def flag(name: str) -> str:
    """The flag of a knob: "merge_ratio" → "--merge-ratio"."""
    return f"--{name.replace('_', '-')}"


def _help(knob: Knob) -> str:
    takers = ", ".join(name for name, method in METHODS.items() if knob.name in method.__dataclass_fields__)
    told = knob.help if knob.kind is bool else knob.explained  # whose accepted values are Python's
    return f"{told} Taken by: {takers}.".strip().replace("%", "%%")


def methods_of(options: argparse.Namespace) -> list[Method]:
    """Every chosen method with every combination of the given knobs that it takes, each once; other knobs stay at their defaults.

    Raises:
        Refusal: a knob that none of the chosen methods takes, or one out of range.
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
        raise Refusal(f"--method {' '.join(options.method)} takes these knobs: {known}; given: {', '.join(given)}. Leave the others out.")
    return list(dict.fromkeys(methods))
