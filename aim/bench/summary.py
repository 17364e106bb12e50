"""From runs to figures: medians with their spread, and what was measured over what was modelled."""

from __future__ import annotations

from statistics import median

from transformers import PretrainedConfig

from aim.bench.footage import STAGES
from aim.bench.measure import Measurement, VariantRuns
from aim.bench.variants import BASE, Variant
from aim.bench.workload import Workload
from aim.planning.plan import Plan, plan_for


def spread(values: list[float]) -> dict[str, float] | None:
    """The median of some numbers with the least and the greatest; None where there are none."""
    return {"median": median(values), "min": min(values), "max": max(values)} if values else None


def planned(config: PretrainedConfig, variant: Variant, work: Workload, bytes_per_value: int) -> Plan:
    """The modelled cost of what a variant computes."""
    return plan_for(config, work.grid.frames, work.text_tokens, variant.executes, bytes_per_value, work.grid, variant.tower)


def summarise(name: str, variant: Variant, measured: dict[str, VariantRuns], plan: Plan) -> dict:
    """A variant's figures, as plain numbers; None where nothing was measured.

    `modelled_speedup` is the plan's ratio of FLOPs, and `causal_speedup` the same ratio without what causal kernels skip.
    `measured_speedup` is the ratio of prefill times in each round in which the stock model ran too. `quotient` is its median over
    `modelled_speedup`, and `causal_quotient` its median over `causal_speedup`. Shares are of the prefill.
    """
    runs, base = measured[name].runs, measured[BASE].runs
    ratios = [base[number].prefill / run.prefill for number, run in runs.items() if number in base]
    speedup = spread(ratios)

    def figures(read) -> dict[str, float] | None:
        return spread([value for run in runs.values() if (value := read(run)) is not None])

    def share(read) -> dict[str, float] | None:
        return spread([read(run) / run.prefill for run in runs.values() if read(run) is not None])

    kv_bytes = {run.key_value_bytes for run in runs.values()}
    executed = next((run.tokens_per_layer for run in runs.values() if run.tokens_per_layer), plan.tokens_per_layer)
    return {
        "name": name,
        "title": variant.title,
        "method": variant.method.name,
        "params": variant.method.params(),
        "rounds": len(runs),
        "ended": measured[name].ended,
        "prefill_seconds": figures(lambda run: run.prefill),
        "first_token_seconds": figures(lambda run: run.first_token),
        "decode_tokens_per_second": figures(lambda run: run.decode_rate),
        "peak_bytes": figures(lambda run: run.peak_bytes),
        "working_bytes": figures(lambda run: run.working_bytes),
        "kv_bytes": kv_bytes.pop() if len(kv_bytes) == 1 else None,
        "modelled_kv_bytes": plan.kv_bytes,
        "modelled_speedup": plan.speedup,
        "causal_speedup": plan.causal_speedup,
        "measured_speedup": speedup,
        "quotient": speedup and speedup["median"] / plan.speedup,
        "causal_quotient": speedup and speedup["median"] / plan.causal_speedup,
        "merge_seconds": figures(lambda run: run.merge),
        "importance_seconds": figures(lambda run: run.importance),
        "merge_share": share(lambda run: run.merge),
        "importance_share": share(lambda run: run.importance),
        "tokens_per_layer": [list(pair) for pair in executed],
        "end_to_end": _end_to_end(runs, base, plan),
    }


def _end_to_end(runs: dict[int, Measurement], base: dict[int, Measurement], plan: Plan) -> dict | None:
    """The figures of runs from the file to the last token, None where there were none.

    Stages by seconds. `measured_speedup` is the ratio of the times to the first token, and `whole_speedup` that to the last one.
    `modelled_speedup` is the ratio of FLOPs of vision tower and prefill, with what merging and scores take. A reduced tower counts with
    the patches that it really computed.
    """
    if not any(run.before for run in runs.values()):
        return None
    pairs = [(base[number], run) for number, run in runs.items() if number in base]
    # What a tower reuses depends on the clip, so no plan knows it.
    tower = next((run.tower_tflops for run in runs.values() if run.tower_tflops is not None), plan.vision_tflops)
    ours = tower + plan.prefill_tflops + plan.merge_tflops + plan.importance_tflops + plan.lm_head_tflops
    full = plan.baseline_vision_tflops + plan.baseline_tflops + plan.lm_head_tflops
    measured = spread([stock.to_first_token / run.to_first_token for stock, run in pairs])
    return {
        **{f"{stage}_seconds": spread([run.before[stage] for run in runs.values() if stage in run.before]) for stage in STAGES},
        "to_first_token_seconds": spread([run.to_first_token for run in runs.values()]),
        "to_last_token_seconds": spread([run.to_last_token for run in runs.values()]),
        "measured_speedup": measured,
        "whole_speedup": spread([stock.to_last_token / run.to_last_token for stock, run in pairs]),
        "modelled_speedup": full / ours,
        "modelled_tower_speedup": plan.baseline_vision_tflops / tower,
        "quotient": measured and measured["median"] * ours / full,
    }
