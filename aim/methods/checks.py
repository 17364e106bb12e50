"""What several methods check of their knobs."""

from __future__ import annotations


def check_share(name: str, value: float) -> None:
    """Raises ValueError unless 0 < value ≤ 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; it is the share of visual tokens kept, above 0 and up to 1. Use 1 to keep all.")


def check_layer(name: str, value: int) -> None:
    """Raises ValueError unless value ≥ 1."""
    if value < 1:
        raise ValueError(f"{name} is {value}; layer 0 always sees every visual token. Use 1 or more.")
