"""Knobs that many methods have: what is the same in all of them is said here once."""

from __future__ import annotations

from typing import Any

from aim.kernels.bounds import FROM_1, SHARE
from aim.methods.knob import knob


def share_kept(
    default: float | None,
    help: str = "Share of the clip's visual tokens that is kept.",
    label: str = "Tokens kept (keep ratio)",
    advice: str = "Use 1 to keep all.",
    **declared: Any,
) -> Any:
    """The field `keep_ratio`, a share in (0, 1]. `help` says of what it is a share; `declared` goes to `knob`."""
    return knob(default, label, help, bounds=SHARE, step=0.005, advice=advice, advanced=False, **declared)


def layer_of_cut(default: int | None, label: str, help: str, **declared: Any) -> Any:
    """A field that holds the first layer which runs without the dropped tokens, from 1 on. `declared` goes to `knob`."""
    advice = "Layer 0 always sees every visual token; use 1 or more."
    return knob(default, label, help, bounds=FROM_1, step=1, slider_high=lambda layers: layers, advice=advice, **declared)
