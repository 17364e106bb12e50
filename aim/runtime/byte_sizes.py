"""Amounts of memory, written as "1GiB", "512 MiB", "1.5GB", or as a number of bytes."""

from __future__ import annotations

import os
import re
from fractions import Fraction

from aim.kernels.refusal import Refusal

MIB = 2**20
# Bytes by unit, in small letters. The b may be left out, so "512M" is 512 MB.
UNITS = {"": 1, "b": 1}
UNITS |= {f"{letter}{end}": 1000**power for power, letter in enumerate("kmgt", 1) for end in ("", "b")}
UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}


def byte_size(text: str, name: str = "The size") -> int:
    """The bytes that a text like "512MiB" means, ≥ 0.

    Args:
        name: what the refusal calls the size.

    Raises:
        Refusal: the text is no size.
    """
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if written is None or written[2] not in UNITS:
        raise Refusal(f"{name} is {text!r}; accepted: a number of bytes, or one with a unit such as MiB or GB. Write 512MiB, for example.")
    return int(Fraction(written[1]) * UNITS[written[2]])


def size_from_environment(name: str, default: int) -> int:
    """The bytes that the environment variable `name` asks for; `default` where it is not set or empty.

    Raises:
        Refusal: its value is no size.
    """
    text = os.environ.get(name, "")
    return byte_size(text, name) if text.strip() else default
