"""The table of runs from end to end: from the file to the last token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aim.views.text_tables import markdown_table
from aim.views.units import seconds

LEGEND = (
    "From end to end, medians (least to greatest for the sums): the frames are read where a clip is given, prepared, encoded by the vision "
    "tower, and the LLM answers. First token: counted from the end of the tower, prefill included. Measured: the time of stock SDPA over "
    "this one's, up to the first token and up to the last. Modelled: the ratio of FLOPs of vision tower and prefill, with what merging and "
    "scores take; a reduced tower counts with the patches that it computed. The last figure is measured over modelled."
)


def end_to_end_lines(variants: list[dict[str, Any]]) -> list[str]:
    """The table with its legend, as lines; none where no variant ran from end to end."""
    ran = [variant for variant in variants if variant["end_to_end"]]
    if not ran:
        return []
    stages = ["reading", "preparing", "vision tower", "prefill", "first token", "tokens/s"]
    sums = ["sum to the first token", "sum to the last", "measured", "measured to the last", "modelled", "of modelled"]
    rows = [["from end to end", *stages, *sums]]
    return [markdown_table([*rows, *map(_row, ran)]), "", LEGEND, ""]


def spread_text(figures: dict[str, float] | None, show: Callable[[float], str], ends: bool = True) -> str:
    """A median, with the least and the greatest where they differ and are asked for; "-" where nothing was measured."""
    if figures is None:
        return "-"
    middle = show(figures["median"])
    return f"{middle} ({show(figures['min'])} to {show(figures['max'])})" if ends and figures["min"] != figures["max"] else middle


def _row(variant: dict[str, Any]) -> list[str]:
    whole, quotient = variant["end_to_end"], variant["end_to_end"]["quotient"]
    return [
        variant["title"],
        *(spread_text(whole[f"{stage}_seconds"], seconds, ends=False) for stage in ("read", "preprocess", "tower")),
        *(spread_text(variant[f"{stage}_seconds"], seconds, ends=False) for stage in ("prefill", "first_token")),
        spread_text(variant["decode_tokens_per_second"], "{:.3g}".format, ends=False),
        *(spread_text(whole[f"to_{end}_token_seconds"], seconds) for end in ("first", "last")),
        *(spread_text(whole[name], "{:.3g}x".format) for name in ("measured_speedup", "whole_speedup")),
        f"{whole['modelled_speedup']:.2f}x",
        "-" if quotient is None else f"{quotient:.3f}",
    ]
