"""Named settings, stated for a model of 28 layers and carried to any depth."""

from __future__ import annotations

from aim.kernels.schedule import PAPER_RAMP, StatedRamp, scale_to_depth

PRESET_LAYERS = 28
_PAPERS = PAPER_RAMP.l1, PAPER_RAMP.l2

# name → (merge ratio, l1, l2)
PRESETS: dict[str, tuple[float, int, int]] = {
    "Paper": (0.25, *_PAPERS),
    "Gentle": (0.5, 21, 29),
    "Aggressive": (0.125, 7, 22),
    "Merge only": (0.25, 28, 29),
    "Drop only": (1.0, *_PAPERS),
    "Full model": (1.0, 28, 29),
}

# A table of settings that circulates in summaries of the paper. Its FLOPs do not follow from the paper's own account.
CIRCULATING: dict[str, tuple[float, int, int]] = {
    "0.25 / 4 / 20": (0.25, 4, 20),
    "0.25 / 8 / 24": (0.25, 8, 24),
    "0.5 / 4 / 20": (0.5, 4, 20),
    "0.25 / 0 / 16": (0.25, 0, 16),
}


def preset(name: str, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> tuple[float, int, int]:
    """(merge ratio, l1, l2) of a preset for a model with that many layers. `ramp` is the paper's for the model's family.

    Raises:
        KeyError: the name is not in `PRESETS`.
    """
    merge_ratio, l1, l2 = PRESETS[name]
    l1, l2 = ramp.at(num_layers) if (l1, l2) == _PAPERS else scale_to_depth(l1, l2, num_layers, PRESET_LAYERS)
    return merge_ratio, l1, min(l2, num_layers + 1)  # a ramp that ends behind the last layer ends just behind it


def preset_of(merge_ratio: float, l1: int, l2: int, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> str | None:
    """The name of the preset that has these knobs for a model with that many layers; None where none has. For `ramp` see `preset`."""
    return next((name for name in PRESETS if preset(name, num_layers, ramp) == (merge_ratio, l1, l2)), None)


def circulating(name: str, num_layers: int) -> tuple[float, int, int]:
    """(merge ratio, l1, l2) of a setting in `CIRCULATING` for a model with that many layers.

    Raises:
        KeyError: the name is not there.
    """
    merge_ratio, l1, l2 = CIRCULATING[name]
    return merge_ratio, *scale_to_depth(l1, l2, num_layers, PRESET_LAYERS)
