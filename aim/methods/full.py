"""The full model, which merges and drops nothing. Every other method is compared with it."""

from __future__ import annotations

from dataclasses import dataclass

from aim.methods.base import Method


@dataclass(frozen=True)
class Full(Method):
    """Every visual token is seen in every layer."""

    name = "full"
