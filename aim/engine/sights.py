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
        across: whether all pictures of a prompt count as one for that, with the markers around them.
    """

    window: int | None = None
    pictures: bool = False
    attends: bool = True
    across: bool = False


@dataclass(frozen=True)
class BothDirections:
    """Which tokens of a text model see one another in both directions, and where.

    Attributes:
        without_window: whether they do so in layers without a window too.
        asked: whether only where its config asks for it.
        across: see `Sight`.
    """

    without_window: bool
    asked: bool = False
    across: bool = False


# Text models whose pictures are seen in both directions.
BOTH_DIRECTIONS = {
    "gemma3_text": BothDirections(without_window=True),
    "gemma4_text": BothDirections(without_window=False, asked=True),
    "gemma4_unified_text": BothDirections(without_window=False, asked=True),
    "molmo2_text": BothDirections(without_window=True, across=True),
}


def sights(parts: seams.Parts) -> list[Sight]:
    """What the tokens of each text layer see."""
    both, made = BOTH_DIRECTIONS.get(parts.text_config.model_type), []
    if both is not None and both.asked and getattr(parts.text_config, "use_bidirectional_attention", None) != "vision":
        both = None
    for layer in parts.layers:
        window = window_of(parts, layer)
        pictures = both is not None and (both.without_window or window is not None)
        made.append(Sight(window, pictures, seams.attends(layer), across=pictures and both is not None and both.across))
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
