"""The full model: nothing merged, nothing pruned. The reference every other method is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from aim.methods.base import Method


@dataclass(frozen=True)
class Full(Method):
    """Every visual token in every layer."""

    name = "full"
