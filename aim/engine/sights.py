"""What the tokens of each text layer see: all before them, a window, or the whole of their own picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aim.engine import seams


@dataclass(frozen=True)
class Sight:
    """What the tokens of a text layer see.

    Attributes:
        window: how many tokens they look back on, themselves among them; None for all.
        pictures: whether the tokens of one picture see one another in both directions.
        attends: whether they attend to keys; else the layer is linear attention.
    """

    window: int | None = None
    pictures: bool = False
    attends: bool = True


# Text models whose pictures are seen in both directions → whether that holds in layers without a window too.
BOTH_DIRECTIONS = {"gemma3_text": True, "gemma4_text": False, "gemma4_unified_text": False}


def sights(parts: seams.Parts) -> list[Sight]:
    """What the tokens of each text layer see."""
    kind, made = parts.text_config.model_type, []
    both = kind == "gemma3_text" or getattr(parts.text_config, "use_bidirectional_attention", None) == "vision"
    for layer in parts.layers:
        window = window_of(parts, layer)
        pictures = both and kind in BOTH_DIRECTIONS and (BOTH_DIRECTIONS[kind] or window is not None)
        made.append(Sight(window, pictures, seams.attends(layer)))
    return made


def window_of(parts: seams.Parts, layer: Any) -> int | None:
    """How many tokens a text layer looks back on, or None where it sees the whole prompt.

    Some text models decide that layer by layer. In the others the config's window holds for all layers.
    """
    config = parts.text_config
    if not seams.attends(layer) or not getattr(layer.self_attn, "is_sliding", True):
        return None
    if hasattr(layer.self_attn, "sliding_window"):
        return layer.self_attn.sliding_window
    return getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
