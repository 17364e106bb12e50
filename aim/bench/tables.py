"""The tables of README.md, each made of one stored file and of nothing else."""

from __future__ import annotations

from aim.bench.printing import head_of
from aim.bench.printing_end_to_end import spread_text
from aim.views.text_tables import markdown_table
from aim.views.units import seconds, size

# (variant, stage, its name): what a sentence under the table tells of.
SHARES = (("aim", "merge", "Merging"), ("aim", "importance", "PageRank"), ("prune", "importance", "PageRank"))


def origin(report: dict) -> str:
    """Where a report was measured, with which command, and whether the code has changed since."""
    work, machine = head_of(report).splitlines()
    aged = " It was measured with earlier code." if report.get("earlier") else ""
    return f"`{report['command']}` gave this on {machine}. The work: {work}.{aged}"


def bench_table(report: dict) -> str:
    """Prefill, memory and the measured beside the modelled ratio, of every variant."""
    rows = [["variant", "prefill", "working memory", "KV cache", "measured", "modelled", "of modelled", "causal", "of causal"]]
    for variant in report["variants"]:
        if not variant["rounds"]:
            rows.append([variant["title"], variant["ended"], *["-"] * 7])
            continue
        rows.append(
            [
                variant["title"],
                spread_text(variant["prefill_seconds"], seconds, ends=False),
                spread_text(variant["working_bytes"], size, ends=False),
                size(variant["kv_bytes"]) if variant["kv_bytes"] is not None else "varies",
                spread_text(variant["measured_speedup"], lambda value: f"{value:.3g}x"),
                f"{variant['modelled_speedup']:.2f}x",
                _ratio(variant["quotient"]),
                f"{variant['causal_speedup']:.2f}x",
                _ratio(variant["causal_quotient"]),
            ]
        )
    by_name = {variant["name"]: variant for variant in report["variants"]}
    shares = [
        f"{words} took {100 * share['median']:.2f} % of the prefill of {by_name[name]['title']}."
        for name, stage, words in SHARES
        if name in by_name and (share := by_name[name][f"{stage}_share"])
    ]
    return "\n\n".join([origin(report), markdown_table(rows, aligned=False), " ".join(shares)]).rstrip()


def end_to_end_table(report: dict) -> str:
    """The stages from the frames to the first token, their sum, and the ratio to the stock model."""
    rows = [["variant", "preparing", "vision tower", "prefill", "to the first token", "measured", "modelled"]]
    for variant in report["variants"]:
        whole = variant["end_to_end"]
        if not whole:
            rows.append([variant["title"], variant["ended"], *["-"] * 5])
            continue
        rows.append(
            [
                variant["title"],
                *(spread_text(whole[f"{stage}_seconds"], seconds, ends=False) for stage in ("preprocess", "tower")),
                spread_text(variant["prefill_seconds"], seconds, ends=False),
                spread_text(whole["to_first_token_seconds"], seconds, ends=False),
                spread_text(whole["measured_speedup"], lambda value: f"{value:.3g}x"),
                f"{whole['modelled_speedup']:.2f}x",
            ]
        )
    return f"{origin(report)}\n\n{markdown_table(rows, aligned=False)}"


def growth_table(report: dict) -> str:
    """Prefill and working memory by the number of frames."""
    points = {(point["variant"], point["frames"]): point for point in report["growth"]}
    rows = [["frames", *report["titles"].values()]]
    for frames in sorted({frames for _, frames in points}):
        rows.append([str(frames), *(_point(points.get((name, frames))) for name in report["titles"])])
    return f"{origin(report)}\n\n{markdown_table(rows, aligned=False)}"


def _point(point: dict | None) -> str:
    if point is None:
        return "–"
    if point["ended"]:
        return point["ended"]
    working = point["working_bytes"]
    return seconds(point["prefill_seconds"]) + ("" if working is None else f", {size(working)}")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
