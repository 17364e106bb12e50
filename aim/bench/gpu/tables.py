"""The tables of README.md that hold what `python -m aim.bench.gpu` measured, each made of the stored file and of nothing else."""

from __future__ import annotations

from typing import Any

from aim.bench.variants import BASE, ROWS
from aim.views.text_tables import markdown_table
from aim.views.units import seconds, size


def prefill_table(report: dict) -> str:
    """Prefill, working memory and the measured beside the causal ratio, of every variant."""
    figures = _figures(report, "prefill")
    rows = [["variant", "prefill", "working memory", "KV cache", "measured", "causal"]]
    for name, variant in figures["variants"].items():
        rows.append(
            [
                _title(name),
                seconds(variant["prefill_seconds"]),
                size(variant["working_bytes"]),
                size(variant["kv_bytes"]),
                f"{variant['measured_speedup']:.3g}x",
                f"{variant['causal_speedup']:.2f}x",
            ]
        )
    work = f"{figures['frames']} frames, {figures['visual_tokens']:,} visual tokens, medians of {figures['runs']} rounds"
    return _told(report, f"{work}, and of 2 for reference variants", rows)


def end_to_end_table(report: dict) -> str:
    """The stages from the frames to the first token, their sum, and the ratio to the stock model."""
    figures = _figures(report, "vision tower")
    rows = [["variant", "preparing", "vision tower", "prefill", "to the first token", "measured", "modelled"]]
    for name, variant in figures["variants"].items():
        whole = variant["end_to_end"]
        rows.append(
            [
                _title(name),
                *(seconds(whole[f"{stage}_seconds"]) for stage in ("preprocess", "tower")),
                seconds(variant["prefill_seconds"]),
                seconds(whole["to_first_token_seconds"]),
                f"{whole['measured_speedup']:.3g}x",
                f"{whole['modelled_speedup']:.2f}x",
            ]
        )
    return _told(report, f"{figures['frames']} frames, medians of {figures['runs']} rounds", rows)


def growth_table(report: dict) -> str:
    """Prefill and working memory by the number of frames, and how many times faster AIM's prefill is than the stock model's."""
    points = {(point["variant"], point["frames"]): point for point in _figures(report, "growth")["growth"]}
    names = [name for name in dict.fromkeys(name for name, _ in points) if name in ROWS]
    rows = [["frames", *(ROWS[name].title for name in names), "stock / AIM"]]
    for frames in sorted({frames for _, frames in points}):
        row = {name: points[name, frames] for name in names if (name, frames) in points}
        cells = [_point(row[name]) if name in row else "–" for name in names]
        times = [row[name]["prefill_seconds"] for name in (BASE, "aim") if name in row and not row[name]["ended"]]
        rows.append([str(frames), *cells, f"{times[0] / times[1]:.2f}x" if len(times) == 2 else "–"])
    return _told(report, "one run for each point, prefill and working memory", rows)


def pagerank_table(report: dict) -> str:
    """PageRank on one layer's queries and keys, beside the time of that decoder layer."""
    rows = [["tokens", "PageRank", "its memory", "decoder layer", "greatest difference from float32"]]
    for tokens, told in _figures(report, "PageRank").items():
        times = (seconds(told["pagerank_seconds"]), size(told["working_bytes"]), seconds(told["layer_seconds"]))
        rows.append([f"{int(tokens):,}", *times, f"{told['error']:.1e}"])
    return _told(report, "one layer at the sizes of LLaVA-OneVision-7B", rows)


def _point(point: dict) -> str:
    return point["ended"] or f"{seconds(point['prefill_seconds'])}, {size(point['working_bytes'])}"


def _figures(report: dict, name: str) -> dict[str, Any]:
    return next(part["figures"] for part in report["parts"] if part["name"] == name)


def _title(name: str) -> str:
    """The title of a variant, with the reduced tower that may stand behind its name."""
    variant, comma, tower = name.partition(", ")
    return ROWS[variant].title + comma + tower


def _told(report: dict, work: str, rows: list[list[str]]) -> str:
    machine = report["machine"]
    aged = " with earlier code" if report.get("earlier") else ""
    on = f"{machine['device']}, torch {machine['torch']}, transformers {machine['transformers']}"
    return f"This was measured{aged} on one {on} ({work}):\n\n{markdown_table(rows, aligned=False)}"
