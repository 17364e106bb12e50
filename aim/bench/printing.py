"""What `python -m aim bench` prints: tables that can be pasted into a README."""

from __future__ import annotations

from collections.abc import Callable

from aim.bench.printing_end_to_end import end_to_end_lines, spread_text
from aim.views.text_tables import markdown_table
from aim.views.units import number, seconds, size

# Column of a growth → the figure of a point, and how it is written.
PREFILL_GROWTH: dict[str, tuple[str, Callable[[float], str]]] = {
    "prefill": ("prefill_seconds", seconds),
    "working": ("working_bytes", size),
    "peak": ("peak_bytes", size),
}
WHOLE_GROWTH = {"tower": ("tower_seconds", seconds), **PREFILL_GROWTH, "to the first token": ("to_first_token_seconds", seconds)}
MODELLED = ("modelled", "causal", "of modelled", "of causal")
LEGEND = (
    "Median of the rounds (least to greatest). Prefill: the model's forward on the prompt, merging and scores included. Working memory: "
    "the peak above what was held before the run (weights, libraries). Measured: prefill of stock SDPA over this one's, both of the same "
    "round. Modelled: the ratio of FLOPs as the paper counts them, attention in full. Causal: the ratio of what causal kernels compute. "
    "The last two figures are the measured ratio over each of these."
)


def bench_text(report: dict) -> str:
    """The whole report as text."""
    vision, head = report["vision"], [head_of(report), ""]
    rows = [["variant", "prefill", "first token", "tokens/s", "peak", "working", "KV cache", "measured", *MODELLED, "runs"]]
    rows += [_row(variant) for variant in report["variants"]]
    parts = [markdown_table(rows), "", LEGEND, ""]
    lines = [["stage", "variant", "time", "share of prefill"]]
    for variant in report["variants"]:
        for stage in ("merge", "importance"):
            if variant[f"{stage}_seconds"] and variant[f"{stage}_seconds"]["max"] > 0:
                share = spread_text(variant[f"{stage}_share"], lambda value: f"{100 * value:.2f} %")
                name = {"merge": "merging", "importance": "importance"}[stage]
                lines.append([name, variant["title"], spread_text(variant[f"{stage}_seconds"], seconds), share])
    if vision:
        frames = f"once a clip; {vision['frames']} of {report['frames']} frames"
        for name, stage in (("vision tower", "tower_seconds"), ("preprocessing", "preprocess_seconds")):
            lines.append([name, frames, vision["ended"] or seconds(vision[stage]), "not in it"])
    whole = end_to_end_lines(report["variants"])
    exact = [v["title"] for v in report["variants"] if v["kv_bytes"] is not None and v["kv_bytes"] != v["modelled_kv_bytes"]]
    kept = f"KV cache not as modelled: {', '.join(exact)}." if exact else "KV cache: exactly the bytes modelled, in every variant that ran."
    return "\n".join([*head, *parts, markdown_table(lines), "", *whole, kept])


def growth_text(report: dict) -> str:
    """The growth as text: a row for each number of frames, with the times and the memory of each variant."""
    titles = report["titles"]
    columns = WHOLE_GROWTH if any("to_first_token_seconds" in point for point in report["growth"]) else PREFILL_GROWTH
    rows = [["frames", *(f"{title}: {what}" for title in titles.values() for what in columns)]]
    cells = {(point["variant"], point["frames"]): point for point in report["growth"]}
    for frames in sorted({point["frames"] for point in report["growth"]}):
        row = [str(frames)]
        for name in titles:
            point = cells.get((name, frames))
            if point is None or point["ended"]:
                row += [point["ended"] if point else "-", *["-"] * (len(columns) - 1)]
            else:
                row += ["-" if point[key] is None else show(point[key]) for key, show in columns.values()]
        rows.append(row)
    return "\n".join([head_of(report), "", markdown_table(rows)])


def head_of(report: dict) -> str:
    """What was measured and where, as two lines."""
    machine = report["machine"]
    work = f"{report['frames']} frames, " if "frames" in report else ""
    return (
        f"{report['model']}, {work}{report['text_tokens']} text tokens, {report['new_tokens']} new tokens, {machine['dtype']}\n"
        f"{machine['device']}, torch {machine['torch']}, transformers {machine['transformers']}, Python {machine['python']}"
    )


def _row(variant: dict) -> list[str]:
    modelled = [f"{variant[name]:.2f}x" for name in ("modelled_speedup", "causal_speedup")]
    if not variant["rounds"]:
        return [variant["title"], variant["ended"], *["-"] * 6, *modelled, "-", "-", "0"]
    quotients = ["-" if variant[name] is None else f"{variant[name]:.3f}" for name in ("quotient", "causal_quotient")]
    return [
        variant["title"],
        spread_text(variant["prefill_seconds"], seconds),
        seconds(variant["first_token_seconds"]["median"]),
        spread_text(variant["decode_tokens_per_second"], number, ends=False),
        spread_text(variant["peak_bytes"], size, ends=False),
        spread_text(variant["working_bytes"], size, ends=False),
        size(variant["kv_bytes"]) if variant["kv_bytes"] is not None else "varies",
        spread_text(variant["measured_speedup"], lambda value: f"{value:.3g}x"),
        *modelled,
        *quotients,
        f"{variant['rounds']}{', then ' + variant['ended'] if variant['ended'] else ''}",
    ]
