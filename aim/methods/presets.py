"""Named settings, stated for a model of 28 layers and carried to any depth."""

from __future__ import annotations

from aim.kernels.schedule import scale_to_depth
from aim.methods.aim import PAPER_LAYERS

# name → (merge ratio, l1, l2)
PRESETS: dict[str, tuple[float, int, int]] = {
    "Paper": (0.25, 14, 22),
    "Gentle": (0.5, 21, 29),
    "Aggressive": (0.125, 7, 22),
    "Merge only": (0.25, 28, 29),
    "Prune only": (1.0, 14, 22),
    "Full model": (1.0, 28, 29),
}


def preset(name: str, num_layers: int) -> tuple[float, int, int]:
    """(merge ratio, l1, l2) of a preset for a model with that many layers.

    Raises:
        KeyError: the name is not in `PRESETS`.
    """
    merge_ratio, l1, l2 = PRESETS[name]
    l1, l2 = scale_to_depth(l1, l2, num_layers, PAPER_LAYERS)
    return merge_ratio, l1, min(l2, num_layers + 1)  # a ramp that ends behind the last layer ends just behind it


def preset_of(merge_ratio: float, l1: int, l2: int, num_layers: int) -> str | None:
    """The name of the preset that has these knobs for a model with that many layers; None where none has."""
    return next((name for name in PRESETS if preset(name, num_layers) == (merge_ratio, l1, l2)), None)
