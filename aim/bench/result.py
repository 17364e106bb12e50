"""The main figures of a benchmark as one line, for scripts."""

from __future__ import annotations

import json
from typing import Any

# Of each variant, by name in a report. Figures with a spread are given by their median.
_FIGURES = (
    *("prefill_seconds", "first_token_seconds", "decode_tokens_per_second", "peak_bytes", "working_bytes", "kv_bytes", "modelled_kv_bytes"),
    *("measured_speedup", "modelled_speedup", "causal_speedup", "quotient"),
)
_HEAD = ("model", "machine", "text_tokens", "new_tokens")


def result_line(result: dict[str, Any]) -> str:
    """ "RESULT" and one JSON object on one line."""
    return f"RESULT {json.dumps(result)}"


def bench_result(report: dict[str, Any]) -> dict[str, Any]:
    """The main figures of rounds: medians of each variant by its name, and of its runs from end to end under `end_to_end`."""
    head = {name: report[name] for name in (*_HEAD, "frames", "visual_tokens", "runs")}
    return head | {"variants": {variant["name"]: _figures(variant) for variant in report["variants"]}}


def growth_result(report: dict[str, Any]) -> dict[str, Any]:
    """The points of a growth, as they were measured."""
    return {name: report[name] for name in (*_HEAD, "growth")}


def _figures(variant: dict[str, Any]) -> dict[str, Any]:
    whole = variant["end_to_end"]
    figures = {name: _median(variant[name]) for name in _FIGURES} | {"ended": variant["ended"]}
    return figures | ({"end_to_end": {name: _median(value) for name, value in whole.items()}} if whole else {})


def _median(figure: Any) -> Any:
    return figure["median"] if isinstance(figure, dict) else figure
